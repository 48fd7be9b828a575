"""Which tensors of a module its file must have."""

import torch
from torch import Tensor, fx, nn

from fxconv.targets.qdq.proof.module_ranges import ranges_of
from fxconv.targets.qdq.proof.module_tensors import tensors_of


class Windows(nn.Module):
    """Numbers written into a window, and beside it, where nothing is left of the image."""

    def __init__(self) -> None:
        super().__init__()
        names = ("inside", "beside", "shape", "returned")
        for number, name in enumerate(names):
            self.register_buffer(name, torch.tensor(float(number)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        beside = self.beside.expand(x[:, :, :-4].shape)
        inside = self.inside.expand(x[:, :, -4:].shape)
        return torch.cat([beside, inside], 2).expand_as(self.shape.expand(x.shape)), self.returned


def is_read(side: int) -> dict[str, bool]:
    graph = fx.symbolic_trace(Windows())
    ranges = ranges_of(graph, (torch.zeros(1, 3, side, side),))
    return {one.where: one.is_read for one in tensors_of("", graph, (), ranges[""].full)}


def test_what_is_written_into_nothing_is_in_no_file() -> None:
    assert is_read(4) == {"inside": True, "beside": False, "shape": True, "returned": True}


def test_at_another_size_it_is_written_into_something() -> None:
    assert is_read(6)["beside"]
