"""The graphs in a model, and what each of them is called with while the whole runs."""

from __future__ import annotations

import fxconv_networks as networks
import pytest
import torch
from torch import fx, nn

from fxconv.models.graph_calls import GraphResults, failing, inputs_of, positional
from rewrites import rewrite


class Host(nn.Module):
    """Calls one graph twice, another by keyword; does not trace, for it looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Sequential(nn.Conv2d(4, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(self.head(input=self.body(x)))
        return y if y.sum() > -1e9 else x


@pytest.fixture
def host() -> nn.Module:
    return rewrite(Host(), example=(torch.ones(1, 3, 4, 4),)).module


def numbered(count: int) -> list[tuple[torch.Tensor]]:
    """Images that can be told apart."""
    return [(torch.full((1, 3, 4, 4), float(number)),) for number in range(count)]


def test_a_model_of_one_graph_is_called_with_the_images(small_conversion):
    images = numbered(3)
    assert inputs_of(small_conversion.int8, images, 2) == {"": images[:2]}


def test_every_graph_has_its_own_inputs(host):
    found = inputs_of(host, numbered(2), 4)
    assert {path: len(calls) for path, calls in found.items()} == {"body": 2, "head": 4}
    assert [call[0].mean().item() for call in found["body"]] == [0.0, 1.0]
    first, second, *_ = found["head"]
    assert torch.equal(host.head(*first), second[0])
    assert all(type(call) is tuple and len(call) == 1 for call in found["head"])


def test_at_most_so_many_calls_are_kept(host):
    found = inputs_of(host, numbered(4), 3)
    assert {path: len(calls) for path, calls in found.items()} == {"body": 3, "head": 3}


def test_what_is_kept_is_a_copy_and_no_hook_stays(host):
    (image,) = numbered(1)
    (kept,) = inputs_of(host, [image], 1)["body"]
    assert torch.equal(kept[0], image[0]) and kept[0] is not image[0]
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in host.modules())


def test_keywords_in_the_order_of_the_inputs():
    graph = fx.symbolic_trace(lambda a, b, c=3, d=4: a + b + c + d)
    assert positional(graph, (), {"b": 2, "a": 1}) == (1, 2)
    assert positional(graph, (1,), {"b": 2, "c": 5}) == (1, 2, 5)
    assert positional(graph, (1, 2), {}) == (1, 2)
    assert positional(graph, (1, 2), {"d": 9}) == (1, 2, 3, 9), "the default of one in between"
    graph = fx.symbolic_trace(lambda a, b, c, d=4: a + b + c + d)
    assert positional(graph, (1, 2), {"d": 9}) == (1, 2), "nothing may stand in the place of one that is not given"


class Fails(nn.Module):
    """Stops at an image of nothing but fives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x == 5).all()):
            raise RuntimeError("five")
        return x


@pytest.mark.parametrize(("place", "path"), [("body", "body"), ("head", "head")])
def test_the_graph_that_stops(host, place, path):
    graph = getattr(host, place)
    graph.add_submodule("fails", Fails())
    (first,) = [node for node in graph.graph.nodes if node.op == "placeholder"]
    with graph.graph.inserting_after(first):
        call = graph.graph.call_module("fails", (first,))
    first.replace_all_uses_with(call)
    call.args = (first,)
    graph.recompile()
    assert failing(host, numbered(1)[0]) is None
    if place == "head":
        host.body.forward = lambda x: torch.full((1, 4, 4, 4), 5.0)
    stopped = failing(host, (torch.full((1, 3, 4, 4), 5.0),))
    assert stopped is not None
    assert stopped[0] == path and stopped[1] is graph and torch.equal(stopped[2][0].unique(), torch.tensor([5.0]))
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in host.modules())


def test_code_around_the_graphs_that_stops_is_no_graph(host):
    host.forward = lambda x: Fails()(x)
    assert failing(host, (torch.full((1, 3, 4, 4), 5.0),)) is None


def results_of(module, image):
    results = GraphResults()
    return results.of(module, image), results.values


def test_results_of_every_call_in_running_order(host):
    (image,) = numbered(1)
    result, returned = results_of(host, image)
    body = host.body(*image)
    assert [torch.equal(a, b) for a, b in zip(returned, [body, host.head(body), result], strict=True)] == [True] * 3
    assert not any(part._forward_hooks for part in host.modules())


def test_results_of_one_graph(small_model, batches):
    graph = rewrite(small_model).module
    result, returned = results_of(graph, (batches[0][:1],))
    assert returned == [] and torch.equal(result, small_model(batches[0][:1]))


def test_results_are_kept_as_they_were_returned():
    class Doubling(Host):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            y *= 2  # what the graph returned is written over
            return y if y.sum() > -1e9 else x

    host = rewrite(Doubling(), example=(torch.ones(1, 3, 4, 4),)).module
    result, (returned,) = results_of(host, numbered(2)[1])
    assert torch.equal(returned * 2, result)


def test_the_detector_has_two_graphs(batches):
    rewritten = rewrite(networks.detector(), example=(batches[0][:1],))
    assert list(rewritten.graphs) == ["backbone", "heads"]
    (levels,) = inputs_of(rewritten.module, [(batches[0][:1],)], 1)["heads"]
    assert [tuple(level.shape[2:]) for level in levels[0]] == [(8, 8), (4, 4), (2, 2)]
