"""Golden inputs drawn, run and compared by the program that runs beside any torch."""

from __future__ import annotations

import ast
import base64
import json
import math
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from fxconv_warm import program
from torch import fx, nn

from fxconv import replay
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.proof.golden import golden, input_spec

SPEC = {"shape": [1, 3, 33, 40], "dtype": "float32", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


class Head(nn.Module):
    """Two outputs, the second as large as the image."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x):
        return {"scores": self.linear(x.mean([2, 3])), "map": x * 2}


@pytest.fixture
def file(tmp_path):
    """A file with golden inputs, and a function that writes it with others."""

    def write(change=lambda content: content):
        head = fx.symbolic_trace(Head().eval())
        module = torch.jit.script(head)
        text = golden(head, bytes(4_000_000), [SPEC], "qnnpack", False, MOBILE).text
        path = tmp_path / "x.ptl"
        path.write_bytes(to_bytes(module, {replay.FILE: json.dumps(change(json.loads(text)))}))
        return path

    torch.manual_seed(0)
    return write


def test_draws_are_marsaglias_xorshift():
    # "Xorshift RNGs" prints the first words from its seed, 2463534242
    assert replay.draws(2463534242, 3) == [word >> 24 for word in (723471715, 2497366906, 2064144800)]
    assert replay.draws(1, 1000) == replay.draws(1 + 2**32, 1000)
    assert min(replay.draws(1, 1000)) < 10 and max(replay.draws(1, 1000)) > 245


def test_pixels_are_squares_under_a_pattern_row_by_row_plane_by_plane():
    found = replay.pixels([1, 2, 10, 17], 7, 8)
    squares = replay.draws(7, 2 * 2 * 3)
    for plane, y, x in ((0, 0, 0), (0, 9, 16), (1, 3, 8), (1, 9, 7)):
        square = squares[plane * 6 + (y // 8) * 3 + x // 8]
        assert found[0, plane, y, x] == square * 15 // 16 + (3 * x + 5 * y) % 16
    assert found.dtype == torch.uint8 and found.shape == (1, 2, 10, 17)
    assert replay.pixels([3], 7, 1).shape == (3,)


def test_floats_are_what_torchvision_makes_of_the_pixels():
    from torchvision.transforms import functional as F

    drawn = replay.pixels(SPEC["shape"], 3, 8)
    wanted = F.normalize(F.convert_image_dtype(drawn, torch.float32), SPEC["mean"], SPEC["std"])
    assert torch.equal(replay.input_from(drawn, SPEC), wanted)
    assert torch.equal(replay.input_from(drawn, {"dtype": "uint8"}), drawn)
    spread = replay.input_from(drawn, input_spec(torch.tensor([[-2.0, 6.0]]), None))
    assert spread.min() >= -2 and spread.max() <= 6 and spread.max() - spread.min() > 6


def test_what_comes_back_the_same_passes(file):
    told = replay.replayed(str(file()))
    assert told["exact"] and told["passed"] and told["problem"] == "" and len(told["cases"]) == 3
    assert [output["values"] for output in told["cases"][0]["outputs"]] == [5, 3 * 33 * 40]
    assert told["torch"] == torch.__version__


def changed(content, key, value):
    content["cases"][1]["outputs"][0][key] = value
    return content


def test_what_does_not_is_told_with_the_output_and_by_how_much(file):
    def off(content):
        values = torch.zeros(5)
        kept = content["cases"][1]["outputs"][0]
        kept["data"], kept["sha256"] = _base64(values), replay.sha256(values)
        return content

    told = replay.replayed(str(file(off)))
    assert (told["exact"], told["passed"]) == (False, False)
    assert told["problem"].startswith("case 1: output 0 differs, by at most 0.")
    assert [case["passed"] for case in told["cases"]] == [True, False, True]


def test_a_float_island_may_round_otherwise_but_by_40_db(file):
    def nudged(by, rule="island"):
        def change(content):
            content["rule"] = rule
            kept = content["cases"][0]["outputs"][0]
            values = torch.frombuffer(bytearray(_bytes(kept["data"])), dtype=torch.float32) * (1 + by)
            kept["data"], kept["sha256"] = _base64(values), replay.sha256(values)
            return content

        return change

    told = replay.replayed(str(file(nudged(1e-3))))
    assert (told["exact"], told["passed"]) == (False, True)
    assert told["cases"][0]["outputs"][0]["sqnr_db"] == pytest.approx(60, abs=0.1)
    # 1 % of the signal's amplitude is 40 dB
    assert replay.replayed(str(file(nudged(0.009))))["passed"]
    assert not replay.replayed(str(file(nudged(0.011))))["passed"]
    assert not replay.replayed(str(file(nudged(1e-3, "equal"))))["passed"]


def test_without_values_the_digest_alone_decides(file):
    def without(content):
        content["rule"] = "island"
        for output in content["cases"][0]["outputs"]:
            del output["data"], output["every"]
        content["cases"][0]["outputs"][0]["sha256"] = "0" * 64
        return content

    told = replay.replayed(str(file(without)))
    assert told["problem"] == "case 0: output 0 differs where no value was kept"
    assert told["cases"][0]["outputs"][1]["exact"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: changed(c, "shape", [5]), "output 0 is float32 [1, 5], was float32 [5]"),
        (lambda c: changed(changed(c, "every", 2), "sha256", ""), "output 0 has 3 values to compare, 5 were kept"),
        (lambda c: {**c, "cases": [{**c["cases"][0], "outputs": []}]}, "2 outputs, were 0"),
    ],
)
def test_another_shape_is_told(file, change, words):
    told = replay.replayed(str(file(change)))
    assert not told["passed"] and told["problem"].endswith(words)


def test_a_file_without_cases_does_not_pass(file):
    assert not replay.replayed(str(file(lambda content: {**content, "cases": []})))["passed"]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {**c, "engine": "none such"},
        lambda c: {**c, "cell": 0},
        lambda c: {**c, "inputs": [{**SPEC, "shape": [-1]}]},
        lambda c: {**c, "inputs": [{**SPEC, "shape": "many"}]},
        lambda c: {**c, "inputs": []},
        lambda c: {**c, "cases": 3},
        lambda c: {**c, "inputs": [{**SPEC, "std": "wide"}]},
        lambda c: changed(c, "every", 0),
        lambda c: changed(c, "data", "%"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(file, change):
    with pytest.raises(replay.NotReplayed, match=r"^does not run under torch [^\n]*$"):
        replay.replayed(str(file(change)))


def test_what_holds_no_golden_inputs_is_told(file, tmp_path):
    with pytest.raises(replay.NotReplayed, match="another format; a newer fxconv knows it"):
        replay.replayed(str(file(lambda content: {**content, "format": 9})))
    path = tmp_path / "none.ptl"
    path.write_bytes(to_bytes(torch.jit.script(Head())))
    with pytest.raises(replay.HasNone, match="holds no golden inputs"):
        replay.replayed(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/extra/golden.json", "{")
    with pytest.raises(replay.NotReplayed, match=r"holds a damaged golden\.json"):
        replay.replayed(str(path))
    path.write_text("no archive")
    with pytest.raises(replay.NotReplayed, match=r"is damaged, or is neither .ptl nor .pte \(BadZipFile\)"):
        replay.replayed(str(path))
    with pytest.raises(replay.NotReplayed, match="cannot be read"):
        replay.replayed(str(tmp_path / "gone.ptl"))


def test_two_golden_files_in_one_archive_deceive(file):
    path = file()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/extra/golden.json", "{}")
    with pytest.raises(replay.NotReplayed, match="it was made to deceive"):
        replay.replayed(str(path))


def test_nested_outputs_are_flat_and_zero_has_no_sign():
    one, two = torch.zeros(1), torch.ones(1)
    assert replay.flat({"b": (one, [two]), "a": None}) == [one, two]
    assert replay.sha256(torch.tensor([-0.0])) == replay.sha256(torch.tensor([0.0]))
    assert replay.content(torch.ones(2, 3).t()[::2]) == replay.content(torch.ones(2, 2))
    assert replay.content(torch.empty(0)) == b""


def test_the_program_prints_one_line_of_json_and_its_status(file, warm):
    path = file()
    words = [sys.executable, replay.__file__, str(path), "--limit", "60", "1000"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"], len(told["cases"])) == (0, True, 3)

    def run(path):
        done = warm.run(program(f"import runpy; runpy.run_path({replay.__file__!r}, run_name='__main__')", str(path)))
        return done.returncode, json.loads(done.stdout)

    status, told = run(file(lambda content: changed(content, "sha256", "0" * 64)))
    assert (status, told["passed"]) == (1, False)
    status, told = run(path.with_name("gone.ptl"))
    assert status == 2 and told["error"].startswith("cannot be read")


def test_it_is_written_for_python_3_8_and_needs_torch_alone():
    tree = ast.parse(Path(replay.__file__).read_text(), feature_version=(3, 8))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    others = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert others == {"torch", "torchvision"}


def test_limits_bind_the_process_that_sets_them(tmp_path, warm):
    text = f"""
import torch
from fxconv import replay
replay.limit(60, 100)
try:
    torch.zeros(200 << 20, dtype=torch.uint8)
except RuntimeError as error:
    print("memory")
try:
    with open({str(tmp_path / "x")!r}, "w") as file:
        file.write("text")
except OSError as error:
    print("file")
"""
    assert warm.run(program(text)).stdout.split() == [b"memory", b"file"]
    assert math.isfinite(replay._data_kilobytes())


def _base64(values):
    return base64.b64encode(replay.content(values)).decode()


def _bytes(text):
    return base64.b64decode(text)


@pytest.mark.parametrize(("dtype", "low", "high"), [("int64", 0, 4), ("int64", -3, 30000), ("int32", 7, 7)])
def test_whole_numbers_lie_within_the_range_of_the_examples(dtype, low, high):
    spec = {"shape": [40, 50], "dtype": dtype, "low": low, "high": high}
    drawn = replay.input_from(replay.pixels(spec["shape"], 5, 1), spec)
    assert drawn.dtype is getattr(torch, dtype)
    assert low <= drawn.min() <= low + (high - low) // 100 and high - (high - low) // 100 <= drawn.max() <= high


@pytest.mark.parametrize("shape", [[64, 9], [64, 2], [3, 1, 4, 4]])
@pytest.mark.parametrize("first", [True, False])
def test_no_row_of_a_mask_is_all_one_value(shape, first):
    spec = {"shape": shape, "dtype": "bool", "first": first}
    drawn = replay.input_from(replay.pixels(shape, 3, 1), spec)
    assert drawn.dtype is torch.bool and bool((drawn[..., 0] == first).all())
    assert bool(drawn.any(-1).all()) and not bool(drawn.all(-1).any())


def test_a_mask_of_one_column_is_the_examples():
    spec = {"shape": [5, 1], "dtype": "bool", "first": False}
    assert not replay.input_from(replay.pixels([5, 1], 3, 1), spec).any()


def _beside(was, now):
    kept = base64.b64encode(replay.content(was)).decode()
    expected = {"shape": list(was.shape), "dtype": str(was.dtype)[6:], "sha256": replay.sha256(was)}
    return replay.compared(now, {**expected, "every": 1, "data": kept})


def test_of_a_complex_output_the_imaginary_part_counts():
    was = torch.complex(torch.ones(10), torch.ones(10))
    assert _beside(was, was.clone())["exact"]
    found = _beside(was, torch.complex(torch.ones(10), torch.full((10,), 1.5)))
    assert found["largest"] == 0.5 and found["sqnr_db"] == pytest.approx(10 * math.log10(20 / 2.5))
    assert not replay.passes(found, "island") and found["problem"] == "differs, by at most 0.5"


def test_a_conjugate_is_kept_as_what_it_is():
    lazy = torch.complex(torch.ones(3), torch.ones(3)).conj()
    assert replay.content(lazy) == replay.content(lazy.resolve_conj()) != replay.content(lazy.conj())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize(("wrong", "passed"), [(1, True), (3, False)])
def test_a_whole_number_is_right_or_wrong(dtype, wrong, passed):
    """Of 20,000 values 40 dB are two: by how much one is off says nothing of a class index."""
    was = torch.ones(20_000, dtype=dtype)
    now = was.clone()
    now[:wrong] = 0
    found = _beside(was, now)
    assert found["sqnr_db"] == pytest.approx(10 * math.log10(20_000 / wrong)) and found["largest"] == 1
    assert replay.passes(found, "island") is passed and not replay.passes(found, "equal")


# -- ExecuTorch's programs -----------------------------------------------------------------------------


class _Method:
    def __init__(self, program, run):
        self.program, self.run = program, run

    def execute(self, inputs):
        return self.run(*inputs)


class _Program:
    """As ExecuTorch's: it reads the memory of a tensor as if it were contiguous, and reuses that of its output."""

    def __init__(self, texts):
        self.output = torch.zeros(1, 2)
        self.methods = {name: lambda text=text: [text] for name, text in texts.items()}
        self.methods["forward"] = self.forward
        self.method_names = set(self.methods)

    def forward(self, image):
        flat = image.as_strided([1, image[0].numel()], [image[0].numel(), 1])
        self.output.copy_(flat.reshape(1, 2, -1).sum(2))
        return [self.output]

    def load_method(self, name):
        return _Method(self, self.methods[name])


@pytest.fixture
def runtime(monkeypatch):
    """A false runtime of ExecuTorch 1.5.1; what it returns takes the texts of the programs that it loads."""
    texts = {}
    modules = {
        "executorch.runtime": types.SimpleNamespace(
            Runtime=types.SimpleNamespace(get=lambda: types.SimpleNamespace(load_program=lambda data: _Program(texts)))
        ),
        "executorch.extension.pybindings.portable_lib": types.SimpleNamespace(),
    }
    real = replay.import_module
    monkeypatch.setattr(replay, "import_module", lambda name: modules.get(name) or real(name))
    monkeypatch.setattr(replay.metadata, "version", lambda name: "1.5.1")
    return texts


@pytest.fixture
def pte(tmp_path, runtime):
    """A program of ExecuTorch's with golden inputs, and a function that gives it others."""

    class Exact:
        is_exact = False

        @staticmethod
        def outputs_apart(content, calls):
            return [[image.reshape(1, 2, -1).sum(2)] for (image,) in calls]

    spec = {"shape": [1, 2, 4, 4], "dtype": "float32", "mean": [0.5], "std": [0.2]}
    text = golden(nn.Identity(), bytes(4_000_000), [spec], "qnnpack", True, Exact()).text

    def write(change=lambda content: content):
        runtime["fxconv_golden"] = json.dumps(change(json.loads(text)))
        path = tmp_path / "x.pte"
        path.write_bytes(b"\x3c\0\0\0ET12")
        return path

    return write


def test_a_program_says_where_it_was_written_and_is_equal_there(pte):
    told = replay.replayed(str(pte()))
    assert (told["rule"], told["executorch"], told["outputs_of"]) == ("equal", "1.5.1", "file")
    assert told["exact"] and told["passed"] and len(told["cases"]) == 3
    content = replay.golden_in(str(pte()))
    assert content["format"] == 3 and "engine" not in content
    assert content["place"] == replay.place() and content["place"]["executorch"] == "1.5.1"


def _moved(by, **place):
    def change(content):
        content["place"].update(place)
        for output in content["cases"][0]["outputs"]:
            values = torch.frombuffer(bytearray(_bytes(output["data"])), dtype=torch.float32) * (1 + by)
            output["data"], output["sha256"] = _base64(values), replay.sha256(values)
        return content

    return change


@pytest.mark.parametrize(
    ("by", "place", "passed"),
    [
        (1e-3, {}, False),
        (1e-3, {"machine": "aarch64 of another"}, True),
        (1e-3, {"executorch": "1.3.1"}, True),
        (1e-3, {"vectors": "none"}, True),
        (0.009, {"machine": "aarch64 of another"}, True),
        (0.011, {"machine": "aarch64 of another"}, False),
    ],
)
def test_on_another_processor_or_release_a_program_may_differ_by_40_db(pte, by, place, passed):
    told = replay.replayed(str(pte(_moved(by, **place))))
    assert (told["exact"], told["passed"]) == (False, passed)
    assert told["rule"] == ("kernels" if place else "equal")


def test_a_program_is_given_contiguous_tensors_and_its_outputs_are_copied(pte):
    module = replay.executorch_program(str(pte()))
    image = torch.arange(32.0).reshape(1, 2, 4, 4)
    first = module(image.contiguous(memory_format=torch.channels_last))[0]
    assert first.tolist() == [[120.0, 376.0]]
    module(torch.zeros(1, 2, 4, 4))
    assert first.tolist() == [[120.0, 376.0]]


def test_the_texts_of_a_program_are_what_its_methods_return(pte, runtime):
    path = str(pte())
    assert replay.extra_file(path, "golden.json") == runtime["fxconv_golden"]
    assert replay.extra_file(path, "fxconv.json") is None and replay.extra_file(path, "other.json") is None
    runtime["fxconv_golden"] = 3
    with pytest.raises(replay.NotReplayed, match="is damaged: its fxconv_golden is no text"):
        replay.golden_in(path)
    del runtime["fxconv_golden"]
    with pytest.raises(replay.HasNone, match="holds no golden inputs"):
        replay.replayed(path)


def test_without_the_runtime_one_line_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(replay, "import_module", missing)
    path = tmp_path / "x.pte"
    path.write_bytes(b"\x3c\0\0\0ET12")
    with pytest.raises(replay.NotReplayed) as caught:
        replay.replayed(str(path))
    assert str(caught.value) == (
        "needs ExecuTorch's runtime, which is not here (No module named 'executorch.runtime'); "
        "install executorch==1.5.1 beside torch 2.14.1, or executorch==1.3.1 beside torch 2.12.1"
    )
