"""The passes of optimize_for_mobile, and the same ones where torch is built without XNNPACK."""

from unittest import mock

import fxconv_networks as networks
import pytest
import torch
import torchvision
from fxconv_torch import needs_xnnpack
from torch import nn
from torch._C import _MobileOptimizerType
from torch.jit.mobile import _export_operator_list

import fxconv
from fxconv.config import Config, Method, MobilePass
from fxconv.environment import has_xnnpack
from fxconv.quantization import engine
from fxconv.targets.mobile import lowering, optimizing
from fxconv.targets.mobile.lite_file import float_kernels, load_lite_bytes

UNPACKED = "aten, unpacked"
PREPACKING = MobilePass.insert_fold_prepack_ops


@pytest.fixture(autouse=True)
def qnnpack():
    with engine.engine("qnnpack"):
        yield


@pytest.fixture
def no_xnnpack(monkeypatch):
    """As on a torch that is built without it."""
    monkeypatch.setattr(optimizing, "has_xnnpack", lambda: False)


class Norms(nn.Module):
    """Something for each of the passes to do, in float."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.head(self.drop(torch.relu(x + 0.5 * x).mean((2, 3))))


def kinds(graph):
    """The operators of a graph in order, those in branches too."""
    found = []
    for node in graph.nodes():
        found.append(node.kind())
        for block in node.blocks():
            found += kinds(block)
    return found


# -- the way without XNNPACK ---------------------------------------------------------------------------

DONE_BY = {
    MobilePass.conv_bn_fusion: ("aten::batch_norm", False),
    MobilePass.remove_dropout: ("aten::dropout", False),
    MobilePass.fuse_add_relu: ("aten::_add_relu", True),
}


@pytest.mark.parametrize("name", DONE_BY, ids=lambda name: name.value)
def test_a_pass_runs_and_a_blocked_one_does_not(name, no_xnnpack):
    operator, is_made = DONE_BY[name]
    net, x = Norms().eval(), torch.randn(2, 3, 8, 8)
    scripted = torch.jit.script(net)
    done, blocked = (optimizing.optimize(scripted, Config(block=block)) for block in ((), (name,)))
    assert (operator in kinds(done.graph)) is is_made
    assert (operator in kinds(blocked.graph)) is not is_made
    others = [other for other in DONE_BY if other is not name]
    for other, made in (DONE_BY[one] for one in others):
        assert (other in kinds(blocked.graph)) is made
    with torch.no_grad():
        for optimized in (done, blocked):
            assert torch.allclose(optimized(x), net(x), atol=1e-6)
        assert torch.equal(blocked(x), net(x)) or name is not MobilePass.conv_bn_fusion


@pytest.mark.parametrize("method", [Method.script, Method.trace], ids=lambda method: method.value)
def test_the_program_is_frozen(method, small_conversion, batches, no_xnnpack):
    scripted = lowering.to_torchscript(small_conversion.int8, (batches[0][:1],), Config(method=method))
    optimized = optimizing.optimize(scripted, Config(method=method))
    assert [name for name, _ in optimized.named_modules()] == [""]
    assert "prim::GetAttr" not in kinds(optimized.graph) and "prim::CallMethod" not in kinds(optimized.graph)
    assert optimized.mobile_optimized is True
    assert torch.equal(optimized(batches[1][:2]), small_conversion.int8(batches[1][:2]))


def test_the_model_keeps_its_weights(no_xnnpack):
    net, x = Norms().eval(), torch.randn(2, 3, 8, 8)
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    scripted = torch.jit.script(net)
    optimizing.optimize(scripted, Config())
    assert all(torch.equal(value, kept[name]) for name, value in scripted.state_dict().items())
    assert len(list(scripted.named_modules())) == len(list(net.named_modules()))
    assert "aten::dropout" not in kinds(scripted.graph) or torch.equal(scripted(x), net(x))


class Peaks(nn.Module):
    """Branches, a loop, sizes: what freezing must not take for constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = torch.relu(x + x.roll(1, -1))
        if x.shape[-1] > 8:
            x = x[..., :8]
        return x / x.shape[0]


def test_branches_and_sizes_stay_what_they_were(no_xnnpack):
    net = Peaks().eval()
    optimized = optimizing.optimize(torch.jit.script(net), Config())
    for shape in ((1, 2, 5), (2, 2, 9), (3, 1, 30)):
        x = torch.randn(shape)
        assert torch.equal(optimized(x), net(x))


@pytest.mark.parametrize("java", [False, True])
def test_what_writes_in_place_needs_no_warning_where_nothing_is_prepacked(java, no_xnnpack):
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            y = self.first(x)
            y[:, 0] = 0
            return self.last(y)

    net, x = Written().eval(), torch.randn(2, 3, 9, 9)
    lowered = lowering.lowered(net, (x[:1],), Config(java=java))
    assert lowered.doubt == "" and lowered.warnings == ()  # with XNNPACK they would not be packed either
    with torch.no_grad():
        assert torch.equal(lowered.stages["optimized"](x), net(x))


def test_nothing_is_said_of_padding_in_words_which_is_packed_nowhere(no_xnnpack):
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")).eval(), torch.randn(1, 3, 8, 8)
    lowered = lowering.lowered(net, (x,), Config(method=Method.script))
    assert lowered.warnings == () and float_kernels(load_lite_bytes(lowered.content)) == UNPACKED


# -- what is said of it --------------------------------------------------------------------------------


def said(conversion):
    return [line for line in conversion.warnings if "XNNPACK" in line]


def test_float_layers_that_stay_unpacked_are_told_in_a_line(no_xnnpack):
    torch.manual_seed(0)
    net = networks.one_float_convolution().eval()
    conversion = fxconv.convert(net, [torch.randn(4, 3, 16, 16)], skip=networks.PAD_INSIDE, recipe="none")
    (line,) = said(conversion)
    assert conversion.verified and "\n" not in line
    assert line.startswith("float layers are not packed for XNNPACK, which torch 2.")
    assert "run slower for it: 1 aten::conv2d; torch 2.12 packs them" in line


@pytest.mark.parametrize("method", [Method.script, Method.trace], ids=lambda method: method.value)
def test_each_kind_of_layer_is_counted(method, no_xnnpack):
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, 2, 1), nn.Flatten(2), nn.Conv1d(2, 3, 1)),
        *(nn.ConvTranspose1d(3, 3, 1), nn.Unflatten(2, (5, 5, 1)), nn.Conv3d(3, 2, 1), nn.Flatten(), nn.Linear(50, 3)),
    )
    x = torch.randn(1, 3, 4, 4)
    scripted = lowering.to_torchscript(net.eval(), (x,), Config(method=method))
    optimized = optimizing.optimize(scripted, Config())
    counts = {
        Method.script: ": 1 aten::conv1d, 2 aten::conv2d, 1 aten::conv_transpose2d, 1 aten::linear;",
        Method.trace: ": 1 aten::linear, 4 aten::_convolution;",
    }
    assert counts[method] in optimizing.unpacked(scripted, optimized, Config())


@needs_xnnpack
def test_those_are_the_layers_that_torch_packs():
    kinds_of_layers = {
        "conv1d": (nn.Conv1d(3, 4, 1), 3, True),
        "conv2d": (nn.Conv2d(3, 4, 1), 4, True),
        "conv3d": (nn.Conv3d(3, 4, 1), 5, False),
        "conv_transpose1d": (nn.ConvTranspose1d(3, 4, 1), 3, False),
        "conv_transpose2d": (nn.ConvTranspose2d(3, 4, 1), 4, True),
        "conv_transpose3d": (nn.ConvTranspose3d(3, 4, 1), 5, False),
        "linear": (nn.Linear(5, 4), 3, True),
    }
    for name, (layer, rank, is_packed) in kinds_of_layers.items():
        for method in (Method.script, Method.trace):
            example = (torch.randn((1, 3, 5, 5, 5)[:rank]),)
            scripted = lowering.to_torchscript(nn.Sequential(layer).eval(), example, Config(method=method))
            assert ("prepacked::" in str(optimizing.optimize(scripted, Config()).graph)) is is_packed, name
            with mock.patch.object(optimizing, "has_xnnpack", lambda: False):
                plain = optimizing.optimize(scripted, Config())
                assert bool(optimizing.unpacked(scripted, plain, Config())) is is_packed, (name, method)


@pytest.mark.parametrize("options", [{"java": True}, {"block": (PREPACKING,)}], ids=str)
def test_nothing_is_said_where_prepacking_was_not_wanted(options, no_xnnpack):
    net = networks.one_float_convolution().eval()
    torch.manual_seed(0)
    conversion = fxconv.convert(net, [torch.randn(4, 3, 16, 16)], skip=networks.PAD_INSIDE, recipe="none", **options)
    assert conversion.verified and not said(conversion)


def test_nothing_is_said_of_a_file_without_float_layers(small_model, batches, no_xnnpack):
    conversion = fxconv.convert(small_model, batches, recipe="none")
    assert conversion.verified and not said(conversion)
    assert conversion.latency.float_kernels == "aten, unpacked"  # of the float twin alone


@needs_xnnpack
def test_nothing_is_said_where_they_are_packed():
    torch.manual_seed(0)
    net = networks.one_float_convolution().eval()
    conversion = fxconv.convert(net, [torch.randn(4, 3, 16, 16)], skip=networks.PAD_INSIDE, recipe="none")
    assert not said(conversion) and "prepacked::conv2d_clamp_run" in conversion.artifact.calls


@pytest.mark.parametrize(
    ("layers", "options", "kernels"),
    [
        ((nn.Conv2d(3, 4, 1), nn.ReLU()), {}, "XNNPACK" if has_xnnpack() else UNPACKED),
        ((nn.Conv2d(3, 4, 1), nn.ReLU()), {"java": True}, UNPACKED),
        (
            (nn.Conv2d(3, 4, 1), nn.Unflatten(2, (4, 1)), nn.Conv3d(4, 4, 1)),
            {},
            "XNNPACK and aten" if has_xnnpack() else UNPACKED,
        ),
        ((nn.Unflatten(2, (4, 1)), nn.Conv3d(3, 4, 1)), {}, "aten"),
        ((nn.ReLU(), nn.MaxPool2d(2)), {}, ""),
    ],
)
def test_the_kernels_of_a_float_file_are_read_off_its_operators(layers, options, kernels):
    content = lowering.to_bytes(
        lowering.twin(nn.Sequential(*layers).eval(), (torch.randn(1, 3, 4, 4),), Config(**options))
    )
    assert float_kernels(load_lite_bytes(content)) == kernels


# -- either way ---------------------------------------------------------------------------------------


def test_optimizing_leaves_the_weights_where_they_were():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(), torch.randn(1, 3, 8, 8)
    kept = {name: (weight.data_ptr(), weight.clone()) for name, weight in model.named_parameters()}
    with torch.no_grad():
        expected = model(x)
        optimized = optimizing.optimize(torch.jit.script(model), Config(java=True))
        assert torch.equal(optimized(x), expected)
        assert torch.equal(model(x), expected)
    for name, weight in model.named_parameters():
        assert weight.data_ptr() == kept[name][0]
        assert torch.equal(weight, kept[name][1])


def test_weights_come_back_when_torch_cannot_write(monkeypatch):
    model = nn.Conv2d(3, 4, 3).eval()
    before = model.weight.clone()

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(torch.jit, "save", full)
    with pytest.raises(OSError, match="no room"):
        optimizing.optimize(torch.jit.script(model), Config())
    assert torch.equal(model.weight, before)


def test_java_blocks_prepacking_once():
    assert Config(java=True).blocked == (MobilePass.insert_fold_prepack_ops,)
    both = Config(java=True, block=(MobilePass.insert_fold_prepack_ops, MobilePass.remove_dropout))
    assert both.blocked == (MobilePass.insert_fold_prepack_ops, MobilePass.remove_dropout)


@pytest.fixture(scope="module")
def one_float():
    torch.manual_seed(0)
    return networks.one_float_convolution().eval(), [torch.randn(4, 3, 16, 16)]


@needs_xnnpack
def test_a_float_convolution_is_prepacked(one_float):
    model, batches = one_float
    conversion = fxconv.convert(model, calibration=batches, skip=networks.PAD_INSIDE, recipe=("none",))
    assert conversion.verified
    assert [op for op in conversion.artifact.calls if op.startswith("prepacked::")] == ["prepacked::conv2d_clamp_run"]


@pytest.mark.parametrize("options", [{"java": True}, {"block": (MobilePass.insert_fold_prepack_ops,)}], ids=str)
def test_java_and_its_mobile_pass_leave_no_prepacked_operator(options, one_float):
    model, batches = one_float
    conversion = fxconv.convert(model, calibration=batches, skip=networks.PAD_INSIDE, recipe=("none",), **options)
    assert conversion.verified
    assert not [op for op in conversion.artifact.operators if op.startswith("prepacked::")]
    assert not [op for op in conversion.artifact.calls if op.startswith("prepacked::")]


# -- beside optimize_for_mobile ------------------------------------------------------------------------


def test_all_of_torchs_mobile_passes_for_the_processor_can_be_named():
    members = {optimizing._optimizer_type(name) for name in MobilePass}
    assert members == set(_MobileOptimizerType.__members__.values())
    assert all(isinstance(member, _MobileOptimizerType) for member in members)


@pytest.mark.parametrize("name", list(MobilePass), ids=lambda name: name.value)
def test_a_blocked_pass_is_blocked_in_torch(name, monkeypatch):
    given = {}

    def optimizer(scripted, optimization_blocklist):
        given["blocked"] = optimization_blocklist
        return scripted

    monkeypatch.setattr(optimizing, "has_xnnpack", lambda: True)
    monkeypatch.setattr(optimizing, "optimize_for_mobile", optimizer)
    scripted = torch.jit.script(nn.Sigmoid())
    optimizing.optimize(scripted, Config(block=(name,)))
    (member,) = given["blocked"]
    assert member.name == name.value.upper().replace("-", "_")
    optimizing.optimize(scripted, Config())
    assert given["blocked"] == set()


class Islands(networks.Tiny):
    """`Tiny` with a float island, which has no layer, and a branch on the size."""

    def forward(self, x):
        y = self.stem(x)
        y = y + torch.erf(self.block(y))
        return self.head(torch.nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


def mobilenet():
    return torchvision.models.mobilenet_v3_small(num_classes=10)


EACH = [(), *((name,) for name in MobilePass)]


@needs_xnnpack
@pytest.mark.parametrize(
    ("net", "method", "all_blocked"),
    [
        pytest.param(networks.tiny, Method.script, EACH, id="tiny scripted"),
        pytest.param(networks.tiny, Method.trace, EACH, id="tiny traced"),
        pytest.param(Islands, Method.script, [()], id="islands"),
        pytest.param(networks.detector, Method.trace, EACH, id="detector"),
        pytest.param(mobilenet, Method.script, [()], id="mobilenet_v3_small"),
    ],
)
def test_both_ways_give_the_same_bits_and_operators(net, method, all_blocked):
    torch.manual_seed(0)
    batches = [torch.randn(4, 3, 32, 32)]
    conversion = fxconv.convert(net().eval(), batches, recipe="none", min_sqnr=-1000.0)
    lowered = lowering.lowered(conversion.int8, (batches[0][:1],), Config(method=method))
    for blocked in all_blocked:
        # What else it packs are float layers, of which there are none, but some nodes come to stand otherwise for it.
        blocked = (*blocked, PREPACKING)
        ways = (optimizing.with_xnnpack, optimizing.without_xnnpack)
        found = [way(optimizing.in_own_unit(lowered.stages[lowering.SCRIPTED]), blocked) for way in ways]
        assert sorted(kinds(found[0].graph)) == sorted(kinds(found[1].graph))
        files = [lowering.to_bytes(one) for one in found]
        assert len(files[0]) == pytest.approx(len(files[1]), abs=512)  # longer names, in entries padded to 64 bytes
        loaded = [load_lite_bytes(content) for content in files]
        assert _export_operator_list(loaded[0]) == _export_operator_list(loaded[1])
        for x in (batches[0][:1], torch.randn(1, 3, 48, 32)):
            outputs = [torch.utils._pytree.tree_leaves(module(x)) for module in (*found, *loaded)]
            for others in outputs[1:]:
                assert all(torch.equal(one, other) for one, other in zip(outputs[0], others, strict=True))


@needs_xnnpack
def test_an_int8_network_is_the_same_whether_or_not_float_layers_are_packed(small_conversion, batches):
    scripted = torch.jit.script(small_conversion.int8)
    packing, plain = (optimizing.with_xnnpack(optimizing.in_own_unit(scripted), one) for one in ((), (PREPACKING,)))
    assert sorted(kinds(packing.graph)) == sorted(kinds(plain.graph))
    assert torch.equal(packing(batches[0]), plain(batches[0]))


@pytest.mark.skipif(has_xnnpack(), reason="torch is built with XNNPACK")
def test_torchs_own_asserts_where_there_is_no_xnnpack():
    with pytest.raises(RuntimeError, match="only available with XNNPACK"):
        optimizing.with_xnnpack(torch.jit.script(nn.ReLU()), {PREPACKING})


def test_whether_there_is_xnnpack_is_what_torch_says():
    assert has_xnnpack() is torch._C._is_xnnpack_enabled()
