"""The Q/DQ form: every kind of node that an int8 graph can have, held against the int8 module."""

import pytest
import qdq_rows as one

from fxconv.quantization.engine import engine
from fxconv.quantization.static import is_int8
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.held import held
from rewrites.kernels import KERNELS, Verdict

RUNS = [row for row in KERNELS.values() if row.verdict in (Verdict.INT8, Verdict.FOLLOWS, Verdict.COARSE)]


@pytest.fixture(autouse=True)
def qnnpack():
    with engine("qnnpack"):
        yield


@pytest.mark.parametrize("row", RUNS, ids=lambda row: row.name)
@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
def test_every_row_of_the_kernel_table(row, unsigned):
    int8 = one.int8_row(row)
    given = [one.inputs(row, seed) for seed in range(3)]
    form = qdq_form(int8, given[0], unsigned=unsigned)
    found = held(form, int8, given)
    assert found.problem == "" and found.worst <= 1
    made = [node.name for node in int8.graph.nodes if node.op.startswith("call_") and node.target != "dequant"]
    values = {node.meta["int8"][0] for node in form.graph.nodes if "int8" in node.meta}
    assert values and values <= set(made)
    assert not any(is_int8(part) for part in form.modules())
    assert not any(node.op == "call_module" for node in form.graph.nodes), "arithmetic hides in a module"
