"""What an artifact says of itself."""

from __future__ import annotations

import json
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.ao.nn.quantized as nnq
from torch import nn

import fxconv
from fxconv import replay
from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.inspection import inspect
from fxconv.quantization import engine
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.proof import metadata
from fxconv.targets.proof.bench import input_of
from fxconv.targets.proof.metadata import inputs_in, metadata_in, named
from rewrites import rewrite


def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(*layers).eval()


def data():
    return [torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))]


def converted(path, **options):
    fxconv.convert(network(), calibration=data(), recipe=("none",), **options).save(path)
    return metadata_in(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("metadata") / "x.ptl"
    converted(path, labels=("can", "bottle", "Tüte"))
    return path


def test_it_says_what_goes_in_and_what_comes_out(path):
    said = metadata_in(path)
    (given,) = said["inputs"]
    assert given == {"name": "input", "shape": [1, 3, 32, 32], "dtype": "float32", "layout": "NCHW"}
    assert said["outputs"] == [{"name": "output", "shape": [1, 3], "dtype": "float32"}]
    assert said["labels"] == ["can", "bottle", "Tüte"]
    assert said["preprocessing"] is None  # tensors given from Python do not say
    assert said["quantization"]["engine"] == "qnnpack" and said["quantization"]["int8_operations"] > 0
    assert set(said["versions"]) == {"fxconv", "torch", "torchvision"}


def test_it_is_ascii_text_that_inspect_shows(path):
    text = replay.extra_file(str(path), metadata.FILE)
    assert text is not None and text.isascii() and "T\\u00fcte" in text
    assert {extra.name for extra in inspect(path).extras} >= {metadata.FILE}


def test_the_digest_is_of_choices_edits_and_scales_and_of_nothing_that_takes_time(path, tmp_path):
    first, again = metadata_in(path)["digest"], converted(tmp_path / "again.ptl")["digest"]
    assert first == again and all(len(value) == 64 for value in first.values())
    other = converted(tmp_path / "seed.ptl", observer="minmax")["digest"]
    assert other["config"] != first["config"] and other["edits"] == first["edits"]
    assert other["qparams"] != first["qparams"]
    skipped = converted(tmp_path / "skip.ptl", skip=("drop-inference-noops",))["digest"]
    assert skipped["config"] != first["config"]
    scaled = fxconv.convert(network(), calibration=[data()[0] * 1.5], recipe=("none",)).save(tmp_path / "scaled.ptl")
    assert scaled.verified
    assert metadata_in(tmp_path / "scaled.ptl")["digest"]["qparams"] != first["qparams"]


def test_the_digest_of_edits_is_not_of_the_words_that_give_reasons():
    rewritten = rewrite(network())
    before = digest_of(rewritten.results)
    assert any(result.edits for result in rewritten.results)

    def told_otherwise(result):
        edits = tuple(replace(edit, reason="for another reason") for edit in result.edits)
        skips = tuple(replace(skip, reason="for another reason") for skip in result.skips)
        return replace(result, edits=edits, skips=skips, summary="", why="", hunks=(), diff="")

    assert digest_of([told_otherwise(result) for result in rewritten.results]) == before


@pytest.mark.parametrize(
    "change",
    [{"kind": "remove"}, {"node": "other"}, {"before": "x = self.y(x)"}, {"after": "x = self.z(x)"}],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_of_edits_is_of_what_stood_there_and_what_stands_there_now(change):
    (one, *_), results = next((r.edits, r) for r in rewrite(network()).results if r.edits)
    assert digest_of([replace(results, edits=(one,))]) != digest_of([replace(results, edits=(replace(one, **change),))])
    assert digest_of([replace(results, edits=(one,))]) != digest_of([replace(results, edits=(one,), name="another")])


def digest_of(results):
    quantized = SimpleNamespace(
        rewritten=SimpleNamespace(results=results), recipe=SimpleNamespace(steps=()), int8=nn.Identity()
    )
    return metadata.digests(Config(), quantized)["edits"]


def test_the_digest_of_scales_is_of_those_of_weights_too():
    def digest(scale: float) -> str:
        layer = nnq.Linear(2, 2)
        layer.set_weight_bias(torch.quantize_per_tensor(torch.ones(2, 2), scale, 0, torch.qint8), torch.zeros(2))
        settled = SimpleNamespace(
            rewritten=SimpleNamespace(results=()), recipe=SimpleNamespace(steps=()), int8=nn.Sequential(layer)
        )
        return metadata.digests(Config(), settled)["qparams"]

    with engine.engine("qnnpack"):
        assert digest(0.01) == digest(0.01) != digest(0.02)


def test_the_digest_of_choices_is_not_of_the_folder_a_pass_lies_in():
    quantized = SimpleNamespace(
        rewritten=SimpleNamespace(results=()), recipe=SimpleNamespace(steps=()), int8=nn.Identity()
    )
    told = [
        metadata.digests(Config(passes=(name,)), quantized)["config"] for name in ("a/p.py:P", "/b/p.py:P", "p.py:Q")
    ]
    assert told[0] == told[1] != told[2]


def test_two_conversions_say_the_same(path, tmp_path):
    converted(tmp_path / "again.ptl", labels=("can", "bottle", "Tüte"))
    texts = [replay.extra_file(str(file), metadata.FILE) for file in (path, tmp_path / "again.ptl")]
    assert texts[0] == texts[1]


def test_photographs_say_how_they_were_preprocessed(command, tmp_path):
    import fxconv_networks

    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class {index}" for index in range(10)))
    words = ("convert", f"{fxconv_networks.__file__}:tiny", "--input-size", "3x32x32", "--calib-count", "4")
    run = command(*words, "-o", "x.ptl", "--labels", str(names))
    assert run.status == 0, run.stderr
    said = metadata_in(run.folder / "x.ptl")
    assert said["labels"][9] == "class 9"
    how = said["preprocessing"]
    assert (how["resize_to_cover"], how["crop"], how["in_graph"]) == ([37, 37], [32, 32], False)
    assert how["mean"] == [0.485, 0.456, 0.406] and how["channels"] == "RGB"
    names.write_text("one\ntwo\n")
    run = command(*words, "-o", "y.ptl", "--labels", str(names))
    assert run.status == 2 and "--labels: 2 names for a model of 10 classes" in run.stderr
    assert "y.ptl" not in run.files
    run = command(*words, "-o", str(names), "--labels", str(names))
    assert run.status == 2 and "is the same file as the names of the classes" in run.stderr


def test_paths_of_the_users_stay_at_home():
    assert metadata._without_folder("/home/somebody/models/best.pth, heads hm:1") == "best.pth, heads hm:1"
    assert metadata._without_folder("random, seed 0") == "random, seed 0"


def test_outputs_are_named_by_their_keys_and_places():
    x, pair = torch.zeros(1), namedtuple("Pair", "left right")
    assert named(x) == [("output", x)]
    assert [name for name, _ in named({"hm": x, "boxes": (x, [x])})] == ["hm", "boxes.0", "boxes.1.0"]
    assert [name for name, _ in named(pair(x, None))] == ["left"]


def test_a_bench_knows_what_the_file_takes(path, tmp_path):
    (drawn,) = input_of(path, None)
    assert drawn.shape == (1, 3, 32, 32) and drawn.dtype == torch.float32 and drawn.std() > 0.5
    converted(
        tmp_path / "p.ptl", normalize_in_graph=True, preprocessing=fxconv.models.preprocessing.Preprocessing(32, 32)
    )
    (drawn,) = input_of(tmp_path / "p.ptl", None)
    assert drawn.dtype == torch.uint8 and drawn.max() > 200


@pytest.mark.parametrize(
    "inputs",
    [
        [], [{"shape": [1, -3], "dtype": "float32"}], [{"shape": [1 << 40], "dtype": "float32"}],
        [{"shape": [1, 3], "dtype": "object"}], [{"shape": 3, "dtype": "float32"}], [{"dtype": "float32"}], 7,
        [{"shape": [True], "dtype": "float32"}], [{"shape": [1.5], "dtype": "float32"}],
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(tmp_path, inputs):
    path = tmp_path / "x.ptl"
    content = json.dumps({"schema": 1, "inputs": inputs})
    path.write_bytes(to_bytes(torch.jit.script(nn.ReLU()), {metadata.FILE: content}))
    with pytest.raises(UserError, match="says of the inputs is damaged; give --input-size or --example"):
        inputs_in(path)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 2}', "1"])
def test_a_file_that_says_nothing_of_this_schema_says_nothing(tmp_path, text):
    path = tmp_path / "x.ptl"
    path.write_bytes(to_bytes(torch.jit.script(nn.ReLU()), {} if text is None else {metadata.FILE: text}))
    assert metadata_in(path) is None and inputs_in(path) is None
    path.write_bytes(b"no archive")
    assert metadata_in(path) is None
