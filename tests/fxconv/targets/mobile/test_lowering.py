"""From an int8 module to the bytes of a .ptl."""

from __future__ import annotations

import importlib.util
import tempfile

import pytest
import torch
from torch import fx, nn
from torch.jit._builtins import _get_builtin_table
from torch.utils._pytree import tree_leaves

import fxconv
from fxconv.config import Config, Method
from fxconv.errors import ConversionError, UserError
from fxconv.quantization import engine, fusion
from fxconv.targets.mobile import lowering
from fxconv.targets.mobile.lite_file import load_lite, load_lite_bytes


@pytest.fixture(autouse=True)
def qnnpack():
    with engine.engine("qnnpack"):
        yield


@pytest.mark.parametrize("stage", ["scripted", "optimized", "reloaded"])
def test_script_and_trace_compute_the_same_bits(stage, small_conversion, batches, tmp_path):
    example, x = (batches[0][:1],), batches[1][:1]
    found = []
    for method in Method:
        config = Config(method=method)
        module = lowering.to_torchscript(small_conversion.int8, example, config)
        if stage != "scripted":
            module = lowering.optimize(module, config)
        if stage == "reloaded":
            path = tmp_path / f"{method.value}.ptl"
            path.write_bytes(lowering.to_bytes(module))
            module = load_lite(path)
        found.append(module(x))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], small_conversion.int8(x))


def test_the_bytes_do_not_depend_on_a_name(small_conversion, batches):
    scripted = lowering.to_torchscript(small_conversion.int8, (batches[0][:1],), Config())
    optimized = lowering.optimize(scripted, Config())
    assert lowering.to_bytes(optimized) == lowering.to_bytes(optimized)


class Checks(nn.Module):
    """Functions of torch that check a size, one in Python, one of the model's own."""

    def __init__(self, most: int = 8) -> None:
        super().__init__()
        self.pool, self.unpool, self.most = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), most

    def forward(self, x):
        torch._check(x.shape[-1] <= self.most, lambda: f"more than {self.most}")
        y, indices = self.pool(x)
        return self.unpool(y, indices, output_size=x.size())


def test_checks_of_sizes_are_made_while_a_trace_is_recorded():
    before, x = torch._check_with, torch.randn(1, 2, 8, 8)
    found = lowering.lowered(Checks().eval(), (x,), Config(method=Method.trace))
    assert torch.equal(load_lite_bytes(found.content)(x), Checks()(x))
    with pytest.raises(ConversionError, match="more than 4"):
        lowering.lowered(Checks(4).eval(), (x,), Config(method=Method.trace))
    assert torch._check_with is before


def test_the_float_twin_says_nothing_that_the_file_said(recwarn):
    config = Config(method=Method.trace)
    lowering.twin(Unscriptable(), EXAMPLE, config)
    assert not [one for one in recwarn if issubclass(one.category, torch.jit.TracerWarning)]
    lowering.to_torchscript(Unscriptable(), EXAMPLE, config)
    assert [one for one in recwarn if issubclass(one.category, torch.jit.TracerWarning)]


def test_the_float_twin_computes_the_float_function(small_conversion, small_model, batches, tmp_path):
    fused = fusion.fuse(small_conversion.rewritten.graph_module)
    path = tmp_path / "float.ptl"
    path.write_bytes(lowering.lowered(fused, (batches[0][:1],), Config()).content)
    with torch.no_grad():
        assert torch.allclose(load_lite(path)(batches[0][:1]), small_model(batches[0][:1]), atol=1e-5)
    # torch numbers the classes it compiles: a second compilation may have longer names, in entries padded to 64 bytes
    assert path.stat().st_size == pytest.approx(small_conversion.artifact.float_bytes, abs=512)


def test_an_attribute_where_a_builtin_lay_is_no_builtin():
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
    # what is left when torch drops an operator and the list of paddings comes to lie at its address
    _get_builtin_table()[id(convolution._reversed_padding_repeated_twice)] = "aten::gone"
    x = torch.randn(1, 3, 8, 8)
    scripted = lowering.to_torchscript(convolution, (x,), Config())
    assert torch.equal(scripted(x), convolution(x))


class _OwnConv(nn.Conv2d):
    """A convolution of the user's, which no pass looks into."""


@pytest.mark.parametrize("method", Method)
def test_padding_in_words_that_stays_in_float_does_not_stop_prepacking(method):
    torch.manual_seed(0)
    model = nn.Sequential(_OwnConv(3, 4, 3, padding="same"), nn.ReLU())
    conversion = fxconv.convert(
        model, [torch.randn(2, 3, 16, 16)], method=method, skip=("numeric-padding",), recipe=("none",)
    )
    assert conversion.verdict == "float by engine, verified"
    assert not [op for op in conversion.artifact.calls if op.startswith("prepacked::")]


@pytest.mark.parametrize("kernel", [3, 4])
def test_padding_in_words_becomes_int8(kernel, batches):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, kernel, padding="valid"), nn.ReLU(), nn.Conv2d(8, 4, kernel, padding="same"), nn.ReLU()
    )
    conversion = fxconv.convert(model, calibration=batches[:1], recipe=("none",))
    assert conversion.verdict == "converted and verified"
    assert conversion.artifact.float_calls == {}
    assert conversion.artifact.int8_calls["quantized::conv2d_relu"] == 2
    assert conversion.int8(batches[0]).shape == model(batches[0]).shape


# -- script, or else trace -----------------------------------------------------------------------------------


class Nested(nn.Module):
    """A convolution whose result is handed out in whatever `shape` makes of it."""

    def __init__(self, shape) -> None:
        super().__init__()
        self.conv, self.shape = nn.Conv2d(3, 4, 1), shape

    def forward(self, x):
        return self.shape(self.conv(x))


class Unscriptable(nn.Module):
    """TorchScript knows no *args."""

    def forward(self, *inputs):
        x = inputs[0]
        return x * 2 if x.shape[2] > 4 else x


class Branching(nn.Module):
    """TorchScript knows no *args; which way this goes, the numbers in its input decide."""

    def forward(self, *inputs):
        x = inputs[0]
        return x * 2 if torch.equal(x, x.abs()) else x


class Checking(nn.Module):
    """TorchScript knows no *args; the numbers in its input decide whether this raises."""

    def forward(self, *inputs):
        if inputs[0].isnan().any():
            raise ValueError("not a number")
        return inputs[0] * 2


class FailingScript(nn.Module):
    """TorchScript compiles this, and fails when it runs: only a script asks for a size that is not there."""

    def forward(self, x):
        if torch.jit.is_scripting():
            return x * x.shape[7]
        return x * 2


HERE = "tests/fxconv/targets/mobile/test_lowering.py"
EXAMPLE = (torch.ones(1, 3, 8, 8),)


def test_auto_scripts_what_can_be_scripted():
    found = lowering.lowered(nn.ReLU(), EXAMPLE, Config())
    assert (found.method, found.warnings) == (Method.script, ())
    assert isinstance(found.stages["scripted"], torch.jit.RecursiveScriptModule)


def test_auto_traces_what_cannot_be_scripted_and_says_so():
    found = lowering.lowered(Unscriptable(), EXAMPLE, Config())
    assert found.method is Method.trace
    why, decided = found.warnings
    assert why.startswith("traced, because it cannot be scripted: TorchScript refuses the model (script): ")
    assert "--method" not in why
    line = Unscriptable.forward.__code__.co_firstlineno + 2
    assert decided == f"tracing took decisions once, as the example has them: {HERE}:{line}"
    assert torch.equal(found.stages["scripted"](EXAMPLE[0]), EXAMPLE[0] * 2)


def test_what_was_asked_for_is_done_or_refused():
    assert lowering.lowered(nn.Conv2d(3, 4, 1), EXAMPLE, Config(method=Method.trace)).method is Method.trace
    with pytest.raises(
        ConversionError, match=r"TorchScript refuses the model \(script\): .*defaults; name the .* --method trace"
    ):
        lowering.lowered(Unscriptable(), EXAMPLE, Config(method=Method.script))


def test_auto_traces_what_only_the_lite_interpreter_refuses(monkeypatch):
    loads = []

    def load(content: bytes) -> object:
        loads.append(content)
        if len(loads) == 1:
            raise RuntimeError("Unknown builtin op: somebody's::own\nand more")
        return load_lite_bytes(content)

    load_lite_bytes = lowering.load_lite_bytes
    monkeypatch.setattr(lowering, "load_lite_bytes", load)
    found = lowering.lowered(nn.Conv2d(3, 4, 1), EXAMPLE, Config())
    assert found.method is Method.trace and len(loads) == 2
    assert found.warnings[0].startswith("traced, because it cannot be scripted: Unknown builtin op: somebody's::own")


BRANCH = f"{HERE}:{Branching.forward.__code__.co_firstlineno + 2} (return x * 2 if torch.equal(x, x.abs()) else x)"


@pytest.mark.parametrize("method", [Method.auto, Method.trace])
def test_a_trace_that_freezes_a_branch_is_refused(method):
    with pytest.raises(UserError) as refused:
        lowering.lowered(Branching(), EXAMPLE, Config(method=method))
    message = str(refused.value)
    assert message.startswith(
        "tracing would freeze, as the example takes it, what is decided by the numbers in a tensor at " + BRANCH
    )
    assert message.endswith("inputs that decide otherwise: --allow-frozen-branches") and "\n" not in message
    why = "make the model scriptable (TorchScript refuses the model (script): Compiled functions can't take variable"
    assert (why in message) is (method is Method.auto)


@pytest.mark.parametrize("method", [Method.auto, Method.trace])
def test_a_frozen_branch_that_is_allowed_is_told(method):
    config = Config(method=method, allow_frozen_branches=True)
    found = lowering.lowered(Branching(), EXAMPLE, config)
    assert found.frozen_branches == (BRANCH,)
    assert found.warnings[-1] == (
        f"frozen, as the example took them: what is decided by the numbers in a tensor at {BRANCH}"
    )
    other = torch.full((1, 3, 8, 8), -1.0)
    assert torch.equal(load_lite_bytes(found.content)(other), other * 2)  # what the example would have
    assert lowering.twin(Branching(), EXAMPLE, Config(method=Method.trace))(other).shape == other.shape


def test_a_check_that_is_left_out_is_told_and_nothing_refused():
    found = lowering.lowered(Checking(), EXAMPLE, Config())
    line = Checking.forward.__code__.co_firstlineno + 1
    assert found.frozen_branches == ()
    assert found.warnings[1:] == (
        "not in the file, which was traced: the check of the numbers in a tensor at "
        f"{HERE}:{line} (if inputs[0].isnan().any():)",
    )


def test_a_decision_by_a_size_is_told_for_a_model_below_any_folder(tmp_path):
    path = tmp_path / "torch" / "net.py"
    path.parent.mkdir()
    path.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, *x):\n"
        "        return x[0] * 2 if x[0].shape[2] > 4 else x[0]\n"
    )
    spec = importlib.util.spec_from_file_location("net", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (_, decided) = lowering.lowered(module.Net(), EXAMPLE, Config()).warnings
    assert decided == "tracing took decisions once, as the example has them: net.py:6"


def test_auto_traces_what_compiles_and_fails_when_it_runs():
    found = lowering.lowered(FailingScript(), EXAMPLE, Config())
    assert found.method is Method.trace
    assert found.warnings[0].startswith(
        "traced, because it cannot be scripted: the model compiles to TorchScript (script), which fails when it runs: "
    )
    assert torch.equal(load_lite_bytes(found.content)(*EXAMPLE), EXAMPLE[0] * 2)


def test_a_script_that_fails_when_it_runs_is_one_line():
    with pytest.raises(ConversionError) as refused:
        lowering.lowered(FailingScript(), EXAMPLE, Config(method=Method.script))
    message = str(refused.value)
    assert message.startswith("the model compiles to TorchScript (script), which fails when it runs: ")
    assert message.endswith("--method trace may do better") and "\n" not in message


def test_at_most_three_decisions_are_named():
    class Deciding(Unscriptable):
        def forward(self, *inputs):
            x = inputs[0]
            x = x * 2 if x.shape[2] > 4 else x
            x = x * 2 if x.shape[2] > 4 else x
            x = x * 2 if x.shape[2] > 4 else x
            x = x * 2 if x.shape[2] > 4 else x
            return x * 2 if x.shape[2] > 4 else x

    line = Deciding.forward.__code__.co_firstlineno + 2
    (_, decided) = lowering.lowered(Deciding(), EXAMPLE, Config()).warnings
    shown = ", ".join(f"{HERE}:{line + number}" for number in range(3))
    assert decided.endswith(f"has them: {shown} and 2 more")


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        pytest.param(lambda y: y, 0, id="a tensor"),
        pytest.param(lambda y: (y, y * 2), 2, id="a tuple"),
        pytest.param(lambda y: {"a": y, "b": y * 2}, None, id="a dict"),
        pytest.param(lambda y: [y, y * 2], 2, id="a list"),
        pytest.param(lambda y: [{"a": y, "b": (y * 2, y * 3)}], 3, id="a list of dicts"),
        pytest.param(lambda y: (y, [y * 2, {"c": y * 3}]), 3, id="mixed"),
        pytest.param(lambda y: y.max(1), 2, id="a named tuple of torch's"),
        pytest.param(lambda y: {"a": [y]}, 0, id="a dict of lists"),
        pytest.param(lambda y: (y, None), 0, id="None in it is left out"),
    ],
)
def test_a_trace_hands_out_any_nesting_as_a_tuple_of_tensors(shape, count):
    model = Nested(shape).eval()
    found = lowering.lowered(model, EXAMPLE, Config(method=Method.trace))
    with torch.no_grad():
        wanted, got = model(*EXAMPLE), load_lite_bytes(found.content)(*EXAMPLE)
    if count is None:
        assert list(got) == ["a", "b"] and torch.equal(got["b"], wanted["b"])
        return
    assert isinstance(got, tuple) is (count > 0) and len(got if count else [got]) == max(count, 1)
    tensors = [got] if isinstance(got, torch.Tensor) else got
    expected = [leaf for leaf in tree_leaves(wanted) if leaf is not None]
    assert all(torch.equal(a, b) for a, b in zip(tensors, expected, strict=True))


def test_outputs_of_mixed_types_cannot_be_scripted():
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor | list[torch.Tensor]]:
            return [x, [x]]

    with pytest.raises(UserError, match=r"mix types in one list or dict \(.*Union.*\); return a tuple of tensors"):
        lowering.lowered(Mixed(), EXAMPLE, Config(method=Method.script))


def test_no_room_for_temporary_files_is_needed(small_conversion, batches, monkeypatch):
    """Where a file may not grow, torch ends the process with it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, full)
    before = torch.jit.save
    monkeypatch.setattr(torch.jit, "save", lambda m, f, *rest: before(m, f, *rest) if hasattr(f, "write") else full())
    assert lowering.lowered(small_conversion.int8, (batches[0][:1],), Config()).content


class Swish(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


class Doubled(torch.autograd.Function):
    """One that keeps its context aside."""

    @staticmethod
    def forward(x):
        return x * 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)


@pytest.mark.parametrize("function", [Swish, Doubled])
def test_functions_with_a_backward_of_their_own_are_written_as_what_they_do(function):
    class Net(nn.Module):
        def forward(self, x):
            return function.apply(x) + 1

    before = vars(torch.autograd.Function)["apply"]
    x = torch.randn(2, 3)
    made = lowering.lowered(Net(), (x,), Config())
    assert made.method is Method.trace
    assert torch.equal(load_lite_bytes(made.content)(x), Net()(x) if function is Swish else x * 2 + 1)
    assert vars(torch.autograd.Function)["apply"] is before


def test_a_function_of_the_users_is_not_taken_for_a_builtin_that_was_there_before():
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x + x

    graph_module = fx.symbolic_trace(nn.ReLU())
    with graph_module.graph.inserting_before(graph_module.graph.output_node()):
        node = graph_module.graph.call_function(twice, (next(iter(graph_module.graph.nodes)),))
    graph_module.graph.output_node().args = (node,)
    graph_module.recompile()
    _get_builtin_table()[id(twice)] = "aten::relu"  # as one leaves it that lay at this address
    x = torch.tensor([-1.0, 2.0])
    scripted = lowering.to_torchscript(graph_module, (x,), Config(method=Method.script))
    assert torch.equal(scripted(x), 2 * x)


def test_what_torchscript_says_has_no_address_in_it():
    class Net(nn.Module):
        def forward(self, x):
            pair = Pair(x)
            return x if "a" in pair else -x

    with pytest.raises(ConversionError) as refused:
        lowering.to_torchscript(Net(), (torch.ones(1),), Config(method=Method.script))
    assert "0x" not in str(refused.value)


class Pair:
    """A class that TorchScript compiles, and that has nothing in it to look for."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
