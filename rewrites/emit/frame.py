"""The file around the classes: what it says of itself, its imports and tables, `build` and `fuse`."""

from __future__ import annotations

import re

from rewrites.emit.building import build
from rewrites.emit.file import File
from rewrites.emit.fusing import fuse
from rewrites.emit.tables import tables

# In the first line of every such file.
MADE_BY = "rewritten by fxconv for static quantization"
# What the file defines or imports besides its classes.
NAMES = ("FloatFunctional", "QuantStub", "DeQuantStub", "OrderedDict", "Tensor", "Mapping", "QFunctional")

_IMPORTS = (
    ("copy.", "import copy"),
    ("functools.", "import functools"),
    ("math.", "import math"),
    ("operator.", "import operator"),
    ("base64.", "import base64"),
    ("zlib.", "import zlib"),
    ("OrderedDict(", "from collections import OrderedDict"),
    ("Callable[", "from collections.abc import Callable, Mapping"),
    ("Mapping[", "from collections.abc import Mapping"),
    ("Any", "from typing import Any"),
    ("cast(", "from typing import cast"),
    ("torch.", "import torch"),
    ("nni.", "import torch.ao.nn.intrinsic as nni"),
    ("F.", "import torch.nn.functional as F"),
)


def text(file: File) -> str:
    """The file."""
    body = [*file.helpers, *(line for one in file.classes for line in ("", "", *one.text()))]
    body += [*tables(file), *build(file), *fuse(file)]
    return "\n".join([*_docstring(file), *_imports("\n".join(body)), *body]) + "\n"


def _docstring(file: File) -> list[str]:
    width = max((len(name) for name, *_ in file.passes), default=0)
    told = [f'"""{file.name}, {MADE_BY}.', ""]
    if file.passes:
        told += ["What was changed, of which the comments name the pass:", ""]
        told += [f"    {name:{width}}  {count} edit{'s' * (count != 1)}" for name, count, _ in file.passes]
        told += [""]
    mapping = ", mapping=MAPPING" if file.functionals else ""
    steps = [
        "model = build(torch.load(CHECKPOINT))  # one of the original model",
        "fuse(model)",
        'torch.backends.quantized.engine = "qnnpack"',
        'model.qconfig = torch.ao.quantization.get_default_qconfig("qnnpack")',
    ]
    if file.floating:
        steps += ["for name in FLOAT:", "    model.get_submodule(name).qconfig = None"]
    steps += [
        "torch.ao.quantization.prepare(model, inplace=True)",
        "for images in CALIBRATION:",
        "    model(images)",
        f"torch.ao.quantization.convert(model{mapping}, inplace=True)",
    ]
    return [*told, "To quantize it:", "", *(f"    {step}" for step in steps), '"""', ""]


def _imports(body: str) -> list[str]:
    def used(word: str) -> bool:
        return re.search(rf"(?<![\w.]){re.escape(word)}" + (r"\b" if word[-1].isalnum() else ""), body) is not None

    found = [line for word, line in _IMPORTS if used(word)]
    if any("Callable" in line for line in found):
        found.remove("from collections.abc import Mapping")
    typing = [line for line in found if line.startswith("from typing")]
    if len(typing) == 2:
        found = [line for line in found if line not in typing]
        found.append("from typing import Any, cast")
    own = [line for line in found if "torch" not in line]
    torchs = [line for line in found if "torch" in line]
    functional = [name for name in ("FloatFunctional", "QFunctional") if used(name)]
    stubs = [name for name in ("DeQuantStub", "QuantStub") if used(f"{name}()")]
    if functional:
        torchs.append(f"from torch.ao.nn.quantized import {', '.join(functional)}")
    if stubs:
        torchs.append(f"from torch.ao.quantization import {', '.join(stubs)}")
    if fusers := [name for name in ("fuse_conv_bn", "fuse_conv_bn_relu") if used(name)]:
        torchs.append(f"from torch.ao.quantization.fuser_method_mappings import {', '.join(fusers)}")
    if used("get_default_static_quant_module_mappings"):
        name = "get_default_static_quant_module_mappings"
        torchs += ["from torch.ao.quantization.quantization_mappings import (", f"    {name},", ")"]
    plain = sorted(line for line in own if line.startswith("import"))
    others = sorted(line for line in own if line.startswith("from"))
    first = [line for line in torchs if line.startswith("import")]
    rest = ["from torch import Tensor, nn", *(line for line in torchs if not line.startswith("import"))]
    return ["from __future__ import annotations", "", *plain, *others, *([""] if own else []), *first, *rest]
