"""A quick start, and a quick end, for a process of one's own: a library must not do these things to its user.

Torch's compiler is imported when something compiles, and not before. torchvision imports it (torch._dynamo, with
symbolic algebra, distributed tensors and code generators) for one function, and torch's fake tensors for one setting.
That takes as long as to import torch itself.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, NoReturn, cast

_COMPILER = "torch._dynamo"
# Of what is in the compiler this can be imported without the rest.
_SETTINGS = f"{_COMPILER}.config"


class _PutOff(ModuleType):
    """A module whose code runs when something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # many look for such in whatever module there is
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        _run(self)
        return getattr(self, name)


def _run(module: ModuleType) -> None:
    """Run the code of a module that was put off, after that of the package it is in; of any other, do nothing."""
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    if type(package) is _PutOff:
        _run(package)
    if type(module) is not _PutOff:
        return
    assert module.__spec__ is not None and module.__spec__.loader is not None
    cast(Any, module).__class__ = ModuleType  # first: its own code asks for what is in it
    try:
        module.__spec__.loader.exec_module(module)
    except BaseException:
        module.__class__ = _PutOff
        raise


def _is_compile_supported(module: ModuleType) -> Callable[..., Any]:
    """torchvision takes this function when it is imported, and calls it hardly ever."""

    def is_compile_supported(*args: Any, **kwargs: Any) -> Any:
        _run(module)
        return module.is_compile_supported(*args, **kwargs)

    return is_compile_supported


def _disable(module: ModuleType) -> Callable[..., Any]:
    """torch asks the compiler to let some of its functions be; while there is none, there is nothing to do."""

    def disable(function: Any = None, *args: Any, **kwargs: Any) -> Any:
        if function is None or type(module) is not _PutOff:
            _run(module)
            return module.disable(function, *args, **kwargs)

        def call(*given: Any, **named: Any) -> Any:
            return (function if type(module) is _PutOff else disabled())(*given, **named)

        disabled = functools.cache(lambda: module.disable(function, *args, **kwargs))
        return call

    return disable


# Modules whose code is put off, and what serves for those of their functions that are asked for all the same.
_PUT_OFF: dict[str, dict[str, Callable[[ModuleType], Callable[..., Any]]]] = {
    _COMPILER: {"disable": _disable},
    f"{_COMPILER}.utils": {"is_compile_supported": _is_compile_supported},
}


def _put_off(spec: ModuleSpec) -> ModuleType:
    """The module of `spec`, its code not run."""
    module = module_from_spec(spec)
    module.__class__ = _PutOff
    for name, stand_in in _PUT_OFF[spec.name].items():
        vars(module)[name] = stand_in(module)
    return module


class _Made(Loader):
    """Hands out a module that is there already; nothing of it runs, and its own spec stays its spec."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _PUT_OFF:
            spec = PathFinder.find_spec(fullname, path, target)
            return None if spec is None else ModuleSpec(fullname, _Made(_put_off(spec)))
        if fullname.startswith(f"{_COMPILER}.") and fullname != _SETTINGS:
            _run(sys.modules[_COMPILER])  # its modules import one another, and bear no other beginning
            if fullname in sys.modules:
                return ModuleSpec(fullname, _Made(sys.modules[fullname]))
        return None


def _is_own_process() -> bool:
    """Whether the compiler was put off, which only happens in a process of one's own."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def put_off_compiler() -> None:
    """From now on torch's compiler is imported at its first use. Whatever uses it works as ever.

    For a process of one's own, as the command line has: how modules are imported concerns the whole of it.
    """
    if _COMPILER not in sys.modules and not _is_own_process():
        sys.meta_path.insert(0, _Finder())


def keep_what_is_imported() -> None:
    """Look no more for garbage among the half million objects that torch is made of; it takes 0.2 seconds each time.

    Only in a process of one's own, where what has been made by now stays to the end.
    """
    if _is_own_process():
        gc.freeze()


# Of glibc's malloc.h: keep that much free memory instead of giving it back, map larger blocks than these alone, and let
# all threads have what one of them freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_FREE, _LARGEST_KEPT = 256 << 20, 32 << 20


def keep_freed_memory() -> None:
    """Let the next tensor have the memory of the last one.

    By default it goes back to the system, which gives it out again page by page, and zeroed: a fifth of the time of a
    forward pass. Only where the C library is glibc; others have no such habit, or no such setting.
    """
    with suppress(OSError, AttributeError):  # no C library of that kind
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_ARENA_MAX, 1)


def end(status: int) -> NoReturn:
    """End the process now: what was registered for its end runs, but nothing takes apart what the process imported.

    That takes Python most of a second, and the system frees the memory anyway.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
