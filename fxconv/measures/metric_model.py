"""What a metric of the user's is handed: a model that can be called and not be changed, and its batches, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fxconv.data.calibration import CalibrationData
from fxconv.data.targets import pairs
from fxconv.diagnostics.blame import blamed, is_out_of_memory
from fxconv.errors import InternalError, OwnFormError
from fxconv.models import forward
from fxconv.models.signature import InputSignature, sizes


class RefusedInput(Exception):
    """The model cannot take what a metric called it with; `__cause__` says why."""


class MetricModel:
    """A model in eval mode, without gradients: it takes a batch as it comes, and returns what the float model returns.

    A batch of a model of several inputs is a tuple, and may be given as that or as so many arguments. What a call is
    given, and what it returns, are in memory of their own. `reference` is the float model, where this is one made of
    it: what only this one cannot take is a fault of fxconv's, as long as it is of the size of a batch.
    """

    training = False

    def __init__(self, module: nn.Module, signature: InputSignature, feed: Feed, reference: nn.Module | None) -> None:
        self._module, self._signature, self._feed, self._reference = module, signature, feed, reference
        self.calls = 0

    def __call__(self, *inputs: Any) -> Any:
        """What the model returns."""
        self.calls += 1
        arguments = self._arguments(inputs)
        try:
            return _own(forward.called(self._module, arguments))
        except Exception as error:  # whatever the forward raises on what the user's code made
            if is_out_of_memory(error):
                raise
            if self._reference is not None and self._feed.is_of_a_batch(arguments) and self._takes(arguments):
                frame = blamed(error.__traceback__)
                if frame is not None:  # a part of the model that stayed in float
                    place = f"the code in {Path(frame.filename).name}, line {frame.lineno} ({frame.line})"
                    raise OwnFormError(place, error) from error
                raise InternalError("fxconv's form of the model, called by a metric", error) from error
            raise RefusedInput from error

    def eval(self) -> MetricModel:
        """Itself, which is in eval mode."""
        return self

    def train(self, mode: bool = True) -> MetricModel:
        """Itself, unless it is to be trained. Raises `RuntimeError` then."""
        if mode:
            raise RuntimeError("the model that a metric gets stays in eval mode")
        return self

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a metric can call the model it gets, which has no {name!r}")

    def _arguments(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments of a call."""
        lone = inputs[0] if len(inputs) == 1 else None
        if isinstance(lone, (tuple, list)) and self._signature.count > 1:
            inputs = tuple(lone)
        if self._signature.as_list and inputs and isinstance(inputs[0], Tensor):
            inputs = (list(inputs[0].unbind(0)), *inputs[1:])
        return inputs

    def _takes(self, arguments: tuple[Any, ...]) -> bool:
        assert self._reference is not None
        try:
            forward.called(self._reference, arguments)
        except Exception:  # whatever the user's own forward raises
            return False
        return True


class Feed:
    """The batches of one run of a metric, each with its target, and what became of them.

    `images` counts those that were taken; `failed` is set when a batch could not be read, which is no fault of the
    metric's.
    """

    def __init__(self, data: CalibrationData, count: int, signature: InputSignature) -> None:
        self.data, self.count, self.signature = data, count, signature
        self.images, self.failed = 0, False
        self._sizes = set[tuple[tuple[int, ...], ...]]()

    def batches(self) -> Iterator[tuple[Any, Any]]:
        """What `(batch, target)` is, in memory of its own: a metric may write into either."""
        source = pairs(self.data, self.count)
        while True:
            try:
                found = next(source, None)
                if found is None:
                    return
                arguments = self.signature.arguments(_own(found[0]))
            except Exception:
                self.failed = True
                raise
            self.images += len(found[0][0])
            self._sizes.add(tuple(sizes(arguments)))
            yield (arguments[0] if len(arguments) == 1 else arguments), _own(found[1])

    def is_of_a_batch(self, arguments: tuple[Any, ...]) -> bool:
        """Whether these are of the size, but for N, of a batch that was handed out."""
        return tuple(sizes(arguments)) in self._sizes


def _own(value: Any) -> Any:
    """The same with tensors and arrays in memory of their own; other objects are themselves."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.clone()
        return leaf.copy() if type(leaf).__module__ == "numpy" and hasattr(leaf, "copy") else leaf

    with torch.no_grad():
        return tree_map(one, value)
