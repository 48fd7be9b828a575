"""A warning where pixels become tensors in a way that nobody says is right."""

from __future__ import annotations

from fxconv.data.calibration import CalibrationData
from fxconv.models.model_info import ModelInfo
from fxconv.pixel_options import RECIPES


def assumption_warnings(data: CalibrationData, model: ModelInfo) -> tuple[str, ...]:
    """What the user must know where the preprocessing of `data` is assumed; nothing of weights that are random."""
    how = data.normalized_by
    if how is None or how.is_known or model.is_random:
        return ()
    return (
        f"preprocessing is assumed, for nothing says how {model.name} was trained to see images: {how.in_words}; if "
        f"that is wrong, so are the ranges: give --preprocess ({', '.join(RECIPES)} or FILE.py:FUNCTION), or --mean "
        "and --std",
    )
