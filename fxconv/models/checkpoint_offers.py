"""What in a checkpoint would fit a model where that which was taken does not, and the options that take it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from fxconv.models.published_names import published_names

State = dict[str, Tensor]
_MOST = 3


def prefixes(state: Collection[str], own: Collection[str]) -> list[str]:
    """Under which prefixes all the names of a model stand among others, the shortest first: `net.backbone.`."""
    wanted = [key for key in own if not key.endswith("num_batches_tracked")]
    if not wanted:
        return []
    found = [key.removesuffix(wanted[0]) for key in state if key.endswith(f".{wanted[0]}")]
    return sorted((one for one in found if all(one + key in state for key in wanted)), key=len)


def offers(
    parts: Mapping[str, State],
    taken: str,
    own: State,
    name: str,
    fits: Callable[[State], bool],
    is_asked: bool = False,
) -> str:
    """How to go on, in words that begin with "; ", or "" where nothing in the file would fit.

    `parts` are the file's state_dicts by path, `taken` the one that does not fit; `own` is the model's, `name` what it
    is called. `fits` says whether a state_dict does, `is_asked` that the user named the one that was taken.
    """
    others = [path for path in parts if path != taken]
    fitting = [path for path in others if fits(parts[path])]
    if fitting and not (is_asked and prefixes(parts[taken], own)):
        return f"; {_listed(fitting)} in the file fits: --weights-key {fitting[0]}"
    for path in (taken, *others):
        if found := prefixes(parts[path], own):
            key = f"--weights-key {path} " if path != taken else ""
            return f"; its names under {_listed(found)} fit: {key}--weights-prefix {found[0]}"
    if inner := prefixes(own, parts[taken]):
        return f"; it has the names of {inner[0].rstrip('.')} in the model alone: name what makes that part"
    shapes = {key: tuple(value.shape) for key, value in parts[taken].items()}
    if known := [one for one in published_names(shapes) if one != name]:
        return f"; by its names it is {_listed(known)}'s: name that model"
    return f"; there is {_listed(others)} in the file, too (--weights-key)" if others else ""


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_MOST]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{' or '.join(shown)}{more}"
