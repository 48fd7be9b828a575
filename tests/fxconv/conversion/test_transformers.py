"""Transformers: every linear layer in int8, the attention core and the norms in float, and the file says the same."""

import functools

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.conversion import Conversion


class Block(nn.Module):
    """A pre-norm encoder block as vision transformers have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """Patches, a class token, a position embedding, encoder blocks, a head on the class token."""

    def __init__(self, block: type[nn.Module] = Block, depth: int = 2, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(*(block(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def torchs_layer(norm_first: bool):
    return lambda width: nn.TransformerEncoderLayer(
        width, 4, 2 * width, activation="gelu", batch_first=True, norm_first=norm_first
    )


@functools.cache
def converted(block=Block) -> Conversion:
    torch.manual_seed(0)
    batches = [torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    return fxconv.convert(SmallViT(block).eval(), batches, min_sqnr=20.0, recipe=("none",))


BLOCKS = {"an encoder block": Block, "torch's, norms first": torchs_layer(True), "torch's": torchs_layer(False)}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_linear_layer_is_int8(block):
    conversion = converted(BLOCKS[block])
    assert conversion.verdict == "converted and verified"
    assert conversion.artifact.int8_macs_share == 1.0
    # in and out projection, two of the MLP, in each of two blocks; the head
    assert conversion.artifact.calls["quantized::linear"] == 9
    assert conversion.audit.failed == () and conversion.audit.worst <= 1
    assert [row.max_abs_diff for row in conversion.ledger[3:]] == [0, 0, 0]
    in_float = conversion.artifact.float_calls
    assert in_float["aten::_softmax"] == 2 and in_float["aten::bmm"] == 4
    assert "aten::gelu" not in in_float and "aten::linear" not in in_float


def test_few_islands_with_their_reasons():
    islands = converted().rewritten.islands
    cores = [island for island in islands if any("softmax" in node for node in island.nodes)]
    assert len(islands) == 3 and len(cores) == 2, "one core a block, and the residual stream with its norms"
    assert "Softmax: " in cores[0].reason and "MatMul: " in cores[0].reason
    stream = next(island for island in islands if island not in cores)
    assert stream.reason.count("LayerNorm: it brings every token to the same power") == 1


def test_parameters_are_quantized_once_and_for_all():
    calls = converted().artifact.calls
    # the input; before the in and the out projection and the MLP of each block; before the head
    assert calls["aten::quantize_per_tensor"] == 1 + 2 * 3 + 1


def test_a_quiet_class_token_survives():
    """In an int8 residual stream, whose range is that of all tokens, a token at a hundredth of it is noise."""
    conversion = converted()
    row = next(row for row in conversion.ledger if row.stage == "int8")
    assert row.sqnr_db > 25


def test_cross_attention():
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.queries = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 5, 32))
            self.attention, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            memory = self.patches(x).flatten(2).transpose(1, 2)
            queries = self.queries.expand(x.shape[0], -1, -1)
            return self.head(self.attention(queries, memory, memory)[0])

    torch.manual_seed(0)
    batches = [torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    conversion = fxconv.convert(Decoder().eval(), batches, recipe=("none",))
    assert conversion.verdict == "converted and verified"
    assert conversion.artifact.int8_macs_share == 1.0 and conversion.artifact.calls["quantized::linear"] == 5
    assert conversion.audit.failed == ()
