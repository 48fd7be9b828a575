"""The passes, one a file, and the order they run in."""

from __future__ import annotations

from collections.abc import Sequence

from rewrites.base import RewritePass
from rewrites.passes.arithmetic_to_functional import ArithmeticToFunctional
from rewrites.passes.attention_to_linear import AttentionToLinear
from rewrites.passes.bias_to_add import BiasToAdd
from rewrites.passes.decompose import Decompose
from rewrites.passes.drop_inference_noops import DropInferenceNoops
from rewrites.passes.emulated_functions import EmulatedFunctions
from rewrites.passes.factor_conv3d import FactorConv3d
from rewrites.passes.factor_pool3d import FactorPool3d
from rewrites.passes.float_settings import FloatSettings
from rewrites.passes.fold_constants import FoldConstants
from rewrites.passes.fold_relu6 import FoldReLU6
from rewrites.passes.functional_convolution import FunctionalConvolution
from rewrites.passes.functional_layers import FunctionalLayers
from rewrites.passes.functional_to_module import FunctionalToModule
from rewrites.passes.fusable_names import FusableNames
from rewrites.passes.join_images import JoinImages
from rewrites.passes.joined_norms import JoinedNorms
from rewrites.passes.known_facts import KnownFacts
from rewrites.passes.matmul_to_linear import MatmulToLinear
from rewrites.passes.merge_branches import MergeBranches
from rewrites.passes.numeric_padding import NumericPadding
from rewrites.passes.out_of_place import OutOfPlace
from rewrites.passes.padded_max_pools import PaddedMaxPools
from rewrites.passes.padding_modes import PaddingModes
from rewrites.passes.quant_boundaries import QuantBoundaries
from rewrites.passes.reduced_dims import ReducedDims
from rewrites.passes.scaled_dot_product import ScaledDotProduct
from rewrites.passes.transformer_layers import TransformerLayers
from rewrites.passes.unfreeze_batch_norms import UnfreezeBatchNorms
from rewrites.passes.unshare_modules import UnshareModules
from rewrites.passes.view_to_reshape import ViewToReshape
from rewrites.passes.wrap_arithmetic import WrapArithmetic

DEFAULT_PASSES: tuple[RewritePass, ...] = (
    TransformerLayers(),  # first of all: these three make what the passes below then find
    AttentionToLinear(),  # behind the pass that finds attentions in torch's own layers
    ScaledDotProduct(),  # behind the pass that makes some
    KnownFacts(),  # before constants are folded: a kernel that is repeated for each channel becomes one
    MatmulToLinear(),  # likewise, for the matrix it transposes
    FoldConstants(),  # before all others below: what is worked out of parameters alone needs none of them
    FunctionalLayers(),  # behind the above, which makes constants; before modules are looked at, for it calls some
    DropInferenceNoops(),  # before anything looks for neighbours: a dropout between two layers hides them
    UnfreezeBatchNorms(),  # so that the passes below meet batch norms of one kind
    UnshareModules(),  # before modules are changed or replaced one call site at a time
    OutOfPlace(),  # before all that move or replace a value: from here on it is what its node made it
    ViewToReshape(),  # after the above, which has to tell views from copies
    ReducedDims(),  # whatever comes before or behind
    FloatSettings(),  # before functions become modules, which keep their settings as they were given
    FunctionalToModule(),  # so that the passes below meet activations as modules only
    FunctionalConvolution(),  # likewise, so that the passes below meet convolutions as modules only
    Decompose(),  # makes sigmoids and products; before arithmetic, after F.silu became a module
    PaddingModes(),  # after functional convolutions became modules; likewise
    NumericPadding(),  # before any pass looks for what is fused with a convolution: it may put a pad in front of one
    JoinedNorms(),  # before joins become modules; what it makes may be a branch, too
    MergeBranches(),  # after all that makes convolutions and padding in numbers, and while sums are operators
    ArithmeticToFunctional(),  # takes a following ReLU in, so activations must be modules by now
    FactorConv3d(),  # after padding is in numbers
    FactorPool3d(),  # likewise, and after F.max_pool3d became a module
    JoinImages(),  # after all that makes images of a video; before what is fused is looked for
    FoldReLU6(),  # needs to see convolutions, batch norms and the Add modules made above
    PaddedMaxPools(),  # after activations are what they stay, by which it knows what is not negative
    EmulatedFunctions(),  # after all that makes operations int8: it takes what is left between those
    FusableNames(),  # after all modules exist, before stubs take their names from the nodes
    QuantBoundaries(),  # last: where int8 ends depends on everything above
)

# Behind these nothing may be added: the first settles the names of all modules, the second where int8 begins and ends.
_SETTLING = (FusableNames, QuantBoundaries)


def passes_with(*own: RewritePass, passes: Sequence[RewritePass] = DEFAULT_PASSES) -> tuple[RewritePass, ...]:
    """`passes` with the user's `own` among them: before the names of modules and the ends of int8 are settled."""
    place = next((i for i, rule in enumerate(passes) if isinstance(rule, _SETTLING)), len(passes))
    return (*passes[:place], *own, *passes[place:])


# Not in the default order.
ALTERNATIVES: tuple[RewritePass, ...] = (
    BiasToAdd(),  # in front of QuantBoundaries, for layers of which calibration shows that their bias dwarfs the rest
    WrapArithmetic(),  # takes the place of ArithmeticToFunctional on request
)

WRAPPED_PASSES: tuple[RewritePass, ...] = tuple(
    WrapArithmetic() if isinstance(rule, ArithmeticToFunctional) else rule for rule in DEFAULT_PASSES
)

__all__ = [
    "ALTERNATIVES",
    "DEFAULT_PASSES",
    "WRAPPED_PASSES",
    "ArithmeticToFunctional",
    "AttentionToLinear",
    "BiasToAdd",
    "Decompose",
    "DropInferenceNoops",
    "EmulatedFunctions",
    "FactorConv3d",
    "FactorPool3d",
    "FloatSettings",
    "FoldConstants",
    "FoldReLU6",
    "FunctionalConvolution",
    "FunctionalLayers",
    "FunctionalToModule",
    "FusableNames",
    "JoinImages",
    "JoinedNorms",
    "KnownFacts",
    "MatmulToLinear",
    "MergeBranches",
    "NumericPadding",
    "OutOfPlace",
    "PaddedMaxPools",
    "PaddingModes",
    "QuantBoundaries",
    "ReducedDims",
    "ScaledDotProduct",
    "TransformerLayers",
    "UnfreezeBatchNorms",
    "UnshareModules",
    "ViewToReshape",
    "WrapArithmetic",
    "passes_with",
]
