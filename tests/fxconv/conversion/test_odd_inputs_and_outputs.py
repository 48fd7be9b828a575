"""What a model takes beside images, and returns beside tensors, in whole conversions: proven, and proving itself."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
import torch
from fxconv_commands import run_here
from torch import Tensor, nn
from torch.jit.mobile import _load_for_lite_interpreter

import fxconv
from fxconv import replay
from fxconv.analysis.float_comparison import compare_with_float
from fxconv.errors import UserError
from fxconv.quantization.engine import engine
from fxconv.targets.proof import metadata
from fxconv.targets.proof.bench import input_of
from fxconv.targets.proof.prove import prove

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")


def converted(model: nn.Module, batches: list, **options: object) -> fxconv.Conversion:
    conversion = fxconv.convert(model.eval(), batches, **{"recipe": ("none",), **options})
    assert conversion.verdict == "converted and verified"
    return conversion


def run(conversion: fxconv.Conversion, *inputs: Tensor) -> object:
    return _load_for_lite_interpreter(io.BytesIO(conversion.artifact.data))(*inputs)


def decibels(wanted: Tensor, found: Tensor) -> float:
    wanted = wanted.detach()
    return float(10 * torch.log10(wanted.square().sum() / (wanted - found).square().sum()))


class Net(nn.Module):
    """Enough weights for golden inputs, and what a function makes of the image, the features and the scores."""

    def __init__(self, form=lambda x, y, scores: scores) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)
        self.head, self.form = nn.Linear(64, 4), form

    def forward(self, x: Tensor) -> object:
        y = torch.relu(self.first(x))
        return self.form(x, y, self.head(torch.relu(self.second(y)).mean((2, 3))))


IMAGES = [torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


def test_none_and_numbers_among_the_outputs(tmp_path):
    model = Net(lambda x, y, scores: (scores, None, x.shape[3], (y, 0.5, None)))
    conversion = converted(model, IMAGES)
    assert [line for line in conversion.warnings if line.startswith("the model returns")] == [
        "the model returns None as output 1, 3.2: the artifact leaves it out",
        "the model returns the int 16 as output 2: the artifact returns a tensor, computed anew for each input",
        "the model returns the float 0.5 as output 3.1: the artifact returns a constant tensor",
    ]
    assert conversion.golden.cases
    image = torch.randn(2, 3, 24, 32)
    scores, width, (features, half) = run(conversion, image)
    wanted = model(image)
    assert decibels(wanted[0], scores) > 20 and decibels(wanted[3][0], features) > 15
    assert (width.item(), half.item()) == (32, 0.5)
    path = conversion.save(tmp_path / "x.ptl").artifact.path
    told = metadata.metadata_in(path)["outputs"]
    assert [(one["name"], one["dtype"]) for one in told] == [
        ("0", "float32"), ("1", "int64"), ("2.0", "float32"), ("2.1", "float32"),
    ]  # fmt: skip
    assert prove(path).exact


def test_none_in_a_dict_of_several_kinds_is_traced_away():
    conversion = converted(Net(lambda x, y, scores: {"main": scores, "aux": None, "deep": [y, (y * 2, None)]}), IMAGES)
    scores, features, doubled = run(conversion, IMAGES[0])
    assert scores.shape == (4, 4) and torch.equal(features * 2, doubled)
    assert "the model returns None as output aux, deep.1.1: the artifact leaves it out" in conversion.warnings


class ModelOutput(dict):
    """Like that of transformers: a dict, and a dataclass whose fields may be None."""


@dataclasses.dataclass
class Detected(ModelOutput):
    """Its fields are its items, but for those that are None."""

    logits: Tensor | None = None
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


def test_a_dataclass_that_is_a_dict_and_has_fields_without_values():
    conversion = converted(Net(lambda x, y, scores: Detected(logits=scores)), IMAGES)
    found = replay.flat(run(conversion, IMAGES[0]))
    assert [tuple(value.shape) for value in found] == [(4, 4)]


def test_a_size_that_a_trace_would_keep_is_told():
    conversion = converted(Net(lambda x, y, scores: (scores, float(x.shape[2]) / 2)), IMAGES)
    assert "the model returns the float 8.0 as output 1: the artifact returns a constant tensor" in conversion.warnings
    assert any("the artifact is for the example's input size only" in line for line in conversion.warnings)


class Labelled(nn.Module):
    """An image and a class index."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.label = nn.Conv2d(3, 32, 3, 2, 1), nn.Embedding(5, 32)
        self.both, self.head = nn.Conv2d(32, 64, 3, 2, 1), nn.Linear(64, 4)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        y = torch.relu(self.image(image) + self.label(label)[:, :, None, None])
        return self.head(torch.relu(self.both(y)).mean((2, 3)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_class_indices(dtype, tmp_path):
    model = Labelled()
    conversion = converted(model, [(image, torch.tensor([0, 4, 1, 3], dtype=dtype)) for image in IMAGES])
    label = torch.tensor([2, 2, 4, 0], dtype=dtype)
    assert decibels(model(IMAGES[1], label), run(conversion, IMAGES[1], label)) > 20
    path = conversion.save(tmp_path / "x.ptl").artifact.path
    kind = str(dtype)[6:]
    assert [one["dtype"] for one in metadata.metadata_in(path)["inputs"]] == ["float32", kind]
    assert json.loads(conversion.golden.text)["inputs"][1] == {"shape": [1], "dtype": kind, "low": 0, "high": 0}
    assert prove(path).exact
    assert [value.dtype for value in input_of(path, None)] == [torch.float32, dtype]


def test_rows_with_indices_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", image=IMAGES[0].numpy(), label=np.array([0, 4, 1, 3]))
    np.savez("others.npz", image=IMAGES[1].numpy(), label=np.array([2, 2, 4, 0]))
    model = f"{__file__}:Labelled"
    plain = ("--input-size", "16", "--recipe", "none", "--quiet")
    made = run_here(tmp_path, "convert", model, *plain, "--example", "rows.npz", "-o", "x.ptl")
    assert made.status == 0, made.stderr
    path = tmp_path / "x.ptl"
    found = compare_with_float(path, model, tmp_path / "others.npz")
    assert found.row.passed and found.row.images == 4 and found.row.sqnr_db > 20
    with pytest.raises(
        UserError, match=r"cannot fill its input label \(int64 \[1\]\); give --photographs FILE.npz, with"
    ):
        compare_with_float(path, model)
    photographs = run_here(tmp_path, "convert", model, *plain, "--example", "rows.npz", "--calib", ".")
    assert photographs.status == 2 and "photographs cannot fill the input label ()" in photographs.stderr


class Tokens(nn.Module):
    """Rows of indices alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.middle, self.head = nn.Embedding(50, 64), nn.Linear(64, 96), nn.Linear(96, 4)

    def forward(self, ids: Tensor) -> Tensor:
        y = torch.relu(self.middle(self.embedding(ids)))
        return self.head(y.mean(1) if ids.ndim == 2 else y)


@pytest.mark.parametrize("shape", [(8,), (8, 7)], ids=["an index", "a row of tokens"])
def test_indices_alone(shape):
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 50, shape, generator=draw) for _ in range(2)]
    model = Tokens()
    conversion = converted(model, batches)
    assert conversion.golden.cases
    ids = torch.randint(0, 50, shape, generator=draw)
    assert decibels(model(ids), run(conversion, ids)) > 15


def test_indices_alone_from_a_file(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(56).reshape(8, 7) % 50)
    model = f"{__file__}:Tokens"
    made = run_here(tmp_path, "convert", model, "--recipe", "none", "--example", "ids.npy", "-o", "x.ptl")
    assert made.status == 0, made.stderr
    assert "calibrated on  first 8 of 8 rows of ids.npy (--example)" in made.stdout
    without = run_here(tmp_path, "convert", model, "--recipe", "none")
    assert without.status == 2
    assert "it takes indices, which are no images: give --example FILE.npy with rows of them" in without.stderr


class Encoded(nn.Module):
    """A transformer that looks at what the mask does not hide."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(12, 32), nn.Linear(32, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.encoder(self.embed(x), src_key_padding_mask=mask)
        return self.head(y.masked_fill(mask[:, :, None], 0.0).sum(1) / (~mask).sum(1, keepdim=True))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_padding_mask(tmp_path):
    torch.manual_seed(1)
    masks = torch.arange(8)[None] >= torch.tensor([8, 5, 3, 7])[:, None]
    model = Encoded()
    conversion = converted(model, [(torch.randn(4, 8, 12), masks), (torch.randn(4, 8, 12), masks.flip(0))])
    assert conversion.artifact.int8_macs_share > 0.95 and conversion.golden.cases
    x, mask = torch.randn(3, 8, 12), torch.rand(3, 8) > 0.6
    with torch.no_grad():
        assert decibels(model(x, mask), conversion.rewritten.module(x, mask)) > 100
        assert decibels(model(x, mask), run(conversion, x, mask)) > 8
    path = conversion.save(tmp_path / "x.ptl").artifact.path
    (first, second) = metadata.metadata_in(path)["inputs"]
    assert (first["dtype"], second["dtype"], second["shape"]) == ("float32", "bool", [1, 8])
    assert all(math.isfinite(output.largest) for case in prove(path).cases for output in case.outputs)
    assert prove(path).exact


def test_a_complex_output_is_kept_whole(tmp_path):
    def form(x: Tensor, y: Tensor, scores: Tensor) -> Tensor:
        return torch.complex(scores, scores * 2)[:, :, None, None]

    conversion = converted(Net(form), IMAGES)
    path = conversion.save(tmp_path / "x.ptl").artifact.path
    (told,) = metadata.metadata_in(path)["outputs"]
    assert told["dtype"] == "complex64"
    kept = replay.golden_in(str(path))
    case = kept["cases"][0]
    with engine("qnnpack"):
        module = _load_for_lite_interpreter(str(path))
        assert replay.case_replayed(module, kept, case)["exact"]
        other = replay.case_replayed(lambda x: module(x).conj(), kept, case)  # the real parts are the same
    assert not other["passed"] and other["outputs"][0]["sqnr_db"] < 3


def test_a_batch_that_is_squeezed_away_has_its_channels_judged() -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.pool, self.head = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pool(torch.relu(self.conv(x))).squeeze())

    generator = torch.Generator().manual_seed(0)
    conversion = converted(Squeezed(), [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(6)])
    assert conversion(torch.randn(1, 3, 8, 8)).shape == (5,)
