"""The kernels that may be called, and what they have to be given."""

from __future__ import annotations

import pytest

from fxconv.inspection.executorch_values import Listed, Method, TensorValue
from fxconv.targets.executorch.kernels import KERNELS, unfit

TENSOR = TensorValue(6, (1, 4, 8, 8), (0, 1, 2, 3), "static", 0, 0, None, (1, 0), False, "")
VALUES = (TENSOR, 1, 0, 2.5, True, None, Listed("ints", (1, 1)), Listed("ints", (2, 2)), Listed("tensors", (0, 0)))
METHOD = Method("f", VALUES, (), (), (), (), (), ())


def test_each_has_a_signature_that_torch_can_read():
    assert all(f"calls {name} with 0 values" in unfit(name, (), METHOD) for name in KERNELS)
    assert len(KERNELS) > 200


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("aten::add.out", (0, 0, 1, 0, 0)),
        ("aten::cat.out", (8, 1, 0, 0)),
        ("aten::convolution.out", (0, 0, 5, 6, 7, 6, 4, 7, 1, 0, 0)),
        ("aten::sym_size.int", (0, 1, 2)),
        ("dim_order_ops::_to_dim_order_copy.out", (0, 4, 5, 0, 0)),
        ("executorch_prim::add.Scalar", (1, 1, 2)),
        ("executorch_prim::et_view.default", (0, 6, 0)),
        ("quantized_decomposed::quantize_per_tensor.out", (0, 3, 1, 1, 1, 1, 0, 0)),
    ],
)
def test_what_fits(name, arguments):
    assert unfit(name, arguments, METHOD) == ""


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("aten::add.out", (0, 0, 1, 0), "with 4 values instead of 5"),
        ("aten::add.out", (0, 1, 1, 0, 0), "something else than its other, which is of type Tensor"),
        ("aten::cat.out", (6, 1, 0, 0), "something else than its tensors, which is of type List[Tensor]"),
        ("aten::convolution.out", (0, 0, 5, 6, 7, 6, 4, 7, 2, 0, 0), "a groups that is not above 0"),
        ("aten::convolution.out", (0, 0, 5, 7, 7, 6, 4, 7, 1, 0, 0), "a stride that is not above 0"),
        ("aten::sym_size.int", (0, 1, 0), "puts the result of aten::sym_size.int where no number is"),
    ],
)
def test_what_does_not(name, arguments, words):
    assert words in unfit(name, arguments, METHOD)


def test_they_are_those_of_the_runtime():
    """Where ExecuTorch is installed it has each of them."""
    pytest.importorskip("executorch")
    import executorch.kernels.quantized  # noqa: F401  registers its own
    from executorch.runtime import Runtime

    newer = {f"executorch_prim::sym_{name}.Scalar" for name in ("not", "int", "ite")}  # than ExecuTorch 1.3
    missing = KERNELS - newer - set(Runtime.get().operator_registry.operator_names)
    # ExecuTorch 1.3 registers those of quantization in the runtime that was loaded behind them
    assert all(name.startswith("quantized_decomposed::") for name in missing)
