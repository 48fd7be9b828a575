"""What a written file is: its size, the operators it calls, and the share of its multiply-accumulates in int8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outside:
    """Operations of a file that do not run in int8.

    `operator` is what the file calls, `calls` how often, `where` the operations of the model that it computes, `values`
    how many values it gives. `how` is "float", computed by fast kernels where int8 operations run too, or "portable",
    by plain code outside them. `in_module` says that they are of float islands, which the int8
    module has as well.
    """

    operator: str
    how: str
    calls: int
    where: tuple[str, ...] = ()
    values: int = 0
    in_module: bool = False


@dataclass(frozen=True, repr=False)
class Artifact:
    """What a written file is, read from the file itself.

    `calls` counts the operators one inference calls; `macs` the multiply-accumulates of its convolutions
    and linear layers by operator. Sizes are in bytes; `path` is None until the file has a final name, and
    `bytecode_version` where it has no bytecode. `float_bytes` is the size of the float twin, 0 where there is none.
    `int8_macs` are those that run in int8, None where the operators' names tell. `outside` is what does not run in
    int8, where the runtime decides that and not the model; `kernels` names those that int8 operations run on, `needs`
    what an app needs.
    """

    path: Path | None
    data: bytes
    sha256: str
    bytecode_version: int | None
    operators: tuple[str, ...]
    calls: dict[str, int]
    int8_calls: dict[str, int]
    macs: dict[str, int]
    float_bytes: int
    int8_macs: int | None = None
    outside: tuple[Outside, ...] = ()
    kernels: str = ""
    needs: str = ""

    def __repr__(self) -> str:
        return f"<Artifact {self.path or 'not saved'}: {self.size:,} bytes, SHA-256 {self.sha256}>"

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self.data)

    @property
    def float_calls(self) -> dict[str, int]:
        """The operators that computed on float tensors, without the conversions between the domains."""
        left = {op: n - self.int8_calls.get(op, 0) for op, n in self.calls.items() if op not in BOUNDARIES}
        return {op: n for op, n in left.items() if n}

    @property
    def int8_macs_share(self) -> float:
        """Share of the multiply-accumulates that run in int8 operators, 0 to 1; 0 when there are none."""
        total = sum(self.macs.values())
        inside = self.int8_macs
        if inside is None:
            inside = sum(n for op, n in self.macs.items() if is_int8(op))
        return inside / total if total else 0.0


# Operators between float and int8, of the files of each target.
BOUNDARIES = ("aten::quantize_per_tensor", "aten::dequantize", "xnnpack::convert")

CELLS = {"quantized_lstm_cell_dynamic": 4, "quantized_gru_cell_dynamic": 3}
CELLS |= {"quantized_rnn_relu_cell_dynamic": 1, "quantized_rnn_tanh_cell_dynamic": 1}
# Operators whose weights are int8 although no quantized tensor comes out of them.
DYNAMIC = frozenset(
    {"quantized::linear_dynamic", "quantized::linear_relu_dynamic", "aten::quantized_lstm", "aten::quantized_gru"}
    | {f"quantized::{name}" for name in CELLS}
)


def is_int8(operator: str) -> bool:
    return operator.startswith("quantized::") or operator in DYNAMIC
