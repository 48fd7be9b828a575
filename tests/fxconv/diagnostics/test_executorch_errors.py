"""What is known of torch.export's and ExecuTorch's messages: from their own exceptions, and from their logs."""

from __future__ import annotations

import pytest
import torch
from fxconv_executorch import needs_executorch
from fxconv_executorch_provocations import BY_EXECUTORCH, BY_TORCH

from fxconv.diagnostics.diagnosis import diagnose
from fxconv.diagnostics.known_errors import BY_NAME, KNOWN_ERRORS
from fxconv.diagnostics.known_errors.executorch_export import EXECUTORCH_EXPORT
from fxconv.diagnostics.known_errors.executorch_runtime import EXECUTORCH_RUNTIME
from fxconv.environment import EXECUTORCH


def programs(table):
    return [pytest.param(name, program, id=name) for name, listed in table.items() for program in listed]


def names(text: str) -> list[str]:
    return [one.known_error.name for one in diagnose(text)]


def told(error: BaseException | None) -> str:
    """An exception and what caused it, each with its type, as a traceback ends."""
    lines = []
    while error is not None:
        lines.append(f"{type(error).__module__}.{type(error).__qualname__}: {error}")
        error = error.__cause__
    return "\n".join(reversed(lines))


@pytest.mark.parametrize(("name", "program"), programs(BY_TORCH))
def test_what_torch_says(name, program):
    with pytest.raises(Exception) as caught:
        program()
    assert names(told(caught.value)) == [name]


@needs_executorch
@pytest.mark.parametrize(("name", "program"), programs(BY_EXECUTORCH))
def test_what_executorch_says(name, program, capfd, monkeypatch):
    from fxconv.targets.executorch.installed import check, flatc

    check()
    if name == "missing-out-variants" and hasattr(torch.ops.quantized_decomposed.quantize_per_tensor, "out"):
        pytest.skip("a test before this one had the kernels registered that the message misses")
    monkeypatch.setenv("FLATC_EXECUTABLE", str(flatc()))
    capfd.readouterr()
    with pytest.raises(Exception) as caught:
        program()
    log = capfd.readouterr().err
    # The runtime says in its log what is wrong, and returns a number; both stand in what a user pastes.
    text = told(caught.value) if name == "pte-invalid-argument" else f"{log}\n{told(caught.value)}"
    assert names(text)[0] == name
    assert set(names(text)) <= {name, "pte-invalid-argument", "pte-not-a-program"}


def test_there_are_rows_for_every_stage_with_evidence():
    rows = (*EXECUTORCH_EXPORT, *EXECUTORCH_RUNTIME)
    assert len(rows) >= 15
    assert set(rows) <= set(KNOWN_ERRORS)
    assert {row.name for row in rows if row.provoked} == {*BY_TORCH, *BY_EXECUTORCH}
    for row in rows:
        if not row.provoked:
            assert any(thread.startswith("pytorch/executorch#") for thread in row.threads), row.name


def test_the_cure_of_a_pair_names_all_pairs():
    for torch_, (first, *_) in EXECUTORCH.items():
        assert f"executorch=={first} beside torch {torch_}" in BY_NAME["executorch-of-another-torch"].cure


@pytest.mark.parametrize(
    ("text", "name"),
    [
        # as others pasted it
        ("java.lang.Exception: Execution of method forward failed with status 0x14", "pte-operator-missing"),
        ("RuntimeError: loading method forward failed with error 0x20", "pte-backend-missing"),
        ("Program loading failed: 0x23\nE executorch:program.cpp:108] Program identifier 'X' != expected 'ET12'",
         "pte-not-a-program"),
        ("File /data/user/0/app/files/x.pte: offset 5320704 + size 4198960 > file_size_ 8912896", "pte-cut-off"),
        ("Load failed: 34", "pte-file-missing"),
        ("E 00:00:05.398363 executorch:operator_registry.cpp:185] kernel 'executorch_prim::et_view.default' not found.",
         "pte-operator-missing"),
        ("E/ExecuTorch(12402): Attempted to resize a static tensor to a new shape at dimension 0 old_size: 27",
         "pte-input-size"),
        ("02-27 16:00:16.169: E/ExecuTorch(25390): input 1 is none", "pte-input-count"),
        ("[tensor_util_portable.cpp:128] Check failed (all_contiguous || all_channels_last): 2 input tensors have "
         "different dim orders", "pte-input-layout"),
        ("torch._export.verifier.SpecViolationError: Operator torch._ops.aten.bernoulli.p is not Aten Canonical.",
         "export-not-core-operator"),
        ("ImportError: dlopen(/env/lib/python3.11/site-packages/executorch/extension/pybindings/_portable_lib."
         "cpython-311-darwin.so, 0x0002): symbol not found in flat namespace '__ZN10executorch'",
         "executorch-of-another-torch"),
        ("RuntimeError: tensor does not have a device\nException raised from device_default at TensorImpl.h:1303",
         "executorch-of-another-torch"),
        ("java.lang.UnsatisfiedLinkError: couldn't find DSO to load: libexecutorch.so", "executorch-library-missing"),
    ],
)  # fmt: skip
def test_as_others_pasted_it(text, name):
    assert names(text)[0] == name


def test_a_library_of_pytorch_mobile_is_told_apart_from_one_of_executorch():
    assert names('dlopen failed: library "libpytorch_jni.so" not found') == ["jni-library-missing"]
    assert names('dlopen failed: library "libexecutorch_jni.so" not found') == ["executorch-library-missing"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (
            "ExecuTorch does not lower the Q/DQ form: the delegate leaves an operation outside (c), and the "
            "runtime has no operator for quantized_decomposed::dequantize_per_channel",
            "missing-out-variants",
        ),
        (
            "a batch of 1 alone: another is refused (the model's code makes a fixed number of the batch)",
            "export-size-is-fixed",
        ),
    ],
)
def test_what_fxconv_says_of_them_in_its_own_words(line: str, name: str) -> None:
    assert names(line) == [name]
