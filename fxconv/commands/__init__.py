"""The commands of the command line, a file each, in the order in which `--help` lists them."""

from __future__ import annotations

from fxconv.commands.bench import bench
from fxconv.commands.compare import compare
from fxconv.commands.convert import convert
from fxconv.commands.diff import diff
from fxconv.commands.doctor import doctor
from fxconv.commands.example import example
from fxconv.commands.explain import explain
from fxconv.commands.inspect import inspect
from fxconv.commands.models import models
from fxconv.commands.passes import passes
from fxconv.commands.sensitivity import sensitivity
from fxconv.commands.study import study
from fxconv.commands.verify import verify

COMMANDS = (
    convert,
    diff,
    sensitivity,
    study,
    example,
    compare,
    inspect,
    verify,
    bench,
    doctor,
    models,
    passes,
    explain,
)
