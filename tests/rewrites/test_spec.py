"""What must not be left behind: every offence is listed, not only the first."""

import pytest
import torch
from passcheck import conv, model, traced
from torch import nn

from rewrites import DEFAULT_PASSES, PassError, RewritePass, rewrite
from rewrites.spec import check_names, check_rewritten, check_source


def offences(original: nn.Module) -> list[tuple[str, str]]:
    return [(offence.node, offence.rule) for offence in check_rewritten(traced(original))]


def test_nothing_to_say():
    assert check_source(nn.Sequential(conv(), nn.ReLU())) == []
    assert check_rewritten(rewrite(nn.Sequential(conv(), nn.ReLU())).graph_module) == []


def test_every_quantized_layer_of_the_source():
    quantized = nn.Sequential(
        torch.ao.nn.quantized.Conv2d(8, 8, 1), nn.ReLU(), torch.ao.nn.quantized.Linear(8, 8),
        torch.ao.nn.quantized.FloatFunctional(),
    )  # fmt: skip
    assert [(o.node, o.rule) for o in check_source(quantized)] == [
        ("0", "Conv2d is quantized already; rewriting starts from the float model"),
        ("2", "Linear is quantized already; rewriting starts from the float model"),
    ]


def test_names_that_say_nothing():
    original = model(lambda self, x: self.block.act(self.layers(x)), layers=nn.Sequential(nn.Mish()), block=nn.Module())
    original.block.act = nn.Mish()
    assert [(offence.node, offence.rule) for offence in check_names(traced(original))] == [
        ("layers_0", "the name layers.0 does not say what the layer is"),
        ("block_act", "the name block.act does not say what the layer is"),
    ]


def test_values_that_cross_without_a_stub():
    original = model(lambda self, x: self.mish(self.conv(x)), conv=conv(), mish=nn.Mish())
    assert offences(original) == [
        ("conv", "it reads x across the int8 boundary without a stub"),
        ("mish", "it reads conv across the int8 boundary without a stub"),
    ]


def test_an_output_that_stays_quantized():
    original = model(lambda self, x: self.conv(x), conv=conv())
    assert offences(original)[-1] == ("output", "the output conv leaves the graph quantized")


def test_an_operation_in_place():
    original = model(lambda self, x: self.act(self.pool(self.conv(x))), conv=conv(), pool=nn.MaxPool2d(2))
    original.act = nn.ReLU(inplace=True)
    assert ("act", "an in-place operation runs in int8") in offences(original)


def test_an_activation_that_fuses_may_be_in_place():
    original = model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.ReLU(inplace=True))
    assert "an in-place operation runs in int8" not in [rule for _, rule in offences(original)]


def test_an_offence_stops_the_rewriting():
    class Removing(RewritePass):
        """Takes the last stub away."""

        name = "removing"

        def run(self, editor):
            for node in editor.nodes():
                if node.name.startswith("dequant_"):
                    editor.remove(node, node.args[0], "to see whether anybody notices")

        @staticmethod
        def example():
            return nn.Sequential(conv())

    with pytest.raises(PassError, match="illegal nodes after rewriting: output: the output conv leaves the graph"):
        rewrite(model(lambda self, x: self.conv(x), conv=conv()), [*DEFAULT_PASSES, Removing()])
