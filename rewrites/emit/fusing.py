"""`fuse`: the layers of the file's model that run as one, and what torch.ao has to be told for it."""

from __future__ import annotations

import inspect

import torch.ao.nn.intrinsic as nni
from torch import nn

from rewrites import fusion, norm_folding
from rewrites.emit.file import File
from rewrites.emit.tables import plainly, table
from rewrites.emit.text import Expression, Group, call, lines
from rewrites.modules import CappedReLU

_FUSED = {
    (nn.Conv1d, CappedReLU): nni.ConvReLU1d,
    (nn.Conv2d, CappedReLU): nni.ConvReLU2d,
    (nn.Conv3d, CappedReLU): nni.ConvReLU3d,
    (nn.Linear, CappedReLU): nni.LinearReLU,
    (nn.BatchNorm2d, CappedReLU): nni.BNReLU2d,
    (nn.BatchNorm3d, CappedReLU): nni.BNReLU3d,
}
_FORWARD = [
    "    for norm, layers in FORWARD.items():",
    "        for layer in layers:",
    "            fold_into_next(model.get_submodule(norm), model.get_submodule(layer))",
    "        model.set_submodule(norm, nn.Identity())",
]


def fuse(file: File) -> list[str]:
    """How its layers are fused; where torch.ao does not know how, with what tells it."""
    found: list[str] = []
    own = [pattern for pattern in sorted(file.patterns, key=str) if pattern in fusion.own_fusers()]
    extra = ""
    needed: dict[str, None] = {}
    entries: list[tuple[str, Expression]] = []
    if own:
        for pattern in own:
            words = ", ".join(kind.__name__ if kind is CappedReLU else f"nn.{kind.__name__}" for kind in pattern)
            if pattern[0] is nn.Linear and len(pattern) > 1 and pattern[1] in fusion.NORMS:
                needed |= {"factor_and_shift": None, "fold_into_linear": None}
                fuser: Expression = "fold_into_linear"
            elif pattern in _FUSED:
                needed |= {"_capped": None, "_pair": None}
                fuser = f"_pair(nni.{_FUSED[pattern].__name__})"
            elif CappedReLU in pattern:
                needed |= {"_capped": None}
                fuser = call("functools.partial", "_capped", "fuse_conv_bn_relu")
            elif pattern[0] in fusion.CONVOLUTIONS:
                fuser = "fuse_conv_bn_relu" if nn.ReLU in pattern else "fuse_conv_bn"
            else:
                needed |= {"_transposed": None}
                fuser = "_transposed"
            entries.append((f"({words}): ", fuser))
    if file.forward:
        needed |= {"factor_and_shift": None, "fold_into_next": None}
    for name in needed:
        function = getattr(fusion, name, None) or getattr(norm_folding, name)
        found += ["", "", *inspect.getsource(function).rstrip().splitlines()]
    if own:
        found += ["", *table("FUSERS", "What torch.ao does not know how to fuse.", "{", entries)]
        extra = "FUSERS"
    if file.functionals:
        found += ["", "", "# What arithmetic with a float form of its own becomes in int8.", "MAPPING = {"]
        found += ["    **get_default_static_quant_module_mappings(),"]
        found += [*(f"    {name}: PlainQFunctional," for name in file.functionals), "}"]
    arguments: dict[str, Expression] = {"inplace": "True"}
    if extra:
        arguments["fuse_custom_config_dict"] = Group("{", "}", (('"additional_fuser_method_mapping": ', extra),))
    fusing = call("torch.ao.quantization.fuse_modules", "model", "FUSABLE", **arguments)
    return [
        *found,
        "", "",
        "def fuse(model: nn.Module) -> None:",
        '    """Let each chain of layers in FUSABLE be one layer, in place."""',
        *(_FORWARD if file.forward else []),
        *(lines("", fusing, plainly, 4) if file.fusable else [] if file.forward else ["    return"]),
    ]  # fmt: skip
