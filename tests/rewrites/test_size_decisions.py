"""No decision by a size in silence: each is recorded with its line; what only tells a size is none."""

# ruff: noqa: B028, B905, C416, C420, UP031, UP032 -- forwards as people write them

import bisect
import collections
import io
import logging
import math
import operator
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sizecheck import decided, line_of, said_lines
from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Box:
    h: int
    w: int


DECIDING = {
    "int_half": lambda self, x: x[:, :, : int(x.shape[2] * 0.5)],
    "int_sqrt": lambda self, x: x.flatten(2)[:, :, : int((x.shape[2] * x.shape[3]) ** 0.5)],
    "max": lambda self, x: x * max(x.shape[2], x.shape[3]),
    "min_list": lambda self, x: x * min(x.shape[2:]),
    "sorted": lambda self, x: x * sorted(x.shape[2:])[0],
    "range": lambda self, x: sum(x[:, :, i] for i in range(x.shape[2])),
    "range_step": lambda self, x: torch.stack([x[:, :, i] for i in range(0, x.shape[2], 4)], 2),
    "bin": lambda self, x: x * bin(x.shape[2]).count("1"),
    "hex": lambda self, x: x * len(hex(x.shape[2])),
    "fmt": lambda self, x: x * len("{:03d}".format(x.shape[2])),
    "fmt_name": lambda self, x: x * len("{h}x{w}".format(h=x.shape[2], w=x.shape[3])),
    "fmt_map": lambda self, x: x * len("{h}".format_map({"h": x.shape[2]})),
    "str": lambda self, x: x * len(str(x.shape[2])),
    "repr": lambda self, x: x * len(repr(x.shape[2])),
    "pct": lambda self, x: x * len("%d" % x.shape[2]),
    "pct2": lambda self, x: x * len("%s-%03d" % (x.shape[2], x.shape[3])),
    "str_shape": lambda self, x: x * len(str(x.shape)),
    "str_tuple": lambda self, x: x * len(str(tuple(x.shape))),
    "fstr_shape": lambda self, x: x * len(f"{x.shape}"),
    "new_tensor": lambda self, x: x / x.new_tensor([x.shape[2], x.shape[3]]).sum(),
    "isclose": lambda self, x: x * 2 if math.isclose(x.shape[2], 16) else x,
    "opindex": lambda self, x: x[:, :, : operator.index(x.shape[2]) // 2],
    "npprod": lambda self, x: x.reshape(x.shape[0], int(np.prod(x.shape[1:]))),
    "npsqrt": lambda self, x: x / np.sqrt(x.shape[2]),
    "nparray": lambda self, x: x / float(np.array([x.shape[2], x.shape[3]]).sum()),
    "npceil": lambda self, x: x[:, :, : int(np.ceil(x.shape[2] / 3))],
    "nplog2": lambda self, x: x * float(np.log2(x.shape[2])),
    "npmax": lambda self, x: x * int(np.maximum(x.shape[2], x.shape[3])),
    "npint": lambda self, x: x[:, :, : np.int64(x.shape[2])],
    "nplinspace": lambda self, x: x + torch.from_numpy(np.linspace(0, 1, x.shape[3], dtype=np.float32)),
    "nparange": lambda self, x: x + torch.from_numpy(np.arange(x.shape[3])),
    "ttensor_float": lambda self, x: x / torch.tensor(float(x.shape[3])),
    "counter": lambda self, x: x * collections.Counter(x.shape)[16],
    "set": lambda self, x: x * len(set(x.shape[2:])),
    "all": lambda self, x: x * 2 if all(s % 2 == 0 for s in x.shape[2:]) else x,
    "shape_eq": lambda self, x: x * 2 if x.shape == (2, 4, 16, 16) else x,
    "shape_eq_list": lambda self, x: x * 2 if list(x.shape) == [2, 4, 16, 16] else x,
    "square": lambda self, x: x * 2 if x.shape[2] == x.shape[3] else x,
    "fromfloat": lambda self, x: x * float(x.shape[2]),
    "bool": lambda self, x: x * bool(x.shape[2] % 5),
    "notz": lambda self, x: x * 2 if not x.shape[2] % 5 else x,
    "count": lambda self, x: x * x.shape.count(16),
    "index": lambda self, x: x * x.shape.index(16),
    "bitlen": lambda self, x: x[:, :, : x.shape[2].bit_length()],
    "unbind": lambda self, x: torch.stack([i * 2 for i in x.unbind(0)]),
    "rangebatch": lambda self, x: torch.stack([x[i] * 2 for i in range(x.shape[0])]),
    "chain": lambda self, x: x * 2 if 8 < x.shape[2] <= 20 else x,
    "frozen": lambda self, x: x * 2 if x.shape[2] in frozenset((16, 32)) else x,
    "in_list": lambda self, x: x * 2 if x.shape[2] in [16, 32] else x,
    "in_tuple": lambda self, x: x * 2 if (x.shape[2], x.shape[3]) in ((16, 16), (32, 32)) else x,
    "in_set_tuple": lambda self, x: x * 2 if (x.shape[2], x.shape[3]) in {(16, 16), (32, 32)} else x,
    "in_set_tsize": lambda self, x: x * 2 if x.shape[1:] in {torch.Size([4, 16, 16])} else x,
    "in_range": lambda self, x: x * 2 if x.shape[2] in range(3, 20) else x,
    "dget": lambda self, x: x * {16: 0.1}.get(x.shape[2], 1.0),
    "lindex": lambda self, x: x * [i for i in range(40)][x.shape[2]],
    "lslice": lambda self, x: x * len([1] * 99)[: x.shape[2]] if False else x * len(([1] * 99)[: x.shape[2]]),
    "lmul": lambda self, x: x * len([1] * x.shape[2]),
    "bis": lambda self, x: x * bisect.bisect([4, 12, 17, 23], x.shape[2]),
    "srt": lambda self, x: x * sorted([4, 12, 23], key=lambda v: abs(v - x.shape[2]))[0],
    "mink": lambda self, x: x * min([4, 12, 23], key=lambda v: abs(v - x.shape[2])),
    "lenif": lambda self, x: x * 2 if len(x) > 1 else x,
    "split_iter": lambda self, x: sum(p.mean(2) for p in x.split(4, 2)),
    "tsplit_iter": lambda self, x: torch.stack([p.mean(2) for p in torch.split(x, 4, dim=2)]),
    "split_len": lambda self, x: x * len(x.split(4, 2)),
    "split_star": lambda self, x: torch.cat([*x.split(4, 2)], 3),
    "split_list": lambda self, x: torch.cat(list(x.split(4, 2)), 3),
    "chunk4": lambda self, x: torch.stack([p.mean(2) for p in x.chunk(4, 2)]),
    "unbind_h": lambda self, x: torch.stack([p * 2 for p in x.unbind(2)], 2),
    "unbind_len": lambda self, x: x * len(torch.unbind(x, 3)),
    "unbind_enum": lambda self, x: sum(p * i for i, p in enumerate(x.unbind(-1))),
    "unbind_zip": lambda self, x: sum(p * q for p, q in zip(x.unbind(2), x.flip(2).unbind(2))),
    "rows_rev": lambda self, x: torch.stack([r * 2 for r in reversed(x.unbind(2))]),
    "idx_list": lambda self, x: x[:, :, list(range(0, x.shape[2], 2))],
    "up2": lambda self, x: F.interpolate(x, size=[int(s * 1.5) for s in x.shape[2:]]),
    "topk": lambda self, x: x.flatten(2).topk(min(5, x.shape[3]), -1)[0],
    "numpy_meth": lambda self, x: x * np.prod(x.shape),
    "npshape": lambda self, x: x * np.array(x.shape)[2],
    "npclip": lambda self, x: x * int(np.clip(x.shape[2], 1, 12)),
    "gen_expr": lambda self, x: x * sum(1 for s in x.shape if s > 10),
    "filter": lambda self, x: x * len(list(filter(lambda s: s > 10, x.shape))),
    "dictcomp": lambda self, x: x * len({s: 1 for s in x.shape}),
    "setcomp": lambda self, x: x * len({s for s in x.shape}),
    "hash": lambda self, x: x * (hash(x.shape[2]) % 7),
    "hash_t": lambda self, x: x * (hash((x.shape[2], x.shape[3])) % 7),
    "hash_shape": lambda self, x: x * (hash(x.shape) % 7),
    "cmpf": lambda self, x: x * 2 if x.shape[2] / x.shape[3] > 0.9 else x,
    "or": lambda self, x: x * (x.shape[2] % 4 or 7),
    "and": lambda self, x: x * (x.shape[2] % 4 and 7),
    "boolind": lambda self, x: x * (1, 2)[x.shape[2] > 12],
    "floatfmt": lambda self, x: x * float(f"{x.shape[2] / 7:.1f}"),
    "intstr": lambda self, x: x * int(str(x.shape[2])[0]),
    "strcmp": lambda self, x: x * 2 if str(x.shape[2]) < "2" else x,
    "pop": lambda self, x: x * {16: 3}.pop(x.shape[2], 5),
    "listindex": lambda self, x: x * ([16, 20, 10, 24, 18].index(x.shape[2]) + 1),
    "listcount": lambda self, x: x * [16, 20].count(x.shape[2]),
    "npwhere": lambda self, x: x * float(np.where(x.shape[2] > 12, 1.0, 2.0)),
    "npisin": lambda self, x: x * 2 if np.isin(x.shape[2], [16]) else x,
    "npeq": lambda self, x: x * 2 if np.int64(16) == x.shape[2] else x,
    "npsearch": lambda self, x: x * int(np.searchsorted([4, 12, 17, 23], x.shape[2])),
    "npargmin": lambda self, x: x * int(np.abs(np.array([4, 12, 23]) - x.shape[2]).argmin()),
    "targmin": lambda self, x: x * int((torch.tensor([4, 12, 23]) - x.shape[2]).abs().argmin()),
    "tcmp": lambda self, x: x * (torch.tensor([4, 12, 23]) < x.shape[2]).sum(),
    "tidx": lambda self, x: x * torch.arange(40)[x.shape[2]],
    "batch_list": lambda self, x: x * torch.tensor([float(i) for i in range(x.shape[0])]).view(-1, 1, 1, 1),
    "batch_np": lambda self, x: x * float(np.sqrt(x.shape[0])),
    "shape_in": lambda self, x: x * 2 if 16 in x.shape else x,
    "shape_set": lambda self, x: x * 2 if {16} & set(x.shape) else x,
    "shape_min": lambda self, x: x * min(x.shape),
    "shape_lt": lambda self, x: x * 2 if x.shape[2:] < (17, 0) else x,
    "shape_hash": lambda self, x: x * {(2, 4, 16, 16): 3}.get(tuple(x.shape), 1),
    "shape_key": lambda self, x: x * {torch.Size([2, 4, 16, 16]): 3}.get(x.shape, 1),
    "shape_str": lambda self, x: x * 2 if "x".join(str(s) for s in x.shape) == "2x4x16x16" else x,
    "scalar_tensor": lambda self, x: x * torch.scalar_tensor(x.shape[2]),
    "bbatch": lambda self, x: x * 2 if x.shape[0] > 1 else x,
}


@pytest.mark.parametrize("forward", DECIDING.values(), ids=DECIDING)
def test_a_decision_by_a_size_is_recorded_with_its_line(forward):
    assert decided(forward, passes=False) == [line_of(forward)]


# Each forward beside its twin, which differs in what it asks of the size and decides nothing.
TWINS = {
    "a set": (lambda self, x: x * 2 if x.shape[2] in {16, 48} else x, lambda self, x: x * 2 if x.ndim in {4, 5} else x),
    "a key": (lambda self, x: x * {16: 0.1}.get(x.shape[2], 1.0), lambda self, x: x * {4: 0.1}.get(x.dim(), 1.0)),
    "a text": (
        lambda self, x: getattr(self, f"at{x.shape[2]}", self.other)(x),
        lambda self, x: getattr(self, f"at{x.ndim}", self.other)(x),
    ),
    "a text, joined": (
        lambda self, x: getattr(self, "".join(["at", str(x.shape[2])]), self.other)(x),
        lambda self, x: getattr(self, "".join(["at", str(x.ndim)]), self.other)(x),
    ),
    "a text with %": (
        lambda self, x: getattr(self, "at%d" % x.shape[2], self.other)(x),
        lambda self, x: getattr(self, "at%d" % x.ndim, self.other)(x),
    ),
    "a text, added": (
        lambda self, x: x * 2 if hasattr(self, "at" + str(x.shape[2])) else x,
        lambda self, x: x * 2 if hasattr(self, "at" + str(len(x.shape))) else x,
    ),
    "the path of a module": (
        lambda self, x: self.get_submodule("at{}".format(x.shape[2]))(x),
        lambda self, x: self.get_submodule("at{}".format(x.dim() * 4))(x),
    ),
    "a key of a ModuleDict": (
        lambda self, x: self.by_width[f"w{x.shape[3]}"](x) if f"w{x.shape[3]}" in self.by_width else x,
        lambda self, x: self.by_width["w16"](x) if f"w{self.conv.weight.shape[0]}" in self.by_width else x,
    ),
    "a place in a ModuleList": (
        lambda self, x: self.layers[x.shape[2] % 3](x),
        lambda self, x: self.layers[x.ndim % 3](x),
    ),
    "a whole shape": (
        lambda self, x: x * 2 if x.shape[1:] in {torch.Size((4, 16, 16))} else x,
        lambda self, x: x * 2 if self.conv.weight.shape[1:] in {torch.Size((3, 1, 1))} else x,
    ),
    "a dataclass": (
        lambda self, x: x * 2 if Box(*x.shape[2:]) in {Box(16, 16)} else x,
        lambda self, x: x * 2 if Box(x.ndim, 1) in {Box(4, 1)} else x,
    ),
    "several images": (lambda self, x: x * 2 if x.shape[0] > 1 else x, lambda self, x: x * x.shape[0]),
    "integers of a size": (
        lambda self, x: x.reshape([int(size) for size in x.size()]),
        lambda self, x: x.reshape([+size for size in x.size()]),
    ),
    "parts counted": (
        lambda self, x: torch.stack([part.mean(2) for part in x.split(4, 2)]),
        lambda self, x: torch.stack([part.mean(2) for part in x.chunk(2, 2)]),
    ),
    "rows one by one": (
        lambda self, x: torch.stack([row * 2 for row in x.unbind(2)], 2),
        lambda self, x: torch.stack([row * 2 for row in x[:, :, :2].chunk(2, 2)], 2),
    ),
    "a list repeated": (lambda self, x: x * len([1] * x.shape[2]), lambda self, x: x * len([1] * x.ndim)),
    "a comparison": (
        lambda self, x: x * 2 if 8 < x.shape[2] <= 20 else x,
        lambda self, x: x * (x.shape[2] > 8) * (x.shape[2] <= 20),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attack", "twin"), TWINS.values(), ids=TWINS)
def test_a_decision_is_recorded_and_its_twin_decides_nothing(attack, twin):
    parts = {
        "at16": nn.Tanh, "other": nn.Sigmoid, "by_width": lambda: nn.ModuleDict({"w16": nn.Tanh()}),
        "layers": lambda: nn.ModuleList([nn.Tanh(), nn.Sigmoid(), nn.ReLU()]),
    }  # fmt: skip
    parts = {name: part() for name, part in parts.items()}
    assert decided(attack, passes=False, **parts) == [line_of(attack)]
    assert decided(twin, passes=False, **parts) == []


def kept_between_calls(self, x):
    if self.last != x.shape[2]:  # decides
        self.last = x.shape[2]
        x = x * 2
    return x


def one_after_the_other(self, x):
    while x.shape[2] > 5:  # decides
        x = F.max_pool2d(x, 2)
    return x


def an_error_for_a_size(self, x):
    try:
        times = {16: 2}[x.shape[2]]  # decides
    except KeyError:
        times = 1
    return x * times


def matched(self, x):
    match x.shape:
        case (_, 4, _, 16):  # decides
            return x * 2
        case _:
            return x


def a_default(self, x):
    times = collections.defaultdict(lambda: 1.0, {16: 3.0})
    return x * times[x.shape[2]]  # decides


def an_assertion(self, x):
    assert x.shape[2] > 3, f"got {x.shape[2]}"  # decides
    return x


def steps_of_a_recurrence(self, x):
    state = x[:, :, 0] * 0
    for row in x.unbind(2):  # decides
        state = torch.tanh(row + state)
    return state


def a_text_that_is_told_and_looked_up(self, x):
    name = f"at{x.shape[2]}"  # decides
    print("looking for", name, file=io.StringIO())
    log.info(name)
    return getattr(self, name, self.other)(x)


def another_text_is_told(self, x):
    name = f"at{x.shape[2]}"  # decides
    log.warning("16 of 16, at16")
    return getattr(self, name, self.other)(x)


@pytest.mark.parametrize(
    "forward",
    [kept_between_calls, one_after_the_other, an_error_for_a_size, matched, a_default, an_assertion,
     steps_of_a_recurrence, a_text_that_is_told_and_looked_up, another_text_is_told],
    ids=lambda forward: forward.__name__,
)  # fmt: skip
def test_a_statement_that_decides_is_recorded_with_its_line(forward):
    parts = {"last": lambda: 16, "at16": nn.Tanh(), "other": nn.Sigmoid()}
    assert decided(forward, **parts) == said_lines(forward, "decides")


def in_an_assertion(self, x):
    assert x.ndim == 4, f"got {x.shape}, {x.shape[2]}"
    torch._assert(
        x.ndim == 4,
        f"got {x.shape[2]} x "
        f"{x.shape[3]}",
    )  # fmt: skip
    return x


def in_a_log(self, x):
    log.debug(f"shape {x.shape}")
    log.info("shape %s %d", x.shape, x.shape[2])
    logging.getLogger("model").debug("%03d rows" % x.shape[2])
    logging.debug("x".join(str(size) for size in x.shape))
    log.log(logging.DEBUG, "{} rows".format(x.shape[2]))
    return x


def in_a_warning(self, x):
    warnings.warn("{} rows".format(x.shape[2]) + ", %.1f columns" % x.shape[3])
    return x


def in_print(self, x):
    print("shape", x.shape, x.shape[2], f"{x.shape[3]:>4}", file=io.StringIO())
    return x


def in_an_error_that_is_not_raised(self, x):
    if x.ndim != 4:
        raise ValueError(f"got {x.shape}")
    return x


def named_first(self, x):
    message = f"{x.shape[2]} rows"
    log.debug(message)
    return x


@pytest.mark.filterwarnings("ignore:.* rows")
@pytest.mark.parametrize(
    "forward",
    [in_an_assertion, in_a_log, in_a_warning, in_print, in_an_error_that_is_not_raised, named_first],
    ids=lambda forward: forward.__name__,
)
def test_a_size_that_is_only_told_decides_nothing(forward):
    assert decided(forward) == []


def test_what_is_told_while_tracing_is_what_the_model_tells(caplog):
    def forward(self, x):
        log.warning("%d rows of %s", x.shape[2], x.shape)
        return x

    assert decided(forward) == []
    assert {record.getMessage() for record in caplog.records[:2]} == {"16 rows of torch.Size([2, 4, 16, 16])"}
    assert math.prod(caplog.records[1].args[1]) == 2 * 4 * 16 * 16
