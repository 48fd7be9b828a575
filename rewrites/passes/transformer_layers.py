"""nn.TransformerEncoderLayer, nn.TransformerDecoderLayer and stacks of them  ->  their attentions, layers and norms."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.values import is_truth, submodule

_REASON = "torch's own layer is looked into like any other"


def _encoder_layer(
    src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = False
) -> dict[str, Any]:
    return locals()


def _encoder(src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None) -> dict[str, Any]:
    return {
        "src": src, "src_mask": mask, "src_key_padding_mask": src_key_padding_mask, "is_causal": is_causal or False
    }  # fmt: skip


def _decoder(
    tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None, tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None, tgt_is_causal: Any = False, memory_is_causal: Any = False,
) -> dict[str, Any]:  # fmt: skip
    return {**locals(), "tgt_is_causal": tgt_is_causal or False}


# Each binds its arguments as the forward of the class does, and gives them the names of one layer's.
_SIGNATURES: dict[type[nn.Module], Callable[..., dict[str, Any]]] = {
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerEncoder: _encoder,
    nn.TransformerDecoderLayer: _decoder,
    nn.TransformerDecoder: _decoder,
}


def _check(layer: Any, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name.endswith("key_padding_mask") and value is not None:
            if not is_truth(value):
                raise Refusal(f"its {name} depends on the input; what it masks is not known before the model runs")
            if settings[name.replace("key_padding_", "")] is not None:
                raise Refusal(f"its {name} stands beside another mask")
        if name.endswith("is_causal") and value is not False:
            raise Refusal(f"{name} says something of the mask that the mask need not bear out")
    if isinstance(layer, nn.TransformerEncoder) and settings["src_key_padding_mask"] is not None:
        _check_padding(layer, settings["src"])
    for inner in getattr(layer, "layers", [layer]):
        if type(inner) not in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer):
            raise Refusal(f"it stacks layers of a class that is not torch's own, {type(inner).__name__}")
        activation = inner.activation
        if not isinstance(activation, nn.Module) and not (activation.__module__ or "").startswith("torch"):
            raise Refusal(f"its activation {activation.__name__} is a function that is not torch's own")


def _check_padding(encoder: nn.TransformerEncoder, source: Any) -> None:
    if not encoder.use_nested_tensor:
        return
    if not encoder.mask_check:
        raise Refusal("mask_check=False takes padding to be at the end, which the mask need not bear out")
    shape = source.meta.get("shape") if isinstance(source, fx.Node) else None
    if shape is None:
        raise Refusal("whether its input has a batch, whose padding it makes zeros of, is not known")


class _Writer:
    """Writes the calls of layers in front of a node."""

    def __init__(self, editor: Editor, node: fx.Node) -> None:
        self.editor, self.node = editor, node
        self.held: dict[str, list[str]] = {}  # the parts that are called, by the path of what held them

    def function(self, path: str, target: Any, *args: Any) -> fx.Node:
        name = f"{path.replace('.', '_')}_{target.__name__}"
        return self.editor.insert_call(self.node, "call_function", target, args, name, _REASON, path)

    def method(self, path: str, target: str, *args: Any) -> fx.Node:
        name = f"{path.replace('.', '_')}_{target}"
        return self.editor.insert_call(self.node, "call_method", target, args, name, _REASON, path)

    def part(self, path: str, part: str, *args: Any, **kwargs: Any) -> fx.Node:
        held = self.held.setdefault(path, [])
        if part not in held:
            held.append(part)
        target = f"{path}.{part}"
        return self.editor.insert_call(
            self.node, "call_module", target, args, target.replace(".", "_"), _REASON, path, kwargs
        )

    def stack(self, path: str, stacked: Any, settings: dict[str, Any]) -> fx.Node:
        first = next(iter(settings))
        source = settings[first]
        for index, layer in enumerate(stacked.layers):
            settings = {**settings, first: self.layer(f"{path}.layers.{index}", layer, settings)}
        self.held[path] = ["layers"]
        value: fx.Node = settings[first]
        if first == "src" and settings["src_key_padding_mask"] is not None:
            has_batch = stacked.use_nested_tensor and len(source.meta["shape"]) == 3
            value = self.zeros_for_padding(path, value, settings["src_key_padding_mask"]) if has_batch else value
        return value if stacked.norm is None else self.part(path, "norm", value)

    def zeros_for_padding(self, path: str, value: fx.Node, mask: fx.Node) -> fx.Node:
        """What torch's encoder gives in eval mode: zeros for padding, where that is at the end of each row of a batch.

        It runs on nested tensors then. Where in any row anything follows padding, it computes the padding as well.
        """
        ends, others = slice(None, -1), slice(1, None)
        before = self.function(path, operator.getitem, mask, (slice(None), ends))
        behind = self.function(path, operator.getitem, mask, (slice(None), others))
        followed = self.function(path, operator.and_, before, self.method(path, "logical_not", behind))
        at_the_end = self.method(path, "logical_not", self.method(path, "any", followed))
        padding = self.method(path, "unsqueeze", self.function(path, operator.and_, mask, at_the_end), -1)
        return self.method(path, "masked_fill", value, padding, 0.0)

    def layer(self, path: str, layer: Any, settings: dict[str, Any]) -> fx.Node:
        first = next(iter(settings))
        value: fx.Node = settings[first]

        def attended(part: str, memory: str, of: str) -> Callable[[fx.Node], fx.Node]:
            masks = {"attn_mask": settings[f"{of}_mask"]}
            if (padding := settings[f"{of}_key_padding_mask"]) is not None:
                masks["key_padding_mask"] = padding

            def attend(x: fx.Node) -> fx.Node:
                keys = settings.get(memory, x)
                both = self.part(path, part, x, keys, keys, need_weights=False, **masks)
                return self.function(path, operator.getitem, both, 0)

            return attend

        def forward(x: fx.Node) -> fx.Node:
            x = self.part(path, "linear1", x)
            if isinstance(layer.activation, nn.Module):
                x = self.part(path, "activation", x)
            else:
                x = self.function(path, layer.activation, x)
            return self.part(path, "linear2", x)

        blocks = [attended("self_attn", "", first)]
        if first == "tgt":
            blocks.append(attended("multihead_attn", "memory", "memory"))
        for number, block in enumerate([*blocks, forward], start=1):
            if layer.norm_first:
                value = self.function(path, operator.add, value, block(self.part(path, f"norm{number}", value)))
            else:
                value = self.part(path, f"norm{number}", self.function(path, operator.add, value, block(value)))
        return value


class TransformerLayers(RewritePass):
    """nn.TransformerEncoderLayer and its kin become the attentions, linear layers and norms they are made of.

    What it does: `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`, `nn.TransformerEncoder` and
    `nn.TransformerDecoder` are replaced by what their forwards do in eval mode, in either order of the norms.

    Why: tracing stops at torch's own modules, so that each of these layers would be one float operation.

    A padding mask of truth values goes to the attentions; where torch's encoder makes zeros of padding, so does what is
    written. Where all of a row is padding, torch's fast path gives NaN, and what is written numbers.

    Leaves alone: calls with `is_causal`, a `key_padding_mask` that is not known to hold truth values or stands beside
    another mask, activations that are functions of somebody else's.
    Declared tolerance: 1e-5 of the output's largest magnitude, because torch's fast path adds up in another order.
    """

    name = "transformer-layers"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        held: dict[str, list[str]] = {}
        for node in editor.nodes():
            layer = submodule(editor.graph_module, node)
            bind = _SIGNATURES.get(type(layer)) if layer is not None else None
            if bind is None:
                continue
            settings = bind(*node.args, **node.kwargs)
            try:
                _check(layer, settings)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            writer, path = _Writer(editor, node), str(node.target)
            write = writer.stack if hasattr(layer, "layers") else writer.layer
            editor.remove(node, write(path, layer, settings), "its parts stand for themselves")
            held.update(writer.held)
        for path, parts in sorted(held.items(), reverse=True):  # the inner ones first
            editor.strip(path, parts)

    @staticmethod
    def example() -> nn.Module:
        class Encode(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x.flatten(2).transpose(1, 2))

        return Encode()
