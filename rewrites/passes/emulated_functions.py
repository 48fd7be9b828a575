"""1 / (1 + y), 2 ** -y, x.sum(1) between int8 operations  ->  one operation that computes in float inside."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.domains import Domains, assign, ruling
from rewrites.edits import Editor
from rewrites.functions import (
    Exp,
    Expm1,
    Exponential,
    Log,
    Log1p,
    Over,
    Plus,
    Power,
    Quotient,
    Reciprocal,
    Rsqrt,
    Sqrt,
    Times,
    function_of,
)
from rewrites.intervals import interval
from rewrites.kernels import MULTIPLY_ACCUMULATE, Verdict
from rewrites.modules import AddScalar, DivScalar, Emulated, Mul, MulScalar, WrappedUnary
from rewrites.values import callee, sole_user, submodule, tensor_nodes

# Where a quotient, a root or a logarithm rises slowly enough, and what a power may be of to stay small.
_FAR_FROM_ZERO, _LARGEST_EXPONENT, _LARGEST_BASE = 0.5, 4.0, 8.0


def _with_constant(module: nn.Module | None) -> nn.Module | None:
    """The plain form of observed arithmetic with a constant; None for anything else."""
    module = module.op if type(module) is WrappedUnary else module
    if isinstance(module, DivScalar):
        return Over(module.divisor)
    if isinstance(module, MulScalar):
        return Times(module.scalar)
    return Plus(module.scalar) if isinstance(module, AddScalar) else None


def _is_candidate(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is a function of one tensor for which the engine has no kernel."""
    return (
        "float_reason" not in node.meta
        and ruling(graph_module, node) in (Verdict.FLOAT, Verdict.WRONG)
        and function_of(graph_module, node) is not None
    )


def _before_multiplications(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes behind which a convolution, linear layer or matrix product comes: what lies behind the last is an end
    of the model, which is float sooner or later.
    """
    found: set[fx.Node] = set()
    for node in reversed(graph_module.graph.nodes):
        if any(user in found or callee(graph_module, user) in MULTIPLY_ACCUMULATE for user in node.users):
            found.add(node)
    return found


def _upstream(graph_module: fx.GraphModule, node: fx.Node, candidates: set[fx.Node]) -> dict[fx.Node, nn.Module]:
    """`node` and what it alone reads of candidates and of arithmetic with constants, each as a function, in order.

    The int8 kernels of constants have a range that holds 0, and lose what lies far from it.
    """
    chain: dict[fx.Node, nn.Module] = {}
    while True:
        function = _with_constant(submodule(graph_module, node))
        if node in candidates:
            function = function_of(graph_module, node)
        if function is None or (chain and sole_user(node) is None):
            return chain
        chain = {node: function} | chain
        node = node.all_input_nodes[0]


def _is_closed(
    graph_module: fx.GraphModule, nodes: Collection[fx.Node], chain: dict[fx.Node, nn.Module], domains: Domains
) -> bool:
    """Whether a chain holds these float operations, and what is before and behind it runs in int8."""
    tensors = tensor_nodes(graph_module)
    readers = [user for user in list(chain)[-1].users if user in tensors or user.op == "output"]
    source = next(iter(chain)).all_input_nodes[0]
    return chain.keys() >= set(nodes) and bool(readers) and domains.int8.issuperset((source, *readers))


def _is_steady(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a candidate turns small errors of what it is given into small ones of what it gives, and stays small.

    What is not, the root of a variance say, is better off in float with whatever is beside it.
    """
    function = function_of(graph_module, node)
    low, high = interval(graph_module, node.all_input_nodes[0])
    if isinstance(function, (Quotient, Reciprocal, Sqrt, Rsqrt, Log)):
        return low >= _FAR_FROM_ZERO or (high <= -_FAR_FROM_ZERO and isinstance(function, (Quotient, Reciprocal)))
    if isinstance(function, Log1p):
        return low >= _FAR_FROM_ZERO - 1
    if isinstance(function, Exponential):
        return function.base > 0 and max(math.log(function.base) * end for end in (low, high)) <= _LARGEST_EXPONENT
    if isinstance(function, (Exp, Expm1)):
        return high <= _LARGEST_EXPONENT
    if isinstance(function, Power):
        return max(-low, high) <= _LARGEST_BASE and (function.exponent >= 1 or low >= _FAR_FROM_ZERO)
    return True


class EmulatedFunctions(RewritePass):
    """A function of one tensor without a quantized kernel is one operation between int8 ones, not a float island.

    What it does: `1 / (1 + y)`, `2 ** -y`, `y.reciprocal()`, `torch.exp(y)`, `y.clamp(-1, 1)`, `y.sum(1)`, Mish,
    Softplus and their kin, one or several behind each other, become a module that dequantizes, computes in float and
    quantizes, where what they read and all who read them run in int8. Constants added or multiplied just before go in
    with them.

    Why: such a function is no reason to leave int8. Its operation has one input and one range, like those of the
    engine that compute in float inside (`quantized::matmul`), and constants before it cost no bits.

    Leaves alone: functions beside an operation that runs in float anyway; what has weights; a softmax, a layer norm and
    whatever else takes the place of a whole range in 256 steps ill.
    """

    name = "emulated-functions"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        candidates = {node for node in graph_module.graph.nodes if _is_candidate(graph_module, node)}
        feeding = _before_multiplications(graph_module)
        steady = {node for node in candidates & feeding if _is_steady(graph_module, node)}
        domains = assign(graph_module, steady)
        order = {node.name: node for node in graph_module.graph.nodes}
        groups = [[order[name] for name in island.nodes] for island in domains.islands()]
        groups += [[node] for node in steady & domains.int8]
        for nodes in sorted(groups, key=max, reverse=True):  # the last first: it takes in what is before it
            last = nodes[-1]
            if last._erased or last not in candidates:
                continue
            editor.current = last
            chain = _upstream(graph_module, last, candidates)
            if not _is_closed(graph_module, nodes, chain, domains):
                continue
            value, functions = next(iter(chain)).all_input_nodes[0], list(chain.values())
            if len(functions) == 1 and isinstance(functions[0], Power) and functions[0].exponent == 2:
                editor.replace_with_module(last, Mul(), (value, value), "square", "a square is a product, bit for bit")
                continue
            module = Emulated(functions[0] if len(functions) == 1 else nn.Sequential(*functions))
            reason = "what is before and behind it is int8, and one operation does what a float island would"
            editor.replace_with_module(last, module, (value,), "emulated", reason)
            for node in reversed([*chain][:-1]):
                editor.erase(node, f"it is computed inside {last.target}")

    @staticmethod
    def example() -> nn.Module:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv1, self.act, self.conv2 = nn.Conv2d(8, 8, 1), nn.Mish(), nn.Conv2d(8, 8, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.conv2(torch.abs(self.act(self.conv1(x))))

        return Gated()
