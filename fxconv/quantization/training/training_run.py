"""The state of a training run: what one epoch hands to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fxconv.config import Config
from fxconv.quantization.fine_tuned import Epoch
from fxconv.quantization.training.fake_quantize import FakeQuantized
from fxconv.quantization.training.training_set import TrainingSet

# Epochs without a loss lower by this share before training stops.
_PATIENCE, BETTER = 5, 1e-3
# Biases move so much faster than weights: they are not rounded, and take up at once what rounding adds on the whole.
_BIASES = 10


@dataclass
class TrainingRun:
    """All state that one epoch hands to the next, and that a checkpoint keeps."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    best: dict[str, Tensor]
    start: float
    least: float
    kept: int = 0
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def has_stalled(self) -> bool:
        """Whether the last epochs brought nothing."""
        return len(self.epochs) - self.kept >= _PATIENCE


def begin_training(module: FakeQuantized, train_set: TrainingSet, config: Config) -> TrainingRun:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    weights, biases = ([one for one in parameters if (one.ndim > 1) is is_weight] for is_weight in (True, False))
    optimizer = torch.optim.Adam([{"params": weights}], lr=config.learning_rate)
    if biases:
        optimizer.add_param_group({"params": biases, "lr": _BIASES * config.learning_rate})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    generator = torch.Generator().manual_seed(config.seed)
    start = train_set.mean_loss(module, config.batch_size)
    return TrainingRun(optimizer, schedule, generator, dict(module.trained().weights), start, start)


def set_weights(module: FakeQuantized, weights: Mapping[str, Tensor]) -> None:
    """Give the module these weights, by their paths in the fused float module."""
    with torch.no_grad():
        for path, parameter in module.named_weights():
            parameter.copy_(weights[path])
