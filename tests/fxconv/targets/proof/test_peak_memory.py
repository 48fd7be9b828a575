"""Memory is measured in a process of its own, which may crash."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxconv.errors import UserError
from fxconv.targets.proof.peak_memory import peak_memory


def test_a_file_takes_at_least_what_its_weights_do(tmp_path):
    path = tmp_path / "large.ptl"
    torch.jit.script(nn.Linear(2048, 4096))._save_for_lite_interpreter(str(path))
    assert peak_memory(path, [torch.zeros(1, 2048)]) >= 4 * 2048 * 4096


def test_what_the_process_finds_wrong_is_the_users_to_mend(tmp_path):
    path = tmp_path / "x.ptl"
    torch.jit.script(nn.Linear(2, 4))._save_for_lite_interpreter(str(path))
    with pytest.raises(
        UserError, match=r"x.ptl: does not run on an input of 3 \(.*shapes.*\); set --input-size to what "
    ):
        peak_memory(path, [torch.zeros(1, 3)])


def test_a_crash_is_told_in_one_line(small_conversion, tmp_path):
    path = tmp_path / "x.ptl"
    small_conversion.save(path)
    inputs = [torch.zeros(1, 3, 32, 32), torch.zeros(1, 7)]  # one too many leaves the interpreter's stack askew
    with pytest.raises(
        UserError, match=r"x.ptl: torch crashed \(SIG[A-Z]+\) on it with an input of 3x32x32 and 7; it is"
    ):
        peak_memory(path, inputs)
