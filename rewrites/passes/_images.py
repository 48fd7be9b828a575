"""Calls on videos turned into calls on images: shared by the passes that make them and the one that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from rewrites.edits import Editor
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.values import sole_user, submodule


@dataclass(frozen=True)
class Form:
    """A way to see a video as images: the module there, and the one back, which needs the video's size along `dim`."""

    name: str
    there: type[nn.Module]
    back: type[nn.Module]
    dim: int


FRAMES = Form("frames", ToFrames, FromFrames, 0)
COLUMNS = Form("columns", ToColumns, FromColumns, 4)
_FORMS = (FRAMES, COLUMNS)


def form_of(graph_module: fx.GraphModule, value: Any) -> Form | None:
    """The form of the images that `value` is made of; None when it is no video made of images."""
    module = submodule(graph_module, value) if isinstance(value, fx.Node) else None
    return next((form for form in _FORMS if type(module) is form.back), None)


def is_plain(module: nn.Module) -> bool:
    """Whether a way there rearranges the video as it is: each frame once, and no channels made of frames."""
    return type(module) is ToColumns or (type(module) is ToFrames and module.taps == module.step == 1)


def images(editor: Editor, video: fx.Node, there: nn.Module, reader: fx.Node, reason: str) -> fx.Node:
    """The images of `video`, for `reader`: those it was made of, those another reader has already, or new ones."""
    form = form_of(editor.graph_module, video)
    if form is not None and type(there) is form.there and is_plain(there):
        return video.args[0]  # type: ignore[return-value]
    for user in video.users:
        module = submodule(editor.graph_module, user)
        if type(module) is type(there) and module.extra_repr() == there.extra_repr():
            return user
    stem = f"to_{'frames' if isinstance(there, ToFrames) else 'columns'}"
    return editor.insert_before(_next(video), there, (video,), stem, reason, written_at=reader)


def size(editor: Editor, video: fx.Node, dim: int, reader: fx.Node) -> fx.Node:
    """The node that gives the size of `video` along `dim`."""
    form = form_of(editor.graph_module, video)
    if form is not None and form.dim == dim:
        return video.args[1]  # type: ignore[return-value]
    for user in video.users:
        if user.op == "call_method" and user.target == "size" and user.args == (video, dim):
            return user
    return editor.insert_before(_next(video), "size", (video, dim), "", "the way back needs it", written_at=reader)


def _next(video: fx.Node) -> fx.Node:
    """The place behind `video`, where all its readers can read what is put there."""
    while video.next.op == "placeholder":  # the placeholders stand together at the top
        video = video.next
    return video.next


def take_images(editor: Editor, node: fx.Node, form: Form, there: nn.Module, reason: str) -> None:
    """Let `node`, a call on one video, be called on images, and turn what it gives into a video again."""
    video = node.all_input_nodes[0]
    made_of = form_of(editor.graph_module, video)
    if made_of is form and is_plain(there) and sole_user(video) is node:
        editor.move_behind(video, node, reason)
        _move_shape(node, video)
        return
    taken = images(editor, video, there, node, reason)
    back = size(editor, video, form.dim, node)
    editor.redirect(node, video, taken, reason)
    as_video(editor, node, form, back)


def as_video(editor: Editor, node: fx.Node, form: Form, back: fx.Node) -> fx.Node:
    """Turn the images that `node` gives from now on into the video it gave, for all its readers."""
    video = editor.insert_behind(node, form.back(), (back,), f"from_{form.name}", "its readers take a video")
    _move_shape(node, video)
    return video


def _move_shape(node: fx.Node, video: fx.Node) -> None:
    """What `node` gave is what `video` gives now."""
    video.meta.pop("shape", None)
    if "shape" in node.meta:
        video.meta["shape"] = node.meta.pop("shape")
