"""Batch norms from the model to a verified artifact: what folds is gone from it, what does not is in each view."""

from __future__ import annotations

import copy
import io
import json

import pytest
import torch
import torch.nn.functional as F
from fxconv_commands import run_here
from rich.console import Console
from torch import Tensor, nn

import fxconv
from fxconv.config import Mode
from fxconv.report.html.changes import rewriting
from fxconv.report.pull_request import markdown
from fxconv.report.review import norm_rows
from fxconv.report.rewriting import print_rewriting
from rewrites import rewrite


class Asked(nn.Module):
    """Shapes and types are asked for between convolutions, norms and activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False)
        self.head = nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        height, width = y.shape[-2:]
        torch._assert(y.dtype == torch.float32, "float")
        y = F.relu(self.norm(y))
        y = self.inner(y)
        torch._assert(y.ndim == 4, "images")
        return F.interpolate(self.head(F.relu6(self.inner_norm(y))), size=(2 * height, 2 * width))


class Heads(nn.Module):
    """Linear layers with batch norms behind and in front, of features and of tokens made rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8)
        self.mix, self.rows = nn.Linear(8, 16), nn.BatchNorm1d(16)
        self.embed, self.norm = nn.Linear(16, 12, bias=False), nn.BatchNorm1d(12, affine=False)
        self.neck, self.head = nn.BatchNorm1d(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.inner(F.relu(self.stem(x))).flatten(2).transpose(1, 2))
        x = F.relu(self.rows(x.flatten(0, 1)).reshape_as(x)).mean(1)
        return self.head(self.neck(F.relu(self.norm(self.embed(x)))))


class Tokens(nn.Module):
    """A batch norm over tokens of as many features as there are tokens: folding it would be a silent fault."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.linear, self.norm, self.last = (
            nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 6),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.norm(self.linear(F.relu(self.stem(x)).flatten(2))))).mean(1)


def varied(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2)
    return model.eval()


def calibration() -> list[Tensor]:
    return [torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


@pytest.mark.parametrize("kind", [Asked, Heads])
def test_what_folds_is_gone_from_the_artifact(kind):
    done = fxconv.convert(varied(kind()), calibration(), recipe=("none",))
    assert done.verdict == "converted and verified"
    assert done.rewritten.unfolded_norms == () and done.rewritten.islands == ()
    assert not [name for name in done.artifact.calls if "batch_norm" in name]
    assert done.report.json()["quantization"]["unfolded_norms"] == []


@pytest.mark.parametrize("kind", [Asked, Heads])
def test_what_folds_is_fine_tuned_folded(kind):
    done = fxconv.convert(varied(kind()), calibration(), recipe=("none",), mode=Mode.qat, epochs=1)
    assert done.verdict == "converted and verified"
    assert not [name for name in done.artifact.calls if "batch_norm" in name]


def test_over_tokens_it_stays_apart():
    done = fxconv.convert(varied(Tokens()), calibration(), recipe=("none",))
    assert done.verdict == "converted and verified"
    (found,) = done.report.json()["quantization"]["unfolded_norms"]
    assert found["node"] == "norm"
    assert found["reason"].startswith(
        "over tokens, it normalizes the second dimension, and the features of linear are the last; relu_1 (ReLU), "
    )


def test_each_view_names_what_stands_alone():
    rewritten = rewrite(varied(Tokens()), example=(torch.rand(1, 3, 16, 16),))
    (norm,) = rewritten.unfolded_norms
    line = f"{norm.node}: {norm.reason}"
    file = io.StringIO()
    print_rewriting(rewritten, Console(file=file, width=400, color_system=None))
    for view in (file.getvalue(), markdown(rewritten, "tokens"), rewriting(rewritten)):
        assert line in view and "Batch norms that run as operations of their own" in view
    assert norm_rows(rewritten) == [("norms", f"1 batch norm runs by itself; {line}")]
    assert norm_rows(rewrite(varied(Heads()), example=(torch.rand(1, 3, 16, 16),))) == []


def test_those_of_one_reason_are_told_once():
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for norm, conv in zip(self.norms, self.convs, strict=True):
                x = x + conv(F.relu(norm(x)))
            return x

    rewritten = rewrite(varied(Rows()), example=(torch.rand(1, 3, 8, 8),))
    ((_, words),) = norm_rows(rewritten)
    assert words.startswith("3 batch norms run by themselves; norms_0: x (an input), in front of it, ")
    page = markdown(rewritten, "rows")
    assert page.count("which reads it, is no layer to fold it into") == 2 and "(and 1 other like this)" in page
    assert markdown(rewritten, "rows", full=True).count("is no layer to fold it into") == 3


def test_a_dry_run_lists_them_too(tmp_path):
    done = run_here(tmp_path, "diff", f"{__file__}:tokens", "--input-size", "3x16x16", "--json", "report.json")
    assert done.status == 0, done.stderr
    (found,) = json.loads((tmp_path / "report.json").read_text())["unfolded_norms"]
    assert found["node"] == "norm"


def tokens() -> nn.Module:
    """The factory that the command above names."""
    return varied(Tokens())


class Attending(nn.Module):
    """Rows that were normalized are laid out like int8 tokens, in float: attention follows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.rows = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.stem(x).flatten(2).transpose(1, 2))
        x = self.rows(x.flatten(0, 1)).reshape_as(x)
        return self.head((x.softmax(-1) * x).mean(1))


def test_what_only_takes_the_shape_of_an_int8_value_is_no_int8_operation():
    torch.manual_seed(0)
    settings = {"recipe": ("none",), "keep_float": ("reshape_as",)}
    conversion = fxconv.convert(Attending().eval(), [torch.randn(8, 3, 16, 16)], **settings)
    assert conversion.verdict == "converted and verified" and conversion.rewritten.unfolded_norms == ()
    assert "reshape_as" not in {row.where for row in conversion.audit.operations}
