"""The files that are damaged: small ones, of every kind that torch writes and some that others do."""

from __future__ import annotations

import io
from collections.abc import Callable

from benchmarks.hostile.formats import executorch_of, onnx_of, safetensors_of
from benchmarks.hostile.kinds import Originals
from benchmarks.hostile.pte import NAMES, content
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.proof.golden import golden, input_spec


def originals() -> Originals:
    """The files by name, of the same bytes each time."""
    import torch
    from torch import nn

    from fxconv.config import Config
    from fxconv.targets.mobile.optimizing import optimize

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).eval()
    script = torch.jit.script(model)
    extras = {"labels.txt": "cat\ndog", "fxconv.json": '{"schema": 1, "inputs": [{"shape": [1, 3, 8, 8]}]}'}
    spec = input_spec(torch.rand(1, 3, 8, 8), None)
    kept = golden(torch.fx.symbolic_trace(model), bytes(100_000), [spec], "qnnpack", False, MOBILE)
    extras |= {"golden.json": kept.text}
    optimized = optimize(script, Config())
    state = model.state_dict()
    files: Originals = {}

    def saved(name: str, save: Callable[[io.BytesIO], object]) -> None:
        buffer = io.BytesIO()
        save(buffer)
        files[name] = buffer.getvalue()

    saved("full.pt", lambda file: torch.jit.save(script, file, _extra_files=extras))
    files["lite.ptl"] = script._save_to_buffer_for_lite_interpreter(_extra_files=extras)
    files["optimized.ptl"] = optimized._save_to_buffer_for_lite_interpreter(_extra_files=extras)
    files["flat.ptl"] = script._save_to_buffer_for_lite_interpreter(_use_flatbuffer=True)
    saved("state.pth", lambda file: torch.save(state, file))
    saved("old.pth", lambda file: torch.save(state, file, _use_new_zipfile_serialization=False))
    saved("module.pth", lambda file: torch.save(model, file))
    saved("checkpoint.pth", lambda file: torch.save({"epoch": 3, "model": state, "lr": [0.1, 0.01]}, file))
    files["weights.safetensors"] = safetensors_of({"w": ("F32", [2, 3], bytes(24)), "b": ("I64", [2], bytes(16))})
    files["model.onnx"] = onnx_of([("Conv", ""), ("Relu", "")], {"w": ([2, 3], bytes(24))})
    files["model.pte"] = executorch_of([("aten::add", "out"), ("aten::mul", "out")], ["XnnpackBackend"])
    return files | {name: content(name) for name in NAMES}
