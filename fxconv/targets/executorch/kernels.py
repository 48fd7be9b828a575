"""The kernels that a program of anybody's may call, and what each has to be given.

ExecuTorch hands a kernel the values that the file says, however many and of whatever kind. So the file's own list is
held against the signature: by torch for the operators that are torch's, by those below for ExecuTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from fxconv.inspection.executorch_values import Listed, Method, TensorValue, Text, Value

# The portable and optimized kernels of ExecuTorch 1.5.1, those that only compute; `backward` ones are left out.
_ATEN = """
_adaptive_avg_pool2d.out _cdist_forward.out _conj_physical.out _fft_c2r.out _fft_r2c.out _local_scalar_dense
_log_softmax.out _native_batch_norm_legit.no_stats_out _native_batch_norm_legit.out
_native_batch_norm_legit_no_training.out _pdist_forward.out _softmax.out _to_copy.out _upsample_bilinear2d_aa.out
abs.out acos.out acosh.out add.Scalar_out add.out addmm.out alias_copy.out amax.out amin.out any.all_out any.dims_out
any.out arange.out arange.start_out argmax.out argmin.out as_strided_copy.out asin.out asinh.out atan.out atan2.out
atanh.out avg_pool2d.out bitwise_and.Scalar_out bitwise_and.Tensor_out bitwise_left_shift.Tensor_Scalar_out
bitwise_left_shift.Tensor_out bitwise_not.out bitwise_or.Scalar_out bitwise_or.Tensor_out
bitwise_right_shift.Tensor_Scalar_out bitwise_right_shift.Tensor_out bitwise_xor.Scalar_out bitwise_xor.Tensor_out
bmm.out cat.out ceil.out clamp.Tensor_out clamp.out clone.out constant_pad_nd.out convolution.out copy.out copy_ cos.out
cosh.out cumsum.out detach_copy.out diagonal_copy.out div.Scalar_mode_out div.Scalar_out div.out div.out_mode elu.out
embedding.out empty.out eq.Scalar_out eq.Tensor_out erf.out exp.out expand_copy.out expm1.out fill.Scalar_out
fill.Tensor_out flip.out floor.out floor_divide.out fmod.Scalar_out fmod.Tensor_out full.out full_like.out gather.out
ge.Scalar_out ge.Tensor_out gelu.out glu.out grid_sampler_2d.out gt.Scalar_out gt.Tensor_out hardtanh.out
index.Tensor_out index_put.out index_put_ index_select.out isinf.out isnan.out le.Scalar_out le.Tensor_out
leaky_relu.out lift_fresh_copy.out linear.out log.out log10.out log1p.out log2.out logical_and.out logical_not.out
logical_or.out logical_xor.out logit.out lt.Scalar_out lt.Tensor_out masked_fill.Scalar_out masked_scatter.out
masked_select.out max.dim_max max.unary_out max_pool2d_with_indices.out maximum.out mean.dtype_out mean.out min.dim_min
min.unary_out minimum.out mm.out mul.Scalar_out mul.out narrow_copy.out native_dropout.out native_group_norm.out
native_layer_norm.out ne.Scalar_out ne.Tensor_out neg.out nonzero.out ones.out permute_copy.out pixel_shuffle.out
pixel_unshuffle.out pow.Scalar_out pow.Tensor_Scalar_out pow.Tensor_Tensor_out prod.int_out prod.out rand.out randn.out
reciprocal.out reflection_pad1d.out reflection_pad2d.out reflection_pad3d.out relu.out remainder.Scalar_out
remainder.Tensor_out repeat.out repeat_interleave.Tensor_out replication_pad1d.out replication_pad2d.out
replication_pad3d.out roll.out round.out rsqrt.out rsub.Scalar_out scalar_tensor.out scatter.src_out scatter.value_out
scatter_add.out select_copy.int_out select_scatter.out sigmoid.out sign.out sin.out sinh.out slice_copy.Tensor_out
slice_scatter.out split_copy.Tensor_out split_with_sizes_copy.out sqrt.out squeeze_copy.dim_out squeeze_copy.dims_out
stack.out sub.Scalar_out sub.out sum.IntList_out sym_numel sym_size.int t_copy.out tan.out tanh.out topk.values
transpose_copy.int_out tril.out trunc.out unbind_copy.int_out unfold_copy.out unsqueeze_copy.out
upsample_bilinear2d.vec_out upsample_nearest2d.vec_out var.correction_out var.out var_mean.correction_out
view_as_real_copy.out view_copy.out where.self_out zeros.out
"""
_PRIM_TWO = "add eq floordiv ge gt le lt mod mul sub sym_max sym_min truediv"
_PRIM_ONE = "ceil neg round sym_float sym_int sym_not trunc"
_OWN = """
dim_order_ops::_to_dim_order_copy.out(Tensor self, bool non_blocking, int[]? dim_order, Tensor out) -> Tensor
dim_order_ops::_clone_dim_order.out(Tensor self, bool non_blocking, int[]? dim_order, Tensor out) -> Tensor
dim_order_ops::_empty_dim_order.out(int[] size, int[]? dim_order, Tensor out) -> Tensor
executorch_prim::et_view.default(Tensor self, int[] size, Tensor out) -> ()
executorch_prim::floordiv.int(Scalar a, Scalar b, Scalar out) -> ()
executorch_prim::mod.int(Scalar a, Scalar b, Scalar out) -> ()
executorch_prim::sym_ite.Scalar(bool condition, Scalar a, Scalar b, Scalar out) -> ()
quantized_decomposed::quantize_per_tensor.out(Tensor input, float scale, int zero, int low, int high, int type, Tensor out) -> Tensor
quantized_decomposed::dequantize_per_tensor.out(Tensor input, float scale, int zero, int low, int high, int type, int? made, Tensor out) -> Tensor
quantized_decomposed::quantize_per_channel.out(Tensor input, Tensor scales, Tensor zeros, int axis, int low, int high, int type, Tensor out) -> Tensor
quantized_decomposed::dequantize_per_channel.out(Tensor input, Tensor scales, Tensor? zeros, int axis, int low, int high, int type, int? made, Tensor out) -> Tensor
quantized_decomposed::add.out(Tensor a, float a_scale, int a_zero, int a_low, int a_high, Tensor b, float b_scale, int b_zero, int b_low, int b_high, float scale, int zero, int low, int high, Tensor out) -> Tensor
"""  # noqa: E501
_OWN_ROWS = [line.split("(", 1) for line in _OWN.strip().splitlines()]
_OWN_SCHEMAS = {name: f"{name}({rest}" for name, rest in _OWN_ROWS}
_OWN_SCHEMAS |= {
    f"executorch_prim::{name}.Scalar": f"executorch_prim::{name}.Scalar(Scalar a, Scalar b, Scalar out) -> ()"
    for name in _PRIM_TWO.split()
}
_OWN_SCHEMAS |= {
    f"executorch_prim::{name}.Scalar": f"executorch_prim::{name}.Scalar(Scalar a, Scalar out) -> ()"
    for name in _PRIM_ONE.split()
}
KERNELS = frozenset({f"aten::{name}" for name in _ATEN.split()} | set(_OWN_SCHEMAS))


# Their result is put into a value, in place of what is there.
_MAKE_NUMBERS = ("aten::_local_scalar_dense", "aten::sym_numel", "aten::sym_size.int")


# Numbers that kernels divide by without a look at them.
_POSITIVE = ("groups", "group", "stride", "dilation", "upscale_factor", "downscale_factor", "step")


def unfit(name: str, arguments: Sequence[int], method: Method) -> str:
    """Why the arguments, numbers of the method's values, are not those of the kernel of this name; "" if they are."""
    wanted, results = _signature(name)
    if len(arguments) != len(wanted) + results:
        return f"calls {name} with {len(arguments)} values instead of {len(wanted) + results}"
    for number, (said, kind) in zip(arguments, wanted, strict=False):
        if not _fits(method.values[number], kind):
            return f"gives {name} something else than its {said}, which is of type {kind}"
        if said in _POSITIVE and not all(one > 0 for one in _whole(method.values[number], method)):
            return f"gives {name} a {said} that is not above 0"
    if name in _MAKE_NUMBERS and not _is_number(method.values[arguments[-1]]):
        return f"puts the result of {name} where no number is"
    return ""


@cache
def _signature(name: str) -> tuple[tuple[tuple[str, str], ...], int]:
    """The names and types of the arguments, results to be written among them, and how many values follow these."""
    import torch  # the names of kernels are read without it

    if name in _OWN_SCHEMAS:
        schema = torch._C.parse_schema(_OWN_SCHEMAS[name].replace(".default", ""))
    else:
        operator, _, overload = name.partition(".")
        schema = torch._C._get_schema(operator, overload)
    return tuple((one.name, str(one.type)) for one in schema.arguments), 1 if schema.returns else 0


def _whole(value: Value, method: Method) -> list[int]:
    """A whole number, or those of a list, which names values of the method."""
    found = [method.values[int(one)] for one in value.items] if isinstance(value, Listed) else [value]
    return [one for one in found if isinstance(one, int)]


def _is_number(value: Value) -> bool:
    return isinstance(value, (bool, int, float))


def _listed(*kinds: str) -> Callable[[Value], bool]:
    return lambda value: isinstance(value, Listed) and value.kind in kinds


# What a value of each type of a signature is in the file.
_TYPES: dict[str, Callable[[Value], bool]] = {
    "Tensor": lambda value: isinstance(value, TensorValue),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "number": _is_number,
    "Scalar": _is_number,
    "str": lambda value: isinstance(value, Text),
    "List[int]": _listed("ints"),
    "List[float]": _listed("doubles"),
    "List[bool]": _listed("bools"),
    "List[Tensor]": _listed("tensors"),
    "List[Optional[Tensor]]": _listed("optional tensors"),
}
# Types of whose values a file has the number only.
_NUMBERED = ("Device", "Generator", "Layout", "MemoryFormat", "ScalarType", "SymInt")


def _fits(value: Value, kind: str) -> bool:
    if kind.startswith("Optional["):
        return value is None or _fits(value, kind.removeprefix("Optional[").removesuffix("]"))
    if kind in _NUMBERED:
        return value is None or _TYPES["int"](value)
    if kind == "List[SymInt]":
        return _TYPES["List[int]"](value)
    known = _TYPES.get(kind)
    return known is not None and known(value)
