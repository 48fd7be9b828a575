"""docs/python.md: its examples run, in their order, and it names what is public."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import fxconv
from fxconv.measures import latency

PAGE = (Path(__file__).resolve().parents[1] / "docs/python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


class Net(nn.Module):
    """A small classifier of 32x32 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.stem(image).mean((2, 3)))


class Pictures(Dataset):
    """Sixty tensors and their classes."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index)), index % 10


def test_every_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "_SECONDS", 0.0)
    torch.manual_seed(0)
    (tmp_path / "photographs").mkdir()
    for index in range(20):
        pixels = np.random.default_rng(index).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photographs/{index}.png")
    dataset = Pictures()
    names: dict[str, object] = {
        "model": Net().eval(),
        "x": torch.randn(1, 3, 32, 32),
        "dataset": dataset,
        "loader": DataLoader(TensorDataset(*map(torch.stack, zip(*((image, torch.tensor(label)) for image, label in (
            dataset[place] for place in range(60))), strict=True))), batch_size=10, shuffle=True),
    }  # fmt: skip
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "<Conversion Net: converted and verified; " in printed
    assert "16 of 60 images of a Pictures, seed 0" in printed
    assert "max_drop=150: give percentage points from 0 to 100, such as 1" in printed
    assert names["answer"].shape == (1, 10)
    assert {path.name for path in tmp_path.iterdir()} == {"photographs", "model.ptl", "report.html"}


@pytest.mark.parametrize("name", fxconv.__all__)
def test_the_page_names_what_is_public(name):
    assert f"`{name}`" in PAGE or f"`fxconv.{name}`" in PAGE
