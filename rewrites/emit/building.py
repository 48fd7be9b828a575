"""`build`: a model of the file's classes with the weights of a checkpoint of the original."""

from __future__ import annotations

import textwrap

from rewrites.decisions import DECIDED_OTHERWISE
from rewrites.emit.file import File
from rewrites.emit.tables import plainly
from rewrites.emit.text import WIDTH, Group, lines

_WORKED_OUT = [
    "def _worked_out(",
    "    recipe: nn.Module,",
    "    names: Mapping[str, Any],",
    "    state_dict: Mapping[str, Tensor],",
    ") -> Any:",
    '    """What a recipe makes of a checkpoint of the original."""',
    "    found = {}",
    "    for own, key in names.items():",
    "        if isinstance(key, str) and key not in state_dict:",
    '            raise KeyError(f"the checkpoint has no {key}")',
    "        found[own] = state_dict[key] if isinstance(key, str) else key",
    "    recipe.load_state_dict(found)",
    "    return recipe.eval()()",
    "", "",
]  # fmt: skip

_RAISES = {
    False: ["    Raises KeyError for a checkpoint that lacks one of them."],
    True: [
        "    Raises KeyError for a checkpoint that lacks one of them, and ValueError for one",
        "    by which the original would go another way than this file.",
    ],
}


def build(file: File) -> list[str]:
    value = ["        value = state_dict[name]"]
    if file.rows:
        value += [
            '        layer = key.rpartition(".")[0]',
            "        if layer in ROWS and len(value) != len(own):",
            "            value = value[slice(*ROWS[layer])]",
        ]
    if file.reshaped:
        value += ["        if key in RESHAPED:", "            value = value.reshape(own.shape)"]
    later = " or ".join(
        f"key in {name}" for name, there in (("CONSTANTS", file.constants), ("FOLDED", file.folded)) if there
    )
    constants = [f"        if {later}:", "            continue"] if later else []
    filling = [
        "    for name, constant in CONSTANTS.items():",
        "        tensors[name].copy_(constant)",
    ] if file.constants else []  # fmt: skip
    if file.folded:
        filling += [
            "    for name, (recipe, names) in FOLDED.items():",
            "        tensors[name].copy_(_worked_out(recipe, names, state_dict))",
        ]
    strict, shaped = ", strict=False" if later else "", bool(file.rows or file.reshaped)
    if later:
        named = "{**dict(model.named_parameters()), **dict(model.named_buffers())}"
        filling = [f"    tensors = {named}", *filling]
    deciding = [
        "    for line, recipe, names, answer in DECIDED:",
        "        values = _worked_out(recipe, names, state_dict)",
        "        found = [one.tolist() if isinstance(one, Tensor) else one for one in values]",
        "        found = [list(one) if isinstance(one, torch.Size) else one for one in found]",
        "        if str(found) != str(answer):",
        '            keys = ", ".join(key for key in names.values() if isinstance(key, str))',
        "            raise ValueError(",
        *_refusal(" " * 16),
        "            )",
    ] if file.decided else []  # fmt: skip
    head = lines(
        "def ", Group("build(", f") -> {file.whole}:", (("", "state_dict: Mapping[str, Tensor]"),)), plainly, 0
    )
    return [
        "", "",
        "def _original(key: str) -> str:",
        '    """What a parameter is called in a checkpoint of the original model."""',
        '    parts = key.split(".")',
        "    for depth in range(len(parts), 0, -1):",
        '        prefix = ".".join(parts[:depth])',
        "        if prefix in ORIGINAL:",
        '            return ".".join([ORIGINAL[prefix], *parts[depth:]])',
        "    return key",
        "", "",
        *(_WORKED_OUT if file.folded or file.decided else []),
        *(["@torch.no_grad()"] if filling or deciding else []),
        *head,
        '    """The model in eval mode, with the weights of a checkpoint of the original.',
        "",
        *(_RAISES[bool(deciding)]),
        '    """',
        *deciding,
        f"    model = {file.whole}().eval()",
        "    state = {}",
        "    for key, own in model.state_dict().items():" if shaped else "    for key in model.state_dict():",
        *constants,
        "        name = _original(key)",
        "        if name not in state_dict:",
        '            raise KeyError(f"the checkpoint has no {name}")',
        *(value if len(value) > 1 else []),
        f"        state[key] = {'value' if len(value) > 1 else 'state_dict[name]'}",
        f"    model.load_state_dict(state{strict})",
        *filling,
        "    return model",
    ]  # fmt: skip


def _refusal(margin: str) -> list[str]:
    """What is said of a checkpoint that decides otherwise, as the text of a text."""
    words = textwrap.wrap(DECIDED_OTHERWISE, WIDTH - len(margin) - len('f" "'))
    words = [*(f"{piece} " for piece in words[:-1]), words[-1]]
    return [f'{margin}{"f" if "{" in piece else ""}"{piece}"' for piece in words]
