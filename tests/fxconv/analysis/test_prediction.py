"""A file on photographs: the answers are those of its int8 module, with its preprocessing and its labels."""

from __future__ import annotations

import json
from dataclasses import replace

import fxconv_networks
import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS, assert_user_error
from PIL import ExifTags, Image
from torch import Tensor, nn

import fxconv
from fxconv.analysis.prediction import predict
from fxconv.data import photographs as disk
from fxconv.models.heatmap_peaks import HeatmapPeaks
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.proof import metadata

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")
NAMES = [f"thing {index}" for index in range(10)]
HOW = Preprocessing(32, 32, source="told by nobody but this test", origin=Origin.weights)


def assert_like_int8(found, int8, photographs, how=HOW, labels=NAMES):
    """The file's answers are those of the int8 module, called with the same images, to the last bit."""
    assert [one.image for one in found.images] == [str(path) for path in photographs]
    for one, path in zip(found.images, photographs, strict=True):
        taken = how.photograph(disk.read(path, "RGB", how.least_side))[None]
        with torch.no_grad():
            scores = int8(taken)[0]
        (output,) = one.outputs
        best = torch.sort(scores, stable=True, descending=True).indices[: len(output.top)].tolist()
        assert [each.index for each in output.top] == best
        assert [each.score for each in output.top] == scores[best].tolist()
        probabilities = scores.double().softmax(0)[best].tolist()
        assert [each.probability for each in output.top] == pytest.approx(probabilities, rel=1e-12)
        assert [each.label for each in output.top] == [labels[index] if labels else None for index in best]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for index, size in enumerate([(60, 50), (33, 80), (40, 40)]):
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize(size).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def converted(tmp_path_factory, photographs):
    """The small network converted once as it is and once for pixels; tests must not change the files."""
    torch.manual_seed(0)
    model, folder = fxconv_networks.tiny().eval(), tmp_path_factory.mktemp("converted")
    images = torch.stack([HOW.photograph(Image.open(path)) for path in photographs])
    made = {}
    for name, choices in {"floats": {}, "pixels": {"normalize_in_graph": True}}.items():
        path = folder / f"{name}.ptl"
        made[name] = (
            path,
            fxconv.convert(model, [images], recipe="none", labels=NAMES, preprocessing=HOW, output=path, **choices),
        )
        assert made[name][1].verified
    return made


@pytest.mark.parametrize("kind", ["floats", "pixels"])
def test_the_answers_are_those_of_the_int8_module(kind, converted, photographs):
    path, conversion = converted[kind]
    found = predict(path, photographs)
    assert_like_int8(found, conversion.int8, photographs)
    assert found.labels_from == str(path) and found.shape == (3, 32, 32) and found.unreadable == ()
    assert [(one.height, one.width) for one in found.images] == [(50, 60), (80, 33), (40, 40)]
    assert len(found.images[0].outputs[0].top) == 5


def test_as_many_as_asked_for_by_other_names(converted, photographs, tmp_path):
    path, conversion = converted["floats"]
    (tmp_path / "names.txt").write_text("".join(f"{index}: Ding {index}\n" for index in range(10)))
    found = predict(str(path), [str(photographs[0])], labels=tmp_path / "names.txt", top=50)
    assert_like_int8(found, conversion.int8, photographs[:1], labels=[f"Ding {index}" for index in range(10)])
    assert len(found.images[0].outputs[0].top) == 10 and found.labels_from == str(tmp_path / "names.txt")


def test_many_images_go_a_few_at_a_time(converted, photographs, monkeypatch):
    path, conversion = converted["floats"]
    monkeypatch.setattr("fxconv.analysis.prediction.AT_ONCE", 2 * 4 * 3 * 32 * 32)
    steps = []
    found = predict(path, photographs, progress=lambda step, done, total: steps.append((step, done, total)))
    assert_like_int8(found, conversion.int8, photographs)
    assert [step for step in steps if step[0] == "running the file"] == [
        ("running the file", 0, 3),
        ("running the file", 2, 3),
    ]


@pytest.fixture
def crafted(tmp_path):
    """A float file of a module, which says this of itself."""

    def made(module, shape=(1, 3, 32, 32), how=HOW, dtype="float32", **says):
        inputs = [{"name": "x", "shape": list(shape), "dtype": dtype}]
        told = {"schema": 1, "inputs": inputs, "preprocessing": metadata.preprocessing_told(how, dtype == "uint8")}
        path = tmp_path / "crafted.ptl"
        path.write_bytes(to_bytes(torch.jit.script(module.eval()), {metadata.FILE: json.dumps({**told, **says})}))
        return path

    return made


class Dots(nn.Module):
    """The peaks of how bright the first channel is, a cell for 4x4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.peaks = nn.AvgPool2d(4), torch.jit.script(HeatmapPeaks(0.6, 5, stride=4))

    def forward(self, x: Tensor) -> Tensor:
        return self.peaks(8 * self.pool(x[:, :1]) - 2)


class Box(nn.Module):
    """A box around what is bright in the first channel, as torchvision's detectors give them."""

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        rows, columns = torch.where(x[0, 0] > 0.5)
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()[None]
        return [{"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "scores": torch.full([1], 0.75)}]


@pytest.fixture
def dot(tmp_path):
    """A photograph 200 high and 100 wide once EXIF has turned it, with a bright square from 40, 100 to 60, 120."""
    upright = np.zeros((200, 100, 3), np.uint8)
    upright[100:120, 40:60] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "dot.png", exif=exif)
    return tmp_path / "dot.png"


UNIT = replace(HOW, mean=(0.0,) * 3, std=(1.0,) * 3, resize=40 / 32)


def test_peaks_in_the_input_and_in_the_photograph(dot, crafted):
    # 100 wide covers 40: 2.5 pixels each; 80 high, of which 24 go above; 4 go on the left
    path = crafted(Dots(), how=UNIT, detections={"columns": ["x", "y", "score", "class", "valid"]}, labels=["dot"])
    (image,) = predict(path, [dot]).images
    (peaks,) = image.outputs
    assert (image.height, image.width, peaks.kind, peaks.count) == (200, 100, "peaks", 1)
    (found,) = peaks.top
    # the square is 16 to 24 of 40, from 12 to 20 of 32, and 40 to 48 of 80, from 16 to 24: its first cell is 12, 16
    assert found.input == (12.0, 16.0) and found.photograph == (40.0, 100.0)
    assert (found.index, found.label) == (0, "dot") and found.score > 0.99


def test_boxes_in_the_input_and_in_the_photograph(dot, crafted):
    (image,) = predict(crafted(Box(), how=UNIT, labels=["nothing", "dot"]), [dot]).images
    (boxes,) = image.outputs
    (found,) = boxes.top
    assert (boxes.name, boxes.kind, found.label, found.score) == ("0", "boxes", "dot", 0.75)
    assert found.input == (12.0, 16.0, 20.0, 24.0) and found.photograph == (40.0, 100.0, 60.0, 120.0)


class Flat(Box):
    """The same as a trace returns it: one tensor after the other, without names."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x[0, 0].flatten()[:0]
        return x.view(0, 4), x, x.long()


def test_the_file_says_what_the_tensors_of_a_traced_model_are(dot, crafted):
    named = [{"name": name} for name in ("0.boxes", "0.scores", "0.labels")]
    (image,) = predict(crafted(Flat(), how=UNIT, outputs=named), [dot]).images
    assert [(one.name, one.kind, one.count) for one in image.outputs] == [("0", "boxes", 0)]
    (image,) = predict(crafted(Flat(), how=UNIT, outputs=named[:1]), [dot]).images  # damaged, and not believed
    assert [one.name for one in image.outputs] == ["0", "1", "2"]


def test_a_large_photograph_is_decoded_at_a_part_of_its_size_and_told_in_its_own(tmp_path, crafted, monkeypatch):
    pixels = np.zeros((800, 400, 3), np.uint8)
    pixels[400:480, 160:240] = 255
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=100)
    monkeypatch.setattr(disk, "_LARGE", 1000)
    assert disk.read(tmp_path / "large.jpg", "RGB", UNIT.least_side).size == (100, 200)
    (image,) = predict(crafted(Box(), how=UNIT), [tmp_path / "large.jpg"]).images
    assert (image.height, image.width) == (800, 400)
    assert image.outputs[0].top[0].photograph == (160.0, 400.0, 240.0, 480.0)


def test_each_image_is_preprocessed_and_unreadable_ones_are_left_out(command, converted, photographs, tmp_path):
    path, _ = converted["floats"]
    (tmp_path / "bad.png").write_text("no photograph")
    run = command(
        "predict", str(path), str(tmp_path / "bad.png"), str(photographs[0].parent), "--quiet", "--json", "report.json"
    )
    assert run.status == 0
    assert run.stderr == f"warning: {tmp_path}/bad.png was left out: its content is no image of a known kind\n"
    report = run.report
    assert [one["image"] for one in report["images"]] == [str(one) for one in photographs]
    assert report["unreadable"] == [
        {"image": f"{tmp_path}/bad.png", "reason": "its content is no image of a known kind"}
    ]
    assert report["schema"] == 1 and report["model"] == "Tiny" and report["input"] == [3, 32, 32]
    assert report["labels"] == report["file"] == str(path)
    found = predict(path, photographs)
    for one, image in zip(report["images"], found.images, strict=True):
        (output,), (told,) = one["outputs"], image.outputs
        assert output["kind"] == "scores" and output["name"] == "output" and output["classes"] == 10
        assert output["top"] == [vars(each) for each in told.top]
        assert str(image.image) in run.stdout and f"{told.top[0].label} ({told.top[0].index})" in run.stdout


def test_a_function_of_the_users_is_named_again(command, tmp_path, photographs):
    (tmp_path / "own.py").write_text(
        "import numpy, torch\n"
        "def own(image):\n"
        "    small = numpy.asarray(image.resize((32, 32)), numpy.float32) - 128\n"
        "    return torch.from_numpy(small).permute(2, 0, 1) / 64\n"
    )
    given = f"{tmp_path}/own.py:own"
    words = ("--calib", str(photographs[0].parent), "--recipe", "none", "--preprocess", given, "-o", "a.ptl")
    assert command("convert", f"{NETWORKS}:tiny", *words, "--quiet").status == 0
    run = command("predict", "a.ptl", str(photographs[0]), "--quiet")
    line = "a.ptl: its images were preprocessed by a function, own.py:own; give --preprocess own.py:own"
    assert (run.status, run.stdout, run.stderr) == (2, "", f"fxconv: error: {line}\n")
    again = command("predict", "a.ptl", str(photographs[0]), "--preprocess", given)
    assert again.status == 0 and "(as asked for: own.py:own)" in again.stdout
    assert "scores of 10 classes" in again.stdout


def test_assumed_preprocessing_is_a_warning(command, crafted, photographs):
    run = command("predict", str(crafted(nn.ReLU(), how=HOW.assumed())), str(photographs[0]), "--quiet")
    assert run.status == 0 and run.stderr.startswith("warning: ") and run.stderr.count("\n") == 1
    assert "its preprocessing was assumed when it was converted: resized to cover 37x37" in run.stderr


def test_mistakes(command, converted, crafted, photographs, tmp_path):
    path, image = str(converted["floats"][0]), str(photographs[0])
    (tmp_path / "bad.png").write_text("")
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    (tmp_path / "empty").mkdir()
    silent = str(crafted(nn.ReLU(), how=None))
    for words, line in (
        ((path, image, "gone.png"), "gone.png: no such file; name photographs, or folders of them"),
        ((path, f"{tmp_path}/empty"), "empty: no photographs in it; expected files of these kinds: bmp gif"),
        ((path, f"{tmp_path}/bad.png"), "none of the images could be read (1 tried); the first is "),
        ((path, image, "--mean", "0.5"), "says how: resized to cover 37x37, cropped to 32x32, bilinear, from 0 to 1"),
        ((path, image, "--labels", f"{tmp_path}/names.txt"), "--labels: 2 names for a model of 10 classes; give as"),
        (
            (path, image, "--labels", "gone.txt"),
            "--labels gone.txt: cannot be read (No such file or directory); check the name",
        ),
        ((silent, image), "does not say how photographs become what it takes; give --preprocess torchvision, timm"),
        (("gone.ptl", image), "gone.ptl: no such file; give a .ptl or .pte"),
        ((image, image), f"{image}: "),
        ((path, image, "--json", image), f"--json {image}: is the same file as {image}; choose another name"),
    ):
        assert_user_error(command("predict", *words, "--quiet"), line)
    assert command("predict", silent, image, "--preprocess", "unit").status == 0


def test_a_file_that_may_do_more_than_compute_is_not_run(command, photographs, tmp_path):
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.save(x, "harm.pt")
            return x

    path = tmp_path / "writes.ptl"
    path.write_bytes(to_bytes(torch.jit.script(Writes())))
    run = command("predict", str(path), str(photographs[0]), "--quiet")
    assert_user_error(run, "writes.ptl")
    assert "aten::save" in run.stderr and not (run.folder / "harm.pt").exists()
