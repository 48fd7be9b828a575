"""What the emitted file says, and that it computes what the model computed."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.ao.nn.quantized import QFunctional

from rewrites import DEFAULT_PASSES, WRAPPED_PASSES, Rewritten, rewrite
from rewrites.emit import NotEmittable, emit
from rewrites.fusion import fusable_chains


def built_from(text: str) -> ModuleType:
    module = ModuleType("emitted")
    exec(compile(text, "<emitted>", "exec"), module.__dict__)
    return module


def varied(model: nn.Module) -> nn.Module:
    """With batch norms that do something, so that no value is near zero or one."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def outputs(model: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        return model(image)


def sqnr(reference: Tensor, values: Tensor) -> float:
    return (10 * torch.log10(reference.square().sum() / (reference - values).square().sum())).item()


# -- whole networks ------------------------------------------------------------------------------------


class Unit(nn.Module):
    """A block as people write them: functional calls, a sum in place, layers by number."""

    def __init__(self, channels: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            nn.Conv2d(hidden, channels, 3, stride=stride, padding=1),
        )
        self.scale = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x) * self.scale
        if self.stride == 1:
            y += x
            return F.relu6(y)
        return F.relu(y)


class Own(nn.Module):
    """A network that nobody else has: a shared layer, a branch and a concatenation, constants, functions, a method."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.units = nn.Sequential(Unit(8, 16), Unit(8, 24), Unit(8, 16, stride=2), Unit(8, 32))
        self.mix = nn.Conv2d(8, 8, 1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 5))
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.linspace(-1, 1, 40).view(5, 8).sum(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.stem(x - self.mean))
        x = x / 3 + 1 / (2 + x) - F.mish(x).abs()
        x = self.units(x)
        x = torch.cat([self.mix(x), F.silu(self.mix(F.avg_pool2d(x, 3, 1, 1)))], dim=1)
        return self.head(x.mean([2, 3])) + self.shift


class Heads(nn.Module):
    """Batch norms behind linear layers, in front of layers, and in a row; one with its rows of tokens flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8)
        self.mix, self.rows = nn.Linear(8, 16), nn.BatchNorm1d(16, affine=False)
        self.embed, self.norm, self.last = nn.Linear(16, 12, bias=False), nn.BatchNorm1d(12), nn.BatchNorm1d(12)
        self.neck, self.head, self.other = nn.BatchNorm1d(12), nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.inner(F.relu(self.stem(x))).flatten(2).transpose(1, 2))
        x = F.relu(self.rows(x.flatten(0, 1)).reshape_as(x)).mean(1)
        x = self.neck(F.relu(self.last(self.norm(self.embed(x)))))
        return self.head(x) + self.other(x)


NETWORKS = {
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=10),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "shufflenet_v2_x0_5": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10),
    "efficientnet_b0": lambda: torchvision.models.efficientnet_b0(num_classes=10),
    "own": Own,
    "heads": Heads,
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request) -> tuple[str, nn.Module, Rewritten, str]:
    torch.manual_seed(0)
    model = varied(NETWORKS[request.param]())
    rewritten = rewrite(model, example=(torch.randn(1, 3, 64, 64),))
    return request.param, model, rewritten, emit(rewritten, request.param)


def test_built_from_an_original_checkpoint_it_computes_what_the_original_computes(network):
    name, _, rewritten, text = network
    torch.manual_seed(1)
    other = varied(NETWORKS[name]())  # weights that emit() has not seen
    image = torch.randn(2, 3, 64, 64)
    wanted, found = outputs(other, image), outputs(built_from(text).build(other.state_dict()), image)
    if rewritten.tolerance:
        assert (wanted - found).abs().max() <= rewritten.tolerance * wanted.abs().max()
    else:
        assert torch.equal(wanted, found)
    assert wanted.std() > 1e-3  # not all of one value


def test_of_the_same_weights_it_is_the_rewritten_model_bit_for_bit(network):
    _, model, rewritten, text = network
    image = torch.randn(2, 3, 64, 64)
    built = built_from(text).build(model.state_dict())
    assert torch.equal(outputs(rewritten.module, image), outputs(built, image))
    assert not built.training


def test_its_layers_have_the_names_they_have_after_rewriting(network):
    _, _, rewritten, text = network
    built = built_from(text)
    model = built.build(network[1].state_dict())
    assert set(model.state_dict()) == set(rewritten.module.state_dict())
    assert [list(chain) for chain in built.FUSABLE] == fusable_chains(rewritten.graph_module)


def test_it_imports_torch_alone(network):
    lines = [line for line in network[3].splitlines() if line.startswith(("import ", "from "))]
    homes = {line.split()[1].partition(".")[0] for line in lines}
    assert homes - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize("width", ["88", "120"])
def test_formatters_leave_it_as_it_is(network, width, tmp_path):
    is_formatted(network[3], width, tmp_path / "emitted.py")


def is_formatted(text: str, width: str, path: Path) -> None:
    path.write_text(text)
    for words in (["format", "--diff", "--line-length", width], ["check", "--select", "E4,E7,E9,F,I"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_it_is_quantized_with_torchs_documented_steps(network):
    name, model, _, text = network
    built = built_from(text)
    quantized = built.build(model.state_dict())
    images = [torch.randn(4, 3, 64, 64) for _ in range(4)]
    wanted = outputs(quantized, images[0])
    built.fuse(quantized)
    assert (outputs(quantized, images[0]) - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    quantized.qconfig = torch.ao.quantization.get_default_qconfig("qnnpack")
    for floating in getattr(built, "FLOAT", ()):
        quantized.get_submodule(floating).qconfig = None
    torch.ao.quantization.prepare(quantized, inplace=True)
    for batch in images:
        outputs(quantized, batch)
    mapping = {"mapping": built.MAPPING} if hasattr(built, "MAPPING") else {}
    torch.ao.quantization.convert(quantized, inplace=True, **mapping)
    kinds = [type(module) for module in quantized.modules()]
    assert not {nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Linear} & set(kinds)
    functionals = text.count("FloatFunctional(") - len(re.findall(r"class \w+FloatFunctional\(", text))
    assert (QFunctional in kinds) == bool(functionals)
    # per-tensor weights and no recipe: what torch's defaults give; a wrong scale or a lost layer gives below 3
    assert sqnr(wanted, outputs(quantized, images[0])) > {"own": 20}.get(name, 8)
    assert torch.isfinite(outputs(quantized, images[0])).all()


# -- what is in it -------------------------------------------------------------------------------------


def text_of(model: nn.Module, size: int = 16, passes=DEFAULT_PASSES) -> str:
    return emit(rewrite(model.eval(), passes, example=(torch.randn(1, 3, size, size),)))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Unit(3, 4), Unit(3, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_repeated_blocks_are_one_class_and_differ_in_its_parameters():
    text = text_of(Pair())
    assert text.count("\nclass Unit") == 1
    assert '    """first and second."""\n\n    def __init__(self, expand_channels: int) -> None:\n' in text
    assert "        self.first = Unit(expand_channels=4)\n        self.second = Unit(expand_channels=12)\n" in text


def test_lines_name_the_pass_that_changed_them_and_functionals_are_declared():
    text = text_of(Pair())
    assert "        self.add_relu = CappedFloatFunctional(6.0)\n" in text
    assert "        self.mul = FloatFunctional()\n" in text
    assert "add_relu(out, x)  # functional-to-module, fold-relu6\n" in text
    assert "relu6=CappedReLU(cap=6.0),  # out-of-place, fold-relu6\n" in text
    assert "    arithmetic-to-functional  " in text.partition('"""\n\nfrom')[0]


def test_original_names_are_a_table_of_the_shortest_prefixes():
    built = built_from(text_of(Pair()))
    assert built.ORIGINAL == {
        "first.expand.conv": "first.block.0.0",
        "first.expand.bn": "first.block.0.1",
        "first.conv": "first.block.1",
        "second.expand.conv": "second.block.0.0",
        "second.expand.bn": "second.block.0.1",
        "second.conv": "second.block.1",
    }


def test_a_reason_for_float_stands_at_its_line():
    class Rolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.roll(self.a(x), 1, 2))

    text = text_of(Rolled())
    assert (
        "# in float: torch.roll: the engine has no quantized kernel for it\n        x = torch.roll(x, 1, 2)\n" in text
    )


def test_a_checkpoint_that_lacks_a_layer_is_refused_by_name():
    model = Pair().eval()
    state = model.state_dict()
    del state["second.block.1.bias"]
    with pytest.raises(KeyError, match=r"the checkpoint has no second\.block\.1\.bias"):
        built_from(text_of(model)).build(state)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.query = nn.Linear(48, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        tokens = self.query(x.reshape(x.shape[0], -1, 48))
        return self.attention(tokens, tokens * 0.5, tokens, need_weights=False)[0]


def test_rows_of_a_shared_weight_become_layers_of_their_own():
    model = Attention()
    nn.init.normal_(model.attention.in_proj_bias)
    built = built_from(text_of(model))
    assert set(built.ROWS.values()) == {(0, 8), (8, 16), (16, 24)}
    image = torch.randn(2, 3, 16, 16)
    rewritten = rewrite(model.eval(), example=(image,))
    assert torch.equal(outputs(rewritten.module, image), outputs(built.build(model.state_dict()), image))


class InVain(nn.Module):
    """Computes a head, and returns another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        head = self.first(x) + 1
        other = self.second(x) + 1
        return other if self.training else head


def test_a_layer_whose_result_nothing_reads_is_not_written():
    built = built_from(text_of(InVain()))
    other, image = InVain().eval(), torch.randn(2, 3, 16, 16)
    model = built.build(other.state_dict())
    assert not any(name.startswith("second") for name in model.state_dict())
    assert torch.equal(outputs(other, image), outputs(model, image))


class Biased(nn.Module):
    """A bias worked out of a table that is a parameter, by an index that is in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.table = nn.Parameter(torch.randn(7, 4))
        self.register_buffer("index", torch.tensor([3]))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.table[self.index].view(1, 4, 1, 1).sigmoid()


def test_what_is_worked_out_of_parameters_is_worked_out_of_the_checkpoint():
    built = built_from(text_of(Biased()))
    assert list(built.FOLDED) == ["sigmoid"]
    other, image = Biased().eval(), torch.randn(2, 3, 16, 16)
    assert torch.equal(outputs(other, image), outputs(built.build(other.state_dict()), image))


class Weighing(nn.Module):
    """A layer whose weight is worked out of parameters, one whose weight is in no checkpoint, and two of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mirrored = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.register_buffer("blur", torch.rand(4, 1, 3, 3), persistent=False)
        self.tied = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.conv.weight - self.conv.weight.mean((1, 2, 3), keepdim=True), self.conv.bias)
        x = F.conv2d(F.conv2d(x, self.tied), self.tied, stride=2)
        return self.mirrored(F.conv2d(x, self.blur, groups=4))


def test_layers_whose_weights_are_no_parameters():
    original, image = Weighing(), torch.randn(2, 3, 32, 32)
    built = built_from(text_of(original, 32))
    assert list(built.FOLDED) == ["conv.weight"] and len(built.CONSTANTS) == 1
    other = Weighing().eval()
    other.blur = original.blur
    assert torch.equal(outputs(other, image), outputs(built.build(other.state_dict()), image))


class Deciding(nn.Module):
    """Lines that go by buffers: a switch, the numbers of one in a loop, two compared, a table handed out whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.inner = nn.Module()
        self.inner.register_buffer("flag", torch.tensor(True))
        self.register_buffer("strides", torch.tensor([0.5, 0.25]))
        self.register_buffer("count", torch.tensor(2))
        self.register_buffer("limit", torch.tensor(3), persistent=False)
        self.register_buffer("table", torch.linspace(0, 1, 24).view(4, 6))
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.inner.flag:
            x = x.relu()
        for stride in self.strides:
            x = x * float(stride)
        if self.count < self.limit:
            x = x + 1
        x = x * sum(map(sum, self.table.tolist()))
        return x + self.shift


@pytest.fixture(scope="module")
def deciding() -> tuple[Deciding, Rewritten, str]:
    model = Deciding().eval()
    rewritten = rewrite(model, example=(torch.randn(1, 3, 4, 4),))
    return model, rewritten, emit(rewritten)


@pytest.mark.parametrize("key", ["inner.flag", "strides", "count", "table"])
def test_a_checkpoint_that_decides_otherwise_is_refused_in_the_words_of_the_rewritten_model(deciding, key):
    model, rewritten, text = deciding
    state = copy.deepcopy(model.state_dict())
    state[key].copy_(torch.tensor(7) if key == "count" else 1 - state[key].float())
    with pytest.raises(ValueError, match=f"test_emit.py:[0-9]+ was decided by {key} when .* rewrite that$") as refused:
        built_from(text).build(state)
    with pytest.raises(ValueError) as wanted:
        rewritten.load_state_dict(state)
    assert str(refused.value) == str(wanted.value)


def test_a_checkpoint_that_decides_alike_is_built_whatever_else_is_in_it(deciding):
    model, _, text = deciding
    other, image = Deciding().eval(), torch.randn(2, 3, 4, 4)
    other.shift.fill_(-2.0)
    other.count.fill_(-1)
    built = built_from(text)
    assert torch.equal(outputs(other, image), outputs(built.build(other.state_dict()), image))
    assert torch.equal(outputs(model, image), outputs(built.build(model.state_dict()), image))
    assert "_unpacked((1, 4, 6), torch.float64, " in " ".join(text.split()).replace("( ", "(")


def test_a_checkpoint_that_lacks_what_decided_is_refused_by_name(deciding):
    model, _, text = deciding
    state = model.state_dict()
    del state["inner.flag"]
    with pytest.raises(KeyError, match=r"the checkpoint has no inner\.flag"):
        built_from(text).build(state)


def test_numbers_that_are_none_decide_alike():
    class Missing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.register_buffer("scale", torch.tensor(float("nan")))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if self.scale.item() > 1 else x

    built, model = built_from(text_of(Missing())), Missing()
    built.build(model.state_dict())
    model.scale.fill_(2.0)
    with pytest.raises(ValueError, match="was decided by scale when"):
        built.build(model.state_dict())


def test_what_only_buffers_that_are_in_no_checkpoint_decided_is_not_written_down():
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.register_buffer("flag", torch.tensor(True), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if self.flag else x

    assert "DECIDED" not in text_of(Kept())


@pytest.mark.parametrize("width", ["88", "120"])
def test_formatters_leave_decisions_as_they_are(deciding, width, tmp_path):
    is_formatted(deciding[2], width, tmp_path / "emitted.py")


def test_large_constants_are_packed_and_small_ones_written_out():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x * torch.linspace(0, 1, 256).view(1, 1, 16, 16)) + torch.tensor([0.5])

    text, model, image = text_of(Masked()), Masked().eval(), torch.randn(2, 3, 16, 16)
    assert "_unpacked((1, 1, 16, 16), torch.float32, " in text.replace("\n        ", " ").replace("( ", "(")
    assert "torch.tensor([0.5], dtype=torch.float32)" in text
    assert torch.equal(outputs(model, image), outputs(built_from(text).build(model.state_dict()), image))


def test_names_that_python_does_not_take_are_mended():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("conv-a", nn.Conv2d(3, 3, 1))
            self.b = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(getattr(self, "conv-a")(x))

    model, image = Named().eval(), torch.randn(1, 3, 16, 16)
    text = text_of(model)
    assert "x = self.conv_a(x)" in text and '"conv_a": "conv-a"' in text
    assert torch.equal(outputs(model, image), outputs(built_from(text).build(model.state_dict()), image))


# -- refusals ------------------------------------------------------------------------------------------


class Stubborn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_part_that_did_not_trace_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Stubborn())
    with pytest.raises(NotEmittable, match="Stubborn is no layer of torch"):
        text_of(model)


def test_a_model_that_is_not_one_graph_is_refused():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            while y.sum() > 1e9:
                y = y / 2
            return y

    with pytest.raises(NotEmittable, match="does not trace, so there is no graph to write down"):
        text_of(Loop())


def test_wrapped_arithmetic_is_refused():
    with pytest.raises(NotEmittable, match="wrapped arithmetic has no place in a file"):
        text_of(Pair(), passes=WRAPPED_PASSES)


def test_a_function_of_another_library_is_refused():
    class Suppressed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torchvision.ops.nms(self.conv(x).flatten(2)[0].t(), x.flatten()[:256], 0.5)

    with pytest.raises(NotEmittable, match="is no function of torch, and the file imports torch alone"):
        text_of(Suppressed())


def test_emitting_changes_nothing():
    model = Pair().eval()
    rewritten = rewrite(model, example=(torch.randn(1, 3, 16, 16),))
    before, state = rewritten.graph_module.code, copy.deepcopy(rewritten.module.state_dict())
    first, second = emit(rewritten), emit(rewritten)
    assert (first, rewritten.graph_module.code) == (second, before)
    assert all(torch.equal(value, state[key]) for key, value in rewritten.module.state_dict().items())
