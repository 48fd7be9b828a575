"""A TorchScript program, made fit for phones: by optimize_for_mobile, or by its passes where torch has no XNNPACK.

torch 2.13 and later are built without it (pytorch/pytorch#189532), and optimize_for_mobile asserts there. All of its
passes but one are there all the same, and the one, insert-fold-prepack-ops, knows float layers only.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import _MobileOptimizerType as MobileOptimizerType
from torch.utils.mobile_optimizer import optimize_for_mobile

from fxconv.config import Config, MobilePass
from fxconv.environment import has_xnnpack
from fxconv.quantization.torch_notices import quiet
from fxconv.targets.mobile.source_lines import without_source_lines
from fxconv.targets.mobile.writes import writes_in_place

# The float layers that insert-fold-prepack-ops packs. A trace records _convolution for all kinds of convolutions.
_PACKED = ("aten::conv1d", "aten::conv2d", "aten::conv_transpose2d", "aten::linear")
_OF_TRACES = "aten::_convolution"


def optimize(scripted: torch.jit.ScriptModule, config: Config) -> torch.jit.ScriptModule:
    """Run the passes of optimize_for_mobile; not the blocked ones, nor prepacking where it would stop or go wrong."""
    blocked = set(config.blocked)
    if _pads_in_words(scripted):
        blocked.add(MobilePass.insert_fold_prepack_ops)
    with quiet():
        if not has_xnnpack():
            return without_xnnpack(in_own_unit(scripted), blocked)
        if MobilePass.insert_fold_prepack_ops not in blocked and writes_in_place(scripted):
            # Some of it may be in branches that are never taken, which only the frozen program tells.
            without = with_xnnpack(in_own_unit(scripted), {*blocked, MobilePass.insert_fold_prepack_ops})
            if writes_in_place(without):
                return without
        return with_xnnpack(in_own_unit(scripted), blocked)


def prepacks(config: Config) -> bool:
    """Whether float layers are packed for XNNPACK."""
    return has_xnnpack() and MobilePass.insert_fold_prepack_ops not in config.blocked


def with_xnnpack(program: torch.jit.ScriptModule, blocked: Collection[MobilePass]) -> torch.jit.ScriptModule:
    """What optimize_for_mobile makes of a program, without the blocked passes."""
    return optimize_for_mobile(program, optimization_blocklist={_optimizer_type(name) for name in blocked})


def without_xnnpack(program: torch.jit.ScriptModule, blocked: Collection[MobilePass]) -> torch.jit.ScriptModule:
    """What optimize_for_mobile makes of a program when insert-fold-prepack-ops is blocked; `program` is used up.

    Freezing makes constants of the packed weights, wherever they are, so that hoist-conv-packed-params, blocked or not,
    finds none that a part of the program still holds.
    """
    passes: Any = torch._C
    module = program.eval()._c
    if MobilePass.conv_bn_fusion not in blocked:
        module = passes._jit_pass_fold_convbn(module)
    module = passes._freeze_module(module, [], True, False)
    graph = module._get_method("forward").graph
    _simplify(graph)
    if MobilePass.remove_dropout not in blocked:
        passes._jit_pass_remove_dropout(module)
    if MobilePass.fuse_add_relu not in blocked:
        passes._jit_pass_fuse_add_relu(graph)
    module._register_attribute("mobile_optimized", passes.BoolType.get(), True)
    optimized: torch.jit.ScriptModule = torch.jit._recursive.wrap_cpp_module(module)
    return optimized


def _simplify(graph: Any) -> None:
    """What torch runs on a frozen program: whatever is constant, or worked out twice, is there once."""
    passes: Any = torch._C
    passes._jit_pass_erase_shape_information(graph)  # a trace knows shapes of constants, which keep equal ones apart
    passes._jit_pass_dce(graph)
    passes._jit_pass_cse(graph)
    passes._jit_pass_peephole(graph)
    passes._jit_pass_constant_propagation(graph)
    passes._jit_pass_constant_pooling(graph)
    passes._jit_pass_constant_loop_unrolling(graph)
    passes._jit_pass_peephole(graph)
    passes._jit_pass_constant_propagation(graph)
    passes._jit_pass_cse(graph)


def unpacked(scripted: torch.jit.ScriptModule, optimized: torch.jit.ScriptModule, config: Config) -> str:
    """One sentence on the float layers that only XNNPACK would pack.

    "" where there is none, where none was asked for, and where they would not be packed with it either.
    """
    if has_xnnpack() or MobilePass.insert_fold_prepack_ops in config.blocked:
        return ""
    if _pads_in_words(scripted) or writes_in_place(optimized):
        return ""
    graph: Any = optimized.inlined_graph  # its nodes do not outlive it
    found = Counter({kind: len(list(graph.findAllNodes(kind))) for kind in _PACKED})
    found[_OF_TRACES] = sum(map(_is_packed, graph.findAllNodes(_OF_TRACES)))
    if not found.total():
        return ""
    named = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    return (
        f"float layers are not packed for XNNPACK, which torch {torch.__version__.partition('+')[0]} is built without, "
        f"and run slower for it: {named}; torch 2.12 packs them"
    )


def _is_packed(convolution: Any) -> bool:
    """Whether XNNPACK has a packed form of a _convolution: in one dimension and two, in one not of the transposed."""
    _, _, _, stride, _, _, transposed, *_ = convolution.inputs()
    steps = stride.toIValue()  # None where the program works it out
    return steps is None or len(steps) == 2 or (len(steps) == 1 and not transposed.toIValue())


def _optimizer_type(name: MobilePass) -> Any:
    """torch's enum member for a pass: `conv-bn-fusion` is CONV_BN_FUSION."""
    return getattr(MobileOptimizerType, name.name.upper())


def in_own_unit(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """The same program in a compilation unit of its own, written without its weights, read back, and given them.

    optimize_for_mobile makes constants of the weights, and lays the functions that hold them into the unit of the
    module it is given. The one that scripting uses lives as long as the process: each call would keep twice the
    weights.

    What is read back has forgotten where, and of which lines of Python, it was made, so that no artifact tells.
    """
    kept = io.BytesIO()  # no file: nothing of a conversion needs room for temporary ones
    weights = dict(scripted.named_parameters())
    with torch.no_grad(), _hollow(weights.values()):
        torch.jit.save(scripted, kept)
    alone = torch.jit.load(io.BytesIO(without_source_lines(kept.getvalue())))
    for name, parameter in alone.named_parameters():
        parameter.data = weights[name].data
    return alone


@contextmanager
def _hollow(weights: Iterable[Tensor]) -> Iterator[None]:
    """These tensors with one value that is repeated: written, they take no room. Afterwards they are what they were."""
    held = [(weight, weight.data) for weight in weights]
    try:
        for weight, values in held:
            weight.data = values.new_zeros(()).expand(values.shape)
        yield
    finally:
        for weight, values in held:
            weight.data = values


def _pads_in_words(scripted: torch.jit.ScriptModule) -> bool:
    """Whether a float convolution has `padding="same"` or `"valid"`: prepacking takes it for a list, and asserts.

    numeric-padding leaves those whose call it cannot see, inside modules that do not trace.
    """
    if not hasattr(scripted, "inlined_graph"):
        return False
    graph: Any = scripted.inlined_graph  # its nodes do not outlive it
    found = [node for kind in ("conv1d", "conv2d") for node in graph.findAllNodes(f"aten::{kind}")]
    return any("StringType" in [value.type().kind() for value in node.inputs()] for node in found)
