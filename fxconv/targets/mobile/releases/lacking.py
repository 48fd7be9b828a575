"""What libraries for phones lack of the operators that the desktop build of the same torch has.

They are built from the same sources with all of aten's operators (`scripts/build_android.sh` and `build_ios.sh` leave
operators out only where SELECTED_OP_LIST is set), but without what other machines have. Each entry has its source.
"""

from __future__ import annotations

# By namespace: why no phone has its operators.
NAMESPACES = {
    "_caffe2": "Caffe2's operators are in the desktop build alone",
    "mkl": "MKL is for x86 processors",
    "mkldnn": "oneDNN is for desktops",
    "mkldnn_prepacked": "oneDNN is for desktops",
    "onednn": "oneDNN is for desktops",
    "static_runtime": "the static runtime is for servers",
    "image": "torchvision's readers of images are not among its libraries for phones",
    "cuda": "phones have no CUDA",
    "c10d": "phones compute nothing in common",
    "onnx": "they serve the export to ONNX alone",
    "fb": "they are not published",
    "_test": "they serve torch's tests alone",
}

# torch's register_prim_ops_fulljit.cpp, which is not among the sources of the lite interpreter (`torch_mobile_core` in
# build_variables.bzl), as pytorch/pytorch#58353 left it in May 2021, before 1.10.
FULL_JIT = frozenset(
    {
        *("aten::_grad_sum_to_size", "aten::grad", "aten::backward.TensorList", "aten::save", "aten::wait"),
        *("aten::__interpolate", "aten::__interpolate.scale_list", "aten::__interpolate.size_list"),
        *("aten::__interpolate.size_list_scale_list", "aten::__upsample", "aten::__upsample.size_list"),
        *("aten::__upsample_nearest", "aten::__upsample_nearest.size_list", "aten::__upsample_bilinear"),
        *("aten::__upsample_bilinear.size_list", "aten::__upsample_bilinear.scale_list"),
        *("aten::__upsample_bilinear.size_list_scale_list", "prim::ModuleContainerIndex.dict", "prim::Guard"),
        *("prim::BailOut", "prim::BailoutTemplate", "prim::IgnoredPythonOp", "prim::AddStatValue", "prim::TimePoint"),
        *("prim::awaitable_wait", "prim::awaitable_nowait"),
    }
)

# Kernels that call LAPACK, with which no library for phones is built: pytorch/pytorch#61693, #67599, #68871, #130309.
# The operator is there, so that the file loads, and fails when it runs.
LAPACK = frozenset(
    {
        *("inverse", "pinverse", "det", "logdet", "slogdet", "cholesky", "cholesky_inverse", "cholesky_solve", "qr"),
        *("svd", "symeig", "eig", "geqrf", "orgqr", "ormqr", "lstsq", "solve", "lu_solve"),
        *("linalg_inv", "linalg_inv_ex", "linalg_pinv", "linalg_det", "linalg_slogdet", "linalg_cholesky"),
        *("linalg_cholesky_ex", "linalg_qr", "linalg_svd", "linalg_svdvals", "linalg_eig", "linalg_eigvals"),
        *("linalg_eigh", "linalg_eigvalsh", "linalg_lstsq", "linalg_solve", "linalg_solve_ex", "linalg_lu"),
        *("linalg_lu_factor", "linalg_lu_factor_ex", "linalg_lu_solve", "linalg_ldl_factor", "linalg_ldl_factor_ex"),
        *("linalg_ldl_solve", "linalg_matrix_rank", "linalg_cond"),
        *("linalg_householder_product", "linalg_tensorinv", "linalg_tensorsolve", "_linalg_det", "_linalg_slogdet"),
        *("_linalg_eigh", "_linalg_solve_ex", "_linalg_svd", "_lu_with_info"),
    }
)
# pytorch/pytorch#67842 (1.10.0) and #62821 (since 1.11)
_FFT = ("fft_", "_fft_", "stft", "istft")


def lacks(operator: str, torch: str, is_lite: bool) -> str:
    """Why a library for phones does not have, or cannot run, an operator of this torch; "" when it can.

    `operator` is its full name, `torch` the version, as 1.10.0.
    """
    space, _, name = operator.partition("::")
    short = name.partition(".")[0]
    if space in NAMESPACES:
        return f"no library for phones has {space}:: ({NAMESPACES[space]})"
    if is_lite and operator in FULL_JIT:
        return "the lite interpreter is built without it, only the full library has it"
    if space == "aten" and short in LAPACK:
        return "it loads and fails when it is called: libraries for phones are built without LAPACK"
    if space == "aten" and torch == "1.10.0" and short.startswith(_FFT):
        return "it loads and fails when it is called: before 1.11 libraries for phones are built without FFT"
    return ""
