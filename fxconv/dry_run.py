"""Rewriting alone: no calibration, nothing written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fxconv import models, soundness, verify
from fxconv.calibration import Generated
from fxconv.config import Config
from fxconv.conversion import ModelInfo
from fxconv.passes import rewrite_with, selected
from fxconv.report.json import heading, passes, plain
from fxconv.source import check_input
from fxconv.verify import StageParity
from rewrites import Rewritten


@dataclass(frozen=True)
class DryRun:
    """A rewritten model, compared with the original on one generated image."""

    model: ModelInfo
    config: Config
    rewritten: Rewritten
    parity: StageParity

    def json_text(self) -> str:
        """The parts of the JSON report that exist without a conversion."""
        content: dict[str, Any] = {
            **heading(self.model, self.config),
            "passes": passes(self.rewritten),
            "key_map": dict(self.rewritten.key_map),
            "parity": [plain(asdict(self.parity))],
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def rewrite_only(model: str, weights: str, input_size: str | None, config: Config, unsafe_load: bool = False) -> DryRun:
    """Rewrite the named model and compare it with the original. Raises `UserError` for what the user can mend."""
    rules = selected(config)
    loaded = models.load(model, weights, input_size, config.seed, structure_only=True, unsafe_load=unsafe_load)
    info = ModelInfo(loaded.name, loaded.weights, loaded.parameters, loaded.preprocessing.shape)
    data = Generated(loaded.preprocessing, 1, 1, config.seed)
    check_input(model, loaded, data)
    image = data.first(1)
    original = soundness.reference(loaded.module, [(image,)], model)
    rewritten = rewrite_with(loaded.module, rules, (image,))
    with torch.no_grad():
        found = verify.outputs(rewritten.module, [(image,)])
    return DryRun(info, config, rewritten, verify.same_function("rewritten", original, found, rewritten.tolerance))
