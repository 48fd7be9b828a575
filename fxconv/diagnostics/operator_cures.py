"""What fxconv does about an operator without a kernel for int8 values, by the passes and the kernel table."""

from __future__ import annotations

from torch import nn

from rewrites import DEFAULT_PASSES, run_pass
from rewrites.kernels import KERNELS, Kernel, Verdict
from rewrites.passes import ArithmeticToFunctional, FusableNames, OutOfPlace, QuantBoundaries, UnshareModules
from rewrites.tracing import trace

# Passes that move and name things; what an operator becomes is up to the others.
_ALWAYS = (FusableNames, QuantBoundaries, UnshareModules)
# What torch calls the insides of layers with weights.
_LAYERS = {"conv": "convolution", "addmm": "linear layer", "linear": "linear layer", "batch_norm": "batch norm"}
_BY_HAND = "by hand: dequantize() in front of it, and a QuantStub behind"


def cure_of_operator(operator: str) -> str:
    """One clause for an operator as torch names it: `aten::add_.Tensor`, `aten::silu.out`."""
    called = operator.partition("::")[2].partition(".")[0]
    word = called.strip("_")
    before = f"{OutOfPlace.name} and " if called.endswith("_") else ""
    if word in {key.__name__ for key in ArithmeticToFunctional.operators}:
        return (
            f"fxconv convert makes an observed operation of it (pass {before}{ArithmeticToFunctional.name}); by hand: "
            "torch.ao.nn.quantized.FloatFunctional in place of the operator, and calibrate"
        )
    if layer := next((words for part, words in _LAYERS.items() if part in word), None):
        return (
            f"a {layer} that was left in float was given int8 values: give it a qconfig, or dequantize in front; "
            f"fxconv "
            f"convert does either (pass {QuantBoundaries.name})"
        )
    row = _row(word)
    if row is None:
        return (
            f"the kernel table has no row for {word}, so fxconv convert keeps it in float (pass "
            f"{QuantBoundaries.name}); "
            f"{_BY_HAND}"
        )
    if used := _passes(row):
        return f"fxconv convert replaces {row.name} by what has a kernel (pass {' and '.join(used)}); {_BY_HAND}"
    if row.verdict in (Verdict.INT8, Verdict.FOLLOWS):
        place = f", once it is out of place (pass {OutOfPlace.name})" if before else ""
        return f"fxconv convert runs {row.name} in int8 where the kernel table allows it{place}; {_BY_HAND}"
    return f"fxconv convert keeps {row.name} in float (pass {QuantBoundaries.name}): {row.reason}; {_BY_HAND}"


def _passes(row: Kernel) -> list[str]:
    """The passes that make something else of the row's module behind a convolution."""
    if not isinstance(row.key, type):
        return []
    graph, _ = trace(nn.Sequential(nn.Conv2d(8, 8, 1), row.example()).eval())
    results = [run_pass(graph, rule) for rule in DEFAULT_PASSES if not isinstance(rule, _ALWAYS)]
    return [result.name for result in results if result.edits]


def _row(word: str) -> Kernel | None:
    """The row of an operation whose name is that word: `max_pool2d` is nn.MaxPool2d, `silu` nn.SiLU."""
    plain = word.replace("_", "")
    rows = [row for row in KERNELS.values() if row.name.rpartition(".")[2].lower().replace("_", "") == plain]
    return next((row for row in rows if isinstance(row.key, type)), rows[0] if rows else None)
