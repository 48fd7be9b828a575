"""Which nodes are legal before and after rewriting. Every offender is listed, not only the first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.domains import assign
from rewrites.fusion import fusable_nodes
from rewrites.readers import asks_shape_alone
from rewrites.values import callee, submodule, tensor_nodes


@dataclass(frozen=True)
class Offence:
    """A node that must not be there, and the rule it breaks."""

    node: str
    rule: str


def forwards_of_their_own(model: nn.Module) -> list[str]:
    """Paths of torch's own layers that have a forward set on the instance: as an operation it would be dropped.

    That of a module of the model's own is traced as its class's is.
    """
    return [
        path
        for path, module in model.named_modules()
        if "forward" in vars(module) and type(module).__module__.startswith(("torch.nn.", "torch.ao."))
        if not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
    ]


def check_source(model: nn.Module) -> list[Offence]:
    """What makes a model unfit to be rewritten: layers that are quantized already, or do not do what they are for."""
    return [
        Offence(path, "a forward of its own was set on this layer; write it into the forward that calls the layer")
        for path in forwards_of_their_own(model)
    ] + [
        Offence(path, f"{type(module).__name__} is quantized already; rewriting starts from the float model")
        for path, module in model.named_modules()
        if type(module).__module__.startswith(("torch.ao.nn.quantized.modules", "torch.ao.nn.intrinsic.quantized"))
        and not type(module).__name__.endswith(("FloatFunctional", "PackedParams"))
    ]


def check_names(graph_module: fx.GraphModule) -> list[Offence]:
    """What fusable-names must not leave behind: a name with a number or `block` as a component."""
    return [
        Offence(node.name, f"the name {node.target} does not say what the layer is")
        for node in graph_module.graph.nodes
        if node.op in ("call_module", "get_attr")
        and any(part.isdigit() or part == "block" for part in str(node.target).split("."))
    ]


def check_rewritten(graph_module: fx.GraphModule) -> list[Offence]:
    """What the default passes must not leave behind.

    No value crosses between the domains without a stub, and nothing in the int8 domain is an operator the engine
    lacks or gets wrong.
    """
    offences = []
    domains = assign(graph_module)
    fused = {node for chain in fusable_nodes(graph_module) for node in chain[1:]}
    tensors = tensor_nodes(graph_module)
    for node in graph_module.graph.nodes:
        kind = callee(graph_module, node)
        if kind in (QuantStub, DeQuantStub):
            continue
        for value in node.all_input_nodes:
            if value not in tensors or asks_shape_alone(node, value):
                continue
            if node.op == "output" and value in domains.int8:
                offences.append(Offence(node.name, f"the output {value.name} leaves the graph quantized"))
            elif node in tensors and (value in domains.int8) != (node in domains.int8):
                offences.append(Offence(node.name, f"it reads {value.name} across the int8 boundary without a stub"))
        module = submodule(graph_module, node)
        if node in domains.int8 - fused and getattr(module, "inplace", False):
            offences.append(Offence(node.name, "an in-place operation runs in int8"))
    return offences
