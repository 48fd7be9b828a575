"""The commands of the command line, a file each, in the panels and the order in which `--help` lists them."""

from __future__ import annotations

from fxconv.cli.commands.bench import bench
from fxconv.cli.commands.compare import compare
from fxconv.cli.commands.convert import convert
from fxconv.cli.commands.diff import diff
from fxconv.cli.commands.doctor import doctor
from fxconv.cli.commands.example import example
from fxconv.cli.commands.explain import explain
from fxconv.cli.commands.inspect import inspect
from fxconv.cli.commands.models import models
from fxconv.cli.commands.passes import passes
from fxconv.cli.commands.predict import predict
from fxconv.cli.commands.sensitivity import sensitivity
from fxconv.cli.commands.study import study
from fxconv.cli.commands.verify import verify

# By what they are for: to convert, to look at what there is, to measure how good it is, and to learn what there can be.
PANELS = {
    "Convert": (convert, example),
    "Look": (diff, inspect, compare),
    "Measure": (verify, predict, bench, sensitivity, study),
    "Learn": (models, passes, explain, doctor),
}

COMMANDS = tuple(command for commands in PANELS.values() for command in commands)
