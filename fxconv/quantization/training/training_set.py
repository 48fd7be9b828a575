"""All images to train on, with what is right for each: the float answers, or labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxconv.config import Config, Teacher
from fxconv.data.calibration import CalibrationData
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.progress import Progress
from rewrites.surroundings import unchanged

# One image in so many, and no more than the most, tells when to stop; with fewer images than the fewest all do.
_ONE_IN, _MOST, _FEWEST = 8, 256, 16
# Bytes of images held in memory.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class TrainingSet:
    """Images, each input without N, and what is right for each: the float model's outputs, or a class.

    `right` goes on with what is right for each image mirrored, left to right, where that can be asked of the float
    model; the row of a mirrored image is that of the image and their number. Batches lie in memory as `layout` says.
    `spreads` are the variances of the float model's outputs over all images, which errors are measured by. `answers`
    are the float model's outputs for the images of the rows `validation`, which tell when to stop; the others, `rows`,
    are trained on. With too few images all serve for both, and `is_unseen` is False. Images go through a module one by
    one, `singly`, where they change each other's answers.
    """

    source: str
    signature: InputSignature
    teacher: Teacher
    inputs: list[tuple[Tensor, ...]]
    right: list[Any]
    rows: list[int]
    validation: list[int]
    is_unseen: bool
    answers: list[list[Tensor]]
    spreads: list[float]
    layout: torch.memory_format = torch.contiguous_format
    singly: bool = False

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
        right = [self.right[row] for row in rows]
        return self.loss_of(self.outputs(module, rows), right)

    def outputs(self, module: nn.Module, rows: Sequence[int]) -> list[Tensor]:
        """What a module gives for these images that can be learnt from, a row for each."""
        calls = [[row] for row in rows] if self.singly else [rows]
        given = [float_outputs(module(*forward.cloned(self.signature.arguments(self.batch(some))))) for some in calls]
        return [torch.cat(each) for each in zip(*given, strict=True)] if self.singly else given[0]

    def loss_of(self, outputs: Sequence[Tensor], right: Sequence[Any]) -> Tensor:
        """The same of outputs that are there already."""
        if self.teacher is Teacher.labels:
            scores = first_scores(outputs)
            assert scores is not None
            return F.cross_entropy(scores, torch.tensor(right))
        return distance([torch.cat(each) for each in zip(*right, strict=True)], outputs, self.spreads)

    def mean_loss(self, module: nn.Module, size: int) -> float:
        """The loss on the images that tell when to stop, in batches of `size`."""
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(self.validation), size):
                some = self.validation[start : start + size]
                total += float(self.loss(module, some)) * len(some)
        return total / len(self.validation)


def check_labels(data: CalibrationData, config: Config) -> None:
    """Raises `UserError` when labels are to be learnt from and there are none, before any work is done."""
    if config.learn_from is Teacher.labels and data.labels is None:
        raise UserError("training on labels needs them: give a folder for each class in --train, or learn from float")


def read(
    floating: nn.Module, signature: InputSignature, data: CalibrationData, config: Config, progress: Progress
) -> TrainingSet:
    """All images of `data`, and what is right for each: what `floating` says, or `config.learn_from` labels.

    Raises `UserError` for labels and outputs that cannot be learnt from, images of different sizes, and more than the
    memory should hold.
    """
    check_labels(data, config)
    inputs, answers, turned = list[tuple[Tensor, ...]](), list[list[Tensor]](), list[list[Tensor]]()

    def answer(image: tuple[Tensor, ...]) -> list[Tensor]:
        returned = floating(*forward.cloned(signature.arguments(tuple(each[None] for each in image))))
        return [leaf.detach() for leaf in float_outputs(returned)]

    is_taught = config.learn_from is Teacher.float
    with torch.no_grad(), unchanged(floating):
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
    rows, validation, is_unseen = _split(len(inputs), config.seed)
    validation_answers = [answers[row] for row in validation]
    spreads = [_spread(values) for values in zip(*answers, strict=True)]
    return TrainingSet(
        data.source,
        signature,
        config.learn_from,
        inputs,
        right,
        rows,
        validation,
        is_unseen,
        validation_answers,
        spreads,
    )


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


def check_batches(module: nn.Module, train_set: TrainingSet) -> None:
    """Raises `UserError` for a module that does not answer a batch row by row, or has nothing to train."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError("the model has no weights to train; use --mode static")
    rows = train_set.validation[:2]
    with torch.no_grad():
        found = train_set.outputs(module, rows)
    wanted = [(len(rows), *value.shape[1:]) for value in train_set.answers[0]]
    if [tuple(value.shape) for value in found] != wanted:
        raise UserError(
            "the model answers several images at a time otherwise than one by one, and training takes batches; use "
            "--mode static"
        )


def _mirrored(image: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """An image `[C, H, W]`, its left and right exchanged."""
    return tuple(each.flip(-1) for each in image)


def float_outputs(returned: Any) -> list[Tensor]:
    """The outputs that can be learnt from."""
    return [tensor for tensor in forward.tensors(returned) if tensor.is_floating_point()]


def _labels(data: CalibrationData, answers: Sequence[Tensor]) -> list[int]:
    """The classes of all images. Raises `UserError` when there are none, or the model does not tell them apart."""
    assert data.labels is not None
    if (scores := first_scores(answers)) is None:
        raise UserError("training on labels needs a model that gives class scores; this one learns from float only")
    labels = [int(label) for label in data.labels]
    if wrong := [label for label in labels if not 0 <= label < scores.shape[1]]:
        raise UserError(f"class {wrong[0]} of the training images is beyond the model's {scores.shape[1]} classes; "
                        "number the folders of --train by the model's own")  # fmt: skip
    return labels


def first_scores(outputs: Sequence[Tensor]) -> Tensor | None:
    """The first output of class scores, `[N, K]` with K at least 2."""
    return next((each for each in outputs if _is_scores(each)), None)


def _is_scores(output: Tensor) -> bool:
    return output.ndim == 2 and output.shape[1] > 1


def _split(count: int, seed: int) -> tuple[list[int], list[int], bool]:
    """The rows to train on, those that tell when to stop, and whether these are others."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    if count < _FEWEST:
        return order, order, False
    validation = min(count // _ONE_IN, _MOST)
    return order[validation:], order[:validation], True


def distance(wanted: Sequence[Tensor], got: Sequence[Tensor], spreads: Sequence[float]) -> Tensor:
    """How far outputs are from those of a teacher, both of N images: a sum over outputs, none of which has a unit.

    The squared error beside `spreads`, the variance of each output over all there are.
    """
    parts = [F.mse_loss(b, a) / spread for a, b, spread in zip(wanted, got, spreads, strict=True)]
    return torch.stack(parts).sum()
