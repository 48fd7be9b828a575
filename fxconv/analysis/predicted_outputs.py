"""What the outputs of a file say of one image, by their shapes and what the file says of them.

Nothing is known of a network by its name: `[1, C]` are scores of classes, `[1, C, H, W]` scores of each place, boxes,
labels and scores under these names are detections, and so are the peaks that fxconv put into the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.models.photograph_places import Places

# How far the sum of probabilities may be from 1.
_SUM_WITHIN = 1e-3
_OF_BOXES = ("boxes", "scores", "labels")
# x, y, score, class, valid
_COLUMNS = 5


@dataclass(frozen=True)
class ClassScore:
    """One class: its number and name, the score as the file gives it, and the probability."""

    index: int
    label: str | None
    score: float
    probability: float


@dataclass(frozen=True)
class Scores:
    """Scores of `classes` classes, the highest first.

    `probabilities` says how they come about: by `softmax`, which holds where one class is right, or `as given`, where
    the scores are probabilities already.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    probabilities: str
    top: tuple[ClassScore, ...]
    kind: str = "scores"


@dataclass(frozen=True)
class Found:
    """One object: its class, its score, and where it is, in pixels of the file's input and of the upright photograph.

    A point is x, y; a box left, top, right, bottom. `photograph` is None where a function preprocesses.
    """

    index: int
    label: str | None
    score: float
    input: tuple[float, ...]
    photograph: tuple[float, ...] | None


@dataclass(frozen=True)
class Detections:
    """The objects found, the highest scores first; `count` are all of them. `kind` is `peaks` or `boxes`."""

    name: str
    kind: str
    count: int
    top: tuple[Found, ...]


@dataclass(frozen=True)
class ClassShare:
    """One class, and the share of all places at which its score is the highest."""

    index: int
    label: str | None
    share: float


@dataclass(frozen=True)
class ClassShares:
    """Which of `classes` classes has the highest score, as shares of all places; the largest first."""

    name: str
    shape: tuple[int, ...]
    classes: int
    top: tuple[ClassShare, ...]
    kind: str = "shares"


@dataclass(frozen=True)
class Values:
    """Numbers that nothing is known of: the smallest, their mean and the largest of those that are finite."""

    name: str
    shape: tuple[int, ...]
    min: float | None
    mean: float | None
    max: float | None
    not_finite: int = 0
    kind: str = "values"


Output = Scores | Detections | ClassShares | Values


def told(
    outputs: Sequence[tuple[str, Tensor]],
    has_peaks: bool,
    labels: Sequence[str] | None,
    where: Places | None,
    top: int,
) -> tuple[Output, ...]:
    """What each output says, at most `top` classes or objects of each.

    `has_peaks` says that the first output is detections, one a row; `where` is the input in the photograph.
    """
    found, left = list[Output](), list(range(len(outputs)))
    if has_peaks and outputs and (peaks := _peaks(*outputs[0], labels, where, top)) is not None:
        found.append(peaks)
        left.remove(0)
    places = {name: place for place, (name, _) in enumerate(outputs)}
    for name in places:
        prefix = name.removesuffix(_OF_BOXES[0])
        of_one = [places.get(prefix + part) for part in _OF_BOXES]
        if prefix == name or None in of_one or not set(of_one) <= set(left):
            continue
        parts = [outputs[place][1] for place in of_one if place is not None]
        if (boxes := _boxes(prefix.rstrip(".") or "detections", parts, labels, where, top)) is not None:
            found.append(boxes)
            left = [place for place in left if place not in of_one]
    # the other heads of a detector are no scores, though they look like some
    is_detector = bool(found)
    for place in left:
        found.append(_values(*outputs[place]) if is_detector else _by_shape(*outputs[place], labels, top))
    return tuple(found)


def _by_shape(name: str, tensor: Tensor, labels: Sequence[str] | None, top: int) -> Output:
    if tensor.is_floating_point() and tensor.numel() and len(tensor) == 1 and tensor.isfinite().all():
        if tensor.ndim in (2, 4) and tensor.shape[1] >= 2 and tensor[0, 0].numel() == 1:
            return _scores(name, tensor, labels, top)
        if tensor.ndim == 4 and tensor.shape[1] >= 2:
            return _shares(name, tensor, labels, top)
    return _values(name, tensor)


def _scores(name: str, tensor: Tensor, labels: Sequence[str] | None, top: int) -> Scores:
    scores = tensor.flatten().double()
    given = bool((scores >= 0).all() and (scores <= 1).all()) and abs(float(scores.sum()) - 1) <= _SUM_WITHIN
    probabilities = scores if given else scores.softmax(0)
    names = labels if labels is not None and len(labels) == len(scores) else None
    best = torch.sort(scores, stable=True, descending=True).indices[:top].tolist()
    each = [
        ClassScore(index, _label(names, index), float(scores[index]), float(probabilities[index])) for index in best
    ]
    return Scores(name, tuple(tensor.shape), len(scores), "as given" if given else "softmax", tuple(each))


def _shares(name: str, tensor: Tensor, labels: Sequence[str] | None, top: int) -> ClassShares:
    classes = tensor.shape[1]
    counts = torch.bincount(tensor[0].argmax(0).flatten(), minlength=classes)
    names = labels if labels is not None and len(labels) == classes else None
    best = [index for index in torch.sort(counts, stable=True, descending=True).indices[:top].tolist() if counts[index]]
    each = [ClassShare(index, _label(names, index), int(counts[index]) / int(counts.sum())) for index in best]
    return ClassShares(name, tuple(tensor.shape), classes, tuple(each))


def _peaks(
    name: str, tensor: Tensor, labels: Sequence[str] | None, where: Places | None, top: int
) -> Detections | None:
    if tensor.ndim != 3 or len(tensor) != 1 or tensor.shape[2] != _COLUMNS or not tensor.isfinite().all():
        return None
    rows = [row for row in tensor[0].double().tolist() if row[4] > 0.5]
    rows.sort(key=lambda row: -row[2])
    points = [(int(row[3]), row[2], (row[0], row[1])) for row in rows]
    return Detections(name, "peaks", len(rows), _found(points[:top], labels, where))


def _boxes(
    name: str, parts: Sequence[Tensor], labels: Sequence[str] | None, where: Places | None, top: int
) -> Detections | None:
    """Detections of boxes, scores and labels; None where these are something else under such names."""
    boxes, scores, classes = parts
    flat = scores.ndim == classes.ndim == 1 and len(scores) == len(classes) == len(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not flat or classes.is_floating_point():
        return None
    if not boxes.isfinite().all() or not scores.isfinite().all():
        return None
    rows = zip(classes.tolist(), scores.double().tolist(), map(tuple, boxes.double().tolist()), strict=True)
    best = sorted(rows, key=lambda row: -row[1])
    return Detections(name, "boxes", len(best), _found(best[:top], labels, where))


def _found(
    rows: Sequence[tuple[int, float, tuple[float, ...]]], labels: Sequence[str] | None, where: Places | None
) -> tuple[Found, ...]:
    each = []
    for index, score, corners in rows:
        there: tuple[float, ...] | None = None
        if where is not None:
            points = [where.photograph(*corners[start : start + 2]) for start in range(0, len(corners), 2)]
            there = tuple(value for point in points for value in point)
        each.append(Found(index, _label(labels, index), score, corners, there))
    return tuple(each)


def _values(name: str, tensor: Tensor) -> Values:
    numbers = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
    finite = numbers[numbers.isfinite()]
    missing = numbers.numel() - finite.numel()
    if not finite.numel():
        return Values(name, tuple(tensor.shape), None, None, None, missing)
    low, mean, high = float(finite.min()), float(finite.mean()), float(finite.max())
    return Values(name, tuple(tensor.shape), low, mean, high, missing)


def _label(labels: Sequence[str] | None, index: int) -> str | None:
    return labels[index] if labels is not None and 0 <= index < len(labels) else None
