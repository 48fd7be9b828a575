"""A file is read before it is loaded, and only what is known to compute may be run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from fxconv.diagnostics.known_errors import BY_NAME
from fxconv.environment import has_xnnpack
from fxconv.errors import UserError
from fxconv.targets.mobile import allow_list
from fxconv.targets.mobile.allow_list import ALLOWED, Refused, _refuse, operators_of, refused
from fxconv.targets.mobile.lite_file import load_lite

UNKNOWN = "is not known to do nothing but compute"


def saved(module: nn.Module, path):
    path.write_bytes(torch.jit.script(module)._save_to_buffer_for_lite_interpreter())
    return path


def schemas() -> dict[str, list]:
    """The schemas of all operators that this torch has, by name."""
    found: dict[str, list] = {}
    for schema in torch._C._jit_get_all_schemas():
        found.setdefault(schema.name, []).append(schema)
    return found


def rewritten(path, target, **entries: bytes):
    """A copy of an archive with further entries."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        for name, content in entries.items():
            new.writestr(f"archive/{name}.pkl", content)
    return target


@pytest.mark.parametrize("namespace", ALLOWED)
def test_every_allowed_operator_exists_and_takes_nothing_but_values(namespace):
    import torchvision  # noqa: F401  registers its operators

    known = schemas()
    assert ALLOWED[namespace]
    if namespace == "prepacked" and not has_xnnpack():
        assert not [name for name in known if name.startswith("prepacked::")]
        return
    for operator in ALLOWED[namespace]:
        found = known.get(f"{namespace}::{operator}")
        assert found, operator
        for argument in (argument for schema in found for argument in schema.arguments):
            assert str(argument.type) not in ("Storage", "Stream", "Generator", "Future[t]", "RRef[t]"), operator
            assert "file" not in argument.name, operator


def test_what_reaches_further_is_refused_with_its_reason_once():
    names = ["aten::add.Tensor", "aten::save", "aten::add_", "aten::save", "aten::from_file", "prim::rpc_async"]
    assert refused(names) == [
        Refused("aten::save", "writes files"),
        Refused("aten::from_file", "reads and writes files"),
        Refused("prim::rpc_async", "calls other machines"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("aten::add.out", "aten::relu_", "aten::__getitem__.t", "quantized::conv2d.new", "prim::NumToTensor.Scalar"),
        *("torchvision::nms", "prepacked::conv2d_clamp_run", "aten::_convolution", "aten::index_put_"),
    ],
)
def test_what_computes_may_run(name):
    assert refused([name]) == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("aten::new_operator", id="a new one"),
        pytest.param("image::decode_jpeg", id="a namespace that nobody looked at"),
        pytest.param("mine::add", id="somebody's own"),
        pytest.param("add", id="no namespace"),
        pytest.param("", id="no name"),
        pytest.param("aten::set_.source_Storage", id="another's memory"),
        pytest.param("aten::_softmax_", id="internal, and in place"),
        pytest.param("aten::", id="nothing in it"),
        pytest.param("aten::_", id="nothing but an underscore"),
    ],
)
def test_what_nobody_looked_at_is_refused(name):
    assert refused([name]) == [Refused(name.partition(".")[0], UNKNOWN)]


def test_all_operators_of_a_file_are_known_without_running_it(small_conversion, tmp_path):
    path = tmp_path / "x.ptl"
    small_conversion.save(path)
    assert operators_of(path) == small_conversion.artifact.operators


class WritesWhenRun(nn.Module):
    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.target)
        return x


class WritesWhenLoaded(nn.Module):
    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.target, self.training = state
        torch.save(torch.zeros(1), state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("kind", [WritesWhenRun, WritesWhenLoaded])
def test_a_file_that_writes_files_is_refused_before_it_can(kind, tmp_path):
    target = tmp_path / "written"
    path = saved(kind(str(target)), tmp_path / "hostile.ptl")
    target.unlink(missing_ok=True)  # scripting may have loaded it
    with pytest.raises(UserError, match=r"hostile.ptl: not run, because aten::save writes files; only what computes"):
        operators_of(path)
    assert not target.exists()


def test_loading_alone_runs_what_a_file_says(tmp_path):
    target = tmp_path / "written"
    path = saved(WritesWhenLoaded(str(target)), tmp_path / "hostile.ptl")
    target.unlink(missing_ok=True)
    load_lite(path)
    assert target.exists()


def test_several_are_counted():
    with pytest.raises(UserError, match=r"x.ptl: not run, because aten::save writes files \(and 2 more\); only"):
        _refuse(Path("x.ptl"), refused(["aten::save", "mine::one", "mine::two"]))
    _refuse(Path("x.ptl"), [])


@pytest.fixture
def reader(monkeypatch):
    """Files that torch's reader of operators is given."""
    import torch.jit.mobile

    given: list[str] = []
    monkeypatch.setattr(torch.jit.mobile, "_get_model_ops_and_info", lambda path: given.append(path) or {})
    return given


def test_objects_of_packed_weights_may_be_made(tmp_path, reader):
    path = saved(nn.ReLU(), tmp_path / "x.ptl")
    packed = rewritten(path, tmp_path / "a.ptl", more=b"c__torch__.torch.classes.quantized\nLinearPackedParamsBase\n.")
    assert operators_of(packed) == () and reader == [str(packed)]


def test_layers_packed_for_xnnpack_are_told_of_where_torch_is_built_without_it(tmp_path, reader, monkeypatch):
    path = saved(nn.ReLU(), tmp_path / "x.ptl")
    packed = rewritten(path, tmp_path / "a.ptl", more=b"c__torch__.torch.classes.xnnpack\nConv2dOpContext\n.")
    monkeypatch.setattr(allow_list, "has_xnnpack", lambda: False)
    with pytest.raises(
        UserError, match=r"a.ptl: has float layers packed for XNNPACK, and torch 2\.\S+ is built without"
    ):
        operators_of(packed)
    assert reader == []
    monkeypatch.setattr(allow_list, "has_xnnpack", lambda: True)
    assert operators_of(packed) == () and reader == [str(packed)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"c__torch__.torch.classes.c10d\nProcessGroup\n.", id="as torch writes it"),
        pytest.param(b"c__torch__.torch\nclasses.c10d.ProcessGroup\n.", id="its halves apart elsewhere"),
        pytest.param(b"c__torch__\ntorch.classes.c10d.ProcessGroup\n.", id="its halves apart at the start"),
        pytest.param(b"X\x28\0\0\0__torch__ . torch.classes .c10d.ProcessGroup.", id="the text of a type, with spaces"),
    ],
)
@pytest.mark.parametrize("record", ["more", "MORE", "deep/more"])
def test_objects_of_other_classes_are_refused_before_torch_reads_the_file(tmp_path, reader, content, record):
    path = rewritten(saved(nn.ReLU(), tmp_path / "x.ptl"), tmp_path / "a.ptl", **{record: content})
    with pytest.raises(UserError, match=r"because torch.classes.c10d makes objects of it, which are no packed weights"):
        operators_of(path)
    assert reader == []


def test_operators_are_refused_before_torch_reads_the_file(tmp_path, reader):
    path = saved(WritesWhenRun(str(tmp_path / "written")), tmp_path / "hostile.ptl")
    with pytest.raises(UserError, match="aten::save writes files"):
        operators_of(path)
    assert reader == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["bytecode", "BYTECODE", "Data"])
def test_an_archive_that_says_two_things_is_refused_before_torch_reads_it(tmp_path, reader, name):
    path = rewritten(saved(nn.ReLU(), tmp_path / "x.ptl"), tmp_path / "a.ptl", **{name: b"another"})
    with pytest.raises(UserError, match=rf"a.ptl: holds archive/{name}.pkl twice, and readers differ"):
        operators_of(path)
    assert reader == []


def test_what_is_no_such_file_is_told_in_one_line(tmp_path):
    (tmp_path / "text.ptl").write_text("text")
    torch.jit.script(nn.ReLU()).save(tmp_path / "full.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pth")
    for name, words in {
        "gone.ptl": "gone.ptl: no such file; give a .ptl or .pte",
        ".": ": not a file; give a .ptl or .pte",
        "text.ptl": 'text.ptl: is a text that begins "text", no model; ',
        "weights.pth": "weights.pth: is no archive of the lite interpreter (state_dict); give a .ptl",
        "full.pt": BY_NAME["no-bytecode"].cure,
    }.items():
        with pytest.raises(UserError) as error:
            operators_of(tmp_path / name)
        assert words in str(error.value)
        assert name != "full.pt" or "full.pt: has no program for the lite interpreter; save it" in str(error.value)
        assert "\n" not in str(error.value)
