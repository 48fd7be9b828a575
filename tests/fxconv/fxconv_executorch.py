"""Tests that lower to ExecuTorch, or run a .pte, and the torches that it is installed beside."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

# `executorch` alone is a folder that any folder of that name on the path is, that of its tests, too.
HAS_EXECUTORCH = importlib.util.find_spec("torch") is not None and (
    importlib.util.find_spec("executorch") is not None and importlib.util.find_spec("executorch.exir") is not None
)
needs_executorch = pytest.mark.skipif(not HAS_EXECUTORCH, reason="executorch is not installed")


def with_golden(conversion: Any, images: Any) -> bytes:
    """The .pte of a small network, of the sizes of its images alone, with golden inputs and metadata all the same.

    A file of that size has no room for them: 2 % of it.
    """
    from fxconv.targets.executorch import lowering, target
    from fxconv.targets.proof import golden
    from fxconv.targets.qdq.form import qdq_form

    example = (images[:1],)
    program = lowering.lower(qdq_form(conversion.int8, example), example, largest_batch=1)
    spec = golden.input_spec(images, None)
    made = golden.golden(
        conversion.int8, program.content + bytes(1_000_000), [{**spec, "shape": [1, *spec["shape"][1:]]}], "qnnpack",
        False, target.EXECUTORCH,
    )  # fmt: skip
    named = {"golden.json": made.text, "fxconv.json": METADATA}
    return program.with_texts({target.TEXTS[name]: text for name, text in named.items()})


# What a file says of itself, as far as the commands ask for it.
METADATA = json.dumps(
    {
        "schema": 1,
        "inputs": [{"name": "x", "shape": [1, 3, 32, 32], "dtype": "float32", "layout": "NCHW"}],
        "preprocessing": {
            "channels": "RGB", "source": "a test", "origin": "user", "resize_to_cover": [32, 32], "crop": [32, 32],
            "interpolation": "bilinear", "antialias": True, "scale": 1 / 255, "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5], "raw": False, "in_graph": False,
        },
        "outputs": [{"name": "output", "shape": [1, 10], "dtype": "float32"}],
        "labels": None,
        "detections": None,
    }
)  # fmt: skip
