"""Which passes a conversion runs: the default order, the user's own, and what was left out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from fxconv.config import Arithmetic, Config, Mode
from fxconv.errors import UserError, described, message_line
from fxconv.models import python_file
from fxconv.models.user_code import object_at
from fxconv.quantization.dump import dumping
from fxconv.quantization.engine import reduces_range
from fxconv.quantization.pass_names import check_pass
from rewrites import (
    ALTERNATIVES,
    DEFAULT_PASSES,
    WRAPPED_PASSES,
    PassError,
    RewritePass,
    Rewritten,
    UntraceableError,
    passes_with,
    rewrite,
)
from rewrites.passes import ArithmeticToFunctional, FoldReLU6, QuantBoundaries, WrapArithmetic

# Passes that make room for quantized tensors.
_OF_STATIC = (ArithmeticToFunctional, FoldReLU6, QuantBoundaries, WrapArithmetic)
ALL_PASSES: tuple[RewritePass, ...] = (*DEFAULT_PASSES, *ALTERNATIVES)


def find(name: str) -> RewritePass:
    """The pass with this name. Raises `UserError` with the nearest names."""
    check_pass(name)
    return next(rule for rule in ALL_PASSES if rule.name == name)


def user_pass(spec: str, what: str = "--pass") -> RewritePass:
    """An instance of the user's pass at `module:Class` or `file.py:Class`; `what` begins every message.

    Raises `UserError` when it is none.
    """
    kind = object_at(spec, what, python_file.passes)
    if not (inspect.isclass(kind) and issubclass(kind, RewritePass)):
        raise UserError(f"{what} {spec}: it is not a subclass of rewrites.RewritePass")
    if inspect.isabstract(kind) or not getattr(kind, "name", ""):
        raise UserError(f"{what} {spec}: the class must define name, run and example")
    if any(kind.name == rule.name for rule in ALL_PASSES):
        raise UserError(f"{what} {spec}: {kind.name!r} is the name of a pass of fxconv's; choose another")
    try:
        return kind()
    except Exception as error:
        raise UserError(f"{what} {spec}: {described(error)}; it must need no arguments") from error


def suspected(specs: Sequence[str]) -> str:
    """What to do about a rewriting that changed the function, with passes of the user's own in it."""
    return f"if it goes well without --pass {' '.join(specs)}, mend that pass"


def selected(config: Config) -> tuple[RewritePass, ...]:
    """The passes of one conversion, in order. The user's own run before the names and boundaries are settled."""
    rules = list(WRAPPED_PASSES if config.arithmetic is Arithmetic.wrap else DEFAULT_PASSES)
    if reduces_range(config):
        # 7-bit ranges end at 127 but the kernels saturate at 255, so a capped range would not clamp.
        rules = [rule for rule in rules if not isinstance(rule, FoldReLU6)]
    if config.mode is Mode.dynamic:  # everything but its layers is float, and stays as it is
        rules = [rule for rule in rules if not isinstance(rule, _OF_STATIC)]
    rules = list(passes_with(*(user_pass(spec) for spec in config.passes), passes=rules))
    known = [rule.name for rule in rules]
    for name in (*config.skip, *((config.until,) if config.until else ())):
        _check_runs(name, known)
    if any(name == QuantBoundaries.name for name in config.skip):
        raise UserError(
            "quant-boundaries cannot be skipped: without it nothing would be int8 (use --until to stop before)"
        )
    if config.until:
        rules = rules[: known.index(config.until) + 1]
    return tuple(rule for rule in rules if rule.name not in config.skip)


def check_selected(name: str, config: Config) -> None:
    """Raises `UserError` for a pass that does not run in this conversion."""
    _check_runs(name, [rule.name for rule in selected(config)])


def _check_runs(name: str, known: Sequence[str]) -> None:
    if name not in known:
        find(name)
        raise UserError(f"pass {name!r} does not run in this conversion (it runs {', '.join(known)})")


def rewrite_with(
    model: nn.Module,
    rules: Sequence[RewritePass],
    example: Sequence[Any] | None = None,
    share_parameters: bool = False,
) -> Rewritten:
    """The model after these passes.

    Raises `UserError` when its own forward cannot be recorded as a graph, or when a pass of the user's own fails.
    """
    try:
        return rewrite(model, rules, dumping(), example, share_parameters)
    except UntraceableError as error:
        raise UserError(
            f"{message_line(error)}; move what it cannot follow into a module of its own, which then stays in float"
        ) from error
    except PassError as error:
        if error.own:
            raise
        raise UserError(f"--pass: {message_line(error)}; mend the pass, or leave it out") from error
