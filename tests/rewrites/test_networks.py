"""Four whole networks: the same function, one stub at either end, names that speak, checkpoints that load."""

import copy
import functools

import pytest
import torch
import torchvision
from passcheck import assert_same_results
from torch import nn

from rewrites import DEFAULT_PASSES, rewrite, run_pass
from rewrites.diff import graph_lines

RENAMES = {
    "mobilenet_v2": {
        "features.0.0": "features_0.conv",
        "features.2.conv.0.0": "features_2.conv.expand.conv",
        "classifier.1": "classifier.linear",
    },
    "mobilenet_v3_small": {
        "features.4.block.1.0": "features_4.depthwise.conv",
        "features.4.block.2.fc1": "features_4.squeeze_excitation.fc1",
        "classifier.0": "classifier_0",
    },
    "mobilenet_v3_large": {
        "features.4.block.1.0": "features_4.depthwise.conv",
        "features.4.block.3.1": "features_4.project.bn",
    },
    "resnet18": {
        "layer2.0.downsample.0": "layer2_0.downsample.conv",
        "layer1.0.conv1": "layer1_0.conv1",
    },
}


@functools.cache
def network(name: str) -> nn.Module:
    """The network with batch norm statistics of random images, so that its outputs are not near zero."""
    torch.manual_seed(0)
    built = getattr(torchvision.models, name)(weights=None).train()
    for norm in (part for part in built.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.momentum = None  # the plain average over the batches, whatever the network's own momentum
    with torch.no_grad():
        for seed in range(3):
            built(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(seed)))
    return built.eval()


def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(9))


@functools.cache
def rewritten_network(name: str):
    return rewrite(network(name))


@pytest.mark.parametrize("name", RENAMES)
def test_the_function_is_the_same(name):
    with torch.no_grad():
        wanted = network(name)(image())
        assert wanted.abs().max() > 1e-3
        assert torch.equal(rewritten_network(name).graph_module(image()), wanted)
    assert rewritten_network(name).tolerance == 0.0


@pytest.mark.parametrize("name", RENAMES)
def test_it_is_int8_from_end_to_end(name):
    lines = graph_lines(rewritten_network(name).graph_module)
    assert [line.split(" = ")[0] for line in lines if line.endswith("# QuantStub()")] == ["quant_x"]
    assert sum(line.endswith("# DeQuantStub()") for line in lines) == 1
    assert rewritten_network(name).islands == ()


@pytest.mark.parametrize("name", RENAMES)
def test_no_name_is_a_number(name):
    graph = rewritten_network(name).graph_module.graph
    parts = {part for node in graph.nodes if node.op == "call_module" for part in node.target.split(".")}
    assert not {part for part in parts if part.isdigit() or part == "block"}


@pytest.mark.parametrize("name", RENAMES)
def test_rename_table(name):
    table = {edit.before: edit.after for edit in rewritten_network(name).renames}
    assert {old: table.get(old) for old in RENAMES[name]} == RENAMES[name]
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize("name", RENAMES)
def test_old_checkpoints_load(name):
    other = copy.deepcopy(network(name))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    rewritten = rewrite(network(name))
    assert set(rewritten.key_map) == set(other.state_dict()) and None not in rewritten.key_map.values()
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [(image(),)])


@pytest.mark.parametrize("name", RENAMES)
def test_a_second_run_changes_nothing(name):
    graph_module = copy.deepcopy(rewritten_network(name).graph_module)
    lines = graph_lines(graph_module)
    for rule in DEFAULT_PASSES:
        assert run_pass(graph_module, rule).edits == ()
    assert graph_lines(graph_module) == lines


def test_the_seed_of_this_project():
    """The additions of a residual network: found, made observable, and merged with the ReLU behind them."""
    results = {result.name: result for result in rewritten_network("resnet18").results}
    edits = results["arithmetic-to-functional"].edits
    assert [edit.kind for edit in edits].count("replace") == 8
    assert edits[0].after == "layer1_0_relu_1 = self.layer1.0.add_relu(layer1_0_bn2, maxpool)  # AddReLU()"
