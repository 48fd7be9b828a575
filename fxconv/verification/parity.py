"""The parity ledger: after every step, whether the module still computes what it computed before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fxconv.measures.channel_noise import PartNoise
from fxconv.measures.output_comparison import Noise, agreement, noises, shape_problem
from fxconv.models.forward import Outputs
from fxconv.replay import ISLAND_SQNR_DB

# Folding batch norms re-associates float32 sums; what it computes stays this close even where a network amplifies that.
FUSED_SQNR_DB = 60.0
# This one is there only where layers were equalized.
EQUALIZED = "equalized"
# And this one where the weights were trained while they were rounded.
TRAINED = "trained"
# The rows up to the int8 module; those of a file behind them are its target's.
STAGES = ("rewritten", "fused", EQUALIZED, TRAINED, "int8")
# A file as it lies on the disk, and how it answers where its runtime's kernels are others than the int8 module's.
RELOADED, ANSWERS = "reloaded", "answers"
# The stages that say how near int8 comes to float; the others are of what must be equal.
FIDELITY_STAGES = frozenset({TRAINED, "int8", ANSWERS})
# Why nothing is asked of how near it comes.
AMPLIFYING = "the random weights amplify any noise"
# SQNR about its mean of a part of an output: below the one its noise is louder than all that it says, below the other a
# third of what it seems to say is noise.
LOST_DB, FAINT_DB = 0.0, 5.0
# SQNR needs several images; that bits are equal shows on few.
LEDGER_IMAGES = 8
BETWEEN_IMAGES = 1
RELOADED_IMAGES = 4
# That folding batch norms moves nothing shows on few, too; for models of several graphs, which run as a whole for it.
FUSED_IMAGES = 2


@dataclass(frozen=True)
class StageParity:
    """One row of the ledger: a stage compared with the one it must equal, over all images.

    Of several outputs the worst one is shown, and each must pass by itself.

    `sqnr_db` is 10 log10 of signal power over noise power, infinite when bit-identical. `top1_agreement`
    is a share from 0 to 1, None when no output is a row of class scores. `problem` says what is wrong when it did
    not pass. `worst` is the output, channel, row or operand of a cat that has the most noise about its mean, `faint`
    are those with less than 5 dB, where they were looked at. `compared` says what was compared instead of what the
    model returns, "" when it was that.
    """

    stage: str
    against: str
    max_abs_diff: float
    sqnr_db: float
    top1_agreement: float | None
    rule: str
    passed: bool
    images: int
    problem: str = ""
    worst: PartNoise | None = None
    faint: tuple[PartNoise, ...] = ()
    compared: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of a comparison that passed, a sentence each."""
        if not self.passed or not self.faint:
            return ()
        more = f" (and {len(self.faint) - 1} more)" if len(self.faint) > 1 else ""
        return (f"int8 tells little of a part of what the model returns: {self.faint[0].words}{more}",)


def _row(
    stage: str,
    against: str,
    reference: Outputs,
    found: Outputs,
    rule: str,
    accept: Callable[[Noise], bool],
) -> StageParity:
    """Each output is judged by itself: a loud one must not hide the noise of a quiet one. The worst is shown."""
    problem = shape_problem(reference, found)
    if problem:
        return StageParity(stage, against, math.inf, -math.inf, None, rule, False, len(reference), problem)
    each = noises(reference, found)
    failed = [index for index, noise in enumerate(each) if not accept(noise)]
    if failed:
        which = f"output {failed[0]}: " if len(each) > 1 else ""
        worst = each[failed[0]]
        problem = f"{which}SQNR {worst.sqnr:.1f} dB, largest difference {worst.largest:.3g}"
    return StageParity(
        stage,
        against,
        max((noise.largest for noise in each), default=0.0),
        min((noise.sqnr for noise in each), default=math.inf),
        agreement(reference, found),
        rule,
        not failed,
        len(reference),
        problem,
    )


def same_function(stage: str, reference: Outputs, found: Outputs, tolerance: float) -> StageParity:
    """The rewritten float model against the original: equal, or within the tolerance its passes declare."""
    rule = f"within {tolerance:g} of the largest output" if tolerance else "equal"
    return _row(
        stage,
        "original",
        reference,
        found,
        rule,
        lambda noise: noise.is_within(tolerance),
    )


def same_but_for_rounding(stage: str, reference: Outputs, found: Outputs) -> StageParity:
    """The fused float module, of which int8 is made, against the original: at least 60 dB."""
    return close_enough(stage, reference, found, FUSED_SQNR_DB)


def close_enough(
    stage: str, reference: Outputs, found: Outputs, min_sqnr: float, against: str = "original"
) -> StageParity:
    """A module against the original float model, or another one: at least `min_sqnr` decibels."""
    return _row(stage, against, reference, found, f"at least {min_sqnr:g} dB", lambda noise: noise.sqnr >= min_sqnr)


def like_float(
    stage: str,
    reference: Outputs,
    found: Outputs,
    min_sqnr: float,
    against: str = "original",
    looked_at: Sequence[PartNoise] = (),
    compared: str = "",
) -> StageParity:
    """A quantized module against a float one: at least `min_sqnr` decibels, and no part of an output lost.

    A part that `looked_at` has is lost when it is constant, or has less than 0 dB about its mean, unless it hardly
    varies in float either. Where `min_sqnr` is below that, the user accepts so much noise in a part, too.
    """
    row = replace(close_enough(stage, reference, found, min_sqnr, against), compared=compared)
    if not reference or not reference[0]:
        return replace(row, passed=False, problem="nothing that could be compared came out of it")
    least = min(LOST_DB, min_sqnr)
    ordered = sorted(looked_at, key=lambda part: (not part.is_constant, part.sqnr_db))
    varying = [part for part in ordered if not part.is_slight]
    lost = [part for part in varying if part.sqnr_db < least or (part.is_constant and min_sqnr >= LOST_DB)]
    row = replace(
        row,
        worst=ordered[0] if ordered else None,
        faint=tuple(part for part in ordered if part.sqnr_db < FAINT_DB or part.is_constant),
    )
    if not row.passed or not lost:
        return row
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    rule = f"{least:g} dB about its mean in every part"
    return replace(row, passed=False, problem=f"{lost[0].words}{more}", rule=rule)


def not_asked_for(row: StageParity, why: str) -> StageParity:
    """The same row where nothing is asked of how near it comes, as `why` says; it must come in numbers, though."""
    if row.passed or not math.isfinite(row.max_abs_diff):
        return row
    return replace(row, passed=True, problem="", faint=(), rule=f"not asked for: {why}")


def only_finite(stage: str, reference: Outputs, found: Outputs, why: str) -> StageParity:
    """A module against the original float model, from which it may differ, as `why` says; by numbers, though."""
    return _row(stage, "original", reference, found, why, lambda noise: math.isfinite(noise.largest))


def same_bits(stage: str, reference: Outputs, found: Outputs, has_islands: bool) -> StageParity:
    """A lowered form against the int8 module: bit for bit, or at least 40 dB where a float island lies between."""
    rule = f"equal, or {ISLAND_SQNR_DB:g} dB across float islands" if has_islands else "equal"
    return _row(
        stage,
        "int8",
        reference,
        found,
        rule,
        lambda noise: noise.largest == 0 or (has_islands and noise.sqnr >= ISLAND_SQNR_DB),
    )


def unreadable(stage: str, error: BaseException) -> StageParity:
    """The row for a file that does not load or run."""
    first = (str(error).strip().splitlines() or [""])[0]
    problem = f"the file does not load or run: {type(error).__name__}: {first}"
    return StageParity(stage, "int8", math.inf, -math.inf, None, "equal", False, 0, problem)
