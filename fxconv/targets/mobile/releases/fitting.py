"""A conversion for one release: its file checked against it, and written in older bytecode where that helps."""

from __future__ import annotations

from dataclasses import replace

from fxconv.data.staged_file import StagedFile
from fxconv.errors import ConversionError
from fxconv.inspection import inspect
from fxconv.targets.mobile.releases.backport import backported
from fxconv.targets.mobile.releases.fit import Fit, check
from fxconv.targets.mobile.releases.table import Release


def fitted(content: bytes, wanted: Release) -> tuple[bytes, Fit]:
    """The archive as `wanted` loads it, and what an app needs for it.

    `content` must be a lite-interpreter archive of fxconv's own. Raises `ConversionError` naming the operators that the
    release lacks, each with its layer where the archive says it.
    """
    fit = _checked(content, wanted)
    if fit.backport is not None and not fit.missing:
        before, content = fit, backported(content, wanted)
        fit = _checked(content, wanted)
        note = (
            f"its bytecode is written in version {before.backport}, the newest that {wanted.name} reads (torch's own "
            "backport), and without the lines of source behind its operators"
        )
        fit = replace(fit, notes=(note, *fit.notes))
    if not fit.loads:
        if fit.missing and fit.backport is not None:  # older bytecode is no problem, and no help
            fit = replace(fit, problems=())
        raise ConversionError(f"{wanted.name} cannot load the model: {fit.reason}; {_cure(fit)}")
    return content, fit


def _checked(content: bytes, wanted: Release) -> Fit:
    with StagedFile(None, content) as staged:
        return check(inspect(staged.path), wanted)


def _cure(fit: Fit) -> str:
    """What helps where operators are missing."""
    since = {one.since for one in fit.missing}
    layers = list(dict.fromkeys(layer for one in fit.missing for layer in one.layers))
    keep = f"keep {'it' if len(layers) == 1 else 'them'} in float (--keep-float {layers[0]}), " if layers else ""
    if len(since) == 1 and "" not in since:
        return f"{keep}or take {since.pop()}" if keep else f"take {since.pop()}"
    return f"{keep}or leave --runtime out, and build a library with the operators of --op-list"
