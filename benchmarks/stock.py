"""The stock flow, as PyTorch's own documentation gives it: FX mode, default qnnpack settings, mobile optimizer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.utils.mobile_optimizer import optimize_for_mobile


def quantize(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """prepare_fx, calibrate, convert_fx."""
    torch.backends.quantized.engine = "qnnpack"
    batches = list(batches)
    prepared = prepare_fx(copy.deepcopy(model).eval(), get_default_qconfig_mapping("qnnpack"), (batches[0][:1],))
    with torch.no_grad():
        for batch in batches:
            prepared(batch)
    converted: nn.Module = convert_fx(prepared)
    return converted


def write(model: nn.Module, batches: Iterable[Tensor], path: Path) -> Any:
    """The whole stock flow to a .ptl, loaded back in the lite interpreter."""
    optimized = optimize_for_mobile(torch.jit.script(quantize(model, batches)))
    optimized._save_for_lite_interpreter(str(path))  # type: ignore[operator]
    return torch.jit.mobile._load_for_lite_interpreter(str(path))
