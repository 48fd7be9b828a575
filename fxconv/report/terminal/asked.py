"""What a conversion was asked for, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.config import Mode
from fxconv.report.tables import add, grid

if TYPE_CHECKING:
    from fxconv.conversion import Conversion

_MODES = {
    Mode.static: "static quantization",
    Mode.dynamic: "dynamic quantization",
    Mode.qat: "quantization-aware training",
}


def asked_table(conversion: Conversion) -> Table:
    """What was asked for."""
    model, config = conversion.model, conversion.config
    table = grid("", "", header=False)
    add(table, "model", f"{model.name}, {model.parameters:,} parameters")
    if config.model_arg:
        add(table, "arguments", ", ".join(config.model_arg))
    add(table, "weights", model.weights)
    add(table, "input", "x".join(map(str, model.input_size)))
    add(table, "engine", f"{config.engine.value}, {config.weight_scheme.value} weights, {_MODES[config.mode]}")
    add(table, "arithmetic", config.arithmetic.value)
    add(table, "observer", config.observer.value)
    add(table, "recipe", ", ".join(step.value for step in config.recipe))
    blocked = ", ".join(name.value for name in config.blocked) or "none"
    add(table, "lowering", f"{config.method.value}; mobile passes blocked: {blocked}")
    if config.runtime is not None:
        add(table, "runtime", config.runtime)
    environment = conversion.environment
    add(table, "environment", f"torch {environment.torch}, torchvision {environment.torchvision}")
    return table
