"""Releases for phones by name, what is known of each, and whether files fit them: real ones, written here."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fxconv_torch import optimized
from torch import Tensor, nn

import fxconv
from fxconv.errors import ConversionError, UserError
from fxconv.inspection import Kind, Operator, inspect
from fxconv.inspection.found import SCRIPT_CODE
from fxconv.report.releases_page import runtimes_markdown
from fxconv.targets.mobile.releases import RELEASES, check, fits, op_list, release
from fxconv.targets.mobile.releases.code import counted
from fxconv.targets.mobile.releases.lacking import FULL_JIT, LAPACK, NAMESPACES
from fxconv.targets.mobile.releases.operators import DATA, Arity, data, torch_of


class Plain(nn.Module):
    """A convolution and a linear layer, which all releases have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class Product(nn.Module):
    """Its product is `quantized::matmul`, which came with torch 1.12."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.query(x).flatten(2), self.key(x).flatten(2).transpose(1, 2))


def converted(module: nn.Module, **options):
    torch.manual_seed(0)
    return fxconv.convert(module.eval(), [torch.randn(4, 3, 12, 12)], recipe="none", min_sqnr=-1000.0, **options)


@pytest.fixture(scope="module")
def product() -> bytes:
    return converted(Product()).artifact.data


@pytest.fixture
def found(product, tmp_path):
    path = tmp_path / "product.ptl"
    path.write_bytes(product)
    return inspect(path)


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module.eval()).save(str(path))
    return path


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pytorch_android_lite==2.1.0", "pytorch_android_lite==2.1.0"),
        ("PyTorch-Android-Lite==2.1", "pytorch_android_lite==2.1.0"),
        ("org.pytorch:pytorch_android:1.13.1", "pytorch_android==1.13.1"),
        ("libtorch_lite==1.13.0.1", "LibTorch-Lite==1.13.0.1"),
        ("LibTorch == 1.13.0", "LibTorch==1.13.0"),
        ("pytorch_android_lite==1.11.0", "pytorch_android_lite==1.11"),
    ],
)
def test_a_release_by_its_name(text, name):
    assert release(text).name == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "pytorch_android_lite==2.2.0",
            "no such release of pytorch_android_lite; known are pytorch_android_lite==2.1.0, ",
        ),
        ("pytorch_android_lite==1.13.2", "known are pytorch_android_lite==1.13.1, pytorch_android_lite==2.1.0, "),
        ("pytorch_android_lite==", "no such release of pytorch_android_lite"),
        ("LibTorch-Lite", "say which release; known are LibTorch-Lite==2.1.0, LibTorch-Lite==1.13.0.1, "),
        (
            "pytorch_androld_lite==2.1.0",
            "no library for phones that fxconv knows; known are pytorch_android_lite==2.1.0, ",
        ),
        ("", "no library for phones"),
    ],
)
def test_a_release_that_there_is_not_is_answered_with_the_nearest(text, said):
    with pytest.raises(UserError) as error:
        release(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_every_release_has_its_line_and_its_torch():
    assert len({one.name for one in RELEASES}) == len(RELEASES) == 28
    assert release("pytorch_android_lite==2.1.0").line == "implementation 'org.pytorch:pytorch_android_lite:2.1.0'"
    assert release("LibTorch-Lite==1.13.0.1").line == "pod 'LibTorch-Lite', '1.13.0.1'"
    assert release("pytorch_android==1.12.2").vision_line == "implementation 'org.pytorch:torchvision_ops:0.13.1'"
    assert release("LibTorch==2.1.0").vision_line == ""
    for one in RELEASES:
        assert torch_of(one.torch).operators
        assert bool(one.notes) is (one.package.is_android or one.version == "2.1.0")


# -- what is known ---------------------------------------------------------------------------------------


def test_the_data_says_where_it_comes_from():
    for wheel in data()["wheels"]:
        assert wheel["file"].startswith(f"torch-{wheel['torch']}-cp") and wheel["file"].endswith(".whl")
        assert len(wheel["sha256"]) == 64
        assert len(torch_of(wheel["torch"]).operators) == wheel["operators"] > 3000
    assert "://" not in DATA.read_text()
    assert DATA.stat().st_size < 300_000
    measured = data()["measured"]
    assert measured["found"] / measured["registered"] > 0.995
    assert all(row["is_equal"] for one in data()["tried"] for row in one["files"] if not row["error"])
    assert all(bool(row["error"]) == bool(row["foreseen"]) for one in data()["tried"] for row in one["files"])


def test_known_operators_and_versions():
    old, last = torch_of("1.10.0"), torch_of("2.1.0")
    assert (old.bytecode, last.bytecode) == ((3, 7), (4, 9))
    assert (old.file_format, last.file_format) == ((1, 6), (1, 10))
    assert (torch_of("1.12.0").reads_flatbuffer, last.reads_flatbuffer) == (False, True)
    assert old.operators["quantized::conv2d.new"] == Arity(4, 4)
    assert old.operators["aten::add.Tensor"] == Arity(3, 2)
    assert old.operators["aten::format"] == Arity(None, 1)
    assert "quantized::matmul" not in old.operators and "quantized::matmul" in last.operators
    assert "aten::scaled_dot_product_attention" not in torch_of("1.13.1").operators
    assert "aten::solve" in torch_of("1.11.0").operators and "aten::solve" not in last.operators
    # of those that are named as lacking, each was an operator once
    everything = {name for wheel in data()["wheels"] for name in torch_of(wheel["torch"]).operators}
    assert everything >= FULL_JIT
    assert {name for name in LAPACK if not any(one.split(".")[0] == f"aten::{name}" for one in everything)} == set()
    assert {"mkldnn", "_caffe2", "static_runtime"} <= {name.split("::")[0] for name in everything} & set(NAMESPACES)


def test_this_torch_and_the_last_release_agree_on_what_both_have():
    """Whatever this torch passes to `quantized::` operators the last release takes, as far as it has them."""
    last = torch_of("2.1.0").operators
    schemas = [one for one in torch._C._jit_get_all_schemas() if one.name.startswith("quantized::")]
    compared = 0
    for schema in schemas:
        name = f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name
        if name in last:
            compared += 1
            assert last[name] == Arity(
                len(schema.arguments), sum(not one.has_default_value() for one in schema.arguments)
            ), name
    assert compared > 100


@pytest.mark.parametrize(("passed", "takes"), [(1, False), (2, True), (3, True), (4, False)])
def test_how_many_arguments_are_taken(passed, takes):
    assert Arity(3, 2).takes(passed) is takes
    assert Arity(None, 2).takes(passed) is (passed >= 2)


def test_the_page_names_every_release():
    records = Path(__file__).parents[5] / "docs" / "torches.json"
    page = runtimes_markdown(json.loads(records.read_text()))
    assert all(f"| `{one.name}` |" in page for one in RELEASES)
    assert "| 1.12.0 | `quantized::matmul`, `quantized::softmax` |" in page


# -- files -----------------------------------------------------------------------------------------------


def test_a_file_that_fits(found):
    fit = check(found, release("pytorch_android_lite==2.1.0"))
    assert fit.loads and fit.reason == "" and fit.call == "LiteModuleLoader.load(path)"
    assert fit.lines == ("implementation 'org.pytorch:pytorch_android_lite:2.1.0'",)
    assert len(fit.notes) == 1 and "16 KB" in fit.notes[0]
    assert check(found, release("LibTorch-Lite==1.12.0")).call == "torch::jit::_load_for_mobile(path)"


def test_a_missing_operator_is_named_with_its_layer_and_the_release_that_has_it(found):
    fit = check(found, release("pytorch_android_lite==1.11"))
    assert not fit.loads and fit.problems == ()
    (missing,) = fit.missing
    assert (missing.operator, missing.layers) == ("quantized::matmul", ("matmul",))
    assert missing.since == "pytorch_android_lite==1.12.1"
    assert fit.reason == (
        "quantized::matmul (layer matmul): this release has no such operator; pytorch_android_lite==1.12.1 has it"
    )


def test_bytecode_that_is_too_new(tmp_path):
    (tmp_path / "plain.ptl").write_bytes(converted(Plain()).artifact.data)
    fit = check(inspect(tmp_path / "plain.ptl"), release("LibTorch-Lite==1.10.0"))
    assert (fit.reason, fit.backport) == ("its bytecode has version 8, and 3 to 7 are read", 7)
    assert fit.notes[0] == "fxconv convert --runtime LibTorch-Lite==1.10.0 writes a file with bytecode of version 7"


def test_the_number_of_arguments_counts(found):
    operators = tuple(
        replace(one, arguments=7) if one.name == "aten::flatten" else one
        for one in found.operators
        if one.name != "quantized::matmul"
    )
    fit = check(replace(found, operators=operators), release("pytorch_android_lite==2.1.0"))
    assert fit.reason.startswith("aten::flatten.using_ints (layer ")
    assert "it takes 1 to 3 arguments in this release, and the file passes 7" in fit.reason


@pytest.mark.parametrize(
    ("name", "overload", "said"),
    [
        ("mkldnn::_linear_pointwise", "", "no library for phones has mkldnn:: (oneDNN is for desktops)"),
        ("aten::save", "", "the lite interpreter is built without it, only the full library has it"),
        (
            "aten::linalg_inv_ex",
            "",
            "it loads and fails when it is called: libraries for phones are built without LAPACK",
        ),
        ("mine::op", "", "this release has no such operator"),
        ("aten::add", "Nothing", "this release has no such operator"),
    ],
)
def test_what_phones_lack(found, name, overload, said):
    one = Operator(name, overload)
    fit = check(replace(found, operators=(one,)), release("pytorch_android_lite==2.1.0"))
    assert fit.missing[0].why == said and fit.missing[0].since == ""


def test_fourier_transforms_came_with_1_11(found):
    one = replace(found, operators=(Operator("aten::stft", "", 8),))
    fit = check(one, release("pytorch_android_lite==1.10.0"))
    assert fit.missing[0].since == "pytorch_android_lite==1.11" and "without FFT" in fit.missing[0].why
    assert check(one, release("pytorch_android_lite==1.11")).loads


def test_operators_of_torchvision_are_a_library_of_their_own(found):
    one = replace(found, operators=(Operator("torchvision::nms", "", 3),))
    fit = check(one, release("pytorch_android_lite==1.13.0"))
    assert fit.loads and fit.lines[1] == "implementation 'org.pytorch:torchvision_ops:0.14.0'"
    assert 'NativeLoader.loadLibrary("torchvision_ops")' in fit.notes[0]
    last = check(one, release("LibTorch-Lite==2.1.0"))
    assert last.loads and last.lines == ("pod 'LibTorch-Lite', '2.1.0'",)
    assert (
        "build it from ios of torchvision 0.16.0, or take LibTorch-Lite==1.13.0.1 (LibTorchvision 0.14.0)"
        in last.notes[0]
    )


def test_torchscript_is_for_the_full_library(tmp_path):
    found = inspect(scripted(Plain(), tmp_path / "plain.pt"))
    assert found.kind is Kind.TORCHSCRIPT
    lite = check(found, release("pytorch_android_lite==1.13.1"))
    assert lite.reason == (
        "it is TorchScript without bytecode.pkl, which pytorch_android==1.13.1 loads, and the lite interpreter does not"
    )
    full = check(found, release("pytorch_android==1.13.1"))
    assert full.loads and full.call == "Module.load(path)"
    assert check(found, release("LibTorch==2.1.0")).call == "torch::jit::load(path)"


def test_the_format_of_an_archive_is_read_and_held_against_the_release(tmp_path):
    class Gelu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.gelu(x, approximate="tanh")

    found = inspect(scripted(Gelu(), tmp_path / "gelu.pt"))
    assert dict(found.facts)["archive format"] == "10"
    fit = check(found, release("pytorch_android==1.10.0"))
    assert fit.reason == "its archive has format 10, and 1 to 6 are read"
    assert check(found, release("pytorch_android==1.12.1")).loads


def test_the_full_library_is_held_to_the_code_of_a_lite_file(found):
    """torch 1.10.0 stops at it: "prim::RaiseException(str msg) -> (): Expected at most 1 arguments but found 2"."""
    fit = check(found, release("pytorch_android==1.10.0"))
    assert [one.operator for one in fit.missing] == ["prim::RaiseException", "quantized::matmul"]
    assert fit.missing[0].why == "it takes 1 argument in this release, and the file passes 2"
    codeless = replace(found, parts=tuple(part for part in found.parts if part.name != SCRIPT_CODE))
    none = check(codeless, release("pytorch_android==2.1.0"))
    assert none.reason == "no TorchScript code is in it, which is what the full library loads"


def test_flatbuffers_are_for_the_last_release(tmp_path):
    module = optimized(torch.jit.script(Plain().eval()))
    module._save_for_lite_interpreter(str(tmp_path / "flat.ptl"), _use_flatbuffer=True)
    found = inspect(tmp_path / "flat.ptl")
    assert check(found, release("pytorch_android_lite==2.1.0")).loads
    assert "built without" in check(found, release("pytorch_android_lite==1.13.1")).reason
    assert (
        "its bytecode has version 9, and 3 to 8 are read" in check(found, release("pytorch_android_lite==1.11")).reason
    )
    assert "built without" in check(found, release("pytorch_android==1.13.1")).reason


def test_weights_are_for_none(tmp_path):
    torch.save(Plain().state_dict(), tmp_path / "weights.pth")
    found = inspect(tmp_path / "weights.pth")
    assert check(found, release("LibTorch==2.1.0")).reason == (
        "no library of PyTorch for phones loads a file of this kind (state_dict)"
    )
    assert fits(found) == []


def test_all_releases_at_once(found):
    loading = [one.release.name for one in fits(found) if one.loads]
    assert [name for name in loading if name.startswith("pytorch_android_lite")] == [
        f"pytorch_android_lite=={version}" for version in ("1.12.1", "1.12.2", "1.13.0", "1.13.1", "2.1.0")
    ]
    assert "LibTorch-Lite==1.12.0" in loading and "LibTorch-Lite==1.11.0" not in loading


def test_calls_are_counted_in_code():
    code = """
      _0 = "torch.not(1, 2)"
      a = torch.add(x, torch.mul(y, [1, 2], alpha=(3, 4)), )
      ops.prim.RaiseException(_0, "builtins.ValueError, \\"x")
      b = __torch__.torchvision.ops.boxes.nms(a, b, c)
      c = torch.rand()
    """
    assert counted([code]) == {"aten::add": {2}, "aten::mul": {3}, "prim::RaiseException": {2}, "aten::rand": {0}}


# -- operator lists --------------------------------------------------------------------------------------


def test_the_operator_list_is_torchs_own(found, product):
    from torch.jit.mobile import _export_operator_list, _load_for_lite_interpreter

    expected = sorted(_export_operator_list(_load_for_lite_interpreter(io.BytesIO(product))))
    assert op_list(found) == "".join(f"- {name}\n" for name in expected)
    assert "quantized::conv2d.new" in expected


def test_only_a_lite_file_has_one(tmp_path, found):
    with pytest.raises(UserError, match="is no file of the lite interpreter"):
        op_list(inspect(scripted(Plain(), tmp_path / "plain.pt")))
    with pytest.raises(UserError, match="is no name of an operator"):
        op_list(replace(found, operators=(Operator("aten::add\n- x"),)))


# -- conversions -----------------------------------------------------------------------------------------


def test_a_conversion_for_a_release_says_what_the_app_needs():
    conversion = converted(Plain(), runtime="Pytorch-Android-Lite==2.1")
    assert conversion.config.runtime == "pytorch_android_lite==2.1.0" and conversion.verified
    assert conversion.runtime is not None and conversion.runtime.loads
    told = conversion.report.json()["runtime"]
    assert told["lines"] == ["implementation 'org.pytorch:pytorch_android_lite:2.1.0'"]
    assert json.dumps(told)
    assert converted(Plain()).report.json()["runtime"] is None


def test_a_conversion_that_the_release_cannot_load_is_refused(tmp_path):
    with pytest.raises(ConversionError) as error:
        converted(Product(), runtime="pytorch_android_lite==1.10.0", output=tmp_path / "product.ptl")
    assert str(error.value).startswith(
        "pytorch_android_lite==1.10.0 cannot load the model: "  # older bytecode, which torch writes, would not help
        "quantized::matmul (layer matmul): this release has no such operator; "
    )
    assert str(error.value).endswith("keep it in float (keep_float='matmul'), or take pytorch_android_lite==1.12.1")
    assert list(tmp_path.iterdir()) == []


def test_kept_in_float_it_fits():
    conversion = converted(Product(), runtime="pytorch_android_lite==1.10.0", keep_float=("matmul",))
    assert conversion.verified and conversion.artifact.bytecode_version == 7
    assert "quantized::matmul" not in conversion.artifact.operators


def test_a_release_that_there_is_not_stops_before_any_work():
    with pytest.raises(UserError, match="runtime='nothing==1'"):
        fxconv.Config(runtime="nothing==1")
