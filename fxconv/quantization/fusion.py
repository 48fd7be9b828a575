"""Convolution, batch norm and activation fused, in a copy, before anything is observed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import fx, nn
from torch.ao.quantization import (
    fuse_modules,
)

from fxconv.quantization.float_changes import Change
from fxconv.quantization.torch_notices import quiet
from rewrites.copies import sharing_parameters
from rewrites.fusion import FUSE_CONFIG, cut_out_rows, fold_norms_forward, fusable_chains
from rewrites.parts import copied, graphs_in
from rewrites.stand_ins import descriptions, keep_descriptions

_FUSED: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


@contextmanager
def fused_once(module: nn.Module) -> Iterator[None]:
    """Within, `fuse` copies what it made of `module` the first time, which nobody may change meanwhile."""
    _FUSED[module] = fuse(module)
    try:
        yield
    finally:
        del _FUSED[module]


def fuse(module: nn.Module, planned: Sequence[Change] = ()) -> nn.Module:
    """A copy with convolution, batch norm and activation fused in int8 and float regions alike, in all its graphs.

    Its layers are changed as `planned`.
    Batch norms are folded here and not by optimize_for_mobile, which has lost biases doing it (pytorch PR 127227).
    """
    known = _FUSED.get(module)
    fused = copied(module if known is None else known, sharing_parameters)
    if known is None:
        for graph in graphs_in(fused).values():
            _fuse_graph(cut_out_rows(graph))
    for change in planned:
        change.apply(fused)
    return fused


def _fuse_graph(fused: fx.GraphModule) -> None:
    fold_norms_forward(fused)
    with quiet():
        chains = fusable_chains(fused)
        if chains:
            fuse_modules(fused, chains, inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
    leftovers = {name for chain in chains for name in chain[1:]}
    for node in list(fused.graph.nodes):
        if node.op == "call_module" and node.target in leftovers:
            node.replace_all_uses_with(node.all_input_nodes[0])
            fused.graph.erase_node(node)
    kept = descriptions(fused)
    fused.delete_all_unused_submodules()
    keep_descriptions(kept, fused)
    fused.recompile()
