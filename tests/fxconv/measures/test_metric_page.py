"""docs/metric.md does what it says: its files are written, its command runs, and so does its code."""

from __future__ import annotations

import re
import shlex
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fxconv_commands import REPO
from torch import Tensor, nn

from fxconv.conversion import Conversion
from fxconv.measures.metric import Metric
from fxconv.models.signature import InputSignature

PAGE = (REPO / "docs" / "metric.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# Those that are a file begin with its name as a comment.
FILES = {text.splitlines()[0].removeprefix("# "): text for kind, text in BLOCKS if kind and text.startswith("# ")}
NET = """
import torch
from torch import nn

def segmenter():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)).eval()
"""


@pytest.fixture
def files(tmp_path, monkeypatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_command_is_right(command, files, tmp_path):
    home = tmp_path / "cwd"
    (home / "net.py").write_text(NET)
    (home / "iou.py").write_text(FILES["iou.py"])
    images, others = torch.randn(2, 24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    np.save(home / "others.npy", others.numpy())
    scope: dict[str, Any] = {}
    exec(compile(NET, "net.py", "exec"), scope)
    with torch.no_grad():
        found = scope["segmenter"]()(images).argmax(1)
    truth = torch.rand(found.shape, generator=torch.Generator().manual_seed(1))
    masks = torch.where(truth < 0.4, 0, found)  # float is right on some of the pixels
    np.savez(home / "masks.npz", images=images.numpy(), targets=masks.numpy())
    (line,) = [text.strip() for kind, text in BLOCKS if not kind]
    done = command(*shlex.split(line)[1:], "--calib", "others.npy", "--json", "report.json")
    assert done.status == 0, done.stderr
    told = done.report["judgement"]
    assert (told["measure"], told["images"], told["max_drop"]) == ("mean_iou", 24, 1.0)
    assert 0.3 < told["float_metric"] < 0.9
    assert told["drop"] <= 1


class Landmarks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).reshape(-1, 3, 2)


def test_the_code_is_right(files, capsys):
    torch.manual_seed(0)
    model, images = Landmarks().eval(), torch.randn(40, 3, 12, 12)
    (text,) = [text for kind, text in BLOCKS if kind == "python" and text.startswith("import fxconv")]
    with torch.no_grad():
        scope: dict[str, Any] = {"model": model, "images": images, "truth": model(images) + 0.1}
    exec(compile(text, "metric.md", "exec"), scope)
    conversion = scope["conversion"]
    assert isinstance(conversion, Conversion)
    assert conversion.judgement.float_metric == pytest.approx(-(0.1 * 2**0.5), rel=1e-4)
    assert capsys.readouterr().out.split()[0] == str(conversion.judgement.float_metric)


def test_a_metric_of_a_librarys_is_called_as_the_page_says(files, monkeypatch):
    class MeanAveragePrecision:
        """Stands for torchmetrics', which is not installed: the share of equal values."""

        def __init__(self) -> None:
            self.same: list[Tensor] = []

        def update(self, found: Tensor, truth: Tensor) -> None:
            self.same.append(found == truth)

        def compute(self) -> dict[str, Tensor]:
            return {"map": torch.cat(self.same).float().mean()}

    made = ModuleType("torchmetrics.detection")
    made.MeanAveragePrecision = MeanAveragePrecision  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchmetrics", ModuleType("torchmetrics"))
    monkeypatch.setitem(sys.modules, "torchmetrics.detection", made)
    from fxconv.data.targets import with_targets

    metric, signature = Metric.at("detection:mean_average_precision"), InputSignature(("x",))
    data = with_targets([(torch.zeros(3, 2), torch.zeros(3, 2)), (torch.zeros(1, 2), torch.ones(1, 2))], signature, 9)
    assert metric.measured(nn.Identity(), signature, data, 9) == (0.75, 4)
