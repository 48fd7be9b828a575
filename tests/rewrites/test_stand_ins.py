"""A layer goes elsewhere, and what describes it stays at its path."""

import torch
from passcheck import conv, images, model
from torch import nn

from rewrites.stand_ins import Described, describe, descriptions, keep_descriptions, leave_described
from rewrites.tracing import trace


def test_a_description_has_settings_and_weights_without_values():
    layer = nn.Conv2d(8, 6, 3, stride=2, bias=False)
    found = Described(layer)
    assert (found.stride, found.out_channels, found.bias) == ((2, 2), 6, None)
    assert found.weight.shape == layer.weight.shape and found.weight.dtype == layer.weight.dtype
    assert found.weight.untyped_storage().nbytes() == 4
    assert not list(found.parameters()) and not found.state_dict()


def test_what_a_holder_has_already_stays():
    holder = nn.Module()
    holder.stride = 7
    describe(conv(), holder)
    assert holder.stride == 7 and holder.weight.shape == (8, 8, 1, 1)


def test_a_layer_moves_beside_its_description():
    original = model(lambda self, x: self.box.a(x) + self.box.a.weight.sum(), box=nn.ModuleDict({"a": conv()}))
    original.box.a_layer = conv()  # the name is taken
    graph_module, _ = trace(original, {"x": images()[0]})
    layer, wanted = graph_module.box.a, graph_module(*images())
    leave_described(graph_module, layer)
    graph_module.recompile()
    targets = [node.target for node in graph_module.graph.nodes if node.op in ("call_module", "get_attr")]
    assert targets == ["box.a_layer", "box.a_layer.weight"] and graph_module.box.a_layer is layer
    assert torch.equal(graph_module(*images()), wanted)
    assert graph_module.meta["classes"]["box.a_layer"] is nn.Conv2d


def test_a_description_outlives_the_graphs_own_bookkeeping():
    graph_module, _ = trace(model(lambda self, x: self.a(x), a=conv()), {"x": images()[0]})
    leave_described(graph_module, graph_module.a)
    kept = descriptions(graph_module)
    assert list(kept) == ["a"]
    graph_module.delete_all_unused_submodules()
    assert not hasattr(graph_module, "a")
    keep_descriptions(kept, graph_module)
    assert type(graph_module.a) is Described
