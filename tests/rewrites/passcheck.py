"""What every case of every pass is checked for, whatever else its test asserts.

The float meaning is that of the original model run eagerly, on two different inputs one after the other; the pass
makes no edit when it runs again; it reports edits exactly when the text of the graph changed; the graph lints; and
the same holds for all default passes together, after which the original checkpoint loads.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from rewrites import Editor, PassResult, RewritePass, Rewritten, rewrite, run_pass
from rewrites.diff import graph_lines
from rewrites.tracing import trace

# Shapes at which convolutions, pools and views of all the small models below work.
IMAGE = (2, 8, 8, 8)


def model(forward: Callable, **parts: object) -> nn.Module:
    """A module with this forward: modules and parameters are registered as such, plain tensors as buffers."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                    self.register_buffer(name, part)
                else:
                    setattr(self, name, part)

    Model.forward = forward
    return Model().eval()


def conv(channels_in: int = 8, channels_out: int = 8, kernel: int = 1, **settings: object) -> nn.Conv2d:
    """A convolution that fits the images of `images`."""
    return nn.Conv2d(channels_in, channels_out, kernel, **settings)


def images(seed: int = 1, shape: Sequence[int] = IMAGE, count: int = 1) -> tuple[Tensor, ...]:
    """Random inputs, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(tuple(shape), generator=generator) * 2 for _ in range(count))


def tensors(value: object) -> list[Tensor]:
    """The tensors of a possibly nested result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors(item)]


def assert_same_results(original: nn.Module, changed: nn.Module, batches: Sequence, tolerance: float = 0.0) -> None:
    """Equal results, call by call, on fresh copies of each batch of inputs."""
    with torch.no_grad():
        for number, batch in enumerate(batches, start=1):
            wanted = tensors(original(*(tensor.clone() for tensor in batch)))
            got = tensors(changed(*(tensor.clone() for tensor in batch)))
            assert len(wanted) == len(got)
            for one, other in zip(wanted, got, strict=True):
                assert one.dtype == other.dtype and one.shape == other.shape
                if tolerance == 0.0:
                    assert torch.equal(one, other), f"call {number} gives other values"
                else:
                    assert (one - other).abs().max() <= tolerance * one.abs().max(), f"call {number} is off"


@dataclass(frozen=True)
class Checked:
    """What one pass did to one model, after all the checks went well."""

    result: PassResult
    graph_module: fx.GraphModule
    lines: tuple[str, ...]
    whole: Rewritten

    @property
    def changes(self) -> list[str]:
        """The removed and added lines of the pass's diff."""
        return [line for line in self.result.diff.splitlines()[2:] if line[0] in "+-"]

    @property
    def skips(self) -> dict[str, str]:
        """The reason for each node the pass declined."""
        return {skip.node: skip.reason for skip in self.result.skips}


def traced(original: nn.Module, before: Sequence[RewritePass] = ()) -> fx.GraphModule:
    """The graph of a copy of `original`, with the passes `before` behind it."""
    graph_module, _ = trace(copy.deepcopy(original).eval())
    graph_module.eval()
    for rule in before:
        run_pass(graph_module, rule)
    return graph_module


def check(
    rule: RewritePass,
    original: nn.Module,
    *inputs: Tensor,
    before: Sequence[RewritePass] = (),
    tolerance: float = 0.0,
) -> Checked:
    """Run `rule` on the traced `original` (after the passes `before`) and check all that every pass promises."""
    original.eval()
    batch = inputs or images()
    batches = [batch, tuple(tensor * 0.5 for tensor in batch)]

    graph_module = traced(original, before)
    text = graph_lines(graph_module)
    result = run_pass(graph_module, rule)
    lines = graph_lines(graph_module)
    assert bool(result.edits) == (text != lines), "edits are reported exactly when the graph changed"
    assert bool(result.diff) == bool(result.edits), "a diff is shown exactly when there are edits"
    allowed = max([tolerance, rule.tolerance, *(one.tolerance for one in before)])
    assert_same_results(copy.deepcopy(original), graph_module, batches, allowed)
    graph_module.graph.lint()

    again = Editor(graph_module, rule.name)
    rule.run(again)
    assert not again.edits, "a second run changes nothing"
    assert graph_lines(graph_module) == lines

    whole = rewrite(original)
    assert_same_results(copy.deepcopy(original), whole.graph_module, batches, whole.tolerance)
    assert set(whole.key_map) == set(original.state_dict())
    loaded = rewrite(original)
    loaded.load_state_dict(original.state_dict())
    assert_same_results(copy.deepcopy(original), loaded.graph_module, batches, whole.tolerance)
    return Checked(result, graph_module, tuple(lines), whole)


def text(block: str) -> list[str]:
    """The lines of a triple-quoted block, without the indentation of the test around it."""
    return [line.strip() for line in block.strip().splitlines()]
