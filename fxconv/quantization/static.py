"""Static quantization of a rewritten module, on torch.ao.quantization's eager functions."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import (
    DeQuantStub,
    FixedQParamsObserver,
    QConfig,
    convert,
    prepare,
)

from fxconv.config import Config, Recipe, WeightScheme
from fxconv.measures.saturation import distinguishable
from fxconv.progress import Progress
from fxconv.quantization.bias_overflow import make_room_for_biases
from fxconv.quantization.engine import reduces_range
from fxconv.quantization.float_changes import Change
from fxconv.quantization.fusion import fuse
from fxconv.quantization.observers import RangeObserver, weight_observer
from fxconv.quantization.recipes.adaround import hold, rounded_adaptively
from fxconv.quantization.recipes.bias_correction import corrected
from fxconv.quantization.torch_notices import quiet
from rewrites.domains import assign
from rewrites.fusion import CONVERT_MAPPING
from rewrites.modules import ScalarArithmetic, Wrapped
from rewrites.parts import graphs_in, own_modules, prefixed
from rewrites.values import submodule

# A transposed convolution's weights have their output channels second; the engine takes one scale only.
_PER_TENSOR_ONLY = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *_PER_TENSOR_ONLY)


# The key in a GraphModule's meta under which `observe` leaves the modules that `convert_observed` must find int8.
_EXPECTED = "expected_int8"


class QuantizationError(RuntimeError):
    """Something that should have become int8 did not: a fault of fxconv, found before anything is written."""


def qconfig_for(graph_module: fx.GraphModule, node: fx.Node, config: Config, steps: Collection[Recipe] = ()) -> QConfig:
    """Observers for the module `node` calls: a histogram of its output, the weights' extremes by channel or tensor."""
    module = submodule(graph_module, node)
    scheme = WeightScheme.per_tensor if isinstance(module, _PER_TENSOR_ONLY) else config.weight_scheme
    low, high = distinguishable(graph_module, node)
    activation = RangeObserver.with_args(method=config.observer, low=low, high=high, reduce_range=reduces_range(config))
    if isinstance(module, ScalarArithmetic):  # its int8 form carries the input's range along; nothing to observe
        activation = functools.partial(
            FixedQParamsObserver, scale=1.0, zero_point=0, dtype=torch.quint8, quant_min=0, quant_max=255
        )
    return QConfig(activation=activation, weight=weight_observer(scheme, Recipe.weight_ranges in steps))


def _set_qconfigs(graph_module: fx.GraphModule, int8: set[str], config: Config, steps: Collection[Recipe]) -> None:
    """Give every int8 module of a graph its observers."""
    for node in graph_module.graph.nodes:
        module = submodule(graph_module, node)
        if module is None or not (node.name in int8 or isinstance(module, DeQuantStub)):
            continue
        observed = qconfig_for(graph_module, node, config, steps)
        # A wrapped operator is quantized at its stubs; the operator inside stays in float.
        parts = [module.quant, module.dequant] if isinstance(module, Wrapped) else [module, *module.children()]
        for part in parts:
            part.qconfig = observed  # type: ignore[assignment]


def observe(
    rewritten: nn.Module, config: Config, steps: Collection[Recipe] = (), planned: Sequence[Change] = ()
) -> nn.Module:
    """Fuse a copy of the rewritten module and put observers on everything that will run in int8.

    `steps` of a recipe say how ranges are made of what they observe; layers are changed as `planned`.
    """
    int8 = {path: {node.name for node in assign(graph).int8} for path, graph in graphs_in(rewritten).items()}
    fused = fuse(rewritten, planned)
    for part in fused.modules():
        part.qconfig = None  # type: ignore[assignment]
    for path, graph in graphs_in(fused).items():
        _set_qconfigs(graph, int8[path], config, steps)
    for graph in graphs_in(fused).values():
        graph.meta[_EXPECTED] = tuple(
            path
            for path, module in own_modules(graph)
            if module.qconfig is not None and CONVERT_MAPPING.get(type(module), type(module)) is not type(module)
        )
    with quiet():
        prepare(fused, inplace=True)
    for part in fused.modules():
        # A fused layer is a Sequential, of which its observer is a member now: the hook would run it once more.
        if isinstance(part, nn.Sequential):
            part._forward_hooks.clear()
    return fused


def observers(observed: nn.Module) -> dict[str, RangeObserver]:
    """What an observed module has seen, by the paths of its observers."""
    return {path: part for path, part in observed.named_modules() if isinstance(part, RangeObserver)}


def int8_layers(observed: nn.Module) -> list[str]:
    """The paths of the layers of an observed module whose weights will be int8."""
    layers = ((path, part) for path, part in observed.named_modules() if isinstance(part, _LAYERS))
    return [path for path, part in layers if getattr(part, "qconfig", None) is not None]


def observe_again(
    rewritten: nn.Module,
    config: Config,
    steps: Collection[Recipe],
    planned: Sequence[Change],
    seen: Mapping[str, RangeObserver],
) -> nn.Module:
    """`observe` with other steps, without running anything: the new observers have seen what those in `seen` have."""
    observed = observe(rewritten, config, steps, planned)
    for path, observer in observers(observed).items():
        observer.merge(seen[path])
    return observed


def convert_observed(
    observed: nn.Module,
    means: Mapping[str, Tensor] | None = None,
    grams: Mapping[str, Tensor] | None = None,
    progress: Progress = lambda step, done, total: None,
    known: Mapping[str, Tensor] | None = None,
    noted: dict[str, Tensor] | None = None,
) -> nn.Module:
    """Turn an observed, calibrated module into int8, in place.

    With `grams` of the layers' inputs, as `InputGrams` gives them, weights are rounded adaptively; with `means`, as
    `InputMeans` gives them, the biases are corrected for the weights as they are rounded. Of the rounded weights those
    that are `known` are taken, and all are `noted`.
    Raises `QuantizationError` naming every module that should have become int8 and did not.
    """
    with quiet():
        for graph in graphs_in(observed).values():
            make_room_for_biases(graph)
        rounded = rounded_adaptively(observed, grams or {}, progress, known)
        if noted is not None:
            noted.update(rounded)
        corrected(observed, means or {}, rounded)
        hold(observed, rounded)
        kinds = {module: next(module.parameters(), None) for module in _untraced(observed)}
        convert(observed, mapping=CONVERT_MAPPING, inplace=True)
        _keep_a_parameter(kinds)
    missed = []
    for place, graph in graphs_in(observed).items():
        graph.recompile()
        after = dict(graph.named_modules())
        # What stands inside a module that was swapped whole went with it.
        wanted = [path for path in graph.meta[_EXPECTED] if path in after]
        missed += [prefixed(place, path) for path in wanted if not is_int8(after[path])]
    if missed:
        raise QuantizationError(f"these layers should be int8 and are not: {', '.join(missed)}")
    return observed


def _untraced(module: nn.Module) -> list[nn.Module]:
    """The modules of a model in parts that keep their own forward, the outer before the inner."""
    if isinstance(module, fx.GraphModule):
        return []
    inside = {part for graph in graphs_in(module).values() for part in graph.modules()}
    return [part for part in module.modules() if part not in inside]


def _keep_a_parameter(kinds: Mapping[nn.Module, Tensor | None]) -> None:
    """Leave an empty parameter of the same type where none is left: `next(self.parameters()).dtype` asks for one."""
    for module, was in reversed(list(kinds.items())):
        if was is not None and next(module.parameters(), None) is None:
            empty = torch.empty(0, dtype=was.dtype, device=was.device)
            module.register_parameter("type_of_parameters", nn.Parameter(empty, requires_grad=False))


def is_int8(module: nn.Module) -> bool:
    """Whether a module is one of torch.ao's quantized ones."""
    return ".quantized" in type(module).__module__
