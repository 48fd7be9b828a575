"""An int8 or float module  ->  TorchScript  ->  optimized for mobile  ->  the bytes of a .ptl."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import Function, FunctionCtx
from torch.jit import TracerWarning  # type: ignore[attr-defined]
from torch.jit._builtins import _get_builtin_table

from fxconv.config import Config, Method
from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.diagnostics.diagnosis import cure_of
from fxconv.errors import ConversionError, UserError, message_line
from fxconv.models import forward
from fxconv.models.number_reads import is_torch
from fxconv.quantization.torch_notices import quiet
from fxconv.targets.mobile.frozen_branches import FrozenBranches, named, watched
from fxconv.targets.mobile.lite_file import load_lite_bytes
from fxconv.targets.mobile.optimizing import optimize, prepacks, unpacked
from fxconv.targets.mobile.writes import told, writes_in_place
from fxconv.targets.target import Lowered
from fxconv.targets.wrapping.tensors import Flat, OnlyTraced
from rewrites.location import short

# Where TorchScript has a class in memory, which is somewhere else in each run.
_ADDRESS = re.compile(r" ?\(of Python compilation unit at: 0x[0-9a-f]+\)")
# How TorchScript says that a program calls Python.
_NOT_WRITABLE = "Could not export Python function call"

# The names of the ledger's rows for the forms on the way.
SCRIPTED, OPTIMIZED = "scripted", "optimized"


def lowered(module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
    """The whole way from a module to the bytes of a .ptl; `example` is what a trace records.

    With `Method.auto` a module is scripted, and traced when TorchScript or the lite interpreter, which knows no Python
    classes, refuses the script, when it fails on the example, or for its outputs of mixed types, which come out as one
    tuple then. Raises what `to_torchscript` raises, `ConversionError` for a file that fails on the example, and
    `UserError` where a trace would freeze what the module decides by the numbers in a tensor.
    """
    if config.method is not Method.auto:
        return _lowered(module, example, config)
    if isinstance(module, OnlyTraced):
        return _lowered(module, example, replace(config, method=Method.trace))
    try:
        return _lowered(module, example, replace(config, method=Method.script))
    except (ConversionError, UserError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        why = message_line(error).partition("; ")[0]
        traced = _lowered(module, example, replace(config, method=Method.trace), f" ({why})")
        return replace(traced, warnings=(f"traced, because it cannot be scripted: {why}", *traced.warnings))


def _lowered(module: nn.Module, example: tuple[Any, ...], config: Config, unscriptable: str = "") -> Lowered:
    """`lowered` by one method; `unscriptable` is why it cannot be scripted, as far as that is known."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", category=TracerWarning)
        scripted = to_torchscript(module, example, config)
    frozen = _frozen(module, example, config, unscriptable)
    try:
        optimized = optimize(scripted, config)
        content = to_bytes(optimized)
    except RuntimeError as error:
        if is_out_of_memory(error) or _NOT_WRITABLE not in str(error):
            raise
        raise ConversionError(
            f"no file can hold the model ({config.method.value}): {message_line(error)}; write that function in the "
            "operators of torch"
        ) from error
    _try(load_lite_bytes(content), example, config)  # it knows less than TorchScript
    doubt = told(writes_in_place(scripted)) if prepacks(config) and writes_in_place(optimized) else ""
    said = (doubt, unpacked(scripted, optimized, config))
    warned = (*frozen.warnings, *_decisions(caught, frozen), *filter(None, said))
    stages = {SCRIPTED: scripted, OPTIMIZED: optimized}
    return Lowered(stages, content, config.method, warned, tuple(frozen.branches), doubt)


def _frozen(module: nn.Module, example: tuple[Any, ...], config: Config, unscriptable: str) -> FrozenBranches:
    """What a trace freezes. Raises `UserError` for what another input may decide otherwise, unless that is allowed."""
    if config.method is not Method.trace:
        return FrozenBranches()
    with warnings.catch_warnings(), watched() as found:
        warnings.simplefilter("ignore")  # the trace that makes the file has said it
        with torch.no_grad():
            _recorded(Flat(module).eval(), example)
    if found.branches and not config.allow_frozen_branches:
        raise UserError(
            f"tracing would freeze, as the example takes it, what is decided by the numbers in a tensor at "
            f"{named(found.branches)}; make the model scriptable{unscriptable}, or accept a file that is wrong for "
            "inputs that decide otherwise: --allow-frozen-branches"
        )
    return found


def _try(program: Any, example: tuple[Any, ...], config: Config) -> None:
    """Run a file once. Raises `ConversionError` where it fails on what the module was just called with."""
    try:
        with torch.no_grad():
            program(*forward.cloned(example))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        cure = cure_of(error, f"--method {config.method.other.value} may do better")
        raise ConversionError(
            f"the model compiles to TorchScript ({config.method.value}), which fails when it runs: "
            f"{message_line(error)}; {cure}"
        ) from error


def twin(module: nn.Module, example: tuple[Any, ...], config: Config) -> torch.jit.ScriptModule:
    """The float twin, lowered by `config.method` up to its bytes; it holds weights of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # the trace that makes the file has said it
        return optimize(to_torchscript(module, example, config), config)


def _decisions(caught: list[warnings.WarningMessage], frozen: FrozenBranches) -> tuple[str, ...]:
    """What else a trace took once and for all: the other lines of Python that looked at a tensor, at sizes mostly."""
    places = dict.fromkeys(
        f"{short(entry.filename)}:{entry.lineno}"
        for entry in caught
        if entry.category is TracerWarning and not is_torch(entry.filename)
    )
    others = [place for place in places if place not in frozen.lines]
    return (f"tracing took decisions once, as the example has them: {named(others)}",) if others else ()


def to_torchscript(module: nn.Module, example: tuple[Any, ...], config: Config) -> torch.jit.ScriptModule:
    """Script or trace `module`; `example` is what a trace records.

    Raises `ConversionError` with TorchScript's own words when it refuses, and `UserError` for outputs that the lite
    interpreter cannot hold: it crashes on a list or dict whose members are of different types.
    """
    try:
        with torch.no_grad():
            if config.method is Method.trace:
                traced = module if _is_plain(module(*forward.cloned(example))) else Flat(module).eval()
                scripted = _recorded(traced, example)
            else:
                _forget_stale_builtins(module)
                with quiet():
                    scripted = torch.jit.script(module)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        told = _ADDRESS.sub("", str(error))
        words = [line.strip().rstrip(":") for line in told.splitlines() if line.strip()]
        cure = cure_of(error, f"--method {config.method.other.value} may take it")
        raise ConversionError(
            f"TorchScript refuses the model ({config.method.value}): {words[0] if words else repr(error)}; {cure}"
        ) from error
    returned = str(scripted.forward.schema.returns[0].type)
    if "Union[" in returned:
        raise UserError(f"the outputs mix types in one list or dict ({returned}); return a tuple of tensors instead")
    return scripted


def _recorded(module: nn.Module, example: tuple[Any, ...]) -> Any:
    with _autograd_functions_looked_into(), _sizes_checked():
        return torch.jit.trace(module, forward.cloned(example), check_trace=False, strict=False)


@contextmanager
def _autograd_functions_looked_into() -> Iterator[None]:
    """The forward of a torch.autograd.Function as the Python it is: as a function of its own no file can hold it."""

    def applied(kind: Any, *args: Any, **kwargs: Any) -> Any:
        has_context_aside = kind.setup_context is not Function.setup_context
        return kind.forward(*args, **kwargs) if has_context_aside else kind.forward(FunctionCtx(), *args, **kwargs)

    function: Any = Function
    before = vars(Function)["apply"]
    function.apply = classmethod(applied)
    try:
        yield
    finally:
        function.apply = before


@contextmanager
def _sizes_checked() -> Iterator[None]:
    """Torch's checks of what is given to its functions, also of sizes, which are tensors while a trace is recorded.

    Some of those functions give a check that tensor, and since torch 2.14 it takes bools alone (max_unpool2d).
    """
    owner: Any = torch
    before = owner._check_with

    def checked(error: type[BaseException], condition: Any, message: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TracerWarning)  # it only raises, and decides nothing else
            holds = bool(condition) if isinstance(condition, Tensor) else condition
        before(error, holds, message)

    owner._check_with = checked
    try:
        yield
    finally:
        owner._check_with = before


def _is_plain(outputs: Any) -> bool:
    """Whether a trace can return this: a tensor, or a tuple or dict of tensors."""
    if isinstance(outputs, dict):
        return all(isinstance(value, Tensor) for value in outputs.values())
    members = outputs if type(outputs) is tuple else (outputs,)
    return all(isinstance(value, Tensor) for value in members)


def _forget_stale_builtins(module: nn.Module) -> None:
    """Keep TorchScript from taking a plain attribute, or a function of the user's, for one of its builtins.

    It knows them by id. One that is gone leaves its id to whatever comes to lie at its address, now and then a
    convolution's list of paddings, which is then refused: "builtin cannot be used as a value". A function of the
    user's would be called by another's name.
    """
    known = _get_builtin_table()
    held = [value for part in module.modules() for value in vars(part).values() if not callable(value)]
    graphs = [part.graph for part in module.modules() if isinstance(part, fx.GraphModule)]
    called = [node.target for graph in graphs for node in graph.nodes if node.op == "call_function"]
    for value in (*held, *(function for function in called if not _is_torchs_own(function))):
        known.pop(id(value), None)


def _is_torchs_own(function: Any) -> bool:
    """Whether a function may be a builtin of TorchScript: a method bound to a class of the user's is none."""
    if isinstance(getattr(function, "__self__", None), type):
        return False
    return str(getattr(function, "__module__", None)).partition(".")[0] in ("torch", "math", "_operator", "builtins")


def to_bytes(optimized: Any, extra_files: Mapping[str, str] | None = None) -> bytes:
    """The lite-interpreter archive, in which `extra_files`, texts by name, ride along.

    Saved through a buffer, so that its root does not depend on a file's name.
    """
    with quiet():
        return optimized._save_to_buffer_for_lite_interpreter(_extra_files=dict(extra_files or {}))
