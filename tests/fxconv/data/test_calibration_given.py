"""What Python gives as images: loaders, datasets, folders, files, arrays, pictures, tensors."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fxconv.data.calibration import Batches
from fxconv.data.calibration_arrays import Arrays
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_given import Wanted, generated, open_given
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.labels import LabelledPhotographs
from fxconv.errors import UserError
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.preprocessing import Preprocessing

HOW = Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3, resize=1.0, source="values from 0 to 1")


class OneInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, picture: Tensor) -> Tensor:
        return self.conv(picture)


class TwoInputs(OneInput):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        return self.conv(left) + self.conv(right)


ONE, TWO = ExpectedInput.of(OneInput(), preprocessing=HOW), ExpectedInput.of(TwoInputs(), preprocessing=HOW)


def wanted(expected: ExpectedInput = ONE, count: int | None = 4, **others) -> Wanted:
    return Wanted(expected, count, batch_size=2, seed=0, **others)


def numbered(count: int) -> Tensor:
    """Images each of one value: its number over a hundred."""
    return (torch.arange(count) / 100).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()


def numbers(data) -> list[int]:
    return [round(float(row[0].mean()) * 100) for row in data.images()]


def picture(grey: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, (grey,) * 3)


# -- loaders ------------------------------------------------------------------------------------------


def test_of_a_loader_the_first_images_are_taken_with_their_labels():
    loader = DataLoader(TensorDataset(numbered(10), torch.arange(10) + 50), batch_size=3)
    data = open_given(loader, wanted())
    assert numbers(data) == [0, 1, 2, 3]
    assert data.labels == [50, 51, 52, 53]
    assert (data.count, data.batch_size) == (4, 2)
    assert data.source == "4 of 10 images of a DataLoader, the first"
    assert [len(batch) for (batch,) in data.batches()] == [2, 2]


def test_a_loader_is_read_no_further_than_what_is_taken():
    read: list[int] = []

    class Counted(Dataset):
        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, index: int) -> Tensor:
            read.append(index)
            return numbered(1)[0]

    data = open_given(DataLoader(Counted(), batch_size=3), wanted())
    assert read == [0, 1, 2, 3, 4, 5]
    assert data.source == "4 of 1000000 images of a DataLoader, the first"
    assert numbers(data.others(5)) == [0] * 5
    assert read == list(range(9))


def test_every_pass_over_a_shuffled_loader_sees_the_same_images_and_others_are_others():
    data = open_given(DataLoader(TensorDataset(numbered(30)), batch_size=4, shuffle=True), wanted())
    first, others = numbers(data), numbers(data.others(6))
    assert numbers(data) == first
    assert numbers(data.others(6)) == others
    assert len({*first, *others}) == 10
    assert data.others(100).count == 26
    assert data.others(6).source == "6 others: of 30 images of a DataLoader, the first"


def test_a_loader_of_unknown_length():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield numbered(1)[0], 7

    data = open_given(DataLoader(Endless(), batch_size=3), wanted())
    assert data.source == "4 images of a DataLoader, the first"
    assert data.labels == [7] * 4
    assert open_given(Endless(), wanted()).source == "4 images of an Endless, the first"


def test_a_loader_of_dicts_says_which_key_was_taken():
    rows = [{"label": place, "pixel_values": numbered(place + 1)[place]} for place in range(6)]
    data = open_given(DataLoader(rows, batch_size=3), wanted())
    assert numbers(data) == [0, 1, 2, 3]
    assert data.labels == [0, 1, 2, 3]
    assert data.source == "4 of 6 images of a DataLoader, the first; of each dict the key 'pixel_values'"


# -- datasets -----------------------------------------------------------------------------------------


class Pictures(Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return picture(index, (16, 16)), index


def test_of_a_dataset_images_are_drawn_with_the_seed():
    data = open_given(Pictures(), wanted())
    drawn = data.labels
    assert len(set(drawn)) == 4 and drawn != [0, 1, 2, 3]
    assert [round(float(row[0].mean()) * 255) for row in data.images()] == list(drawn)
    assert data.source == "4 of 20 images of a Pictures, seed 0; pixels made inputs by values from 0 to 1"
    assert data.normalized_by is HOW
    assert set(data.others(5).labels).isdisjoint(drawn)
    assert open_given(Pictures(), wanted()).labels == drawn


def test_what_has_a_length_and_items_is_a_dataset_of_another_package():
    class Elsewhere:
        __len__ = Pictures.__len__

        def __getitem__(self, index: int) -> dict[str, object]:
            return {"img": picture(index), "label": index}

    data = open_given(Elsewhere(), wanted())
    assert data.count == len(data.labels) == 4
    assert "of each dict the key 'img'" in data.source


def test_all_images_of_a_dataset_are_taken_to_train_on():
    assert open_given(Pictures(), wanted(count=None, what="training")).count == 20


# -- folders and files --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for grey in range(3):
            picture(grey).save(tmp_path / name / f"{grey}.png")
    return tmp_path


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_folder_is_one_of_photographs(folder, kind):
    data = open_given(kind(folder), wanted(labelled=False))
    assert type(data) is Photographs
    assert data.source == f"4 of 6 photographs in {folder}, seed 0"


def test_a_folder_to_judge_by_with_a_folder_for_each_class_has_labels(folder):
    data = open_given(folder, wanted(what="held_out"))
    assert isinstance(data, LabelledPhotographs)
    assert set(data.labels) == {0, 1}
    picture(9).save(folder / "loose.png")
    assert type(open_given(folder, wanted(what="held_out"))) is Photographs


def test_an_array_file(tmp_path):
    np.save(tmp_path / "x.npy", numbered(6).numpy())
    data = open_given(str(tmp_path / "x.npy"), wanted())
    assert isinstance(data, Arrays)
    assert len(set(numbers(data))) == 4


# -- tensors and arrays -------------------------------------------------------------------------------


def test_tensors_are_used_whole_as_they_are():
    for given in (numbered(6), [numbered(6)], (batch for batch in [numbered(6)])):
        data = open_given(given, wanted())
        assert isinstance(data, Batches)
        assert (data.count, data.batch_size, data.source) == (6, 6, "6 tensors given from Python")


def test_one_image_without_n_is_one_image():
    data = open_given(numbered(1)[0], wanted())
    assert [batch.shape for (batch,) in data.batches()] == [(1, 3, 8, 8)]
    assert numbers(open_given(list(numbered(3)), wanted())) == [0, 1, 2]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_float_arrays_are_inputs(kind):
    data = open_given(numbered(5).numpy().astype(kind), wanted())
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert [batch.dtype for (batch,) in data.batches()] == [torch.float32] * 3
    assert numbers(open_given(list(numbered(3).numpy()), wanted())) == [0, 1, 2]


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize(
    "given",
    [
        lambda pixels: pixels,
        list,
        lambda pixels: [Image.fromarray(one) for one in pixels],
        torch.from_numpy,
        lambda pixels: torch.from_numpy(pixels).permute(0, 3, 1, 2),
        lambda pixels: [torch.from_numpy(pixels)],
    ],
    ids=["array", "list of arrays", "list of pictures", "tensor", "channels first", "list of tensors"],
)
def test_uint8_is_pixels_and_pictures_are_preprocessed(given, size):
    pixels = np.repeat(np.arange(3, dtype=np.uint8), size * size * 3).reshape(3, size, size, 3)
    data = open_given(given(pixels), wanted())
    assert [tuple(row[0].shape) for row in data.images()] == [(3, 8, 8)] * 3
    assert [float(row[0].mean()) * 255 for row in data.images()] == pytest.approx([0, 1, 2])
    assert data.source == "3 images given from Python; pixels made inputs by values from 0 to 1"
    assert data.normalized_by is HOW
    assert data.others(4) is None


def test_one_image_is_told_as_one():
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    assert open_given(pixels[0], wanted()).source.startswith("1 image given from Python")
    assert open_given(torch.zeros(1, 3, 8, 8), wanted()).source == "1 tensor given from Python"
    data = open_given(DataLoader(pixels), wanted(count=3))
    assert data.others(4).source.startswith("1 other: of 4 images of a DataLoader")


def test_one_picture_and_grey_pictures():
    assert open_given(picture(9), wanted()).count == 1
    grey = open_given([Image.new("L", (8, 8), 51), np.full((8, 8), 51, np.uint8)], wanted())
    assert [float(row[0].mean()) for row in grey.images()] == pytest.approx([0.2, 0.2])


# -- tuples: labels, or other inputs ------------------------------------------------------------------


def test_what_stands_behind_the_inputs_are_labels():
    one = open_given([(numbered(2), torch.tensor([4, 5])), (numbered(1), torch.tensor([6]))], wanted())
    assert numbers(one) == [0, 1, 0]
    assert one.labels == [4, 5, 6]
    two = open_given([(numbered(2), numbered(2) + 1)], wanted(TWO))
    assert [len(row) for row in two.images()] == [2, 2]
    assert two.labels is None
    for given in ([(numbered(2), numbered(2), torch.tensor([1, 2]))], [((numbered(2), numbered(2)), [1, 2])]):
        both = open_given(given, wanted(TWO))
        assert ([len(row) for row in both.images()], both.labels) == ([2, 2], [1, 2])


def test_targets_that_are_no_class_are_left_out():
    masks = open_given([(numbered(2), torch.zeros(2, 8, 8, dtype=torch.int64))], wanted())
    assert (numbers(masks), masks.labels) == ([0, 1], None)
    boxes = open_given([(numbered(1), [{"boxes": torch.zeros(0, 4)}])], wanted())
    assert boxes.labels is None


def test_a_named_tuple_is_a_tuple():
    Sample = namedtuple("Sample", "image target")
    assert open_given([Sample(numbered(2), torch.tensor([1, 2]))], wanted()).labels == [1, 2]


def test_dicts_with_the_parameters_names_fill_several_inputs():
    data = open_given([{"right": numbered(2) + 1, "left": numbered(2)}], wanted(TWO))
    assert [round(float(row[1].mean() - row[0].mean())) for row in data.images()] == [1, 1]
    assert data.source == "2 tensors given from Python; of each dict the key 'left', 'right'"


@pytest.mark.parametrize("key", ["picture", "image", "images", "pixel_values", "img", "x", "input", "whatever"])
def test_the_image_of_a_dict_is_under_the_parameters_name_a_usual_one_or_the_only_tensor(key):
    data = open_given([{"id": ["a", "b"], key: numbered(2), "labels": [3, 4]}], wanted())
    assert (numbers(data), data.labels) == ([0, 1], [3, 4])
    assert data.source.endswith(f"; of each dict the key {key!r}")


# -- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kinds", "message"),
    [
        (3, (TypeError,), "calibration: type int is not taken; give a DataLoader or Dataset, a folder of photographs"),
        (["a.jpg"], (TypeError,), "calibration: a list of paths is not taken; give the folder they are in"),
        ([object()], (TypeError,), "calibration: type object in it is no image; give tensors, arrays or PIL images"),
        ([], (ValueError,), "calibration needs at least one tensor"),
        (
            [{"a": 1, "b": 2}],
            (),
            "its dicts have no key 'picture', which the forward's parameter is named; they have a, b",
        ),
        (
            [{"a": numbered(1), "b": numbered(1)}],
            (),
            "its dicts have no key 'picture', which the forward's parameter is named; they have a, b",
        ),
        (
            [numbered(1)[0], numbered(1)[0, :, :4]],
            (),
            "calibration: images of 3x8x8 and of 3x4x8; give them in one size",
        ),
        ([torch.full((3, 8, 8), torch.nan)], (), "calibration: holds values that are not finite"),
        ([np.zeros((8, 8, 5), np.uint8)], (), "are no pixels [H, W, C] of 3 channels; transpose them"),
        ([Image.new("F", (8, 8))], (), "calibration: a picture cannot be read: its pixels are floating-point"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), (ValueError,), "hold integers; give float32, preprocessed"),
        (DataLoader([]), (), "calibration: gives no images; give one at least"),
    ],
)
def test_what_is_no_image_is_told(given, kinds, message):
    with pytest.raises(UserError) as error:
        open_given(given, wanted())
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert all(isinstance(error.value, kind) for kind in kinds)


def test_too_few_inputs_are_told():
    with pytest.raises(UserError, match=r"calibration: 1 tensor in a batch for a model that takes 2 \(left, right\)"):
        open_given([numbered(1)], wanted(TWO))


def test_the_keyword_that_was_wrong_is_named():
    with pytest.raises(UserError, match=r"^held_out: type int is not taken"):
        open_given(3, wanted(what="held_out"))


def test_pixels_that_were_not_preprocessed_are_warned_of():
    data = open_given(DataLoader(numbered(4) * 5000, batch_size=2), wanted())
    assert data.warnings[0].startswith("calibration holds values from 0 to 150, as pixels have before they are")
    assert open_given(DataLoader(numbered(4), batch_size=2), wanted()).warnings == []


# -- nothing given ------------------------------------------------------------------------------------


def test_generated_images_for_nothing_and_the_example_for_inputs_that_are_no_images():
    assert isinstance(generated(ONE, 4, 2, 0), Generated)
    tokens = ExpectedInput.of(nn.Sequential(nn.Embedding(9, 4)), torch.zeros(1, 5, dtype=torch.int64))
    data = generated(tokens, 4, 2, 0)
    assert data.count == 1
    assert data.warnings == [
        "calibrated on example_inputs alone, for no calibration was given; more inputs give better ranges"
    ]
