"""The rules of lowering, each a rewrite of a Q/DQ graph into one that the delegate takes and runs in int8.

A rule keeps values: the same integers, but for roundings that it says. `meta["int8"]` of quantize nodes and
`meta["int8_source"]` of operations stay where they are.
"""

from __future__ import annotations

from fxconv.targets.executorch.rules.adaptive_pools import adaptive_pools
from fxconv.targets.executorch.rules.average_pools import average_pools
from fxconv.targets.executorch.rules.batch_norms import batch_norms
from fxconv.targets.executorch.rules.clamps import clamps
from fxconv.targets.executorch.rules.contiguous_constants import contiguous_constants
from fxconv.targets.executorch.rules.float_biases import float_biases
from fxconv.targets.executorch.rules.image_averages import image_averages
from fxconv.targets.executorch.rules.matrix_products import matrix_products
from fxconv.targets.executorch.rules.nearest_upsampling import nearest_upsampling
from fxconv.targets.executorch.rules.one_scale import one_scale
from fxconv.targets.executorch.rules.permutations import permutations
from fxconv.targets.executorch.rules.ranks import ranks
from fxconv.targets.executorch.rules.reshapes import reshapes
from fxconv.targets.executorch.rules.rolls import rolls
from fxconv.targets.executorch.rules.rounded_up_pools import rounded_up_pools
from fxconv.targets.executorch.rules.scalar_arithmetic import scalar_arithmetic
from fxconv.targets.executorch.rules.shuffles import shuffles
from fxconv.targets.executorch.rules.single_concatenations import single_concatenations
from fxconv.targets.executorch.rules.slices import slices
from fxconv.targets.executorch.rules.stacks import stacks
from fxconv.targets.executorch.rules.volume_pools import volume_pools
from fxconv.targets.executorch.rules.whole_pool_arguments import whole_pool_arguments
from fxconv.targets.qdq.rules.float_modules import float_modules
from fxconv.targets.qdq.rules.hard_sigmoids import hard_sigmoids
from fxconv.targets.qdq.ruling import Rule

RULES: tuple[Rule, ...] = (
    float_modules,  # before all that looks for operations
    float_biases,  # early: hard_sigmoids reads biases as numbers
    hard_sigmoids,  # before clamps, which looks at what it writes
    volume_pools,  # early: it writes pools of images, and reshapes
    whole_pool_arguments,  # before all that reads the arguments of pools
    rounded_up_pools,  # reads pools with all their arguments
    image_averages,  # before adaptive_pools: an average over all needs no kernel size
    adaptive_pools,  # before average_pools, which it writes
    average_pools,  # reads pools with all their arguments
    batch_norms,  # before clamps: a ReLU behind its convolution is part of it
    matrix_products,  # before reshapes: it writes some
    stacks,  # before one_scale: it writes concatenations
    shuffles,  # before one_scale, as all that moves values
    nearest_upsampling,  # it writes concatenations
    rolls,  # it writes slices and concatenations
    single_concatenations,  # before one_scale, which would quantize the one tensor
    slices,  # it writes reshapes of known sizes
    reshapes,  # after what writes reshapes that have other sizes
    ranks,  # it reads reshapes, and writes permutations
    permutations,  # after all that writes some
    scalar_arithmetic,  # before clamps: a ReLU behind its sum is part of it
    clamps,  # after all that writes what a ReLU may be part of
    one_scale,  # after all that moves values
    contiguous_constants,  # last: rules write constants
)
