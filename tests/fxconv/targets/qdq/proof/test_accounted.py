"""Every constant of a file is one of the int8 module's: what differs, or is nobody's, is told with a name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fxconv_proofs import Image
from torch import Tensor, nn

import fxconv
from fxconv.targets.executorch.lowering import lower
from fxconv.targets.executorch.proof import file_numbers
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.proof import constants, module_numbers
from fxconv.targets.qdq.proof.accounted import account, same_numbers
from fxconv.targets.qdq.proof.file_numbers import FileConstant, FileNumbers, FileTensor, Grid
from fxconv.targets.qdq.proof.module_numbers import ModuleNumbers
from fxconv.targets.qdq.proof.module_ranges import ranges_of
from fxconv.targets.qdq.proof.module_tensors import ModuleScalar, ModuleTensor

NORM = ModuleTensor("body.norm", "weight", np.array([1.0, 2.0, 3.0], np.float32))
SCALAR = ModuleScalar("mul_scalar", 0.7, True)
GRID = Grid(np.float32(0.7 / 127), 0)


def file_of(*tensors: FileTensor, constant: FileConstant | None = None) -> FileNumbers:
    return FileNumbers((), (), (constant,) if constant is not None else (), tensors, ())


def floats(*values: float, place: str = "node 4 of delegate 0 (Multiply)") -> FileTensor:
    return FileTensor("float32", np.array(values, np.float32), place)


def told(file: FileNumbers, *known: ModuleTensor | ModuleScalar, floating: FileNumbers | None = None) -> list[str]:
    tensors = [one for one in known if isinstance(one, ModuleTensor)]
    scalars = [one for one in known if isinstance(one, ModuleScalar)]
    rows = account(tensors, scalars, file, lambda: floating)
    return [f"{row.where}: {row.problem}" for row in rows if row.problem]


def test_a_tensor_of_an_operation_is_in_the_file_to_a_bit() -> None:
    assert told(file_of(floats(1, 2, 3)), NORM) == []
    assert told(file_of(floats(1, 2, 3.0000005)), NORM) == [
        "body.norm: 1 of the 3 numbers of its weight is not the int8 module's: "
        "at 2 the file has 3.00000048 (node 4 of delegate 0 (Multiply)), the module 3"
    ]
    assert told(file_of(), NORM) == ["body.norm: no constant of the file has it"]


def test_a_constant_that_nothing_accounts_for_is_told_by_its_place() -> None:
    assert told(file_of(floats(1, 2, 3), floats(5, 5)), NORM) == [
        "node 4 of delegate 0 (Multiply): reads a constant that the int8 module does not have: float32 of shape (2,)"
    ]
    strange = FileConstant(Grid(np.float32(0.5), 3), "node 2 of delegate 0 (Add)", np.array([1, 2]))
    assert told(file_of(constant=strange)) == [
        "node 2 of delegate 0 (Add): reads a constant that the int8 module does not have: int8 of 2 integers, "
        "scale 0.5 and zero point 3"
    ]


def test_a_plain_number_is_an_int8_constant_or_a_float_one() -> None:
    assert told(file_of(constant=FileConstant(GRID, "here", np.array([127]))), SCALAR) == []
    assert told(file_of(floats(0.7)), SCALAR) == []
    more = FileConstant(Grid(np.float32(0.707 / 127), 0), "node 7", np.array([127]))
    assert told(file_of(constant=more), SCALAR) == [
        "mul_scalar: its number is 0.706999983 in the file (node 7), 0.7 in the int8 module"
    ]
    other_sign = FileConstant(GRID, "node 7", np.array([-127]))
    assert "its number is -0.699999997 in" in told(file_of(constant=other_sign), SCALAR)[0]


def test_what_export_makes_of_an_operation_is_in_the_float_modules_program_too() -> None:
    index = FileTensor("int64", np.array([3, 1]), "instruction 4 (aten::index.Tensor_out)")
    assert len(told(file_of(index))) == 1
    assert told(file_of(index), floating=file_of(index)) == []
    other = FileTensor("int64", np.array([3, 2]), index.place)
    assert len(told(file_of(other), floating=file_of(index))) == 1
    # a tensor that this program lacks as well became something else; one that it has must be in the file
    assert told(file_of(), NORM, floating=file_of()) == []
    assert told(file_of(), NORM, floating=file_of(floats(1, 2, 3))) == ["body.norm: no constant of the file has it"]


def test_the_same_numbers_in_another_order_of_the_dimensions() -> None:
    own = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert same_numbers(own.transpose(2, 0, 1), own) and same_numbers(own.reshape(1, 2, 3, 4), own)
    assert same_numbers(np.ascontiguousarray(own.transpose(0, 2, 1)).reshape(2, 1, 4, 3), own)
    assert not same_numbers(own[::-1], own)
    masked = np.array([-np.inf, 0.0, np.nan], np.float32)
    assert same_numbers(masked, masked) and not same_numbers(masked, np.zeros(3, np.float32))


class Numbers(nn.Module):
    """A PReLU, numbers that are multiplied with and added, a norm that stands alone, and a layer in float."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8)
        self.norm, self.last = nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)
        with torch.no_grad():
            for parameter in (self.act.weight, self.norm.weight, self.norm.bias):
                parameter.copy_(torch.rand(8) * 0.5 + 0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.act(self.stem(x)) * 0.7 + 0.3)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def written() -> tuple[nn.Module, ModuleNumbers, bytes]:
    """The int8 module with its numbers, and its file."""
    pytest.importorskip("executorch")
    torch.manual_seed(0)
    network = Numbers().eval()
    batch = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    conversion = fxconv.convert(network, calibration=[batch], recipe=("none",), min_sqnr=-100, keep_float=["head"])
    torch.backends.quantized.engine = "qnnpack"
    image: Image = (batch[:1],)
    program = lower(qdq_form(conversion.int8, image), image, largest_batch=1)
    ranges = ranges_of(conversion.int8, image)
    return network, module_numbers.numbers_of(conversion.int8, program.module, ranges), program.content


def test_a_sound_file_has_a_row_for_each_of_them(written: tuple[nn.Module, ModuleNumbers, bytes]) -> None:
    _, wanted, content = written
    rows = constants.compare(wanted, file_numbers.numbers_of(content))
    assert [row.problem for row in rows if row.problem] == []
    told = {(row.where, row.what) for row in rows}
    assert told >= {
        ("act", "weight, 8 numbers"), ("mul_scalar", "its number"), ("add_scalar", "its number"),
        ("norm", "weight, 8 numbers"), ("norm", "bias, 8 numbers"),
        ("head", "weight, 20 numbers"), ("head", "bias, 5 numbers"),
    }  # fmt: skip


def planted(network: nn.Module, content: bytes, fault: str) -> bytes:
    """The file with one number changed by 3 %."""
    if fault in ("mul_scalar", "add_scalar"):
        scale = np.float32({"mul_scalar": 0.7, "add_scalar": 0.3}[fault] / 127)
        old, new = scale.tobytes(), (scale * np.float32(1.03)).tobytes()
    else:
        held = network.get_parameter(fault).detach().numpy().ravel()
        old, new = held[:2].tobytes(), (held[:2] * np.array([1, 1.03], np.float32)).tobytes()
    assert content.count(old) >= 1
    return content.replace(old, new)


@pytest.mark.parametrize(
    "fault", ["act.weight", "mul_scalar", "add_scalar", "norm.weight", "norm.bias", "head.weight", "head.bias"]
)
def test_one_number_that_differs_fails_with_the_operations_name(
    written: tuple[nn.Module, ModuleNumbers, bytes], fault: str
) -> None:
    network, wanted, content = written
    found = constants.compare(wanted, file_numbers.numbers_of(planted(network, content, fault)))
    (problem,) = [f"{row.where}: {row.problem}" for row in found if row.problem]
    where, _, name = fault.partition(".")
    if name:
        assert problem.startswith(f"{where}: 1 of the") and f"of its {name} is not the int8 module's: at 1 " in problem
    else:
        assert problem.startswith(f"{where}: its number is 0."), problem


def test_integers_are_no_fractions_that_were_cut_off() -> None:
    held = FileTensor("int64", np.zeros(3, np.int64), "instruction 2 (aten::add.out)")
    fractions = ModuleTensor("body", "table", np.array([0.2, 0.3, 0.4], np.float32), False)
    assert told(file_of(held), fractions) == [
        "instruction 2 (aten::add.out): reads a constant that the int8 module does not have: int64 of shape (3,)"
    ]
    whole = ModuleTensor("body", "table", np.zeros(3, np.float32), False)
    assert told(file_of(held), whole) == []
