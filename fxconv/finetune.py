"""Fine-tuning a model that rounds as int8 does: after the answers of the float model, or after labels.

Distillation needs no labels: the float model says what is right for any image (Hinton, Vinyals, Dean 2015, Distilling
the Knowledge in a Neural Network; Mishra, Marr 2018, Apprentice, for low-precision students). Outputs are compared by
their squared error. The divergence of class probabilities, which is usual, learns more of the images at hand and less
of the model: with mobilenet_v2 and 300 photographs it ends 1.5 dB further from float on others.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv import verify
from fxconv.calibration import CalibrationData
from fxconv.clock import Progress
from fxconv.config import Config, Teacher
from fxconv.errors import UserError
from fxconv.fake_quantize import FakeQuantized
from fxconv.inputs import InputForm
from fxconv.likeness import Likeness
from fxconv.staging import StagedFile

# One image in so many, and no more than the most, tells when to stop; with fewer images than the fewest all do.
_ONE_IN, _MOST, _FEWEST = 8, 256, 16
# Epochs without a loss lower by this share before training stops.
_PATIENCE, _BETTER = 5, 1e-3
# Biases move so much faster than weights: they are not rounded, and take up at once what rounding adds on the whole.
_BIASES = 10
# Bytes of images held in memory.
_MOST_BYTES = 4 << 30
_FORMAT = 1


@dataclass(frozen=True)
class Epoch:
    """One pass over the images: the mean loss while training, and afterwards on those that tell when to stop."""

    number: int
    loss: float
    validation: float
    seconds: float


@dataclass(frozen=True)
class Score:
    """An int8 module on the images that tell when to stop: the loss, and what it means.

    SQNR against the float model in decibels; the share of images, from 0 to 1, of which both put the same class first,
    None without class scores; and the share put right, None without labels.
    """

    loss: float
    sqnr_db: float
    agreement: float | None
    accuracy: float | None


@dataclass(frozen=True)
class FineTuned:
    """How a model was fine-tuned: on what, for how long, and which epoch's weights were kept; 0 is before training.

    `start` is the loss of the calibrated model before, on the `validated` images; `resumed` the epochs that an earlier
    run left in its checkpoint; `is_unseen` whether those images were not trained on. `before` and `after` are the int8
    modules; `notes` what is to be known of the images.
    """

    source: str
    images: int
    validated: int
    is_unseen: bool
    learn_from: Teacher
    start: float
    epochs: tuple[Epoch, ...] = ()
    kept: int = 0
    stopped_early: bool = False
    resumed: int = 0
    before: Score | None = None
    after: Score | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """What training took, of earlier runs as well."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know."""
        if self.kept:
            return self.notes
        nothing = (
            "training brought nothing: int8 has the weights it began with; lower --learning-rate, or give more images"
        )
        return (*self.notes, f"{nothing} (--train)")


@dataclass(frozen=True)
class Lesson:
    """Images, each input without N, and what is right for each: the float model's outputs, or a class.

    `right` goes on with what is right for each image mirrored, left to right, where that can be asked of the float
    model; the row of a mirrored image is that of the image and their number.
    Batches lie in memory as `layout` says.
    `spreads` are the variances of the float model's outputs over all images, which errors are measured by.
    `answers` are the float model's outputs for the images of the rows `told`, which tell when to stop; the others,
    `rows`, are trained on. With too few images all serve for both, and `is_unseen` is False.
    """

    source: str
    form: InputForm
    teacher: Teacher
    inputs: list[tuple[Tensor, ...]]
    right: list[Any]
    rows: list[int]
    told: list[int]
    is_unseen: bool
    answers: list[list[Tensor]]
    spreads: list[float]
    layout: torch.memory_format = torch.contiguous_format

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, ...]:
        """Each input of these images as a tensor `[N, ...]`."""
        stacked = (torch.stack(each) for each in zip(*(self._image(row) for row in rows), strict=True))
        return tuple(each.contiguous(memory_format=self.layout) if each.ndim == 4 else each for each in stacked)

    def _image(self, row: int) -> tuple[Tensor, ...]:
        count = len(self.inputs)
        return self.inputs[row] if row < count else _mirrored(self.inputs[row - count])

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[list[int]]:
        """The rows to train on, once each in a drawn order, `size` at a time; half of the images mirrored."""
        order = torch.randperm(len(self.rows), generator=generator)
        turned = torch.randint(2, (len(self.rows),), generator=generator) * len(self.inputs)
        drawn = torch.tensor(self.rows)[order]
        if len(self.right) > len(self.inputs):
            drawn = drawn + turned
        yield from (some.tolist() for some in drawn.split(size))

    def loss(self, module: nn.Module, rows: Sequence[int]) -> Tensor:
        """How far a module's outputs for these images are from what is right, a mean over them."""
        outputs = _floats(module(*verify.cloned(self.form.arguments(self.batch(rows)))))
        right = [self.right[row] for row in rows]
        return self.loss_of(outputs, right)

    def loss_of(self, outputs: Sequence[Tensor], right: Sequence[Any]) -> Tensor:
        """The same of outputs that are there already."""
        if self.teacher is Teacher.labels:
            scores = _scores(outputs)
            assert scores is not None
            return F.cross_entropy(scores, torch.tensor(right))
        return distance([torch.cat(each) for each in zip(*right, strict=True)], outputs, self.spreads)

    def mean_loss(self, module: nn.Module, size: int) -> float:
        """The loss on the images that tell when to stop, in batches of `size`."""
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(self.told), size):
                some = self.told[start : start + size]
                total += float(self.loss(module, some)) * len(some)
        return total / len(self.told)


@dataclass
class _Run:
    """Everything that goes on from one epoch to the next."""

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


def check_labels(data: CalibrationData, config: Config) -> None:
    """Raises `UserError` when labels are to be learnt from and there are none, before any work is done."""
    if config.learn_from is Teacher.labels and data.labels is None:
        raise UserError("training on labels needs them: give a folder for each class in --train, or learn from float")


def read(floating: nn.Module, form: InputForm, data: CalibrationData, config: Config, progress: Progress) -> Lesson:
    """All images of `data`, and what is right for each: what `floating` says, or `config.learn_from` labels.

    Raises `UserError` for labels and outputs that cannot be learnt from, images of different sizes, and more than the
    memory should hold.
    """
    check_labels(data, config)
    inputs, answers, turned = list[tuple[Tensor, ...]](), list[list[Tensor]](), list[list[Tensor]]()

    def answer(image: tuple[Tensor, ...]) -> list[Tensor]:
        returned = floating(*verify.cloned(form.arguments(tuple(each[None] for each in image))))
        return [leaf.detach() for leaf in _floats(returned)]

    is_taught = config.learn_from is Teacher.float
    with torch.no_grad():
        for image in data.images():
            progress("reading images", len(inputs), data.count)
            answers.append(answer(image))
            is_mirrored = is_taught and len(image) == 1 and image[0].ndim == 3
            if not inputs:
                _check_size(data.count, image, (1 + is_mirrored) * _count(answers[0]))
                _check_answers(answers[0])
            elif [each.shape for each in image] != [each.shape for each in inputs[0]]:
                raise UserError("images to train on must be of one size; give them so, or photographs (--train DIR)")
            inputs.append(image)
            if is_mirrored:
                turned.append(answer(_mirrored(image)))
    right: list[Any] = [*answers, *turned] if is_taught else [*_labels(data, answers[0])]
    rows, told, is_unseen = _split(len(inputs), config.seed)
    told_answers = [answers[row] for row in told]
    spreads = [_spread(values) for values in zip(*answers, strict=True)]
    return Lesson(data.source, form, config.learn_from, inputs, right, rows, told, is_unseen, told_answers, spreads)


def _count(values: Sequence[Tensor]) -> int:
    return sum(value.numel() for value in values)


def _check_size(images: int, image: Sequence[Tensor], answer: int) -> None:
    each = 4 * (_count(image) + answer)
    if images * each > _MOST_BYTES:
        needed, most = images * each / 1e9, max(1, _MOST_BYTES // each)
        raise UserError(f"training on {images} images takes {needed:.0f} GB of memory, answers included; give at most "
                        f"{most} (--train-count)")  # fmt: skip


def _check_answers(answers: Sequence[Tensor]) -> None:
    if not answers:
        raise UserError("the model gives no floating-point outputs to learn from; use --mode static")
    for index, value in enumerate(answers):
        if not value.ndim or value.shape[0] != 1 or not value.numel():
            shape = list(value.shape)
            raise UserError(f"the model's output {index}, {shape} for one image, is not one row for each image, and "
                            "training takes batches; use --mode static")  # fmt: skip


def _spread(values: Sequence[Tensor]) -> float:
    """The variance of an output over all images; of a constant one its power, of nothing but zeros 1."""
    count = sum(value.numel() for value in values)
    mean = sum(float(value.double().sum()) for value in values) / count
    power = sum(float(value.double().square().sum()) for value in values) / count
    variance = max(power - mean**2, 0.0)
    return variance if variance > 1e-9 * power else power or 1.0


def check_batches(module: nn.Module, lesson: Lesson) -> None:
    """Raises `UserError` for a module that does not answer a batch row by row, or has nothing to train."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError("the model has no weights to train; use --mode static")
    rows = lesson.told[:2]
    with torch.no_grad():
        found = _floats(module(*verify.cloned(lesson.form.arguments(lesson.batch(rows)))))
    wanted = [(len(rows), *value.shape[1:]) for value in lesson.answers[0]]
    if [tuple(value.shape) for value in found] != wanted:
        raise UserError(
            "the model answers several images at a time otherwise than one by one, and training takes batches; use "
            "--mode static"
        )


def score(int8: nn.Module, lesson: Lesson) -> Score:
    """How an int8 module does on the images that tell when to stop."""
    images = [lesson.form.arguments(lesson.batch([row])) for row in lesson.told]
    alike, loss, hits, asked = Likeness(), 0.0, 0, 0
    for row, wanted, got in zip(lesson.told, lesson.answers, verify.outputs_side_by_side(int8, images), strict=True):
        floats = _floats(got)
        alike.add(wanted, floats)
        loss += float(lesson.loss_of(floats, [lesson.right[row]]))
        if lesson.teacher is Teacher.labels and (scores := _scores(floats)) is not None:
            hits, asked = hits + (int(scores.argmax(1)) == lesson.right[row]), asked + 1
    accuracy = hits / asked if asked else None
    return Score(loss / len(lesson.told), alike.sqnr_db, alike.agreement, accuracy)


def fine_tune(
    module: FakeQuantized,
    lesson: Lesson,
    config: Config,
    progress: Progress = lambda step, done, total: None,
    checkpoint: Path | None = None,
) -> FineTuned:
    """Train `module` in place for at most `config.epochs`, and leave it with the best weights.

    With `checkpoint` that file is written after each epoch, and gone on from where it is there. Raises `UserError` for
    a checkpoint of another training.
    """
    lesson = _laid_out(module, lesson)
    run = _begin(module, lesson, config)
    fingerprint = _fingerprint(module, lesson, config) if checkpoint is not None else ""
    if checkpoint is not None and checkpoint.exists():
        _resume(checkpoint, fingerprint, module, run)
    resumed, steps = len(run.epochs), math.ceil(len(lesson.rows) / config.batch_size)
    while len(run.epochs) < config.epochs and not run.has_stalled:
        began, number, total = time.perf_counter(), len(run.epochs) + 1, 0.0
        for step, rows in enumerate(lesson.shuffled(config.batch_size, run.generator)):
            progress(f"training, epoch {number} of {config.epochs}", step, steps)
            loss = lesson.loss(module, rows)
            run.optimizer.zero_grad()
            loss.backward()
            run.optimizer.step()
            total += float(loss.detach()) * len(rows)
        run.schedule.step()
        found = lesson.mean_loss(module, config.batch_size)
        if found < run.least * (1 - _BETTER):
            run.least, run.kept, run.best = found, number, dict(module.trained().weights)
        run.epochs.append(Epoch(number, total / len(lesson.rows), found, time.perf_counter() - began))
        if checkpoint is not None:
            _save(checkpoint, fingerprint, module, run)
    _set(module, run.best)
    stopped = run.has_stalled and len(run.epochs) < config.epochs
    done = tuple(run.epochs), run.kept, stopped, resumed
    images, told = len(lesson.rows), len(lesson.told)
    return FineTuned(lesson.source, images, told, lesson.is_unseen, lesson.teacher, run.start, *done)


def _mirrored(image: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """An image `[C, H, W]`, its left and right exchanged."""
    return tuple(each.flip(-1) for each in image)


def _floats(returned: Any) -> list[Tensor]:
    """The outputs that can be learnt from."""
    return [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _labels(data: CalibrationData, answers: Sequence[Tensor]) -> list[int]:
    """The classes of all images. Raises `UserError` when there are none, or the model does not tell them apart."""
    assert data.labels is not None
    if (scores := _scores(answers)) is None:
        raise UserError("training on labels needs a model that gives class scores; this one learns from float only")
    labels = [int(label) for label in data.labels]
    if wrong := [label for label in labels if not 0 <= label < scores.shape[1]]:
        raise UserError(f"class {wrong[0]} of the training images is beyond the model's {scores.shape[1]} classes; "
                        "number the folders of --train by the model's own")  # fmt: skip
    return labels


def _scores(outputs: Sequence[Tensor]) -> Tensor | None:
    """The first output of class scores, `[N, K]` with K at least 2."""
    return next((each for each in outputs if _is_scores(each)), None)


def _is_scores(output: Tensor) -> bool:
    return output.ndim == 2 and output.shape[1] > 1


def _split(count: int, seed: int) -> tuple[list[int], list[int], bool]:
    """The rows to train on, those that tell when to stop, and whether these are others."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    if count < _FEWEST:
        return order, order, False
    told = min(count // _ONE_IN, _MOST)
    return order[told:], order[:told], True


def distance(wanted: Sequence[Tensor], got: Sequence[Tensor], spreads: Sequence[float]) -> Tensor:
    """How far outputs are from those of a teacher, both of N images: a sum over outputs, none of which has a unit.

    The squared error beside `spreads`, the variance of each output over all there are.
    """
    parts = [F.mse_loss(b, a) / spread for a, b, spread in zip(wanted, got, spreads, strict=True)]
    return torch.stack(parts).sum()


def _laid_out(module: FakeQuantized, lesson: Lesson) -> Lesson:
    """The lesson in the layout that `check_batches` finds to work, its own or contiguous; the weights follow."""
    try:
        check_batches(module, lesson)
    except RuntimeError:  # a view() of what lies contiguous in the layout it was written for
        if lesson.layout is torch.contiguous_format:
            raise
        lesson = replace(lesson, layout=torch.contiguous_format)
        check_batches(module, lesson)
    if lesson.layout is torch.channels_last:
        for _, weight in module.named_weights():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=lesson.layout)
    return lesson


def _begin(module: FakeQuantized, lesson: Lesson, config: Config) -> _Run:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    weights, biases = ([one for one in parameters if (one.ndim > 1) is is_weight] for is_weight in (True, False))
    optimizer = torch.optim.Adam([{"params": weights}], lr=config.learning_rate)
    if biases:
        optimizer.add_param_group({"params": biases, "lr": _BIASES * config.learning_rate})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    generator = torch.Generator().manual_seed(config.seed)
    start = lesson.mean_loss(module, config.batch_size)
    return _Run(optimizer, schedule, generator, dict(module.trained().weights), start, start)


def _set(module: FakeQuantized, weights: Mapping[str, Tensor]) -> None:
    """Give the module these weights, by their paths in the fused float module."""
    with torch.no_grad():
        for path, parameter in module.named_weights():
            parameter.copy_(weights[path])


def _fingerprint(module: FakeQuantized, lesson: Lesson, config: Config) -> str:
    """What a checkpoint must have in common with a run that goes on from it: weights, images and choices."""
    digest = hashlib.sha256()
    chosen = asdict(config)
    told = [(name, str(chosen[name])) for name in sorted(chosen) if name not in _NOT_OF_TRAINING]
    digest.update(repr((_FORMAT, lesson.source, told)).encode())
    for path, value in module.state_dict().items():
        digest.update(path.encode())
        digest.update(value.contiguous().numpy().data)
    for image, right in zip(lesson.inputs, lesson.right, strict=False):
        for value in image:
            digest.update(value.contiguous().numpy().data)
        digest.update(repr(right).encode() if lesson.teacher is Teacher.labels else b"")
    return digest.hexdigest()


# What may differ between a run and the one that goes on from its checkpoint: it comes after the training.
_OF_THE_FILE = frozenset({"method", "block", "java", "runtime", "golden", "normalize_in_graph"})
_NOT_OF_TRAINING = _OF_THE_FILE | {"min_sqnr", "max_drop", "held_out"}


def _save(path: Path, fingerprint: str, module: FakeQuantized, run: _Run) -> None:
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


def _resume(path: Path, fingerprint: str, module: FakeQuantized, run: _Run) -> None:
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
    _set(module, content["weights"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.schedule.load_state_dict(content["schedule"])
    run.generator.set_state(content["generator"])
    run.best, run.least, run.kept = content["best"], content["least"], content["kept"]
    run.start, run.epochs = content["start"], [Epoch(**epoch) for epoch in content["epochs"]]
