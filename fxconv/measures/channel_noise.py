"""The noise of each part of an output about its own mean: what a loud neighbour or a large offset cannot hide.

The SQNR of a whole output says little of a channel of scores beside boxes in pixels, or of what varies by 1 about
1000: the power is the boxes', and the offset's. So each channel is looked at by itself, and what does not vary lends
no power.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fxconv.measures.output_comparison import decibels, difference, is_whole
from fxconv.models.forward import Outputs

# A channel is looked at when it has so many values, and one is further from their mean than this share of the largest.
FEWEST = 16
VARYING = 1e-3
# With fewer values than that or than there are channels, but so many, the noisier half is looked at together, if it
# has so many decibels less than all of them.
_VERY_FEW = 8
_HIDDEN_DB = 10.0
# Fewer images say little of what differs from one to the next.
_SEVERAL = 8
# What an output varies by, of its largest value, that is not rounding: sums of float32 in another order move less.
_NOT_ROUNDING = 1e-6
# A whole output that varies by less than this share of its largest value is only reported, and fails nothing.
_HARDLY = 5e-5
# Whole numbers of which fewer than this share differ from the one that int8 gives everywhere are rare in float, too.
_RARE = 0.01


@dataclass(frozen=True)
class PartNoise:
    """A part of an output over all images, about its mean.

    `part` says which, "" that it is the whole, about the means of its channels. `sqnr_db` is 10 log10 of the power it
    varies with over that of the noise; `is_constant` says that the compared one has one and the same value everywhere,
    `is_slight` that it is only reported: it varies by 1e-3 of its largest value at most, or may be no channel.
    `layer` is the path of what makes it, several with commas between, "" where that is not known; `whose` says what it
    is a part of where that is no output of the model.
    """

    output: int
    part: str
    sqnr_db: float
    is_constant: bool
    layer: str = ""
    is_slight: bool = False
    whose: str = ""

    @property
    def words(self) -> str:
        """Which it is and how it does, in words."""
        if self.is_constant:
            return f"{self.place} is constant in int8, and not in float"
        return f"{self.place} has {self.sqnr_db:.1f} dB about its mean"

    @property
    def place(self) -> str:
        """Which it is, in words."""
        whose = self.whose or f"output {self.output}"
        place = f"{self.part} of {whose}" if self.part else whose
        return f"{place} (made by {self.layer})" if self.layer else place


class OutputParts:
    """The parts of one output, over the images that are added one by one.

    A channel is a slice along the second dimension; of three dimensions along the shorter one of the last two, for the
    other one are places. It is looked at when it has 16 values and one of them is further from their mean than 1e-3 of
    the largest. Where there are fewer values, from 8 on, or fewer than channels, the one that is noisier than half of
    them is. Whole numbers and truth values have no noise that could be told by power; they may be constant.
    """

    def __init__(self, output: int) -> None:
        self.output = output
        self._sums: dict[tuple[str, int], _Sums] = {}
        self._shapes: set[torch.Size] = set()
        self._numbers = _WholeNumbers()

    def add(self, wanted: Tensor, got: Tensor, is_by_channel: bool = False) -> None:
        """One image: what float gives, and what is compared with it, of the same shape.

        With `is_by_channel` the second dimension is that of the channels for sure.
        """
        self._shapes.add(wanted.shape)
        if is_whole(wanted) and is_whole(got):
            self._numbers.add(wanted, got)
        for which, a, b in _real(wanted, got):
            for dim in {1, 1 if is_by_channel else _channel_dim(a)}:
                sums = self._sums.setdefault((which, dim), _Sums())
                sums.add(_rows(a, dim), _rows(b, dim))

    def noises(self) -> list[PartNoise]:
        """What was found of each, what is constant first, then the loudest noise."""
        found = self._numbers.found(self.output)
        channels = max((dim for _, dim in self._sums), default=1)
        for (which, dim), sums in self._sums.items():
            if dim == 1 and len(self._shapes) == 1:
                found += sums.whole(self.output, which)
            if dim == channels < len(next(iter(self._shapes))) and not sums.is_uneven:
                found += sums.channels(self.output, which, " along the last dimension" if dim == 2 else "")
        return sorted(found, key=lambda part: (not part.is_constant, part.sqnr_db))


def part_noises(reference: Outputs, found: Outputs, known: Collection[int] = ()) -> tuple[PartNoise, ...]:
    """The noise of every output about its mean, and of every channel that varies in float; the worst of each first.

    Of outputs that are `known`, for the layers that make them tell of their channels, slices are slight, but for those
    of two dimensions: it takes all images to have enough values of theirs.
    """
    noises = list[PartNoise]()
    for output, (wanted, got) in enumerate(zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True)):
        parts = OutputParts(output)
        for a, b in zip(wanted, got, strict=True):
            parts.add(a, b)
        found_here = parts.noises()
        if output in known and wanted[0].ndim != 2:
            # what lies along this dimension may be places, of which rightly little may be left
            slices = [replace(part, is_slight=True) for part in found_here if part.part.startswith("channel")]
            found_here = [part for part in found_here if not part.part.startswith("channel")]
            found_here += slices if wanted[0].ndim == 4 else []
        noises += [*found_here, *_between_images(output, wanted, got, found_here)]
    return tuple(noises)


def _between_images(
    output: int, wanted: Sequence[Tensor], got: Sequence[Tensor], parts: Sequence[PartNoise]
) -> list[PartNoise]:
    """What differs from image to image, at each place, where all else that an output says hides that int8 loses it.

    It is only reported: few images may happen to be alike.
    """
    whole = next((part for part in parts if not part.part), None)
    is_alike = len({value.shape for value in (*wanted, *got)}) == 1 and wanted[0].is_floating_point()
    if whole is None or not is_alike or wanted[0].ndim < 3 or len(wanted) < _SEVERAL:
        return []
    mean = sum(value.double() for value in wanted[1:]) / len(wanted) + wanted[0].double() / len(wanted)
    power = sum(float((value - mean).square().sum()) for value in wanted)
    noise = sum(float(difference(a.double(), b.double()).square().sum()) for a, b in zip(wanted, got, strict=True))
    sqnr = decibels(power, noise)
    if sqnr > 0 or sqnr > whole.sqnr_db - _HIDDEN_DB or power == 0:
        return []
    return [PartNoise(output, "what differs from image to image", sqnr, False, is_slight=True)]


def operand_noise(output: int, operand: str, wanted: Sequence[Tensor], got: Sequence[Tensor]) -> PartNoise | None:
    """The noise of one operand of a cat, given for each image; None where it does not vary."""
    sums = _Sums()
    for a, b in zip(wanted, got, strict=True):
        for _, first, second in _real(a, b):
            sums.add(first.double().reshape(1, -1), second.double().reshape(1, -1))
    return next((replace(part, part=operand) for part in sums.channels(output, "", "")), None)


def named(noises: Sequence[PartNoise], layers: Sequence[str]) -> tuple[PartNoise, ...]:
    """The same with the layers that make the outputs, given for each output."""
    return tuple(replace(noise, layer=layers[noise.output] if noise.output < len(layers) else "") for noise in noises)


def _real(wanted: Tensor, got: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """An output as fractional numbers: of a complex one real and imaginary part."""
    if is_whole(wanted) or is_whole(got) or wanted.is_complex() != got.is_complex():
        return
    if wanted.is_complex():
        both = [torch.view_as_real(value.resolve_conj()).unbind(-1) for value in (wanted, got)]
        yield from zip(("the real part", "the imaginary part"), both[0], both[1], strict=True)
    else:
        yield "", wanted, got


def _channel_dim(value: Tensor) -> int:
    """Which dimension is likely to be that of the channels."""
    return 2 if value.ndim == 3 and value.shape[2] < value.shape[1] else 1


def _rows(value: Tensor, dim: int) -> Tensor:
    """A row for each slice along `dim`; the whole is one row of a tensor without that."""
    return value.double().movedim(dim, 0).flatten(1) if value.ndim > dim else value.double().reshape(1, -1)


class _WholeNumbers:
    """Whether whole numbers or truth values are all the same in int8, and not in float."""

    def __init__(self) -> None:
        self.count = self.others = 0
        self.got: set[int] = set()

    def add(self, wanted: Tensor, got: Tensor) -> None:
        """One image."""
        if wanted.numel() and wanted.shape == got.shape:
            self.count += wanted.numel()
            self.others += int((wanted != got).sum())
            self.got |= {int(end) for end in torch.aminmax(got.long())}

    def found(self, output: int) -> list[PartNoise]:
        """The output, where that is so."""
        if len(self.got) != 1 or self.count < FEWEST or self.others <= _RARE * self.count:
            return []
        return [PartNoise(output, "", decibels(self.count, self.others), True)]


class _Sums:
    """Of each slice along a dimension: how many values it has, what they and the noise add up to, and the extremes."""

    def __init__(self) -> None:
        self.count = 0
        self.is_uneven = False
        self.total = self.squares = self.noise = torch.zeros(0, dtype=torch.float64)
        self.low = self.high = self.got_low = self.got_high = self.total

    def add(self, wanted: Tensor, got: Tensor) -> None:
        """Rows of more values, for as many slices as before."""
        if not wanted.numel():
            return
        if self.count and len(wanted) != len(self.total):
            self.is_uneven = True
            return
        finite = torch.where(wanted.isfinite(), wanted, 0.0)
        sums = finite.sum(1), finite.square().sum(1), difference(wanted, got).square().sum(1)
        least, most = (finite.amin(1), got.amin(1)), (finite.amax(1), got.amax(1))
        if self.count:
            sums = self.total + sums[0], self.squares + sums[1], self.noise + sums[2]
            least = torch.minimum(self.low, least[0]), torch.minimum(self.got_low, least[1])
            most = torch.maximum(self.high, most[0]), torch.maximum(self.got_high, most[1])
        self.total, self.squares, self.noise = sums
        (self.low, self.got_low), (self.high, self.got_high) = least, most
        self.count += wanted.shape[1]

    @property
    def means(self) -> Tensor:
        return self.total / max(self.count, 1)

    @property
    def power(self) -> Tensor:
        """What each slice varies with about its mean."""
        return (self.squares - self.total * self.means).clamp(min=0)

    @property
    def reach(self) -> Tensor:
        """How far from its mean a value of each slice lies at most."""
        return torch.maximum(self.high - self.means, self.means - self.low)

    @property
    def peak(self) -> Tensor:
        return torch.maximum(self.high.abs(), self.low.abs())

    @property
    def is_constant(self) -> Tensor:
        return self.got_low == self.got_high

    def channels(self, output: int, which: str, along: str) -> Iterator[PartNoise]:
        """Those that vary, or vary slightly where int8 does not at all."""
        if self.count < _VERY_FEW:
            return
        varying = self.reach > VARYING * self.peak
        slightly = self.is_constant & (self.reach > _NOT_ROUNDING * self.peak) & ~varying
        found, of = list[PartNoise](), f" of {which}" if which else ""
        for channel in (varying | slightly).nonzero().flatten().tolist():
            sqnr = decibels(float(self.power[channel]), float(self.noise[channel]))
            is_constant, is_slight = bool(self.is_constant[channel]), bool(slightly[channel])
            found.append(PartNoise(output, f"channel {channel}{along}{of}", sqnr, is_constant, is_slight=is_slight))
        if self.count >= max(FEWEST, len(self.total)):
            yield from found
            return
        # of so few values one of so many channels is bad by chance; half of them are not, where louder ones hide them
        telling = (one for one in found if not one.is_slight)
        ordered = sorted(telling, key=lambda one: (not one.is_constant, one.sqnr_db))
        place = (len(ordered) - 1) // 2
        whole = decibels(float(self.power.sum()), float(self.noise.sum()))
        if ordered and ordered[place].sqnr_db < whole - _HIDDEN_DB:
            more = f" and {place} noisier of {len(ordered)}" if place else ""
            yield replace(ordered[place], part=ordered[place].part + more)

    def whole(self, output: int, which: str) -> list[PartNoise]:
        """All of them, each about its mean, where they vary."""
        if self.is_uneven or self.count < 2 or self.count * len(self.total) < FEWEST:
            return []
        varies = self.reach > _NOT_ROUNDING * self.peak.max()
        if not bool(varies.any()):
            return []
        sqnr = decibels(float(self.power.sum()), float(self.noise.sum()))
        is_slight = not bool((self.reach > _HARDLY * self.peak.max()).any())
        return [PartNoise(output, which, sqnr, bool(self.is_constant[varies].all()), is_slight=is_slight)]
