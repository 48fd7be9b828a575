"""An int8 or float module  ->  TorchScript  ->  optimize_for_mobile  ->  the bytes of a .ptl."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch._C import _MobileOptimizerType as MobileOptimizerType
from torch.jit._builtins import _get_builtin_table
from torch.utils.mobile_optimizer import optimize_for_mobile

from fxconv.config import Config, Method, MobilePass
from fxconv.errors import ConversionError, UserError
from fxconv.quantize import quiet


def _optimizer_type(name: MobilePass) -> Any:
    """torch's enum member for a pass: `conv-bn-fusion` is CONV_BN_FUSION."""
    return getattr(MobileOptimizerType, name.name.upper())


def to_torchscript(module: nn.Module, example: tuple[Any, ...], config: Config) -> torch.jit.ScriptModule:
    """Script or trace `module`; `example` is what a trace records.

    Raises `ConversionError` with TorchScript's own words when it refuses, and `UserError` for outputs that the lite
    interpreter cannot hold: it crashes on a list or dict whose members are of different types.
    """
    try:
        with quiet(), torch.no_grad():
            if config.method is Method.trace:
                scripted = torch.jit.trace(module, example, check_trace=False, strict=False)
            else:
                _forget_stale_builtins(module)
                scripted = torch.jit.script(module)
    except Exception as error:
        words = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConversionError(
            f"TorchScript refuses the model ({config.method.value}): {words[0] if words else error!r}; "
            f"--method {config.method.other.value} may take it"
        ) from error
    returned = str(scripted.forward.schema.returns[0].type)
    if "Union[" in returned:
        raise UserError(f"the outputs mix types in one list or dict ({returned}); return a tuple of tensors instead")
    return scripted


def _forget_stale_builtins(module: nn.Module) -> None:
    """Keep TorchScript from taking a plain attribute for one of its builtins.

    It knows them by id. One that is gone leaves its id to whatever comes to lie at its address, now and then a
    convolution's list of paddings, which is then refused: "builtin cannot be used as a value".
    """
    known = _get_builtin_table()
    for part in module.modules():
        for value in vars(part).values():
            if not callable(value):
                known.pop(id(value), None)


def optimize(scripted: torch.jit.ScriptModule, config: Config) -> torch.jit.ScriptModule:
    """Run optimize_for_mobile without the blocked passes, and without prepacking where it would stop."""
    blocked = {_optimizer_type(name) for name in config.blocked}
    if _pads_in_words(scripted):
        blocked.add(_optimizer_type(MobilePass.insert_fold_prepack_ops))
    with quiet():
        return optimize_for_mobile(scripted, optimization_blocklist=blocked)


def _pads_in_words(scripted: torch.jit.ScriptModule) -> bool:
    """Whether a float convolution has `padding="same"` or `"valid"`: prepacking takes it for a list, and asserts.

    numeric-padding leaves those whose call it cannot see, inside modules that do not trace.
    """
    if not hasattr(scripted, "inlined_graph"):
        return False
    graph: Any = scripted.inlined_graph  # its nodes do not outlive it
    found = [node for kind in ("conv1d", "conv2d") for node in graph.findAllNodes(f"aten::{kind}")]
    return any("StringType" in [value.type().kind() for value in node.inputs()] for node in found)


def to_bytes(optimized: torch.jit.ScriptModule) -> bytes:
    """The lite-interpreter archive. Saved through a buffer, so that its root does not depend on a file's name."""
    with quiet():
        return optimized._save_to_buffer_for_lite_interpreter()


def lower_float(fused: fx.GraphModule, example: tuple[Any, ...], config: Config) -> bytes:
    """The float twin of an artifact: the same fused graph, lowered the same way, for size and latency beside it."""
    return to_bytes(optimize(to_torchscript(fused, example, config), config))
