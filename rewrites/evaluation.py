"""What a recorded call gives, worked out on empty tensors: the shape and type of a tensor, or numbers."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from rewrites.proxies import UNKNOWN, faked, is_constant, known_value, plain, proxies_in

# Modules that return a tensor of their input's shape and type.
_KEEPING_SHAPE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Dropout)

# Functions that make a tensor of numbers alone, as the sizes of each run have it; of the first few nobody knows the
# numbers.
RANDOM = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.empty})
MADE_ANEW = frozenset(
    {torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.logspace, torch.eye, torch.tensor,
     torch.as_tensor, torch.tril_indices, torch.triu_indices, torch._assert, *RANDOM}
)  # fmt: skip

# Where functions lie that work with numbers alone.
_OF_NUMBERS = ("_operator", "math", "builtins")


class Evaluation:
    """Runs calls on what is known of their arguments; `is_running` while it does, when nothing is to be recorded."""

    def __init__(self) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.is_running = False

    def value_of(self, root: nn.Module, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of a call on empty tensors of the known shapes; UNKNOWN where it needs the numbers in them.

        Buffers have their numbers, in memory of their own, and so has what is computed from them alone: a forward may
        loop over a buffer of strides.
        """
        if any(known_value(proxy) is UNKNOWN for proxy in proxies_in((args, kwargs))):
            return UNKNOWN
        self.is_running = True
        try:
            if kind == "get_attr":
                value = operator.attrgetter(target)(root)
                if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                    return value.detach().clone()
                with self.fake:
                    return faked(value) if isinstance(value, Tensor) else UNKNOWN
            args, kwargs = plain((args, kwargs))
            leaves = tree_leaves((args, kwargs))
            given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            if kind == "call_function" and not given and getattr(target, "__module__", None) in _OF_NUMBERS:
                return target(*args, **kwargs)
            has_numbers = all(map(is_constant, given)) and kind != "call_module"
            has_numbers = has_numbers and (bool(given) or (target in MADE_ANEW and target not in RANDOM))
            function = target
            if kind == "call_method":
                function, args = getattr(args[0], target), args[1:]
            elif kind == "call_module":
                function = root.get_submodule(target)
                if type(function).__module__.startswith("torch.nn."):
                    return self._called(function, args, kwargs)
                with _without_hooks(function), self.fake, torch.no_grad():
                    return function(*args, **kwargs)
            is_kept = function is F.batch_norm or (function is getattr and args[1] == "data")
            if is_kept and args and isinstance(args[0], FakeTensor):  # of its input's shape and type
                return args[0]
            with nullcontext() if has_numbers else self.fake, torch.no_grad():
                return function(*args, **kwargs)
        except Exception:  # it needs numbers, or an operator that does not say what shape it gives
            return UNKNOWN
        finally:
            self.is_running = False

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one of torch's own modules returns, as far as shapes go: its weights have none but a shape either."""
        with _without_hooks(module), self.fake, torch.no_grad():
            if isinstance(module, _KEEPING_SHAPE) and args and isinstance(args[0], FakeTensor):
                return args[0]
            state = {name: faked(value) for name, value in (*module.named_parameters(), *module.named_buffers())}
            return functional_call(module, state, args, kwargs)


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    """A module that is only asked for a shape: its hooks are run when it is called in earnest."""
    before = module._forward_pre_hooks, module._forward_hooks
    module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        module._forward_pre_hooks, module._forward_hooks = before
