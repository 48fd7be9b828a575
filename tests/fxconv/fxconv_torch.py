"""What depends on how the torch that runs the tests is built: 2.13 and later lack XNNPACK."""

from typing import Any

import pytest

from fxconv.config import Config
from fxconv.environment import has_xnnpack
from fxconv.targets.mobile import optimizing

# What a float convolution calls in a file.
CONV2D = "prepacked::conv2d_clamp_run" if has_xnnpack() else "aten::convolution"


def optimized(scripted: Any) -> Any:
    """What optimize_for_mobile makes of a program, or would."""
    return optimizing.optimize(scripted, Config())


needs_xnnpack = pytest.mark.skipif(not has_xnnpack(), reason="torch is built without XNNPACK, as 2.13 and later are")
