"""A file of weights that is named, and not there."""

from __future__ import annotations

import pytest

from fxconv.errors import UserError
from fxconv.models.weights_path import check_checkpoint


def test_a_file_has_to_be_there(tmp_path):
    (tmp_path / "net.pth").write_text("")
    check_checkpoint(tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"gone\.pth: no such file; give a checkpoint, or auto, or random"):
        check_checkpoint(tmp_path / "gone.pth")
    with pytest.raises(UserError, match="is a folder; give a checkpoint"):
        check_checkpoint(tmp_path)
