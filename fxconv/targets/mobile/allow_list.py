"""Which operators a file from elsewhere may be run with: those that compute, and no others.

A lite-interpreter file is a program. Its operators may write files (`aten::save`), map them into memory
(`aten::from_file`) or call other machines, and loading it runs the `__setstate__` methods in it. So its operators are
read first, without loading it, and each has to be named here: what nobody has looked at is refused.

The first to read it is `fxconv.inspection`, which runs nothing, and refuses an archive that shows one reader this and
another that. Only what it took, and found to name no other operators and classes, is read by torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxconv.data.given_files import check_artifact
from fxconv.diagnostics.known_errors import BY_NAME
from fxconv.environment import has_xnnpack
from fxconv.errors import UserError
from fxconv.inspection import Inspection, Kind, inspect
from fxconv.inspection.effects import EFFECTS
from fxconv.inspection.what import ARTIFACTS, what_is

_NO_PROGRAM = BY_NAME["no-bytecode"]
# Files that people name by mistake, in which there is no program; of a damaged one inspect says what is wrong with it.
_NO_PROGRAMS = ("a Python", "a notebook", "a JSON", "a YAML")
_PACKED = BY_NAME["packed-class-missing"]
_ARITHMETIC = """
abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr amax amin aminmax angle arange arccos arccosh
arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort argwhere asin asinh atan atan2 atanh baddbmm bincount
bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm bucketize cdist ceil clamp
clamp_max clamp_min clip clone complex conj copysign cos cosh count_nonzero cross cummax cummin cumprod cumsum deg2rad
diff dist div divide dot einsum eq equal erf erfc erfinv exp exp2 expm1 eye fill floor floor_divide fmax fmin fmod
frac frexp full full_like gather gcd ge greater greater_equal gt heaviside histc hypot index index_add index_copy
index_fill index_put index_select inner inverse isclose isfinite isin isinf isnan isneginf isposinf isreal kron
kthvalue lcm ldexp le lerp less less_equal lgamma linspace log log10 log1p log2 logaddexp logaddexp2 logcumsumexp
logical_and logical_not logical_or logical_xor logit logspace logsumexp lt masked_fill masked_scatter masked_select
matmul max maximum mean median meshgrid min minimum mm mode mul multiply mv nan_to_num nanmean nanmedian nansum ne neg
negative nextafter nonzero norm not_equal one_hot ones ones_like outer polar positive pow prod put quantile rad2deg
rand rand_like randint randint_like randn randn_like randperm range real imag reciprocal remainder renorm round rsqrt
rsub scalar_tensor scatter scatter_add scatter_reduce searchsorted sgn sign signbit sin sinc sinh sort sqrt square std
std_mean sub subtract sum take take_along_dim tan tanh tensordot topk trace tril triu true_divide trunc
unique_consecutive unique_dim var var_mean vdot where xlogy zero zeros zeros_like bernoulli multinomial normal uniform
empty empty_like tril_indices triu_indices frobenius_norm vander fft_fft fft_fft2 fft_fftn fft_fftshift fft_ifft
fft_ifft2 fft_ifftn fft_ifftshift fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn stft istft linalg_cross
linalg_det linalg_inv linalg_matrix_norm linalg_norm linalg_vector_norm hann_window hamming_window _unique _unique2
_add_relu
"""
_SHAPES = """
adjoint alias as_strided as_tensor atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat
channel_shuffle chunk column_stack concat concatenate constant_pad_nd contiguous copy detach diag diag_embed diagonal
dsplit dstack expand expand_as flatten flip fliplr flipud hsplit hstack lift lift_fresh moveaxis movedim mT mH narrow
native_channel_shuffle new_empty new_full new_ones new_zeros numpy_T pad permute pixel_shuffle pixel_unshuffle ravel
repeat repeat_interleave reshape reshape_as roll rot90 row_stack select slice split split_with_sizes squeeze stack
swapaxes swapdims t tensor_split tile to transpose type_as unbind unflatten unfold unsafe_chunk unsafe_split
unsafe_split_with_sizes unsqueeze view view_as view_as_complex view_as_real vsplit vstack im2col col2im cpu data
_reshape_alias _shape_as_tensor _unsafe_view _to_copy _pad_circular _pad_enum
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d affine_grid_generator alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear celu
conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution cosine_similarity dropout
elu embedding feature_alpha_dropout feature_dropout fractional_max_pool2d gelu glu grid_sampler grid_sampler_2d
grid_sampler_3d group_norm gru gru_cell hardshrink hardsigmoid hardswish hardtanh instance_norm layer_norm leaky_relu
linear log_sigmoid log_softmax lstm lstm_cell max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices
max_pool3d max_pool3d_with_indices max_unpool2d max_unpool3d mish native_batch_norm native_group_norm
native_layer_norm pairwise_distance pdist prelu reflection_pad1d reflection_pad2d reflection_pad3d relu relu6
replication_pad1d replication_pad2d replication_pad3d rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell rrelu
scaled_dot_product_attention selu sigmoid silu softmax softplus softshrink threshold upsample_bicubic2d
upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
_adaptive_avg_pool2d _adaptive_avg_pool3d _batch_norm_impl_index _convolution _convolution_mode _log_softmax
_native_batch_norm_legit _native_batch_norm_legit_no_training _native_multi_head_attention _safe_softmax
_scaled_dot_product_attention_math _scaled_dot_product_flash_attention_for_cpu _softmax _transformer_encoder_layer_fwd
_transform_bias_rescale_qkv _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm __interpolate __upsample
__upsample_bilinear __upsample_nearest mkldnn_convolution mkldnn_rnn_layer
"""
_QUANTIZATION = """
dequantize int_repr q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme
quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_batch_norm quantized_gru
quantized_gru_cell quantized_lstm quantized_lstm_cell quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d
quantized_rnn_relu_cell quantized_rnn_tanh_cell fake_quantize_per_channel_affine fake_quantize_per_tensor_affine
_empty_affine_quantized _empty_per_channel_affine_quantized _make_per_channel_quantized_tensor
_make_per_tensor_quantized_tensor
"""
# What TorchScript computes beside tensors: numbers, texts, lists, sizes and types.
_LANGUAGE = """
Bool Complex ComplexImplicit Delete Float FloatImplicit Int IntImplicit ScalarImplicit Size all any append bin
capitalize center chr clear count degrees device dict dim divmod element_size endswith expandtabs extend fabs
factorial find floordiv format get get_autocast_dtype get_device hash hex insert is_autocast_cpu_enabled
is_autocast_enabled is_complex is_contiguous is_floating_point is_grad_enabled is_leaf is_nonzero is_same_size
is_scripting is_signed isalnum isalpha isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle
isupper items join keys len list ljust lower lstrip mathremainder modf numel oct ord partition percentFormat pop
popitem promote_types radians remove replace result_type reverse rfind rindex rjust rpartition rsplit rstrip
setdefault size sorted splitlines startswith storage_offset str stride strip swapcase tensor title update upper values
warn zfill __and__ __contains__ __derive_index __getitem__ __is__ __isnot__ __lshift__ __not__ __or__ __range_length
__round_to_zero_floordiv __rshift__ __xor__ _infer_size _list_to_tensor _local_scalar_dense _set_item
_size_if_not_equal _tensor_to_list _unwrap_optional
"""
_PRIM = """
ConstantChunk EnumName EnumValue ModuleContainerIndex NumToTensor RaiseException StringIndex TupleIndex TupleUnpack
Uninitialized abs data device dtype index is_cpu is_cuda is_meta is_mkldnn is_mps is_nested is_quantized is_sparse
is_vulkan is_xla itemsize layout max min nbytes rangelist requires_grad tolist type unchecked_cast
unchecked_unwrap_optional
"""
_QUANTIZED = """
add add_relu add_scalar add_scalar_relu batch_norm batch_norm1d batch_norm1d_relu batch_norm2d batch_norm2d_relu
batch_norm3d batch_norm3d_relu batch_norm_relu cat cat_relu celu clamp conv1d conv1d_dynamic conv1d_relu conv2d
conv2d_add conv2d_add_relu conv2d_dynamic conv2d_relu conv3d conv3d_dynamic conv3d_relu conv_transpose1d
conv_transpose1d_dynamic conv_transpose2d conv_transpose2d_dynamic conv_transpose3d conv_transpose3d_dynamic dropout
elu group_norm hardswish instance_norm layer_norm leaky_relu linear linear_dynamic linear_dynamic_fp16
linear_leaky_relu linear_relu linear_relu_dynamic linear_relu_dynamic_fp16 linear_tanh matmul max_pool1d max_pool2d
mul mul_relu mul_scalar mul_scalar_relu prelu quantized_gru_cell_dynamic quantized_lstm_cell_dynamic
quantized_rnn_relu_cell_dynamic quantized_rnn_tanh_cell_dynamic relu6 sigmoid softmax threshold conv1d_prepack
conv2d_prepack conv3d_prepack conv_transpose1d_prepack conv_transpose2d_prepack linear_prepack conv1d_unpack
conv2d_unpack conv3d_unpack linear_unpack
"""
_PREPACKED = """
conv2d_clamp_prepack conv2d_clamp_run conv2d_transpose_clamp_prepack conv2d_transpose_clamp_run linear_clamp_prepack
linear_clamp_run
"""
_TORCHVISION = """
deform_conv2d nms ps_roi_align ps_roi_pool roi_align roi_pool
"""
ALLOWED: dict[str, frozenset[str]] = {
    "aten": frozenset(f"{_ARITHMETIC} {_SHAPES} {_LAYERS} {_QUANTIZATION} {_LANGUAGE}".split()),
    "prim": frozenset(_PRIM.split()),
    "quantized": frozenset(_QUANTIZED.split()),
    "prepacked": frozenset(_PREPACKED.split()),
    "torchvision": frozenset(_TORCHVISION.split()),
}
# Namespaces of the C++ classes whose objects are packed weights.
_XNNPACK = "xnnpack"
_CLASSES = frozenset({"quantized", _XNNPACK, "rnn"})


@dataclass(frozen=True)
class Refused:
    """An operator, or a class of objects, that a file may not be run with, and why."""

    name: str
    reason: str


def refused(operators: Iterable[str]) -> list[Refused]:
    """Those of these operators that are not allowed, in order, each once: `aten::save`, overloads behind a dot."""
    found = []
    for name in dict.fromkeys(operator.partition(".")[0] for operator in operators):
        namespace, _, operator = name.partition("::")
        known = ALLOWED.get(namespace, frozenset())
        # `add_` writes into its input, a tensor, and computes what `add` does
        if operator not in known and not (operator.endswith("_") and operator[:-1] in known and operator[0] != "_"):
            found.append(Refused(name, EFFECTS.get(name, "is not known to do nothing but compute")))
    return found


def inspected(path: Path) -> Inspection:
    """What a file is, before anything of torch reads it.

    Raises `UserError` when there is none, for what `fxconv inspect` refuses, for what is no file of the lite
    interpreter, and for one that names operators or classes that are not allowed.
    """
    check_artifact(path)
    try:
        found = inspect(path)
    except UserError as error:
        if (what := what_is(path)).startswith(_NO_PROGRAMS):
            raise UserError(f"{path}: is {what}, no .ptl; fxconv convert writes one of a model") from error
        raise
    if found.kind is Kind.TORCHSCRIPT:
        raise UserError(f"{path}: {_NO_PROGRAM.cause.removeprefix('the file ')}; {_NO_PROGRAM.cure}")
    if found.kind is not Kind.LITE:
        where = f"; fxconv inspect {path} says what is in it" if found.kind in ARTIFACTS else ""
        raise UserError(f"{path}: is no archive of the lite interpreter ({found.kind.value}); give a .ptl{where}")
    _refuse(path, _refused_by_name(found))
    return found


def operators_of(path: Path) -> tuple[str, ...]:
    """The operators of all functions in a lite-interpreter file, sorted; it is neither loaded nor run.

    Raises `UserError` for what is no such file, and for one that must not be run.
    """
    seen = inspected(path)
    if _XNNPACK in seen.classes and not has_xnnpack():  # torch's reader fails on them with an assertion about itself
        cause = _PACKED.cause.removeprefix("the file ").replace("this runtime", f"torch {_torch()}")
        raise UserError(f"{path}: {cause}; {_PACKED.cure}")
    from torch.jit.mobile import _get_model_ops_and_info

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = tuple(sorted(_get_model_ops_and_info(str(path))))
    except Exception as error:  # torch's own are of many types
        raise UserError(f"{path}: is no file of the lite interpreter, or is damaged; give a .ptl") from error
    _refuse(path, refused(found))
    return found


def _torch() -> str:
    import torch

    return torch.__version__


def _refused_by_name(found: Inspection) -> list[Refused]:
    """What keeps a file from being loaded and run: operators, and classes of objects, that are not allowed."""
    return [
        *refused(one.full_name for one in found.operators),
        *(
            Refused(f"torch.classes.{namespace}", "makes objects of it, which are no packed weights")
            for namespace in found.classes
            if namespace not in _CLASSES
        ),
    ]


def _refuse(path: Path, found: Sequence[Refused]) -> None:
    """Raises `UserError`, in one line, for a file with something in it that must not be run."""
    if found:
        first, more = found[0], f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"{path}: not run, because {first.name} {first.reason}{more}; only what computes is run here")
