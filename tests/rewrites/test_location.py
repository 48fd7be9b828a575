"""A file's path as a person would give it."""

from __future__ import annotations

import pytest

from rewrites.location import short


@pytest.mark.parametrize(
    ("filename", "said"),
    [
        ("HERE/net.py", "net.py"),
        ("HERE/models/net.py", "models/net.py"),
        ("/elsewhere/net.py", "net.py"),
        ("HERE/.venv/lib/python3.11/site-packages/torchvision/models/resnet.py", "torchvision/models/resnet.py"),
        ("/usr/lib/python3/dist-packages/torch/nn/modules/module.py", "torch/nn/modules/module.py"),
    ],
)
def test_inside_its_package_below_the_current_folder_or_its_name(filename, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short(filename.replace("HERE", str(tmp_path))) == said
