"""What every pass promises, checked on one model: for the tests of a pass.

    checked = check(MyPass(), MyModel(), torch.randn(2, 8, 8, 8))
    checked.changes, checked.skips, checked.whole.islands

The float meaning is that of the original model run eagerly, on two different inputs one after the other; the pass
makes no edit when it runs again; it reports edits exactly when the text of the graph changed; the graph lints; and
the same holds for all default passes together (with a pass of one's own among them), after which the original
checkpoint loads. `AssertionError` says what does not hold.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.diff import graph_lines
from rewrites.edits import Editor
from rewrites.passes import DEFAULT_PASSES, passes_with
from rewrites.records import PassResult
from rewrites.runner import Rewritten, rewrite, run_pass
from rewrites.tracing import trace

# Shapes at which convolutions, pools and views of most small models work.
IMAGE = (2, 8, 8, 8)


@dataclass(frozen=True)
class Checked:
    """What one pass did to one model, after all the checks went well.

    `result` and `lines`, the text of `graph_module`, are of the pass alone; `whole` is the model after all passes.
    """

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


def images(seed: int = 1, shape: Sequence[int] = IMAGE, count: int = 1) -> tuple[Tensor, ...]:
    """Random inputs, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(tuple(shape), generator=generator) * 2 for _ in range(count))


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a possibly nested result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors(item)]


def assert_same_results(
    original: nn.Module, changed: nn.Module, batches: Iterable[Sequence[Tensor]], tolerance: float = 0.0
) -> None:
    """Equal results, call by call, on fresh copies of each batch of inputs.

    A `tolerance` is the largest absolute difference as a share of the output's largest magnitude; 0 is `torch.equal`.
    """
    with torch.no_grad():
        for number, batch in enumerate(batches, start=1):
            wanted = tensors(original(*(tensor.clone() for tensor in batch)))
            got = tensors(changed(*(tensor.clone() for tensor in batch)))
            _hold(len(wanted) == len(got), f"call {number} gives {len(got)} tensors, not {len(wanted)}")
            for one, other in zip(wanted, got, strict=True):
                _hold(one.dtype == other.dtype, f"call {number} gives {other.dtype}, not {one.dtype}")
                _hold(one.shape == other.shape, f"call {number} gives {[*other.shape]}, not {[*one.shape]}")
                if tolerance == 0.0:
                    _hold(torch.equal(one, other), f"call {number} gives other values")
                else:
                    off, allowed = float((one - other).abs().max()), tolerance * float(one.abs().max())
                    _hold(off <= allowed, f"call {number} is off by {off:.2g}, more than {allowed:.2g}")


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
    """Run `rule` on the traced `original` (after the passes `before`) and check all that every pass promises.

    `inputs` are those of the forward, one `[2, 8, 8, 8]` tensor unless given. Raises `AssertionError`, and `PassError`
    when the pass is at fault.
    """
    original.eval()
    batch = inputs or images()
    batches = [batch, tuple(tensor * 0.5 for tensor in batch)]

    graph_module = traced(original, before)
    text = graph_lines(graph_module)
    result = run_pass(graph_module, rule)
    lines = graph_lines(graph_module)
    _hold(bool(result.edits) == (text != lines), "edits are reported exactly when the graph changed")
    _hold(bool(result.diff) == bool(result.edits), "a diff is shown exactly when there are edits")
    allowed = max([tolerance, rule.tolerance, *(one.tolerance for one in before)])
    assert_same_results(copy.deepcopy(original), graph_module, batches, allowed)
    graph_module.graph.lint()

    again = Editor(graph_module, rule.name)
    rule.run(again)
    _hold(not again.edits, "a second run changes nothing")
    _hold(graph_lines(graph_module) == lines, "a second run changes nothing")

    passes = DEFAULT_PASSES if rule.is_own() else passes_with(rule)
    whole, loaded = rewrite(original, passes), rewrite(original, passes)
    assert_same_results(copy.deepcopy(original), whole.graph_module, batches, whole.tolerance)
    _hold(set(whole.key_map) == set(original.state_dict()), "every key of the checkpoint is in the key map")
    try:
        loaded.load_state_dict(original.state_dict())
    except (KeyError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise AssertionError(
            f"the original checkpoint does not load; layers must hold the old tensors: {words}"
        ) from error
    assert_same_results(copy.deepcopy(original), loaded.graph_module, batches, whole.tolerance)
    return Checked(result, graph_module, tuple(lines), whole)


def _hold(promise: bool, words: str) -> None:
    """A plain `assert` would vanish under `python -O`."""
    if not promise:
        raise AssertionError(words)
