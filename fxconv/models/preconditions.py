"""What a model as a whole must be before anything is converted: plain float layers that answer alike every time."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from fxconv.diagnostics.blame import blamed, blamed_forward, is_out_of_memory
from fxconv.diagnostics.diagnosis import cure_of
from fxconv.errors import ConversionError, InternalError, OwnFormError, UserError, described, message_line
from fxconv.models import already_quantized, forward, memory
from fxconv.models.checkpoints import some
from fxconv.models.graph_calls import failing
from fxconv.models.signature import in_words
from fxconv.wording import with_article
from rewrites.copies import sharing_parameters, whole_copy
from rewrites.location import short
from rewrites.parts import prefixed
from rewrites.spec import forwards_of_their_own

# What torch's own tools leave on a layer as a hook, by the module they lie in, and how to be rid of it.
_TOOLS = {
    "torch.nn.utils.weight_norm": "call torch.nn.utils.remove_weight_norm on that layer",
    "torch.nn.utils.spectral_norm": "call torch.nn.utils.remove_spectral_norm on that layer",
    "torch.nn.utils.prune": "call torch.nn.utils.prune.remove on that layer",
    "torch.ao.quantization.quantize": "give the float model from before torch.ao.quantization.prepare",
}
# Hooks that note what layers return for the forward around them, which reads it: a trace runs them as that forward's.
_RUN_BY_TRACES = frozenset({"transformers.utils.output_capturing"})
# Raised as a rule by torch, and by the user's own checks, where an input is of a size the layers do not take.
_ABOUT_SIZE = (RuntimeError, ValueError, IndexError, AssertionError)


def unwrapped(model: Any) -> Any:
    """The model inside DataParallel, DistributedDataParallel or what torch.compile gave; any other as it is."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif type(model).__name__ == "OptimizedModule":  # its class is in torch._dynamo, which takes seconds to import
            model = model._orig_mod
        else:
            return model


def check(model: Any, what: str) -> None:
    """Raises `UserError` for a model that holds what no artifact can carry; `what` begins the message.

    These are TorchScript, quantized layers, parameters without values or of other types than float32, a forward set on
    one of torch's own layers, a `__call__` of a class's own, and forward hooks: a graph records the layer, and not what
    code of the user's does in its place or beside it.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"{what} is {with_article(type(model).__name__)}, not an nn.Module")
    for path, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            place = f"{what}: {path}" if path else what
            raise UserError(f"{place} is TorchScript, scripted or traced; give the float nn.Module it was made of")
    if numbers := already_quantized.problem(model):
        raise UserError(f"{what}: {numbers}")
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    if lazy := [name for name, value in tensors if is_lazy(value)]:
        raise UserError(f"{what}: {some(lazy)} not initialized yet; run one input through the model first")
    if meta := [name for name, value in tensors if value.is_meta]:
        raise UserError(f"{what}: {some(meta)} on the meta device, which holds no values; make them, or load them")
    if own := forwards_of_their_own(model):
        cure = "write it into the forward that calls the layer, or make the layer a class of your own"
        raise UserError(f"{what}: {own[0]} has a forward of its own, set on that layer, which int8 would drop; {cure}")
    if called := [path for path, part in model.named_modules() if _calls_itself(type(part))]:
        inside = [name for name, _ in model.named_children()]
        cure = "write what it does into forward"
        if not called[0] and len(inside) == 1:  # a wrapper that has methods beside the network
            cure = f"give the module inside it, .{inside[0]}"
        place = called[0] or "the outermost module"
        raise UserError(f"{what}: {place} has a __call__ of its own, around its forward, which int8 would drop; {cure}")
    for path, kind, hook in _hooks(model):
        cure = _TOOLS.get(_home(hook), "remove it, and write what it does into forward")
        raise UserError(f"{what}: {path} has a {kind} ({_name(hook)}), which no artifact can carry; {cure}")


def _calls_itself(kind: type) -> bool:
    """Whether a class, or one of the user's that it is made of, says itself what a call does."""
    return any("__call__" in vars(one) and not one.__module__.startswith("torch.") for one in kind.__mro__)


def _hooks(model: nn.Module) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Path, kind and function of every hook that runs with a forward."""
    for path, part in model.named_modules():
        for kind, hooks in (("forward pre-hook", part._forward_pre_hooks), ("forward hook", part._forward_hooks)):
            for hook in hooks.values():
                if _home(hook) not in _RUN_BY_TRACES:
                    yield path or "the outermost module", kind, hook


def _home(hook: Callable[..., Any]) -> str:
    return str(getattr(hook, "__module__", ""))


def _name(hook: Callable[..., Any]) -> str:
    function = getattr(hook, "func", hook)  # of a functools.partial
    return str(getattr(function, "__qualname__", type(function).__name__))


def own_copy(model: Any, what: str = "the model") -> nn.Module:
    """A plain copy in eval mode: running a model may change it, a counter kept in a buffer for one.

    Raises `UserError` for a model that cannot be converted or copied.
    """
    model = unwrapped(model)
    check(model, what)
    return plain(copied(model, what).eval())


def copied(model: nn.Module, what: str, copying: Callable[[nn.Module], nn.Module] = whole_copy) -> nn.Module:
    """A deep copy. Raises `UserError` when the model holds something that cannot be copied."""
    try:
        return copying(model)
    except Exception as error:  # whatever an object of the user's raises
        raise UserError(f"{what} cannot be copied ({described(error)}); take what cannot be copied off it") from error


def plain(model: nn.Module) -> nn.Module:
    """This model, in eval mode and fxconv's own, with nothing around its layers any more, changed in place.

    A parametrization is replaced by the weights it gives, a wrapper by the module in it: both compute the same.
    """
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if (inner := unwrapped(child)) is not child:
                setattr(part, name, inner)
    for part in list(model.modules()):
        if parametrize.is_parametrized(part):
            # torch takes the property off the class, which a copy shares with the model it was made of
            kind = type(part)
            part.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    return model


def reference(model: nn.Module, images: list[tuple[Any, ...]], what: str = "the model") -> forward.Outputs:
    """The float model's outputs, against which everything is compared.

    An artifact hands out tensors, alone or in tuples, lists and dicts; a number beside them is one, and None is none,
    here as there. Raises `UserError` for anything else, for inputs the model cannot take, for outputs that nothing can
    be compared with, and for answers to the first image that depend on what ran before: nothing, the image itself, or
    another one. Copies run, with parameters shared: `model` stays as it is, unless it writes into its own parameters.
    """
    given, original = f"an input of {in_words(images[0])}", model
    model = copied(model, what, sharing_parameters)
    try:
        with torch.no_grad():
            returned = model(*forward.cloned(images[0]))
        first = [leaf.clone() for leaf in forward.tensors(returned)]
        found = [first, *(forward.returned(model, image) for image in images[1:])]
        changed = memory.of_earlier_inputs(original, model, images, first)
    except Exception as error:  # whatever the user's own forward raises
        if is_out_of_memory(error):
            raise
        raise cannot_take(error, what, given, float_asked_for(original, images[0])) from error
    held = [*tree_leaves(returned), *forward.leaves(returned)]  # a dict keeps its keys, the fields of others are lost
    taken = (Tensor, dict, list, tuple, NoneType)
    others = {type(leaf).__name__ for leaf in held if not isinstance(leaf, taken) and not forward.is_number(leaf)}
    if others or not any(isinstance(leaf, Tensor) for leaf in held):
        names = ", ".join(sorted(others or {type(leaf).__name__ for leaf in held})) or "nothing"
        raise UserError(f"{what} returns {names} beside or instead of tensors; return tensors only")
    if lost := _lost(found):
        raise UserError(f"{what} gives {lost} for {given}; mend its weights or its forward")
    if changed:
        raise _answering_differently(original, images[0], what, changed)
    return found


def check_takes(model: nn.Module, arguments: tuple[Any, ...], what: str, cure: str = "") -> None:
    """Raises `UserError` where a model does not take an input that `what` gives; `cure` is for one of a wrong size."""
    try:
        forward.outputs(copied(model, "the model", sharing_parameters), [arguments])
    except Exception as error:  # whatever the user's own forward raises
        if is_out_of_memory(error):
            raise
        given = f"an input of {in_words(arguments)}, which {what} gives"
        raise cannot_take(error, "the model", given, cure) from error


def _answering_differently(model: nn.Module, image: tuple[Any, ...], what: str, changed: str) -> UserError:
    """What to say of a model whose answer to an input is not always the same."""
    words = f"{what} gives different outputs for the same input ({changed})"
    if memory.is_drawn(model, image):
        return UserError(
            f"{words}; switch off what draws random numbers or counts calls, such as F.dropout without "
            "training=self.training"
        )
    names = some([f"self.{name}" for name in memory.places(model, image)])
    return UserError(
        f"{words}: it remembers earlier inputs or calls{f', in {names}' if names else ''}; let what it returns depend "
        "on its inputs alone, and take what it has to remember as another input"
    )


def _lost(found: forward.Outputs) -> str:
    """What an output is when it says nothing; "" for outputs with numbers, infinite ones (masked scores) among them."""
    for index, values in enumerate(zip(*found, strict=False)):
        which = f" in output {index}" if len(found[0]) > 1 else ""
        if any(value.isnan().any() for value in values):
            return f"NaN{which}"
        if any(value.numel() for value in values) and not any(value.isfinite().any() for value in values):
            return f"nothing but infinity{which}"
    return ""


def cannot_take(error: Exception, what: str, given: str, cure: str = "") -> UserError:
    """What to say of an error of the model's forward, run on `given`; `cure` is for inputs of a wrong size.

    A fault in code of the user's own names its file and line.
    """
    frame = blamed(error.__traceback__)
    is_size = isinstance(error, _ABOUT_SIZE) and not isinstance(error, NotImplementedError)
    if frame is None or (is_size and isinstance(error, RuntimeError)):
        words = described(error) if not is_size or not cure else message_line(error) or type(error).__name__
        cure = (cure or cure_of(error)) if is_size else ""
        return UserError(f"{what} cannot take {given} ({words})" + (f"; {cure}" if cure else ""))
    mend = f"mend it there, or {cure}" if is_size and cure else "mend it there"
    return UserError(f"{_line(frame)}, failed with {described(error)} on {given}; {mend}")


def float_asked_for(model: nn.Module, image: tuple[Any, ...]) -> str:
    """How to mend the type of an input of whole numbers or truth values that a model would take as float32; "" else."""
    for place, value in enumerate(image):
        if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex():
            continue
        with suppress(Exception):  # whatever the user's own forward raises
            forward.returned(sharing_parameters(model), (*image[:place], value.float(), *image[place + 1 :]))
            which = f"input {place}" if len(image) > 1 else "the input"
            return f"{which} is {str(value.dtype).removeprefix('torch.')}; give float32, preprocessed as in training"
    return ""


def _line(frame: traceback.FrameSummary) -> str:
    return f"the code in {short(frame.filename)}, line {frame.lineno} ({frame.line})"


@contextmanager
def faults_told(model: nn.Module, images: list[tuple[Any, ...]], what: str = "the model") -> Iterator[None]:
    """Whatever code of the user's raises inside, in the forward of what fxconv made of `model`, is told as what it is.

    The model itself runs on the same `images` then, a copy of it. Where it fails, `UserError` says where to mend it;
    where it does not, the fault is fxconv's, and an `OwnFormError` says so.
    """
    try:
        yield
    except (UserError, ConversionError, InternalError):
        raise
    except Exception as error:
        frame = blamed_forward(error.__traceback__)
        is_known = hasattr(error, "pass_name") or is_out_of_memory(error) or isinstance(error, RecursionError)
        if frame is None or is_known:
            raise
        for image in images:
            try:
                forward.returned(copied(model, what, sharing_parameters), image)
            except Exception as alone:  # whatever the user's own forward raises
                raise cannot_take(alone, what, f"an input of {in_words(image)}") from alone
        raise OwnFormError(_line(frame), error) from error


def check_finite(extremes: Mapping[str, tuple[float, float]], observed: Collection[str]) -> None:
    """Raises `UserError` naming the first module among the `observed` ones, those in int8, whose values overflow.

    `extremes` are the least and greatest value of each module's output. In float infinity may stand for what is masked.
    """
    for path, ends in extremes.items():
        in_int8 = any(other == path or other.startswith(f"{path}.") for other in observed)
        if in_int8 and not all(map(math.isfinite, ends)):
            raise UserError(f"the model's values are infinite or NaN at {path}; mend its weights, or scale its inputs")


def infinite_at(module: nn.Module, inputs: tuple[Any, ...]) -> str:
    """The first node whose values are not finite on these inputs, by its path; "" when there is none."""
    stopped = failing(module, inputs)
    if stopped is None:
        return ""
    path, graph, given = stopped
    runner = _FirstInfinite(graph)
    try:
        with torch.no_grad():
            runner.run(*forward.cloned(given))
    except Exception:
        return prefixed(path, str(runner.at))
    return ""


class _FirstInfinite(fx.Interpreter):
    """Stops at the first value that is not finite, or at the observer that refuses one."""

    at: object = ""

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        self.at = n.target if n.op == "call_module" else n.name
        value = super().run_node(n)
        if any(isinstance(leaf, Tensor) and not leaf.isfinite().all() for leaf in tree_leaves(value)):
            raise ArithmeticError
        return value
