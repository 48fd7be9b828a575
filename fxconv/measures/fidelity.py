"""How int8 answers beside float on images that were used for nothing else, in the measure that fits its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from fxconv.measures.channel_noise import OutputParts, PartNoise
from fxconv.measures.matched_boxes import matched
from fxconv.measures.output_comparison import is_whole
from fxconv.measures.replayed_decisions import ComparedOutputs, compared_outputs
from fxconv.measures.similarity import Similarity, has_class_scores
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs

FEWEST, MOST = 16, 100
# Of answers that are equal: a network of a thousand classes changes its mind on two of a hundred close calls in good
# int8 arithmetic (docs/accuracy.md), on ten where something in it is coarse.
_GOOD_SHARE, _FAIR_SHARE = 0.95, 0.85
# Of what has no answers to count: a noise of a tenth of the output, and of a third.
_GOOD_DB, _FAIR_DB = 20.0, 10.0
# About its mean: where a third of what a part of an output says is noise the whole is fair at best; where all is, poor.
_FAINT_DB, _LOST_DB = 5.0, 0.0
# Where answers are equal by chance, or are not for being close calls, this tells more: below the first the whole is
# fair at best, below the second poor; from 20 dB it is fair at worst.
_NOISY_DB, _DROWNED_DB = 10.0, 3.0
# What the lengths of embeddings may differ from 1 by.
_UNIT = 1e-3
# Fewer channels than this, or three, may be flow, depth or an image as well as scores of classes.
_FEWEST_CLASSES = 4
_COLOURS = 3
_MAPS = 4

GRADES = ("good", "fair", "poor")


@dataclass(frozen=True)
class Fidelity:
    """How int8 answers beside float on `images` of `source`, none of which calibration or a choice was made by.

    `same` of `asked` answers are equal, which `measure` counts: the class put first, the class of a pixel, boxes, whole
    numbers. Both are None where nothing can be counted; then `measure` is `cosine` or `relative error`, and `value` is
    that, over all images. `sqnr_db` is the worst output's, `worst` the part of an output with the most noise about its
    mean. `grade` is good, fair or poor by `graded`. `problem` says why it was not measured, "" when it was: then all
    else is empty.
    """

    images: int = 0
    source: str = ""
    measure: str = ""
    same: int | None = None
    asked: int | None = None
    value: float | None = None
    sqnr_db: float | None = None
    worst: PartNoise | None = None
    grade: str = ""
    problem: str = ""

    @property
    def agreement(self) -> float | None:
        """The share of equal answers, from 0 to 1; None where there is nothing to count."""
        return self.same / self.asked if self.same is not None and self.asked else None

    def missing(self, least: float | None) -> str:
        """How it falls short of `least` percent of equal answers, in words; "" when it does not, or none is asked."""
        if least is None:
            return ""
        if self.agreement is None:
            why = self.problem or f"its outputs have no answers to count, but a {self.measure}"
            return f"not measured: {why}; required: {least:g} % (--min-agreement)"
        if 100 * self.agreement >= least:
            return ""
        return f"{self.same} of {self.asked} {self.measure}; required: {least:g} % (--min-agreement)"


def not_measured(problem: str) -> Fidelity:
    """The reason why it says nothing."""
    return Fidelity(problem=problem)


def fidelity_of(
    original: nn.Module,
    floating: nn.Module,
    int8: nn.Module,
    images: Iterable[Inputs],
    source: str,
    told: Callable[[int], None] = lambda done: None,
) -> Fidelity:
    """Measure it on images, each the arguments of a call with N = 1: one pass of a float module and one of `int8`.

    `floating` has the same graphs as `int8`. One that is no single graph takes float's decisions, so that boxes are
    compared before any is suppressed. `told` is called with how many images are done.
    """
    tally = _Tally()
    is_whole_graph = isinstance(int8, fx.GraphModule)
    for image, both in _single(original, int8, images) if is_whole_graph else _in_parts(floating, int8, images):
        tally.add(image, both)
        told(tally.images)
    return graded(replace(tally.found(), source=source))


def fidelity_of_outputs(
    images: Sequence[Inputs], wanted: forward.Outputs, got: forward.Outputs, source: str
) -> Fidelity:
    """The same of outputs that somebody has already, for each image."""
    if len(images) < FEWEST:
        return not_measured(f"{len(images)} images of at least {FEWEST} were given")
    tally = _Tally()
    for image, ours, theirs in zip(images, wanted, got, strict=True):
        tally.add(image, ComparedOutputs([ours], [theirs], len(ours)))
    return graded(replace(tally.found(), source=source))


def graded(fidelity: Fidelity) -> Fidelity:
    """With its grade.

    Answers that are counted: good from 95 % equal ones, fair from 85 %; fair at best where the worst output has less
    than 10 dB, poor below 3, and fair at worst from 20. Where nothing can be counted, that SQNR alone: good from 20 dB,
    fair from 10. A part of an output with less than 5 dB about its mean makes it fair at best, one that is lost, below
    0 dB or constant, poor.
    """
    if fidelity.problem:
        return fidelity
    share, decibels = fidelity.agreement, fidelity.sqnr_db
    if share is not None:
        place = (share < _GOOD_SHARE) + (share < _FAIR_SHARE)
        if decibels is not None:
            place = max(place, (decibels < _NOISY_DB) + (decibels < _DROWNED_DB))
            place = min(place, 1) if decibels >= _GOOD_DB else place
    else:
        assert decibels is not None
        place = (decibels < _GOOD_DB) + (decibels < _FAIR_DB)
    if fidelity.worst is not None:
        worst = -math.inf if fidelity.worst.is_constant else fidelity.worst.sqnr_db
        place = max(place, (worst < _FAINT_DB) + (worst < _LOST_DB))
    return replace(fidelity, grade=GRADES[place])


_Pairs = Iterator[tuple[Inputs, ComparedOutputs]]


def _single(original: nn.Module, int8: nn.Module, images: Iterable[Inputs]) -> _Pairs:
    listed = list(images)
    for image, got in zip(listed, forward.outputs_side_by_side(int8, listed), strict=True):
        wanted = forward.outputs(original, [image])
        yield image, ComparedOutputs(wanted, [got], len(wanted[0]))


def _in_parts(floating: nn.Module, int8: nn.Module, images: Iterable[Inputs]) -> _Pairs:
    for image in images:
        yield image, compared_outputs(floating, int8, None, [image])


class _Tally:
    """What adds up over the images."""

    def __init__(self) -> None:
        self.images = 0
        self.similarity = Similarity()
        self.parts: list[OutputParts] = []
        self.boxes = [0, 0]
        self.outputs: list[_Counts] = []
        self.returned: list[list[Tensor]] = []

    def add(self, image: Inputs, both: ComparedOutputs) -> None:
        """One image: what float gave, and what int8 did."""
        wanted, got, returned = both.wanted[0], both.got[0], both.returned
        self.images += 1
        for ours, theirs in both.boxes:
            same, asked = matched(ours, theirs)
            self.boxes = [self.boxes[0] + same, self.boxes[1] + asked]
        self.similarity.add(wanted, got, returned)
        self.returned.append(
            [torch.empty(value.shape, dtype=value.dtype, device="meta") for value in wanted[:returned]]
        )
        self.parts += [OutputParts(place) for place in range(len(self.parts), returned)]
        self.outputs += [_Counts() for _ in range(len(self.outputs), returned)]
        pairs = zip(self.parts, self.outputs, wanted[:returned], got[:returned], strict=False)
        for parts, counts, a, b in pairs:
            if a.shape == b.shape:
                parts.add(a, b)
                counts.add(image, a, b)

    def found(self) -> Fidelity:
        """All of it, in the measure that fits. An output that float never changes says nothing."""
        varying = [counts for counts in self.outputs if counts.varies]
        if not varying and not self.boxes[1]:
            return not_measured("nothing that the model returns changes from image to image")
        sqnr = self.similarity.sqnr_db
        parts = [part for parts in self.parts for part in parts.noises() if not self._says_little(part)]
        worst = min(parts, key=lambda part: (not part.is_constant, part.sqnr_db), default=None)
        whole = Fidelity(self.images, "", sqnr_db=sqnr, worst=worst)
        is_classes = has_class_scores(self.returned)
        for measure, tallies in (
            ("boxes matched", [self.boxes]),
            ("same top-1", [counts.classes for counts in varying if is_classes and not counts.is_unit]),
            ("same class of pixel", [counts.pixels for counts in varying]),
            ("same whole numbers", [counts.numbers for counts in varying]),
        ):
            same, asked = (sum(tally[place] for tally in tallies) for place in range(2))
            if asked:
                return replace(whole, measure=measure, same=same, asked=asked)
        vectors = [counts.products for counts in varying if counts.is_vector or counts.is_unit]
        if vectors:
            product, first, second = torch.stack(vectors).sum(0).tolist()
            lengths = math.sqrt(first * second)
            return replace(whole, measure="cosine", value=product / lengths if lengths else 0.0)
        return replace(whole, measure="relative error", value=10 ** (-sqnr / 20) if sqnr > -math.inf else math.inf)

    def _says_little(self, part: PartNoise) -> bool:
        """Whether a part hardly varies, or is a constant slice of maps, such as the scores of a class that is absent.

        Whether such a slice is lost is judged by the layer that makes it, for every conversion.
        """
        is_slice = part.part.startswith("channel") and len(self.returned[0][part.output].shape) >= _MAPS
        return part.is_slight or (part.is_constant and is_slice)


class _Counts:
    """The answers of one output that are equal, and how many there are, by what they may be."""

    def __init__(self) -> None:
        self.classes, self.pixels, self.numbers = [0, 0], [0, 0], [0, 0]
        self.products = torch.zeros(3, dtype=torch.float64)
        self.is_vector = self.varies = False
        self.is_unit = True
        self._first: Tensor | None = None

    def add(self, image: Inputs, a: Tensor, b: Tensor) -> None:
        """One image."""
        if self._first is None:
            self._first = a
        self.varies |= a.shape != self._first.shape or not torch.equal(a, self._first)
        self.is_unit &= a.is_floating_point()
        if is_whole(a):
            _counted(self.numbers, a == b)
        elif a.is_floating_point():
            x, y = a.double(), b.double()
            self.products += torch.stack([(x * y).sum(), x.square().sum(), y.square().sum()])
            self.is_vector |= a.ndim == 3
            self.is_unit &= a.ndim == 2 and bool((x.norm(dim=1) - 1).abs().max() < _UNIT)
            if _is_classes_of_pixels(image, a):
                _counted(self.pixels, a.argmax(1) == b.argmax(1))
            if a.ndim == 2 and a.shape[1] > 1:
                _counted(self.classes, a.argmax(1) == b.argmax(1))


def _counted(tally: list[int], same: Tensor) -> None:
    tally[0] += int(same.sum())
    tally[1] += same.numel()


def _is_classes_of_pixels(image: Inputs, value: Tensor) -> bool:
    """Whether an output has scores of classes for each pixel of an image: so many channels, and its size."""
    if (
        value.ndim != 4
        or not value.is_floating_point()
        or value.shape[1] < _FEWEST_CLASSES
        or value.shape[1] == _COLOURS
    ):
        return False
    sizes = [leaf.shape[-2:] for leaf in forward.tensors(image) if leaf.ndim >= 3]
    return value.shape[-2:] in sizes
