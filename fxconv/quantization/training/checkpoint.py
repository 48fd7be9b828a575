"""Checkpoints of a training: written after each epoch, and resumed from."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import asdict
from pathlib import Path

import torch

from fxconv.config import Config, Teacher
from fxconv.data.staged_file import StagedFile
from fxconv.errors import UserError
from fxconv.quantization.fine_tuned import Epoch
from fxconv.quantization.training.fake_quantize import FakeQuantized
from fxconv.quantization.training.training_run import TrainingRun, set_weights
from fxconv.quantization.training.training_set import TrainingSet

_FORMAT = 1


def fingerprint_of(module: FakeQuantized, train_set: TrainingSet, config: Config) -> str:
    """The digest that a checkpoint and a run that resumes from it must share: of weights, images and choices."""
    digest = hashlib.sha256()
    chosen = asdict(config)
    told = [(name, str(chosen[name])) for name in sorted(chosen) if name not in _NOT_OF_TRAINING]
    digest.update(repr((_FORMAT, train_set.source, told)).encode())
    for path, value in module.state_dict().items():
        digest.update(path.encode())
        digest.update(value.contiguous().numpy().data)
    for image, right in zip(train_set.inputs, train_set.right, strict=False):
        for value in image:
            digest.update(value.contiguous().numpy().data)
        digest.update(repr(right).encode() if train_set.teacher is Teacher.labels else b"")
    return digest.hexdigest()


# Choices that may differ in a run that resumes from a checkpoint, because they only take effect after training.
_OF_THE_FILE = frozenset({"method", "block", "java", "runtime", "golden", "normalize_in_graph", "dynamic_sizes"})
_NOT_OF_TRAINING = _OF_THE_FILE | {"min_sqnr", "min_agreement", "max_drop", "metric", "held_out"}


def save_checkpoint(path: Path, fingerprint: str, module: FakeQuantized, run: TrainingRun) -> None:
    content = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "start": run.start,
        "least": run.least,
        "kept": run.kept,
        "epochs": [asdict(epoch) for epoch in run.epochs],
        "weights": dict(module.trained().weights),
        "best": run.best,
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "generator": run.generator.get_state(),
    }
    written = io.BytesIO()
    torch.save(content, written)
    with StagedFile(path, written.getvalue(), "--checkpoint") as staged:
        staged.commit()


def resume(path: Path, fingerprint: str, module: FakeQuantized, run: TrainingRun) -> None:
    """Go on where the file left off."""
    cure = "name another file, or remove it to begin anew"
    try:
        content = torch.load(path, weights_only=True)
        found = content["fingerprint"] if content["format"] == _FORMAT else ""
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"--checkpoint {path}: is no checkpoint of a training by fxconv; {cure}") from error
    if found != fingerprint:
        raise UserError(f"--checkpoint {path}: is of a training of another model, on other images or with other "
                        f"choices; {cure}")  # fmt: skip
    set_weights(module, content["weights"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.schedule.load_state_dict(content["schedule"])
    run.generator.set_state(content["generator"])
    run.best, run.least, run.kept = content["best"], content["least"], content["kept"]
    run.start, run.epochs = content["start"], [Epoch(**epoch) for epoch in content["epochs"]]
