"""Messages met while torch.fx records a model, or copies it."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

TRACING = (
    KnownError(
        "control-flow",
        Place.CONVERSION,
        says(r"symbolically traced variables cannot be used as inputs to control flow"),
        "symbolically traced variables cannot be used as inputs to control flow",
        "the model's forward decides by the values of a tensor (if, while, assert), which torch.fx cannot record",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; write it "
        "as "
        "torch.where, or decide in __init__, and it can be int8",
        ("pytorch/pytorch#118634", "pytorch/pytorch#74842"),
        provoked=True,
    ),
    KnownError(
        "proxy-iterated",
        Place.CONVERSION,
        says(r"Proxy object cannot be iterated"),
        "Proxy object cannot be iterated.",
        "the model's forward loops over a tensor or unpacks one, and torch.fx does not know how many there are",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; index it "
        "(x[0], x[1]) or use x.unbind(0), and it can be int8",
        ("pytorch/pytorch#118884",),
        provoked=True,
    ),
    KnownError(
        "proxy-as-number",
        Place.CONVERSION,
        says(
            r"'Proxy' object cannot be interpreted as an integer",
            r"must be a string, a bytes-like object or a real number, not 'Proxy'",
            r"'\w{1,20}' is not supported in symbolic tracing by default",
        ),
        "TypeError: 'Proxy' object cannot be interpreted as an integer",
        "the model's forward makes a Python number of a tensor or of its size (range, int, len), which torch.fx cannot",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; work with "
        "x.shape as it is, or wrap the function by torch.fx.wrap",
        provoked=True,
    ),
    KnownError(
        "deepcopy-of-result",
        Place.CONVERSION,
        says(r"Only Tensors created explicitly by the user \(graph leaves\) support the deepcopy protocol"),
        "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.",
        "the model keeps a tensor that was computed with gradients, so it cannot be copied; weight_norm of the old "
        "kind "
        "leaves one",
        "detach what is kept (self.x = x.detach()), or call torch.nn.utils.remove_weight_norm",
        provoked=True,
    ),
    KnownError(
        "view-of-other-layout",
        Place.CONVERSION,
        says(r"view size is not compatible with input tensor's size and stride"),
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
        "contiguous subspaces). Use .reshape(...) instead.",
        "view() was written for values in one memory layout and meets another: int8 convolutions hand on channels_last",
        "write reshape() instead of view(); fxconv convert does, by the pass view-to-reshape",
        ("pytorch/pytorch#25890",),
        provoked=True,
    ),
)
