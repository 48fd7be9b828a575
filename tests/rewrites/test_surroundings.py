"""What is different around a forward while it is traced is put back, whether it traces or raises."""

import builtins
import functools
import gc
import logging
import math
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from passcheck import conv, images, model
from torch import Tensor, fx, nn

from rewrites import UntraceableError, rewrite
from rewrites.proxies import is_value
from rewrites.tracing import trace

IMAGE = {"x": torch.empty(2, 8, 8, 8)}


@functools.lru_cache
def half_of(size):
    return size // 2


def scaled(x):
    return x * (2 if x.shape[2] in {8, 16} else 1)


fx.wrap("scaled")


def state() -> dict[str, object]:
    """All names that code of torch, of Python and of this file finds, and the hooks that every module has."""
    kinds = (Tensor, nn.Module, nn.Conv2d, nn.Sequential, fx.Proxy, logging.Logger)
    spaces = {
        "builtins": vars(builtins), "here": globals(), "torch": vars(torch), "F": vars(F), "math": vars(math),
        "warnings": vars(warnings), "logging": vars(logging), "passcheck": vars(sys.modules["passcheck"]),
    } | {kind.__name__: dict(vars(kind)) for kind in kinds}  # fmt: skip
    found = {f"{space}.{name}": value for space, names in spaces.items() for name, value in list(names.items())}
    registries = {f"registry {name}": value for name, value in fx._symbolic_trace._wrapped_fns_to_patch.items()}
    return found | registries


def holding_proxies() -> list[object]:
    """Functions that remember a value of a tracer."""
    gc.collect()
    functions = [found for found in gc.get_objects() if type(found) is type(half_of)]
    return [
        f for f in functions if any(is_value(part) for held in gc.get_referents(f) for part in gc.get_referents(held))
    ]


def everything(self, x):
    """Asks all that is different while tracing."""
    assert isinstance(x, Tensor) and isinstance(x.shape, torch.Size) and type(x.shape[0]) is int
    assert torch.is_tensor(x) and len(x) == 2
    print("rows", x.shape[2])
    logging.getLogger("model").info("rows %d", x.shape[2])
    torch._check(x.shape[1] > 1)
    torch._assert(x.shape[1] > 1, f"{x.shape[1]} channels")
    y = self.conv(scaled(x)) + torch.zeros(*x.shape) + self.half(x.shape[2]) + half_of(x.shape[3])
    return y.view(len(x), -1) + {8: 1.0}.get(x.shape[2], 2.0)


def raises_in_the_end(self, x):
    everything(self, x)
    raise KeyError(x.shape[2])


def looks_at_values(self, x):
    y = everything(self, x)
    return y if y.sum() > 0 else -y


def whole(forward):
    return model(forward, conv=conv(), half=functools.cache(lambda size: size // 2))


@pytest.fixture(autouse=True, scope="module")
def _imported():
    """torch imports parts of itself when something is traced for the first time."""
    trace(whole(everything), IMAGE)


def assert_nothing_changed(before: dict[str, object], after: dict[str, object]) -> None:
    assert sorted(before.keys() ^ after.keys()) == []
    assert [name for name in before if before[name] is not after[name]] == []


@pytest.mark.parametrize("forward", [everything, raises_in_the_end, looks_at_values], ids=lambda f: f.__name__)
@pytest.mark.parametrize("example", [IMAGE, None], ids=["with an example", "without one"])
def test_nothing_stays_different_after_tracing(forward, example, capsys):
    half_of.cache_clear()
    original, before = whole(forward), state()
    held = {path: dict(vars(part)) for path, part in original.named_modules()}
    if forward is everything and example is not None:
        graph_module, leaves = trace(original, example)
        assert leaves == () and [entry.code[:6] for entry in graph_module.meta["fixed"]] == [
            "assert",
            "return",
            "return",
        ]
        assert capsys.readouterr().out == "rows 8\n"
        made = [name for name in vars(original) if name not in held[""]]
        assert all(name.startswith("_tensor_constant") for name in made)
    else:
        with pytest.raises(UntraceableError):
            trace(original, example)
        assert {path: dict(vars(part)) for path, part in original.named_modules()} == held
    assert_nothing_changed(before, state())
    assert holding_proxies() == []
    assert type(original.half) is type(half_of) and half_of(6) == 3


def test_nothing_stays_different_after_a_rewriting_in_parts():
    outer = model(lambda self, x: self.inner(x) * 2, inner=whole(looks_at_values))
    before = state()
    result = rewrite(outer, example=images())
    assert [leaf.path for leaf in result.leaves] != []
    assert_nothing_changed(before, state())
    assert holding_proxies() == []


def test_an_interrupted_tracing_puts_everything_back():
    def forward(self, x):
        raise KeyboardInterrupt

    before = state()
    with pytest.raises(KeyboardInterrupt):
        trace(model(forward), IMAGE)
    assert_nothing_changed(before, state())


def test_a_module_of_the_users_own_keeps_its_names():
    before = dict(vars(sys.modules["passcheck"]))
    trace(model(lambda self, x: self.conv(x), conv=conv()), IMAGE)
    assert dict(vars(sys.modules["passcheck"])) == before
    assert not {"isinstance", "len", "print", "type"} & globals().keys()
