"""A metric of the user's: a function of a model and of batches with targets, which gives a number; higher is better."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fxconv.config import Config
from fxconv.data.calibration import CalibrationData
from fxconv.diagnostics.blame import blamed, is_out_of_memory
from fxconv.errors import ConversionError, InternalError, UserError, described
from fxconv.measures import metric_model
from fxconv.measures.metric_model import Feed, MetricModel, RefusedInput
from fxconv.models.signature import InputSignature
from fxconv.models.user_code import object_at
from fxconv.wording import with_article

_CALLED_WITH = "a metric is called with a model and an iterator of (batch, target)"


@dataclass(frozen=True)
class MetricName:
    """What a metric is called, FILE.py:NAME or its qualified name, and the SHA-256 of the file it is written in."""

    name: str
    spec: str
    sha256: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric, and what begins every message about it."""

    function: Callable[..., Any]
    named: MetricName
    what: str

    @classmethod
    def at(cls, spec: str, option: str = "--metric") -> Metric:
        """The function at FILE.py:NAME or PACKAGE.MODULE:NAME. Raises `UserError` when there is none."""
        found, home = object_at(spec, option), spec.rpartition(":")[0]
        file = Path(home) if home.endswith(".py") else _file_of(found)
        return cls(found, MetricName(_name(found), spec, _digest(file)), f"{option} {spec}")._checked()

    @classmethod
    def of(cls, given: Metric | Callable[..., Any] | str) -> Metric:
        """What was given from Python: itself, a function, or FILE.py:NAME. Raises `UserError` when it is none."""
        if isinstance(given, Metric):
            return given
        if isinstance(given, str):
            return cls.at(given, "metric")
        name = _name(given)
        qualified = getattr(given, "__qualname__", name)
        spec = f"{getattr(given, '__module__', None) or type(given).__module__}:{qualified}"
        return cls(given, MetricName(name, spec, _digest(_file_of(given))), f"metric {name}")._checked()

    def measured(
        self,
        module: nn.Module,
        signature: InputSignature,
        data: CalibrationData,
        count: int,
        reference: nn.Module | None = None,
        whose: str = "the float model",
    ) -> tuple[float, int]:
        """The value for a model in eval mode on at most `count` images of `data`, and how many of them were looked at.

        `reference` is the float model where `module` is made of it; `whose` says in words which it is. Random numbers
        are the same whenever it runs. Raises `UserError` where the metric fails or gives no finite number, and where it
        looks at no image or never calls the model.
        """
        feed = Feed(data, count, signature)
        model = MetricModel(module, signature, feed, reference)
        try:
            with _same_draws():
                returned = self.function(model, feed.batches())
        except (UserError, ConversionError, InternalError):
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            if is_out_of_memory(error) or feed.failed:
                raise
            raise self._failed(error, whose) from error
        if not feed.images:
            raise UserError(f"{self.what}: never looked at an image; let it go through the batches it is given")
        if not model.calls:
            raise UserError(f"{self.what}: never called the model it is given; let it compare what that returns")
        return self._number(returned, whose), feed.images

    def _checked(self) -> Metric:
        if inspect.isclass(self.function) or not callable(self.function):
            kind = "a class" if inspect.isclass(self.function) else f"of type {type(self.function).__name__}"
            raise UserError(f"{self.what}: is {kind}, no function; {_CALLED_WITH}")
        try:
            inspect.signature(self.function).bind("model", "batches")
        except TypeError as error:
            raise UserError(f"{self.what}: {error}; {_CALLED_WITH}") from error
        except ValueError:  # of a function written in C nothing is known
            pass
        return self

    def _failed(self, error: BaseException, whose: str) -> UserError:
        frame = blamed(error.__traceback__, metric_model.__file__)
        place = f" in {Path(frame.filename).name}, line {frame.lineno} ({frame.line})" if frame is not None else ""
        if isinstance(error, RefusedInput) and error.__cause__ is not None:
            refused = f"{whose} cannot take what it is called with{place}: {described(error.__cause__)}"
            return UserError(f"{self.what}: {refused}; call it with each batch as it comes")
        return UserError(f"{self.what}: failed with {described(error)}{place}, for {whose}; mend it there")

    def _number(self, returned: Any, whose: str) -> float:
        value = returned
        if isinstance(returned, Tensor) and returned.numel() == 1:
            value = returned.item()
        elif isinstance(returned, np.ndarray) and returned.size == 1:
            value = returned.reshape(()).item()
        try:
            number = math.nan if isinstance(value, (str, bytes)) else float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            number = math.nan
        if math.isfinite(number):
            return number
        if isinstance(value, (int, float)):
            raise UserError(f"{self.what}: returned {value} for {whose}; return a finite number, higher for better")
        raise UserError(f"{self.what}: returned {_shown(returned)} for {whose}; return one number, higher for better")


def with_metric(
    config: Config, given: Metric | Callable[..., Any] | str | None, options: Mapping[str, Any]
) -> tuple[Config, Metric | None]:
    """The choices, with their fields in `options` replaced, and the metric: what was given, or what the choices name.

    Raises `UserError` where that is none.
    """
    metric = None if given is None else Metric.of(given)
    choices = dict(options) if metric is None else {**options, "metric": metric.named.spec}
    config = replace(config, **choices)
    if metric is None and config.metric is not None:
        metric = Metric.of(config.metric)
    return config, metric


@contextmanager
def _same_draws() -> Iterator[None]:
    """Random numbers begin anew, as they did when the other model was measured, and go on afterwards as before."""
    kept, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numpys)


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, list(value)[:6]))}"
    if isinstance(value, (Tensor, np.ndarray)):
        return f"an array of shape {tuple(value.shape)}"
    return with_article(type(value).__name__)


def _plain(function: Any) -> Any:
    """The function that a partial of it is about, and the class of an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__name__") else type(function)


def _name(function: Any) -> str:
    return str(_plain(function).__name__)


def _file_of(function: Any) -> Path | None:
    try:
        return Path(inspect.getfile(inspect.unwrap(_plain(function))))
    except (OSError, TypeError):  # it is written in C, or was typed in
        return None


def _digest(file: Path | None) -> str | None:
    try:
        return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
