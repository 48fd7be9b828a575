"""int8 modules: of one operation between stubs, as each row of the kernel table has it, and of whole networks."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub, convert, prepare

from fxconv.config import Config, Mode, Recipe
from fxconv.data.calibration import Batches
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization import dynamic
from fxconv.quantization.passes import selected
from fxconv.quantization.quantize import QuantizedModel, quantize
from fxconv.quantization.static import qconfig_for
from fxconv.quantization.task import QuantizationTask
from rewrites.fusion import CONVERT_MAPPING, cut_out_rows
from rewrites.kernel_examples import Call, OfList, ShapedAlike, Sized, Stacked
from rewrites.kernels import Kernel
from rewrites.modules import Wrapped
from rewrites.values import submodule


class Between(nn.Module):
    """An operation between stubs; of one that gives several tensors it is said how many."""

    def __init__(self, op: nn.Module, inputs: int, results: int = 0) -> None:
        super().__init__()
        self.op, self.results = op, results
        self.quants = nn.ModuleList(QuantStub() for _ in range(inputs))
        self.dequant = DeQuantStub()

    def forward(self, x: Tensor):
        return self._of(x)

    def _of(self, *given: Tensor):
        found = self.op(*[quant(each) for quant, each in zip(self.quants, given, strict=True)])
        if self.results:
            return [self.dequant(found[place]) for place in range(self.results)]
        return self.dequant(found)


class BetweenTwo(Between):
    """The same of two tensors."""

    def forward(self, x: Tensor, y: Tensor):
        return self._of(x, y)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, (Between, Call, OfList, Sized, Stacked, _Alike))


class _Method:
    """A method of a tensor, called as a proxy takes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, x, *args, **kwargs):
        return getattr(x, self.name)(*args, **kwargs)


class _Alike(nn.Module):
    """`ShapedAlike` as a proxy takes it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        other = x.repeat(1, 4, 1, 1)
        return x.expand_as(other) if self.name == "expand_as" else other.reshape_as(x.expand_as(other))


def _as_proxies_take_it(op: nn.Module) -> nn.Module:
    if isinstance(op, ShapedAlike):
        return _Alike(op.method.__name__)
    name = getattr(getattr(op, "function", None), "__name__", "")
    if isinstance(op, Call) and getattr(Tensor, name, None) is op.function:
        op.function = _Method(name)
    return op


def traced(op: nn.Module, inputs: int = 1, results: int = 0) -> fx.GraphModule:
    """The graph of an operation between stubs."""
    root = (Between, BetweenTwo)[inputs - 1](_as_proxies_take_it(op), inputs, results)
    return fx.GraphModule(root, _Tracer().trace(root)).eval()


def int8_graph(graph: fx.GraphModule, batches: list[tuple[Tensor, ...]]) -> fx.GraphModule:
    """A graph with stubs in int8, calibrated on these batches."""
    made = cut_out_rows(copy.deepcopy(graph))
    for part in made.modules():
        part.qconfig = None
    for node in made.graph.nodes:
        if (module := submodule(made, node)) is None:
            continue
        observed = qconfig_for(made, node, Config())
        parts = [module.quant, module.dequant] if isinstance(module, Wrapped) else [module, *module.children()]
        for part in parts:
            part.qconfig = observed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        prepare(made, inplace=True)
        for batch in batches:
            made(*batch)
        convert(made, mapping=CONVERT_MAPPING, inplace=True)
    made.recompile()
    return made


def example(row: Kernel) -> nn.Module:
    """A row's module, with statistics and weights that are not those of a fresh one."""
    torch.manual_seed(0)
    module = row.example().eval()
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) and part.weight is not None:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module


def inputs(row: Kernel, seed: int = 0) -> tuple[Tensor, ...]:
    """Random values; every input has a range of its own."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(row.shape, generator=generator) * (3 + 4 * at) + 0.3 for at in range(row.inputs))


def int8_row(row: Kernel) -> fx.GraphModule:
    """The int8 graph of a row."""
    op, given = example(row), inputs(row)
    with torch.no_grad():
        result = op(*given)
    graph = traced(op, row.inputs, 0 if isinstance(result, Tensor) else len(result))
    return int8_graph(graph, [given, inputs(row, 1)])


def quantized(model: nn.Module, batches: list[Tensor], **options) -> QuantizedModel:
    """A network in int8, calibrated on these batches; nothing of it is proven or written."""
    config = Config(**{"recipe": (Recipe.none,), **options})
    clock = Clock(lambda step, done, total: None)
    signature, data = InputSignature.of(model), Batches(batches)
    image = signature.arguments(data.examples(1)[0])
    task = QuantizationTask(model, selected(config), signature, data, image, config, clock)
    return dynamic.quantize(task, "the model") if config.mode is Mode.dynamic else quantize(task)
