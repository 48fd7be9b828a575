"""Forwards that work with the sizes of an image, rewritten for one size and batch and compared on others."""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from passcheck import conv, model
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rewrites import rewrite
from rewrites.runner import Rewritten

EXAMPLE = (2, 3, 16, 16)
# Another batch, another height, both and another width at once.
OTHERS = ((1, 3, 16, 16), (2, 3, 24, 16), (3, 3, 18, 30))


def image(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def behind_a_layer(forward: Callable, **parts: Any) -> nn.Module:
    """A model that gives the values of a convolution, of 4 channels, to `forward`; a part may be a function."""

    def whole(self, x):
        return forward(self, self.conv(x))

    made = {name: part() if inspect.isfunction(part) or part is dict else part for name, part in parts.items()}
    return model(whole, conv=conv(3, 4), **made)


def said_lines(forward: Callable, word: str) -> list[str]:
    """Places of the lines of a function that end in the comment `# word`."""
    lines, first = inspect.getsourcelines(forward)
    name = Path(forward.__code__.co_filename).relative_to(Path.cwd()).as_posix()
    return [f"{name}:{first + n}" for n, line in enumerate(lines) if line.rstrip().endswith(f"# {word}")]


def line_of(forward: Callable) -> str:
    """The place of a lambda of one line."""
    code = forward.__code__
    return f"{Path(code.co_filename).relative_to(Path.cwd()).as_posix()}:{code.co_firstlineno}"


def are_close(first: Any, second: Any) -> bool:
    """Whether two results are the same but for the rounding of float32; an error is no result."""
    if isinstance(first, Exception) or isinstance(second, Exception):
        return False
    ones, others = tree_leaves(first), tree_leaves(second)
    return len(ones) == len(others) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=1e-5, atol=1e-5)
        for a, b in zip(ones, others, strict=True)
    )


def answer(net: nn.Module, x: Tensor) -> Any:
    """What a network gives, or the error that it raises."""
    try:
        with torch.no_grad():
            return net(x.clone())
    except Exception as error:
        return error


def right_or_told(net: nn.Module, result: Rewritten) -> list[str]:
    """The shapes on which a rewritten model computes something else and does not say that it decided by a size."""
    pairs = [(shape, answer(net, image(shape)), answer(result.module, image(shape))) for shape in OTHERS]
    pairs = [(shape, want, got) for shape, want, got in pairs if not isinstance(want, Exception)]
    assert pairs, "the original must run on another size or batch"
    return [str(shape) for shape, want, got in pairs if not result.fixed and not are_close(want, got)]


def decided(forward: Callable, *, passes: bool = True, **parts: Any) -> list[str]:
    """Places of the decisions in a forward: it becomes one graph, equal on the example, right or told on others."""
    net = behind_a_layer(forward, **parts)
    options = {} if passes else {"passes": ()}
    result = rewrite(copy.deepcopy(net), example=(image(EXAMPLE),), **options)
    assert (result.leaves, list(result.graphs)) == ((), [""])
    with torch.no_grad():
        assert torch.equal(result.module(image(EXAMPLE)), net(image(EXAMPLE)))
    assert right_or_told(net, result) == []
    return [entry.place for entry in result.fixed]
