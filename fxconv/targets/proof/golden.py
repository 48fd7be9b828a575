"""Golden inputs: what an artifact carries to prove itself by, wherever it runs.

The inputs are drawn from seeds, which is all that is kept of them; of the outputs the digest, and as many values as
there is room for. `fxconv.replay` draws, runs and compares.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv import replay
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.target import Target

# The most of a file that its golden inputs may take.
SHARE = 0.02
CASES = 3
# Inputs that are drawn for them at most, where a model raises an error for some.
_TRIES = 12
# Squares of so many pixels, where an input is large enough to hold several; a photograph's detail is about as coarse.
_CELL, _LEAST_SIDE = 8, 32
# How many cases, and of each output at most how many values: the first of these that there is room for.
_LADDER = ((CASES, None), (2, None), (1, None), *((2, most) for most in (4096, 1024, 256)), (1, 256), (1, 64), (1, 0))
_GOLDEN_RATIO = 2654435769
# What inputs may be in the first format; releases that know no other say so of the second.
_FIRST = ("float32", "uint8")


@dataclass(frozen=True)
class Golden:
    """The golden inputs as they lie in the artifact: how many cases, and the text of the file.

    `text` is "" when there are none: nobody asked, or `room`, in bytes, is too small.
    """

    text: str
    cases: int
    room: int


NO_GOLDEN = Golden("", 0, 0)


def input_specs(example: Sequence[Tensor], preprocessing: Preprocessing | None) -> list[dict[str, Any]]:
    """Each input that a call takes, as `input_spec` has it; normalized as photographs are, where it is one."""
    return [
        input_spec(
            tensor,
            preprocessing.unit_scaled
            if preprocessing is not None
            and preprocessing.says_values
            and tensor.ndim > 3
            and tensor.shape[1] == preprocessing.channels
            else None,
        )
        for tensor in example
    ]


def input_spec(example: Tensor, normalization: tuple[Sequence[float], Sequence[float]] | None) -> dict[str, Any]:
    """One input as `fxconv.replay.input_from` reads it: like `example` in shape and type.

    `normalization` are the mean and deviation of what the model takes, for each channel; without, drawn values are
    spread over the range of the example's. So are whole numbers, whatever they count or name: none is beyond it.
    """
    shape = list(example.shape)
    if example.dtype == torch.uint8:
        return {"shape": shape, "dtype": "uint8"}
    if example.dtype == torch.bool:
        return {"shape": shape, "dtype": "bool", "first": bool(example.flatten()[0])}
    if not example.is_floating_point():
        kind = str(example.dtype).removeprefix("torch.")
        return {"shape": shape, "dtype": kind, "low": int(example.min()), "high": int(example.max())}
    if normalization is None:
        low, high = (float(value) for value in torch.aminmax(example))
        width = high - low if high > low else 1.0
        normalization = ([-low / width], [1 / width])
    mean, std = normalization
    return {"shape": shape, "dtype": "float32", "mean": list(mean), "std": list(std)}


def golden(
    int8: nn.Module,
    content: bytes,
    specs: Sequence[dict[str, Any]],
    engine: str,
    has_islands: bool,
    target: Target,
) -> Golden:
    """Golden inputs for a file whose `content` is what was lowered of `int8`, with the outputs of that module.

    `specs` are of `input_spec`. With `has_islands` rounding in float layers may differ from one machine to another, so
    that values have to come within 40 dB and not be equal. As many cases and values as fit into 2 % of the file.

    A module that is no single graph selects by scores, whose ties its file breaks otherwise; and noise may be louder in
    float layers than images are. Then the outputs are the file's own, which the parity ledger ties to the module. So
    they are where a target's kernels are others than the module's; which bits they give, the file says of one place.
    """
    is_one_graph = isinstance(int8, fx.GraphModule)
    if not target.is_exact:
        return _made(partial(_apart, target, content), "file", specs, None, has_islands, len(content))
    found = _made(partial(_tried, int8, is_one_graph), "int8 module", specs, engine, has_islands, len(content))
    if not found.text:
        return found
    if is_one_graph:
        if not has_islands:
            return found
        kept, program = json.loads(found.text), target.load(content)
        if all(replay.case_replayed(program, kept, case)["passed"] for case in kept["cases"]):
            return found
    run = partial(_tried, target.load(content), is_one_graph)
    return _made(run, "file", specs, engine, has_islands, len(content))


# What a module or a file returns for each of some calls; None for one that it does not take.
_Runs = Callable[[Iterable[tuple[Tensor, ...]]], Iterator[list[Tensor] | None]]


def _tried(run: Callable[..., Any], is_one_graph: bool, calls: Iterable[tuple[Tensor, ...]]) -> Iterator[Any]:
    """Here, one after the other. Raises what the last raises where none is taken."""
    problem: Exception | None = None
    is_taken = False
    for inputs in calls:
        try:
            with torch.no_grad():
                outputs = replay.flat(run(*inputs))
        except (AssertionError, RuntimeError) as error:  # code that does not trace may refuse what is no image
            if is_one_graph:
                raise
            problem, outputs = error, None
        is_taken = is_taken or outputs is not None
        yield outputs
    if problem is not None and not is_taken:
        raise problem


def _apart(target: Target, content: bytes, calls: Iterable[tuple[Tensor, ...]]) -> Iterator[list[Tensor]]:
    """All in a process of its own: nobody has run these bytes yet."""
    yield from target.outputs_apart(content, list(islice(calls, CASES)))


def _made(
    run: _Runs, whose: str, specs: Sequence[dict[str, Any]], engine: str | None, has_islands: bool, size: int
) -> Golden:
    room = int(SHARE * size)
    sides = [side for spec in specs for side in spec["shape"][-2:]]
    has_others = any(spec["dtype"] not in _FIRST for spec in specs)
    content: dict[str, Any] = {
        **(
            {"format": replay.FORMAT_OF_KERNELS, "rule": "kernels", "place": replay.place()}
            if engine is None
            else {
                "format": replay.FORMAT_OF_OTHER_TYPES if has_others else replay.FORMAT,
                "engine": engine,
                "rule": "island" if has_islands else "equal",
            }
        ),
        "outputs_of": whose,
        "cell": _CELL if min(sides, default=1) >= _LEAST_SIDE else 1,
        "inputs": list(specs),
        "cases": [],
    }
    seeds = [
        [_GOLDEN_RATIO * (1 + number * len(specs) + place) % 2**32 for place in range(len(specs))]
        for number in range(_TRIES)
    ]
    results = run(tuple(replay.inputs_of(content, {"seeds": each})) for each in seeds)
    # results first, which raise at their end where none is taken
    found = ((each, outputs) for outputs, each in zip(results, seeds, strict=False) if outputs is not None)
    made = list(islice(found, CASES))
    for cases, most in _LADDER:
        content["cases"] = [
            {"seeds": seeds, "outputs": [_kept(output, most) for output in outputs]} for seeds, outputs in made[:cases]
        ]
        text = json.dumps(content, separators=(",", ":"))
        if len(text) <= room:
            return Golden(text, cases, room)
    return Golden("", 0, room)


def _kept(output: Tensor, most: int | None) -> dict[str, Any]:
    """An output's digest, and every so many-th value: `most` at most, all of them where that is None."""
    kept = {
        "shape": list(output.shape),
        "dtype": str(output.dtype).removeprefix("torch."),
        "sha256": replay.sha256(output),
    }
    if most == 0 or not output.numel():
        return kept
    every = 1 if most is None else -(-output.numel() // most)
    data = base64.b64encode(replay.content(output.flatten()[::every])).decode()
    return {**kept, "every": every, "data": data}


def problem_in(path: Path, target: Target) -> str:
    """What the golden inputs of a file on disk find wrong, in this process; "" when nothing is."""
    try:
        kept, module = replay.golden_of(target.extra_file(path, replay.FILE)), target.load(path)
    except replay.NotReplayed as error:
        return str(error)
    each = (replay.case_replayed(module, kept, case)["problem"] for case in kept["cases"])
    return next((f"case {number}: {problem}" for number, problem in enumerate(each) if problem), "")
