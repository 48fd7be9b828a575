"""The forms a checkpoint comes in, what does not fit, and what is never unpickled."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import fxconv_networks as networks
import numpy as np
import pytest
import torch
from torch import nn

from fxconv.errors import UserError
from fxconv.models.checkpoint_file import SAVE
from fxconv.models.checkpoints import head_sizes, load_into, matched, misfits, read_checkpoint

STATE = networks.tiny().state_dict()


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": STATE},
        {"model_state_dict": STATE},
        {"state_dict": {"model": STATE}},
        {"model": STATE, "model_ema": {"n": torch.ones(1)}},
        {"state_dict_ema": STATE, "args": [1, 2]},
        {"model_ema": {"n_averaged": torch.ones(1), **prefixed("module.")}},
        prefixed("module."),
        {"state_dict": prefixed("model.")},
        prefixed("_orig_mod.module."),
    ],
    ids=[
        *(
            "bare",
            "state_dict",
            "model",
            "model_state_dict",
            "nested",
            "beside its average",
            "average",
            "AveragedModel",
        ),
        *("DataParallel", "Lightning", "compiled DataParallel"),
    ],
)
def test_the_forms_a_checkpoint_comes_in(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    found = matched(read_checkpoint(tmp_path / "x.pth").state, STATE)
    assert set(found) == set(STATE)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_a_prefix_that_is_the_models_own_stays():
    wrapped = nn.Module()
    wrapped.model = networks.tiny()
    own = wrapped.state_dict()
    assert matched(own, own) is own
    assert set(matched({f"module.{key}": value for key, value in own.items()}, own)) == set(own)


def test_a_prefix_that_explains_nothing_stays():
    state = prefixed("module.")
    assert matched(state, {"other": torch.zeros(1)}) is state


def test_matching_leaves_the_given_dict_as_it_is():
    state = OrderedDict(prefixed("module."))
    state._metadata = OrderedDict({"module.": {"version": 1}})
    before, versions = dict(state), dict(state._metadata)
    assert matched(state, STATE)._metadata == {"": {"version": 1}}
    assert dict(state) == before
    assert dict(state._metadata) == versions


def test_the_names_of_old_densenets_become_the_present_ones():
    own = {"features.denseblock1.denselayer2.norm1.weight": torch.zeros(1), "features.norm0.weight": torch.zeros(1)}
    old = {"features.denseblock1.denselayer2.norm.1.weight": torch.ones(1), "features.norm0.weight": torch.ones(1)}
    assert set(matched(old, own)) == set(own)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_are_loaded_as_float32(kind, tmp_path):
    torch.save({k: v.to(kind) if v.is_floating_point() else v for k, v in STATE.items()}, tmp_path / "x.pth")
    model = networks.other_tiny()
    load_into(model, read_checkpoint(tmp_path / "x.pth").state, "x.pth", "tiny")
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, STATE["head.weight"].to(kind).float())


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ([1, 2], " but a list"),
        ({}, ""),
        ({"epoch": 3}, "; it holds epoch: int"),
        ({"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "; it holds epoch: int, optimizer: dict"),
        ({0: torch.ones(1)}, ""),
        (torch.ones(3), " but a Tensor"),
    ],
    ids=["a list", "nothing", "no tensors", "an optimizer alone", "numbered", "a tensor"],
)
def test_a_file_without_a_state_dict(content, held, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "x.pth")
    assert str(error.value) == f"--weights {tmp_path / 'x.pth'}: holds no state_dict (a dict of tensors){held}; {SAVE}"


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _scripted(path: Path) -> None:
    torch.jit.script(networks.tiny()).save(str(path))


def _lite(path: Path) -> None:
    torch.jit.script(networks.tiny())._save_for_lite_interpreter(str(path))


def _cut_off(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:5000])


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda path: None, "no such file; give a checkpoint, or auto, or random"),
        (Path.mkdir, "is a folder; give a checkpoint, or auto, or random"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"),
            'not a torch checkpoint but a text that begins "version https://git-lfs.github.com/spec/v1"; save',
        ),
        (lambda path: path.write_bytes(b"\x80\x02}q"), "not a torch checkpoint, or a damaged one; save"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "holds pickled Python objects, not only tensors"),
        (lambda path: path.write_bytes(bytes(range(200, 256)) * 9), "not a torch checkpoint, or a damaged one; save"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut off"), "not a torch checkpoint, or a damaged one; save"),
        (_cut_off, "not a torch checkpoint, or a damaged one; save"),
        (_zip, "a zip archive that torch.save did not write; save model.state_dict() with torch.save"),
        (_array, "a NumPy array, not a torch checkpoint; save model.state_dict() with torch.save"),
        (_scripted, "a TorchScript archive, not a checkpoint; save model.state_dict() instead"),
        (_lite, "an artifact for phones (.ptl), not a checkpoint; save model.state_dict() instead"),
    ],
    ids=[
        *(
            "missing",
            "folder",
            "empty",
            "text",
            "cut-off pickle",
            "pickle",
            "noise",
            "cut-off zip",
            "cut-off checkpoint",
        ),
        *("other zip", "NumPy", "TorchScript", "lite"),
    ],
)
def test_a_file_that_is_no_checkpoint(write, expected, tmp_path):
    path = tmp_path / "x.pth"
    write(path)
    with pytest.raises(UserError) as error:
        read_checkpoint(path)
    message = str(error.value)
    assert message.startswith(f"--weights {path}: {expected}")
    assert "\n" not in message


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    torch.save(STATE, path)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UserError, match=r"x.pth: cannot be read \(Permission denied\)"):
        read_checkpoint(path)


class Planted:
    """An object whose unpickling makes a folder: whoever unpickles it runs code of the file's author."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickled_model_is_never_unpickled_unasked(tmp_path):
    torch.save({"weight": Planted(tmp_path / "was run")}, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "x.pth")
    assert str(error.value) == (
        f"--weights {tmp_path / 'x.pth'}: holds pickled Python objects (posix.mkdir), not only tensors, and "
        "unpickling runs whatever code is in the file; save model.state_dict() instead, or give --unsafe-load if you "
        "trust the file"
    )
    assert not (tmp_path / "was run").exists()
    with pytest.raises(UserError, match="holds no state_dict"):
        read_checkpoint(tmp_path / "x.pth", unsafe=True)
    assert (tmp_path / "was run").exists()


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 1}, nn.DataParallel])
def test_a_pickled_model_gives_its_weights_when_that_is_asked_for(wrap, tmp_path):
    model = networks.tiny()
    torch.save(wrap(model), tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"objects \([\w.]+\), not only tensors"):
        read_checkpoint(tmp_path / "x.pth")
    found = matched(read_checkpoint(tmp_path / "x.pth", unsafe=True).state, STATE)
    assert torch.equal(found["head.weight"], model.head.weight)


def test_a_class_that_cannot_be_imported_is_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "gone_net.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import gone_net

    torch.save(gone_net.Net(2, 2), tmp_path / "x.pth")
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "gone_net")
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "x.pth", unsafe=True)
    assert str(error.value) == (
        f"--weights {tmp_path / 'x.pth'}: unpickling failed with ModuleNotFoundError: No module named 'gone_net'; "
        "the classes in it must be importable from here"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert list(read_checkpoint(tmp_path / "x.pth", unsafe=True).state) == ["weight", "bias"]
    assert sys.path == before


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(STATE, tmp_path / "x.safetensors")
    found = read_checkpoint(tmp_path / "x.safetensors").state
    assert set(found) == set(STATE)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)
    model = networks.other_tiny()
    load_into(model, found, "x", "tiny")
    assert torch.equal(model.head.weight, STATE["head.weight"])


@pytest.mark.parametrize("content", [b"no such thing", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_no_safetensors(content, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x.safetensors: (not a safetensors file \(|holds no state_dict)") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"something")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError) as error:
        read_checkpoint(path)
    assert str(error.value) == (
        f"--weights {path}: needs the package safetensors, which is not installed; pip install safetensors"
    )


def test_loading_tells_all_that_does_not_fit():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {"0.weight": torch.zeros(3, 9), "0.bias": torch.zeros(3), "3.bias": torch.zeros(1)}
    with pytest.raises(UserError) as error:
        load_into(model, state, "x.pth", "net")
    assert str(error.value) == (
        "--weights x.pth does not fit net: it lacks 1.weight, 1.bias, 2.weight and 1 more; the model has no 3.bias; "
        "0.weight is (3, 9), the model's is (3, 2)"
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        (torch.zeros(3, 2, dtype=torch.int8), "int8 numbers"),
        (torch.quantize_per_tensor(torch.zeros(3, 2), 0.1, 0, torch.qint8), "quantized numbers"),
        (torch.zeros(3, 2, dtype=torch.complex64), "complex64 numbers"),
        (torch.zeros(3, 2, device="meta"), "no numbers"),
        (torch.zeros(3, 2).to_sparse(), "float32 numbers in a sparse layout"),
    ],
    ids=["integers", "quantized", "complex", "meta", "sparse"],
)
def test_weights_that_are_not_plain_numbers_are_refused(weight, kind):
    own = nn.Linear(2, 3).state_dict()
    assert misfits({**own, "weight": weight}, own) == [f"weight holds {kind}; floating-point numbers are needed"]


def test_old_checkpoints_without_batch_counters_load():
    model = nn.BatchNorm2d(2)
    state = {key: value + 1 for key, value in model.state_dict().items() if key != "num_batches_tracked"}
    load_into(model, state, "x.pth", "net")
    assert model.running_mean.tolist() == [1.0, 1.0]


def test_layers_are_told_the_version_they_were_saved_in():
    seen = []

    class Versioned(nn.Linear):
        _version = 3

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            seen.append(local_metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    model = Versioned(2, 2)
    old = copy.copy(model.state_dict())
    old._metadata[""]["version"] = 1
    load_into(model, old, "x.pth", "net")
    load_into(model, dict(old), "x.safetensors", "net")  # a file that says nothing holds the present version
    assert seen == [1, 3]


def test_the_number_of_classes_is_read_off_the_head():
    own = {"a": torch.zeros(4, 2), "head.weight": torch.zeros(1000, 8), "head.bias": torch.zeros(1000)}
    fewer = {"a": torch.zeros(4, 2), "head.weight": torch.zeros(10, 8), "head.bias": torch.zeros(10)}
    assert head_sizes(fewer, own) == [10]
    assert head_sizes(own, own) == []
    assert head_sizes({**fewer, "head.weight": torch.zeros(10, 9), "head.bias": torch.zeros(0)}, own) == []


LIGHTNING = {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.5"}
ANOTHER = {key: value + 1 for key, value in STATE.items()}


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (STATE, {}, ""),
        ({"state_dict": STATE}, {}, ", its state_dict"),
        (LIGHTNING, {}, ", its state_dict, 'model.' stripped"),
        (prefixed("_orig_mod.module."), {}, ", '_orig_mod.module.' stripped"),
        ({"model": ANOTHER, "ema": {"model": STATE}}, {"key": "ema.model"}, ", its ema.model"),
        ({"model": ANOTHER, "ema": {"model": STATE}}, {"key": "ema"}, ", its ema.model"),
        ({"state_dict": STATE, "meta": {}, "optimizer": {"state": {}}}, {}, ", its state_dict"),
        (
            {"state_dict": {**prefixed("net.backbone."), "loss.weight": torch.ones(1)}},
            {"prefix": "net.backbone."},
            ", its state_dict, 'net.backbone.' stripped, 1 other left out",
        ),
        (prefixed("net."), {"prefix": "net"}, ", 'net.' stripped"),
        (prefixed("net.module."), {"prefix": "net."}, ", 'net.module.' stripped"),
    ],
)
def test_what_was_chosen_and_stripped_is_said(content, options, words, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    model = networks.other_tiny()
    checkpoint = read_checkpoint(tmp_path / "x.pth", **options)
    assert checkpoint.load_into(model, "tiny") == (f"{tmp_path / 'x.pth'}{words}", ())
    assert torch.equal(model.head.weight, STATE["head.weight"])


def test_an_average_that_fits_as_well_is_offered(tmp_path):
    torch.save({"state_dict": STATE, "state_dict_ema": ANOTHER}, tmp_path / "x.pth")
    model = networks.other_tiny()
    words, notes = read_checkpoint(tmp_path / "x.pth").load_into(model, "tiny")
    assert words == f"{tmp_path / 'x.pth'}, its state_dict"
    assert notes == (
        f"{tmp_path / 'x.pth'}: its state_dict is taken; state_dict_ema fits, too: --weights-key state_dict_ema",
    )
    assert torch.equal(model.head.weight, STATE["head.weight"])
    chosen = read_checkpoint(tmp_path / "x.pth", key="state_dict_ema")
    assert chosen.load_into(model, "tiny") == (f"{tmp_path / 'x.pth'}, its state_dict_ema", ())
    assert torch.equal(model.head.weight, ANOTHER["head.weight"])


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (STATE, {"key": "ema"}, "--weights-key ema: {} is one state_dict, without a key; leave it out"),
        ({"a": STATE}, {"key": "ema"}, "--weights-key ema: {} has no state_dict there; it has a"),
        (
            {"ema": {"one": STATE, "two": STATE}},
            {"key": "ema"},
            "--weights-key ema: {} has no state_dict there; it has ema.one, ema.two",
        ),
        (
            {"teacher": STATE, "student": STATE},
            {},
            "--weights {}: holds several state_dicts, teacher, student; say which with --weights-key teacher",
        ),
        (
            {"a.w": torch.ones(1), "a.b": torch.ones(1), "loss": torch.ones(1)},
            {"prefix": "net."},
            "--weights-prefix net.: no name in {} begins so; they begin with a., loss",
        ),
    ],
)
def test_a_choice_that_is_none(content, options, line, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "x.pth", **options)
    assert str(error.value) == line.format(tmp_path / "x.pth")
