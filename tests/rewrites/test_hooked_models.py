"""Models that hook their own layers, and forwards behind decorators: traced as they are called."""

import functools

import pytest
import torch
from sizecheck import are_close, image
from torch import nn

from rewrites import rewrite
from rewrites.copies import whole_copy


class Hooked(nn.Module):
    """Two layers, one in a module that is looked into; `hook` puts hooks on both."""

    def __init__(self, hook=lambda model: None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.seen = []
        hook(self)

    def forward(self, x):
        self.seen.clear()
        y = self.block(self.stem(x))
        return torch.cat([y, *self.seen], 1)


class HookedAtFirst(Hooked):
    """Hooks itself at its first forward."""

    ready = False

    def forward(self, x):
        if not self.ready:
            for layer in (self.stem, self.block, self.block[1]):
                layer.register_forward_hook(lambda module, args, output: self.seen.append(output))
            self.ready = True
        return super().forward(x)


def keep_outputs(model):
    for layer in (model.stem, model.block):
        layer.register_forward_hook(lambda module, args, output: model.seen.append(output * 2))


def change_inputs(model):
    for layer in (model.stem, model.block):
        layer.register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))


def change_one_input(model):
    for layer in (model.stem, model.block):
        layer.register_forward_pre_hook(lambda module, args: args[0] + 1)


def change_outputs(model):
    for layer in (model.stem, model.block):
        layer.register_forward_hook(lambda module, args, output: output.flip(2))


def with_kwargs(model):
    for layer in (model.stem, model.block):
        layer.register_forward_pre_hook(lambda module, args, kwargs: ((args[0] * 2,), kwargs), with_kwargs=True)
        layer.register_forward_hook(lambda module, args, kwargs, output: output - len(kwargs) - 1, with_kwargs=True)


def several_in_order(model):
    for layer in (model.stem, model.block):
        layer.register_forward_hook(lambda module, args, output: output * 2)
        layer.register_forward_hook(lambda module, args, output: output + 1)
        layer.register_forward_hook(lambda module, args, output: output - 3, prepend=True)


def by_the_size(model):
    def scale(module, args, output):
        return output * 2 if output.shape[2] > 8 else output  # decides

    for layer in (model.stem, model.block):
        layer.register_forward_hook(scale)


def rewritten_right(net: nn.Module):
    """The rewritten model, one graph that is right on two images of the example's size and on others, or told."""
    net.eval()
    result = rewrite(net, example=(image((2, 3, 16, 16)),))
    assert (result.leaves, list(result.graphs)) == ((), [""])
    shapes = [(2, 3, 16, 16), (2, 3, 16, 16)] + [(1, 3, 8, 12)] * (not result.fixed)
    for seed, shape in enumerate(shapes):
        with torch.no_grad():
            assert are_close(net(image(shape, seed)), result.module(image(shape, seed)))
    hooks = [path for path, part in result.module.named_modules() if part._forward_hooks or part._forward_pre_hooks]
    assert hooks == []
    return result


@pytest.mark.parametrize(
    "hook",
    [keep_outputs, change_inputs, change_one_input, change_outputs, with_kwargs, several_in_order],
    ids=lambda hook: hook.__name__,
)
def test_hooks_on_layers_and_on_modules_looked_into_are_traced(hook):
    assert rewritten_right(Hooked(hook)).fixed == ()


def test_a_decision_in_a_hook_is_recorded():
    (entry,) = rewritten_right(Hooked(by_the_size)).fixed
    assert entry.code == "return output * 2 if output.shape[2] > 8 else output  # decides"


def test_a_model_that_hooks_itself_at_its_first_forward():
    net = HookedAtFirst().eval()
    result = rewrite(net, example=(image((2, 3, 16, 16)),))
    assert (result.leaves, list(result.graphs)) == ((), [""])
    for seed in (3, 4):
        with torch.no_grad():
            assert are_close(net(image((2, 3, 16, 16), seed)), result.module(image((2, 3, 16, 16), seed)))


def test_a_copy_of_a_hooked_model_keeps_what_it_sees_to_itself():
    net = Hooked(keep_outputs).eval()
    result = rewrite(net, example=(image((2, 3, 16, 16)),))
    assert net.seen == []
    copied = whole_copy(net)
    with torch.no_grad():
        want = net(image((2, 3, 16, 16)))
        assert are_close(want, result.module(image((2, 3, 16, 16))))
        net.seen.clear()
        assert are_close(want, copied(image((2, 3, 16, 16)))) and len(copied.seen) == 2
    assert net.seen == [] and copied.stem is not net.stem


def test_a_function_on_the_instance_is_copied_with_what_it_names():
    net = Hooked().eval()

    def forward(x, model=net):
        def again(times):
            return model.stem(x) if times == 0 else again(times - 1) * net.scale

        return again(1)

    net.forward, net.scale = forward, 2.0
    copied = whole_copy(net)
    net.scale = 5.0
    with torch.no_grad():
        assert torch.equal(copied(image((1, 3, 8, 8))), net.stem(image((1, 3, 8, 8))) * 2.0)


def noted(forward):
    @functools.wraps(forward)
    def wrapper(self, *args, **kwargs):
        kwargs.pop("return_dict", None)
        return forward(self, *args, **kwargs)

    return wrapper


class Decorated(Hooked):
    """A forward as transformers has it."""

    @noted
    def forward(self, x, mask=None, **options):
        if options.get("scale"):
            x = x * options["scale"]
        return self.block(self.stem(x) if mask is None else self.stem(x) * mask)


class TwiceDecorated(Decorated):
    @noted
    @noted
    def forward(self, x, mask=None, *, scale=1.0, **options):
        return self.block(self.stem(x)) * scale


class Nested(nn.Module):
    """Calls decorated forwards with options of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Decorated(), nn.Conv2d(4, 4, 1)

    @noted
    def forward(self, x, *args, **kwargs):
        return self.second(self.first(x, mask=None, return_dict=True, **kwargs))


@pytest.mark.parametrize("kind", [Decorated, TwiceDecorated, Nested], ids=lambda kind: kind.__name__)
def test_decorated_forwards_trace_and_unused_options_are_no_inputs(kind):
    result = rewritten_right(kind())
    placeholders = [node.target for node in result.graphs[""].graph.nodes if node.op == "placeholder" and node.users]
    assert placeholders == ["x"] and result.fixed == ()
    inputs = [node.target for node in result.graphs[""].graph.nodes if node.op == "placeholder"]
    assert not any(name in ("options", "kwargs", "args") for name in inputs)
    assert torch.jit.script(result.module)(image((1, 3, 8, 8))).shape == (1, 4, 8, 8)
