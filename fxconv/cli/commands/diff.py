"""`fxconv diff`: the rewriting alone, and its diffs."""

from __future__ import annotations

from dataclasses import dataclass

from fxconv.cli.options.calibration import SeedOption
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.int8 import ArithmeticOption
from fxconv.cli.options.model import ModelArgument, TracingOptions, WeightsOption
from fxconv.cli.options.output import DiffOutput
from fxconv.cli.options.passes import ShownPassOptions
from fxconv.cli.rewriting import Shown, show_rewriting
from fxconv.config import Arithmetic, Config


@dataclass(frozen=True)
class _LoadingOptions(TracingOptions):
    """As other commands load it, but with random weights: what is rewritten does not depend on them."""

    weights: WeightsOption = "random"


@takes_groups
def diff(
    *,
    model: ModelArgument,
    loading: _LoadingOptions,
    seed: SeedOption = 0,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    passes: ShownPassOptions,
    output: DiffOutput,
) -> None:
    """Rewrite only, and print the diffs; nothing is calibrated.

    Examples:
        # What is rewritten in a model, and why
        fxconv diff mobilenet_v3_small
        # What one pass does to it
        fxconv diff net.py:Net --pass-only fold-relu6
        # The rewritten model as a Python file that imports torch alone
        fxconv diff resnet18 --emit rewritten.py
        # For a pull request
        fxconv diff net.py:Net --format markdown
    """
    config = Config(**choices(loading, passes, seed=seed, arithmetic=arithmetic))
    shown = Shown("rewrote", output.full, passes.pass_only, output.format)
    show_rewriting(model, loading, config, output.json, shown, output.emit)
