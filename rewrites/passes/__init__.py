"""The passes, one a file, and the order they run in."""

from __future__ import annotations

from rewrites.base import RewritePass
from rewrites.passes.arithmetic_to_functional import ArithmeticToFunctional
from rewrites.passes.attention_to_linear import AttentionToLinear
from rewrites.passes.decompose import Decompose
from rewrites.passes.drop_inference_noops import DropInferenceNoops
from rewrites.passes.fold_relu6 import FoldReLU6
from rewrites.passes.functional_layers import FunctionalLayers
from rewrites.passes.functional_to_module import FunctionalToModule
from rewrites.passes.fusable_names import FusableNames
from rewrites.passes.numeric_padding import NumericPadding
from rewrites.passes.out_of_place import OutOfPlace
from rewrites.passes.quant_boundaries import QuantBoundaries
from rewrites.passes.scaled_dot_product import ScaledDotProduct
from rewrites.passes.transformer_layers import TransformerLayers
from rewrites.passes.unshare_modules import UnshareModules
from rewrites.passes.view_to_reshape import ViewToReshape
from rewrites.passes.wrap_arithmetic import WrapArithmetic

DEFAULT_PASSES: tuple[RewritePass, ...] = (
    TransformerLayers(),  # first of all: these three make what the passes below then find
    AttentionToLinear(),  # behind the pass that finds attentions in torch's own layers
    ScaledDotProduct(),  # behind the pass that makes some
    FunctionalLayers(),  # before modules are looked at: it makes calls of the model's own
    DropInferenceNoops(),  # before anything looks for neighbours: a dropout between two layers hides them
    UnshareModules(),  # before modules are changed or replaced one call site at a time
    OutOfPlace(),  # before all that move or replace a value: from here on it is what its node made it
    ViewToReshape(),  # after the above, which has to tell views from copies
    FunctionalToModule(),  # so that the passes below meet activations as modules only
    Decompose(),  # makes sigmoids and products; before arithmetic, after F.silu became a module
    NumericPadding(),  # before any pass looks for what is fused with a convolution: it may put a pad in front of one
    ArithmeticToFunctional(),  # takes a following ReLU in, so activations must be modules by now
    FoldReLU6(),  # needs to see convolutions, batch norms and the Add modules made above
    FusableNames(),  # after all modules exist, before stubs take their names from the nodes
    QuantBoundaries(),  # last: where int8 ends depends on everything above
)

# Not in the default order: takes the place of ArithmeticToFunctional on request.
ALTERNATIVES: tuple[RewritePass, ...] = (WrapArithmetic(),)

WRAPPED_PASSES: tuple[RewritePass, ...] = tuple(
    WrapArithmetic() if isinstance(rule, ArithmeticToFunctional) else rule for rule in DEFAULT_PASSES
)

__all__ = [
    "ALTERNATIVES",
    "DEFAULT_PASSES",
    "WRAPPED_PASSES",
    "ArithmeticToFunctional",
    "AttentionToLinear",
    "Decompose",
    "DropInferenceNoops",
    "FoldReLU6",
    "FunctionalLayers",
    "FunctionalToModule",
    "FusableNames",
    "NumericPadding",
    "OutOfPlace",
    "QuantBoundaries",
    "ScaledDotProduct",
    "TransformerLayers",
    "UnshareModules",
    "ViewToReshape",
    "WrapArithmetic",
]
