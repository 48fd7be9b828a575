"""How much worse int8 may answer than float, kept by leaving the layers in float that pay most for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from torch import nn

from fxconv.errors import ConversionError
from fxconv.measures.judge import Judge, Judgement, Kept, Score
from fxconv.measures.latency import measure
from fxconv.measures.layer_cost import LayerCost, damage
from fxconv.measures.layer_times import LayerTime, layer_times
from fxconv.measures.metric_judge import MetricJudge
from fxconv.models.graph_calls import Inputs

# Images, of those to judge by, that layers are ranked by.
RANKED = 16
# What any layer in float costs beside its weights and multiplications: two conversions, each a pass over memory.
_EACH = 0.02
# Layers are added one by one until there are so many; each is a candidate to be quantized and judged.
_ONE_BY_ONE = 12
# When many layers are in float, those that are not needed are looked for in so many groups.
_FINEST = 8


class HasInt8(Protocol):
    """A quantized model, however it came about."""

    @property
    def int8(self) -> nn.Module:
        """Its int8 module, whose layers are called by their paths in the rewritten model."""
        ...


M = TypeVar("M", bound=HasInt8)


def judged(
    quantized: M,
    again: Callable[[tuple[str, ...]], M],
    rank: Callable[[list[Inputs]], tuple[LayerCost, ...]],
    judge: Judge | MetricJudge,
    max_drop: float | None,
    step: Callable[[str], AbstractContextManager[None]],
    progress: Callable[[str, int, int], None],
) -> tuple[M, Judgement]:
    """Judge a quantized model and, with `max_drop`, keep as few and cheap layers in float as it takes.

    `again` quantizes the model anew with layers of these paths in float; `rank` says what each layer alone costs on
    images, the worst first; `step` times what is done here. Returns the model to use and what was found. Raises
    `ConversionError` with the best score when the budget cannot be met: one convolution or linear layer at least must
    stay in int8.
    """
    with step("judging"):
        before = judge.score(quantized.int8)
    result = judge.judged(before, max_drop)
    result = replace(result, warnings=_too_coarse(result))
    if max_drop is None:
        return quantized, result
    result = result.within(max_drop)
    if result.allows(before):
        return quantized, result
    with step("sensitivity"):
        layers = rank(judge.examples(RANKED))
    search = _Search(again, judge, result, step, progress)
    final, kept = search.cheapest(layers)
    with step("latency"):
        example = judge.examples(1)[0]
        total = measure(quantized.int8, final.int8, example)
        times = layer_times((quantized.int8, final.int8), [layer.where for layer in kept], example)
    priced = tuple(_priced(layer, *(each.get(layer.where, LayerTime(0.0, 0.0)) for each in times)) for layer in kept)
    after, tried = search.scores[_paths(kept)], len(search.scores) + 1
    return final, replace(
        result,
        after=after,
        kept=priced,
        tried=tried,
        extra_ms=total.float_ms - total.int8_ms,
        extra_cpu_ms=total.float_cpu_ms - total.int8_cpu_ms,
        ranking=tuple((layer.where, layer.sqnr_db) for layer in layers),
    )


def _priced(layer: LayerCost, before: LayerTime, after: LayerTime) -> Kept:
    """A layer that is in float, and its price."""
    price = layer.float_extra_bytes, after.ms - before.ms, after.cpu_ms - before.cpu_ms
    return Kept(layer.where, layer.kind, layer.sqnr_db, *price)


def _too_coarse(result: Judgement) -> tuple[str, ...]:
    """What to say of a budget smaller than the difference a single image makes."""
    if result.max_drop is None or result.metric is not None or result.max_drop >= 100 / result.images:
        return ()
    return (
        f"on {result.images} images one answer is {100 / result.images:.3g} points, so --max-drop {result.max_drop:g} "
        "allows none to change; judge by more (--held-out)",
    )


class _Search(Generic[M]):
    """Tries which layers have to be in float; each candidate is quantized and judged for real."""

    def __init__(
        self,
        again: Callable[[tuple[str, ...]], M],
        judge: Judge | MetricJudge,
        result: Judgement,
        step: Callable[[str], AbstractContextManager[None]],
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.again, self.judge, self.result, self.step, self.progress = again, judge, result, step, progress
        self.scores: dict[frozenset[str], Score] = {}
        self.quantized: M | None = None

    def cheapest(self, layers: Sequence[LayerCost]) -> tuple[M, list[LayerCost]]:
        """The model within the budget, and the layers it has in float.

        The most valuable ones are added one by one, those left out again that make the score worse by more than chance
        does. Where those are not enough, the fewest of all that are, in the order of their value.
        """
        units = _units(layers)
        kept = self._one_by_one(units[:_ONE_BY_ONE]) or self._shortest(units)
        if kept is None:
            raise ConversionError(self._best(layers))
        kept = self._pruned(kept)
        assert self.quantized is not None
        return self.quantized, kept

    def _one_by_one(self, units: Sequence[Sequence[LayerCost]]) -> list[LayerCost] | None:
        kept, best = list[LayerCost](), self.result.before
        for unit in units:
            more = _members([kept, unit])
            if self._holds([more]):
                return more
            found = self.scores[_paths(more)]
            if self.result.value(found) >= self.result.value(best) - self.result.chance(best):
                kept, best = more, found
        return None

    def _shortest(self, units: Sequence[Sequence[LayerCost]]) -> list[LayerCost] | None:
        if not units:
            return None
        high = min(2 * _ONE_BY_ONE, len(units))
        low = min(_ONE_BY_ONE, high - 1)
        while not self._holds(units[:high]):
            if high == len(units):
                return None
            low, high = high, min(2 * high, len(units))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds(units[:middle]) else (middle, high)
        return _members(units[:high])

    def _pruned(self, kept: list[LayerCost]) -> list[LayerCost]:
        """Without what turned out not to be needed: halves are tried first, the least valuable one before the other."""
        smallest = max(1, len(kept) // _FINEST)
        chunks = [sorted(kept, key=_worth)]
        while chunks:
            chunk = chunks.pop()
            fewer = [layer for layer in kept if layer not in chunk]
            if self._holds([fewer]):
                kept = fewer
            elif len(chunk) > smallest:
                middle = len(chunk) // 2
                chunks += [chunk[middle:], chunk[:middle]]
        return kept

    def _holds(self, units: Sequence[Sequence[LayerCost]]) -> bool:
        """Whether the budget is met with these in float; then the model is kept."""
        paths = tuple(layer.where for layer in _members(units))
        if not paths or frozenset(paths) in self.scores:
            return False  # whatever held before is what is looked at now
        self.progress(f"judging with {len(paths)} layers in float", 0, 1)
        candidate = self.again(paths)
        with self.step("judging"):
            score = self.scores[frozenset(paths)] = self.judge.score(candidate.int8)
        if not self.result.allows(score):
            return False
        self.quantized = candidate
        return True

    def _best(self, layers: Sequence[LayerCost]) -> str:
        result = self.result
        tried = {frozenset[str](): result.before, **self.scores}
        paths, score = max(tried.items(), key=lambda item: result.value(item[1]))
        several = f"{len(paths)} of {len(layers)} operations" if paths else "nothing"
        return (
            f"--max-drop {result.max_drop:g} cannot be met: {result.measure} is {result.shown(result.value(score))} at "
            f"best on {result.images} images, with {several} in float, and {result.shown(result.allowed or 0)} "
            f"{'are' if result.metric is None else 'is'} asked for; calibrate on more (--calib, --calib-count), or "
            "allow more"
        )


def _units(layers: Sequence[LayerCost]) -> list[list[LayerCost]]:
    """What has to be in float together, by the damage it prevents for its price, the most first.

    Where the output of a layer is what suffers, and not its weights, those that read it must be in float too: a value
    is rounded as long as anybody reads it in int8. An input is not rounded when those that read it are in float. The
    layer with weights that is worth least stays in int8, or nothing would.
    """
    by_path = {layer.where: layer for layer in layers if not layer.is_boundary}
    for layer in sorted((layer for layer in by_path.values() if layer.is_layer), key=_worth)[:1]:
        del by_path[layer.where]
    units = []
    for layer in layers:
        own, output = damage(layer), layer.output_sqnr_db
        at_output = output is not None and damage(replace(layer, sqnr_db=output)) > own / 2
        paths = (layer.where, *(layer.readers if at_output else ()))
        members = [by_path[path] for path in dict.fromkeys(paths) if path in by_path]
        if members:
            units.append((own / sum(map(_price, members)), members))
    return [members for _, members in sorted(units, key=lambda unit: -unit[0])]


def _members(units: Sequence[Sequence[LayerCost]]) -> list[LayerCost]:
    """The layers of several units, each once."""
    return list({layer.where: layer for unit in units for layer in unit}.values())


def _paths(layers: Sequence[LayerCost]) -> frozenset[str]:
    return frozenset(layer.where for layer in layers)


def _worth(layer: LayerCost) -> float:
    """How much damage a layer in float prevents for its price."""
    return damage(layer) / _price(layer)


def _price(layer: LayerCost) -> float:
    """What a layer in float costs, as a share of the model: of its multiplications, of its weights, and conversions."""
    return _EACH + layer.macs_share + layer.weight_share
