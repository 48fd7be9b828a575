"""Which golden inputs go into an artifact."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, fx, nn

import fxconv
from fxconv import replay
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.mobile.target import MOBILE, MobileTarget
from fxconv.targets.proof.golden import SHARE, golden, input_spec, input_specs, problem_in


class Many(nn.Module):
    """As many values as there are pixels, and a few."""

    def forward(self, x):
        return x * 2, x.mean([2, 3])


MANY = fx.symbolic_trace(Many())


def of(size, shape=(1, 3, 64, 64)):
    return golden(MANY, bytes(size), [input_spec(torch.rand(shape), None)], "qnnpack", False, MOBILE)


@pytest.mark.parametrize("size", [30_000, 50_000, 100_000, 1_000_000, 10_000_000])
def test_they_take_two_percent_at_most_and_as_many_values_as_there_is_room_for(size):
    found = of(size)
    assert 0 < len(found.text) <= SHARE * size == found.room
    kept = json.loads(found.text)
    assert found.cases == len(kept["cases"]) >= 1
    larger = json.loads(of(20 * size).text)
    assert len(larger["cases"]) >= len(kept["cases"])
    assert all(len(output["sha256"]) == 64 for case in kept["cases"] for output in case["outputs"])


def test_a_large_file_has_all_values_and_a_small_one_none():
    all_of_them = json.loads(of(20_000_000).text)
    assert [output["every"] for output in all_of_them["cases"][0]["outputs"]] == [1, 1]
    assert len(all_of_them["cases"]) == 3
    few = json.loads(of(30_000).text)
    assert "data" not in few["cases"][0]["outputs"][0]
    some = json.loads(of(400_000).text)["cases"][0]["outputs"]
    assert some[0]["every"] > 1 and some[1]["every"] == 1


def test_a_file_too_small_has_none():
    found = of(5_000)
    assert (found.text, found.cases, found.room) == ("", 0, 100)


class Picky(nn.Module):
    """Takes what lies above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x):
        if x[0, 0, 0, 0] < self.limit:
            raise AssertionError("this is no image")
        return x


def test_inputs_that_code_which_does_not_trace_refuses_are_drawn_again():
    spec = {"shape": [1, 3, 64, 64], "dtype": "float32", "mean": [0.5], "std": [1.0]}
    assert golden(Picky(0.0), bytes(5_000), [spec], "qnnpack", False, MOBILE).text == "", "there is no room"
    with pytest.raises(AssertionError, match="this is no image"):
        golden(Picky(9.0), bytes(5_000), [spec], "qnnpack", False, MOBILE)


def test_each_case_and_input_has_a_seed_of_its_own():
    spec = input_spec(torch.rand(1, 3, 32, 32), None)

    class Two(nn.Module):
        def forward(self, x, y):
            return (x - y).mean([2, 3])

    kept = json.loads(golden(fx.symbolic_trace(Two()), bytes(1_000_000), [spec, spec], "qnnpack", False, MOBILE).text)
    seeds = [seed for case in kept["cases"] for seed in case["seeds"]]
    assert len(set(seeds)) == 6 and all(0 < seed < 2**32 for seed in seeds)
    drawn = [replay.pixels([1, 3, 32, 32], seed, 8) for seed in seeds]
    assert len({tensor.numpy().tobytes() for tensor in drawn}) == 6


def test_squares_where_there_is_room_for_several():
    assert json.loads(of(10**6).text)["cell"] == 8
    assert json.loads(of(10**6, (1, 3, 28, 28)).text)["cell"] == 1


def test_a_photograph_is_normalized_as_the_model_wants_it_and_an_array_spread_over_its_range():
    how = Preprocessing()
    photograph, other = torch.randn(1, 3, 32, 32), torch.tensor([[-1.0, 3.0]])
    specs = input_specs([photograph, other], how)
    assert (specs[0]["mean"], specs[0]["std"]) == (list(how.mean), list(how.std))
    assert (specs[1]["mean"], specs[1]["std"]) == ([0.25], [0.25])
    assert input_specs([photograph.to(torch.uint8)], None) == [{"shape": [1, 3, 32, 32], "dtype": "uint8"}]
    assert input_specs([torch.zeros(1, 4)], None)[0]["std"] == [1.0]  # a range of nothing divides by nothing


class Loud(nn.Module):
    """A float island that a file computes otherwise, as `other` says."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x):
        return x.mean([2, 3]) * self.by


@pytest.mark.parametrize(("by", "whose"), [(1.001, "int8 module"), (1.5, "file")])
def test_where_noise_is_too_loud_in_an_island_the_outputs_are_the_files(by, whose):
    content = to_bytes(torch.jit.script(Loud(by)))
    spec = input_spec(torch.rand(1, 3, 32, 32), None)
    kept = golden(fx.symbolic_trace(Loud(1.0)), _as_large(content), [spec], "qnnpack", True, MOBILE)
    found = json.loads(kept.text)
    assert (found["outputs_of"], found["rule"]) == (whose, "island")


def _as_large(content):
    """The archive with a file in it that takes room."""
    held = io.BytesIO(content)
    with zipfile.ZipFile(held, "a") as archive:
        archive.writestr("archive/extra/room", bytes(300_000))
    return held.getvalue()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(32, 100)).eval()
    conversion = fxconv.convert(model, calibration=[torch.randn(8, 3, 32, 32)], recipe=("none",))
    path = tmp_path_factory.mktemp("golden") / "x.ptl"
    conversion.save(path)
    return conversion, path


def test_the_artifact_of_a_conversion_proves_itself(converted):
    conversion, path = converted
    assert conversion.verified and conversion.golden.cases >= 1
    assert len(conversion.golden.text) <= SHARE * path.stat().st_size
    torch.backends.quantized.engine = "qnnpack"  # the others overflow on processors without VNNI
    assert problem_in(path, MOBILE) == ""
    told = replay.replayed(str(path))
    assert told["exact"] and told["outputs_of"] == "int8 module" and told["rule"] == "equal"


def test_the_outputs_are_those_of_the_int8_module(converted):
    conversion, path = converted
    kept, torch.backends.quantized.engine = replay.golden_in(str(path)), "qnnpack"
    for case in kept["cases"]:
        with torch.no_grad():
            output = conversion.int8(*replay.inputs_of(kept, case))
        assert replay.sha256(output) == case["outputs"][0]["sha256"]


def test_a_file_whose_golden_inputs_differ_is_not_verified(monkeypatch):
    from fxconv import conversion as module

    monkeypatch.setattr(module.golden, "problem_in", lambda *_: "case 0: output 0 differs")
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32 * 28 * 28, 10))
    found = fxconv.convert(nn.Sequential(*layers).eval(), calibration=[torch.randn(4, 3, 32, 32)], recipe=("none",))
    assert not found.verified
    assert "reloaded against int8: golden inputs: case 0: output 0 differs" in found.verdict


def test_none_where_nobody_wants_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 40)).eval()
    data = [torch.randn(4, 3, 32, 32)]
    without = fxconv.convert(model, calibration=data, golden=False, recipe=("none",))
    assert without.golden.cases == 0 and without.verified
    names = [name for name, text in without.report.json().items() if name == "artifact" and text["golden"]["cases"]]
    assert names == []
    assert fxconv.convert(model, calibration=data, recipe=("none",)).golden.cases > 0


@pytest.mark.parametrize(
    ("example", "spec"),
    [
        (torch.tensor([[3, 1, 4]]), {"shape": [1, 3], "dtype": "int64", "low": 1, "high": 4}),
        (torch.tensor([2], dtype=torch.int32), {"shape": [1], "dtype": "int32", "low": 2, "high": 2}),
        (torch.tensor([[True, False]]), {"shape": [1, 2], "dtype": "bool", "first": True}),
    ],
)
def test_inputs_that_are_no_images_are_drawn_like_the_example(example, spec):
    assert input_spec(example, None) == spec
    drawn = replay.input_from(replay.pixels(spec["shape"], 1, 1), spec)
    assert (drawn.dtype, drawn.shape) == (example.dtype, example.shape)


class Picked(nn.Module):
    """A row for each index."""

    def forward(self, x, index):
        return x[index]


def test_the_format_is_another_where_inputs_are_of_other_types_alone():
    specs = [input_spec(torch.rand(5, 3), None), input_spec(torch.tensor([0, 4]), None)]
    picked = golden(fx.symbolic_trace(Picked()), bytes(1_000_000), specs, "qnnpack", False, MOBILE)
    assert json.loads(picked.text)["format"] == replay.FORMAT_OF_OTHER_TYPES == 2
    assert json.loads(of(30_000).text)["format"] == replay.FORMAT == 1


class OfAllTypes(nn.Module):
    """What the lite interpreter can return."""

    def forward(self, x):
        whole = x.mul(100).to(torch.int64)
        return [
            x, x.double(), x.half(), torch.complex(x, 1 - x), torch.complex(x, x).conj(), x > 0.5, whole,
            whole.to(torch.int32), whole.to(torch.int16), whole.to(torch.int8), whole.to(torch.uint8), x.argmax(1),
        ]  # fmt: skip


def test_outputs_of_all_types_are_kept_and_compared_as_what_they_are():
    graph = fx.symbolic_trace(OfAllTypes())
    module = MOBILE.load(to_bytes(torch.jit.script(graph)))
    kept = json.loads(
        golden(graph, bytes(10_000_000), [input_spec(torch.rand(1, 3, 8, 8), None)], "qnnpack", False, MOBILE).text
    )
    case = kept["cases"][0]
    dtypes = [output["dtype"] for output in case["outputs"]]
    assert len(set(dtypes)) == 10 and {"complex64", "bool", "float16", "int8"} < set(dtypes)
    assert replay.case_replayed(module, kept, case)["exact"]
    for place, dtype in enumerate(dtypes):

        def off(x, place=place):
            found = list(module(x))
            found[place] = ~found[place] if found[place].dtype is torch.bool else found[place].neg().add(1)
            return found

        told = replay.case_replayed(off, kept, case)
        assert not told["passed"] and told["problem"].startswith(f"output {place} differs, by at most "), dtype


def test_bytes_of_another_runtime_run_in_a_process_of_their_own_first():
    """Nobody has run them yet: what ends a process must not end the conversion's."""

    class Apart(MobileTarget):
        is_exact = False
        asked: ClassVar[list[Any]] = []

        def load(self, file: Any) -> Any:
            raise AssertionError("it is loaded here")

        def outputs_apart(self, content: bytes, calls: Any) -> list[list[Tensor]]:
            self.asked.append((content, calls))
            return [[call[0] + 1] for call in calls]

    spec = {"shape": [1, 3, 8, 8], "dtype": "float32", "mean": [0.5], "std": [1.0]}
    found = golden(Picky(0.0), bytes(500_000), [spec], "qnnpack", False, Apart())
    ((content, calls),) = Apart.asked
    assert len(calls) == found.cases == 3 and content == bytes(500_000)
    kept = json.loads(found.text)
    assert [case["outputs"][0]["sha256"] for case in kept["cases"]] == [replay.sha256(call[0] + 1) for call in calls]
