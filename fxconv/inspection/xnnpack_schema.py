"""The schema of what ExecuTorch hands to XNNPACK: datatypes, kinds of nodes and their fields, by number.

Of backends/xnnpack/serialization/schema.fbs, which is the same in ExecuTorch 1.3.1, 1.4.1 and 1.5.1; `XN01` is its
mark, and `XN00` that of runtime_schema.fbs beside it, which older releases wrote.
"""

from __future__ import annotations

HEADER_MARK, MARKS = b"XH00", (b"XN01", b"XN00")
# The releases whose schemas were read: each knows all that stands here.
RELEASES = ("1.3.1", "1.4.1", "1.5.1")
NO_VALUE = 0xFFFFFFFF
INPUT_FLAG, OUTPUT_FLAG = 1, 2

# Names and bits of the datatypes of values.
DATATYPES = (
    ("invalid", 0),
    ("fp32", 32),
    ("fp16", 16),
    ("qint8", 8),
    ("quint8", 8),
    ("qint32", 32),
    ("qcint8", 8),
    ("qcint32", 32),
    ("qcint4", 4),
    ("qdint8", 8),
    ("qbint4", 4),
    ("qpint8", 8),
    ("int32", 32),
    ("pfp32", 32),
    ("bf16", 16),
)
PER_CHANNEL, PER_TENSOR, PER_TOKEN, PER_GROUP = (
    "per channel",
    "per tensor",
    "per token, when it runs",
    "per group of channels",
)
QUANTIZATION = {1: PER_CHANNEL, 2: PER_TENSOR, 3: PER_TOKEN, 4: PER_GROUP}

# The fields of a node, in order: a whole number, one with a fraction (`name:f`), or several (`name:n`).
_ONE = "input_id output_id flags"
_TWO = "input1_id input2_id output_id flags"
_CAT = "axis input1_id input2_id input3_id input4_id output_id flags input5_id"
_PADDING = "padding_top padding_right padding_bottom padding_left"
_CONVOLUTION = (
    f"{_PADDING} kernel_height kernel_width subsampling_height subsampling_width dilation_height dilation_width "
    "group_input_channels group_output_channels groups adjustment_height adjustment_width "
    "input1_id filter_id bias_id output_id flags"
)
_POOLING = f"{_PADDING} pooling_height pooling_width stride_height stride_width dilation_height dilation_width {_ONE}"
_NODES = (
    ("Add", _TWO),
    ("FullyConnected", "input1_id filter_id bias_id output_id flags"),
    ("Softmax", _ONE),
    ("Sigmoid", _ONE),
    ("StaticTranspose", f"num_dims perm:n {_ONE}"),
    ("Clamp", _ONE),
    ("Conv2d", _CONVOLUTION),
    ("Div", _TWO),
    ("StaticResizeBilinear2D", f"new_height new_width {_ONE}"),
    ("StaticConstantPad", f"pre_paddings:n post_paddings:n padding_value:f {_ONE}"),
    ("AvgPooling2d", _POOLING),
    ("Minimum", _TWO),
    ("DepthwiseConv2d", _CONVOLUTION),
    ("MaxPooling2d", _POOLING),
    ("Multiply", _TWO),
    ("Subtract", _TWO),
    ("Floor", _ONE),
    ("Convert", _ONE),
    ("GlobalAvgPooling2d", _ONE),
    ("StaticReshape", f"num_dims new_shape:n {_ONE}"),
    ("ArgMaxPooling2d", f"{_PADDING} pooling_height pooling_width input_id output_value_id output_index_id flags"),
    ("SquareRoot", _ONE),
    ("Ceiling", _ONE),
    ("Hardswish", _ONE),
    ("LeakyReLU", f"negative_slope:f {_ONE}"),
    ("Maximum", _TWO),
    ("Negate", _ONE),
    ("Square", _ONE),
    ("ELU", f"alpha:f {_ONE}"),
    ("Abs", _ONE),
    ("PReLU", _TWO),
    ("Concatenate2", _CAT),
    ("Concatenate3", _CAT),
    ("Concatenate4", _CAT),
    ("StaticSlice", f"num_dims offsets:n sizes:n {_ONE}"),
    ("ScaledDotProductAttention", "query_id key_id value_id scale_id mask_id output_id flags"),
    ("BatchMatrixMultiply", _TWO),
    ("Concatenate5", _CAT),
    ("ConvTranspose2d", _CONVOLUTION),
    ("ReciprocalSquareRoot", _ONE),
    ("Log", _ONE),
    ("Gelu", _ONE),
    ("Tanh", _ONE),
    ("Exp", _ONE),
    ("Sin", _ONE),
    ("Copy", _ONE),
    ("Cos", _ONE),
)
# Name and fields of a kind of node, by its number.
NODES = {number: (name, tuple(fields.split())) for number, (name, fields) in enumerate(_NODES, 1)}
_CONCATENATED = {f"Concatenate{count}": count for count in (2, 3, 4, 5)}


def inputs_of(kind: str) -> tuple[str, ...]:
    """The fields that say which values a node takes, in the order of its arguments."""
    if kind in _CONCATENATED:
        return tuple(f"input{number}_id" for number in range(1, _CONCATENATED[kind] + 1))
    fields = next((fields for name, fields in NODES.values() if name == kind), ())
    return tuple(name for name in fields if name.endswith("_id") and not name.startswith("output"))


def outputs_of(kind: str) -> tuple[str, ...]:
    """The fields that say which values a node makes."""
    fields = next((fields for name, fields in NODES.values() if name == kind), ())
    return tuple(name for name in fields if name.endswith("_id") and name.startswith("output"))
