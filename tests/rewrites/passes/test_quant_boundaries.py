"""Stubs stand where int8 and float meet, and nowhere else."""

import pytest
import torch
from passcheck import check, conv, images, model
from torch import nn

from rewrites import DEFAULT_PASSES
from rewrites.passes import QuantBoundaries

RULE = QuantBoundaries()
EARLIER = DEFAULT_PASSES[:-1]


def stubs(lines) -> list[str]:
    return [line.split(" = ")[0] for line in lines if line.endswith(("# QuantStub()", "# DeQuantStub()"))]


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.mish(x), id="all in float"),
        pytest.param(lambda self, x: x.flatten(1), id="nothing to compute"),
        pytest.param(lambda self, x: self.mish(x).relu(), id="only what follows a float operation"),
    ],
)
def test_left_as_it_is(forward):
    assert check(RULE, model(forward, mish=nn.Mish()), before=EARLIER).result.edits == ()


def test_a_network_all_in_int8_has_one_of_each():
    def forward(self, x):
        y = self.act(self.bn(self.conv1(x)))
        z = y * self.conv2(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.linear((z + y).flatten(1))

    original = model(
        forward,
        conv1=conv(), bn=nn.BatchNorm2d(8), act=nn.ReLU6(), conv2=conv(), linear=nn.Linear(512, 4),
    )  # fmt: skip
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_linear"]
    assert checked.skips == {}


def test_a_float_island_carries_its_reason():
    original = model(lambda self, x: self.conv2(self.glu(self.conv1(x))), conv1=conv(), glu=nn.GLU(2), conv2=conv())
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv1", "quant_glu", "dequant_conv2"]
    assert checked.skips == {"glu": "GLU: the engine has no quantized kernel for it"}
    assert [(i.nodes, i.reason) for i in checked.whole.islands] == [
        (("glu",), "GLU: the engine has no quantized kernel for it")
    ]


def test_a_value_read_by_both_domains_is_converted_once():
    def forward(self, x):
        y = self.conv1(x)
        return self.conv2(y), self.mish(y), self.mish2(y)

    original = model(forward, conv1=conv(), conv2=conv(), mish=nn.Mish(), mish2=nn.Mish())
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv1", "dequant_conv2"]


def test_several_inputs_and_outputs():
    def forward(self, x, y):
        return {"sum": self.conv1(x) + self.conv2(y), "left": [self.conv3(x)]}

    checked = check(RULE, model(forward, conv1=conv(), conv2=conv(), conv3=conv()), *images(count=2), before=EARLIER)
    assert sorted(stubs(checked.lines)) == ["dequant_add", "dequant_conv3", "quant_x", "quant_y"]


def test_an_int8_region_fed_by_float_alone_is_given_up():
    original = model(lambda self, x: self.mish(self.conv(x)) * 2 + 1, conv=conv(), mish=nn.Mish())
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv"]
    reason = "lies behind a float operation, with no convolution or linear layer to quantize for"
    assert checked.skips["mul"] == checked.skips["add"] == reason


def test_operations_that_follow_stay_where_their_input_is():
    original = model(lambda self, x: self.conv(x.cumsum(1).flatten(1).unflatten(1, (8, 8, 8))).flatten(1), conv=conv())
    checked = check(RULE, original, before=EARLIER)
    assert checked.skips["flatten"] == "follows cumsum, which is in float"
    assert "flatten_1" not in checked.skips


def test_an_input_that_is_only_moved_is_quantized_first():
    original = model(lambda self, x: self.conv(x.flatten(1).unflatten(1, (8, 8, 8))), conv=conv())
    checked = check(RULE, original, before=EARLIER)
    assert [line for line in checked.lines if "Stub" in line] == [
        "quant_x = self.quant_x(x)  # QuantStub()", "dequant_conv = self.dequant_conv(conv)  # DeQuantStub()",
    ]  # fmt: skip
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: (self.conv(y := x.flip(3)), y), id="it is also returned"),
        pytest.param(lambda self, x: self.conv(y := x.flip(3)) + torch.log(y.abs()), id="it is also read in float"),
        pytest.param(lambda self, x: self.conv(x.mean(3, True)), id="it computes"),
    ],
)
def test_what_is_read_in_float_or_computes_stays_in_float(forward):
    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert "follows x, which is in float" in checked.skips.values()


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        pytest.param(
            lambda self, x: self.conv(x).chunk(2, 1),
            "several tensors are handed on at once, and a stub takes one",
            id="a tuple leaves the network",
        ),
        pytest.param(
            lambda self, x: torch.hstack(self.conv(x).chunk(2, 1)),
            "several tensors are handed on at once, and a stub takes one",
            id="a tuple is read in float",
        ),
    ],
)
def test_a_stub_converts_one_tensor_at_a_time(forward, reason):
    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert checked.skips["chunk"] == reason


def test_chunks_taken_apart_or_joined_again_stay_in_int8():
    def forward(self, x):
        left, right = self.conv(x).chunk(2, 1)
        return torch.cat([right, left], 1) + torch.cat(self.conv2(x).split(4, 1), 1)

    checked = check(RULE, model(forward, conv=conv(), conv2=conv()), before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_add"]


def test_a_list_from_float_is_joined_in_float():
    original = model(lambda self, x: torch.cat(self.mish(x).chunk(2, 1), 1), mish=nn.Mish())
    checked = check(RULE, original, before=EARLIER)
    assert checked.skips["cat"] == "follows chunk, which is in float"


def test_a_layer_called_in_both_domains_runs_in_float():
    # Its one set of weights is either int8 or float; between changes through a view it has to be float.
    def forward(self, x):
        y = self.conv(x)
        view = torch.einsum("nchw->nhwc", y)
        view.add_(1)
        between = self.conv(y)
        view.add_(1)
        return between, y

    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert checked.skips["conv"] == "conv is also called in float, at conv_1, with the same weights"


def test_a_layer_whose_weight_is_read_by_name_runs_in_float():
    original = model(lambda self, x: self.conv(x) + (x.mean() * self.conv.weight).sum(), conv=conv())
    checked = check(RULE, original, before=EARLIER)
    assert checked.skips["conv"] == "the weights of conv are also read by name"


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x.to(self.conv.weight.dtype)), id="type"),
        pytest.param(lambda self, x: self.conv(x) * self.conv.weight.shape[0], id="shape"),
        pytest.param(lambda self, x: self.conv(x.to(self.conv.weight.device)), id="device"),
        pytest.param(lambda self, x: self.conv(x) * self.conv.weight.requires_grad, id="requires_grad"),
    ],
)
def test_a_layer_that_is_only_asked_about_its_weight_is_not_read(forward):
    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert "conv" not in checked.skips


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (nn.MaxPool2d(3, 1, dilation=2), "MaxPool2d: its kernel computes dilated pooling wrong"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "AvgPool2d: its kernel ignores count_include_pad=False"),
        (nn.AvgPool2d(3, divisor_override=2), "AvgPool2d: its kernel ignores divisor_override"),
        (
            nn.BatchNorm2d(8, track_running_stats=False),
            "BatchNorm2d: it keeps no running statistics, which its kernel needs",
        ),
        (nn.InstanceNorm2d(8, track_running_stats=True), "InstanceNorm2d: its kernel ignores running statistics"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "Upsample: no quantized kernel interpolates in mode 'bicubic'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_settings_the_kernels_refuse(part, reason):
    original = model(lambda self, x: self.part(self.relu(self.bn(x))), part=part, bn=nn.BatchNorm2d(8), relu=nn.ReLU())
    assert check(RULE, original, before=EARLIER).skips["part"] == reason


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (
            lambda y: nn.functional.interpolate(y, scale_factor=2, mode="bicubic"),
            "F.interpolate: no quantized kernel interpolates in mode 'bicubic'",
        ),
        (
            lambda y: nn.functional.interpolate(y, scale_factor=2, mode="bilinear", antialias=True),
            "F.interpolate: no quantized kernel interpolates with antialias",
        ),
        (
            lambda y: nn.functional.pad(y, (1, 1), value=-1e9),
            "F.pad: a padding value other than 0 may lie outside of the range",
        ),
        (
            lambda y: nn.functional.pad(y, (-1, 1, 1, 1), "replicate"),
            "it cuts off where it is padded by a negative number, which no pad of slices does",
        ),
    ],
)
def test_calls_the_kernels_refuse(call, reason):
    checked = check(RULE, model(lambda self, x: call(self.conv(x)), conv=conv()), before=EARLIER)
    assert list(checked.skips.values()) == [reason]


def test_views_that_only_float_operations_read_are_views_in_float():
    def forward(self, x):
        y = self.conv(x).unflatten(1, (2, 4))
        return torch.cos(y[:, 0]) + torch.sin(y[:, 1])

    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv"]
    reason = "follows the float operations beside it"
    assert checked.skips["unflatten"] == checked.skips["getitem"] == checked.skips["getitem_1"] == reason


def test_views_stay_int8_where_that_takes_as_few_conversions():
    checked = check(RULE, model(lambda self, x: torch.cos(self.conv(x).flatten(1)), conv=conv()), before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_flatten"]


def test_a_product_whose_kernel_computes_in_float_joins_a_float_operation():
    def forward(self, x):
        y = self.conv(x)
        return self.conv2((y @ y.mT).softmax(-1) @ y)

    checked = check(RULE, model(forward, conv=conv(), conv2=conv()), before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv", "quant_matmul_1", "dequant_conv2"]
    assert len(checked.whole.islands) == 1
    assert checked.skips["matmul"] == "MatMul: its kernel computes in float, like the operation beside it"


def test_such_a_product_among_int8_operations_is_int8():
    original = model(lambda self, x: self.conv2(self.conv(x) @ self.conv(x)), conv=conv(), conv2=conv())
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "dequant_conv2"] and checked.whole.islands == ()


def test_what_a_layer_norm_reads_is_float_where_that_costs_nothing():
    # As many conversions either way: in int8 the sum would be too coarse for the norm.
    def forward(self, x):
        return self.linear2(self.norm(x.flatten(1).cos() + self.linear(x.flatten(1))))

    original = model(forward, linear=nn.Linear(512, 512), norm=nn.LayerNorm(512), linear2=nn.Linear(512, 4))
    checked = check(RULE, original, before=EARLIER)
    assert checked.skips["add"] == "follows the float operations beside it"
    assert stubs(checked.lines) == ["quant_x", "dequant_linear", "quant_norm", "dequant_linear2"]


def test_a_sum_between_norms_makes_one_island_of_theirs():
    def forward(self, x):
        x = self.norm(self.linear(x))
        for layer, norm in ((self.linear2, self.norm2), (self.linear3, self.norm3)):
            x = x + norm(layer(x))
        return self.linear4(x)

    layers = {f"linear{n}": nn.Linear(8, 8) for n in ("", 2, 3, 4)} | {f"norm{n}": nn.LayerNorm(8) for n in ("", 2, 3)}
    checked = check(RULE, model(forward, **layers), before=EARLIER)
    assert [set(island.nodes) for island in checked.whole.islands] == [{"norm", "norm2", "add", "norm3", "add_1"}]


def test_a_parameter_that_is_only_moved_is_quantized_first():
    def forward(self, x):
        return self.conv2(torch.cat([self.conv(x), self.token.expand(x.shape[0], -1, 8, 8)], 1))

    original = model(forward, conv=conv(), conv2=conv(16), token=nn.Parameter(torch.randn(1, 8, 1, 1)))
    checked = check(RULE, original, before=EARLIER)
    assert stubs(checked.lines) == ["quant_x", "quant_token", "dequant_conv2"] and checked.whole.islands == ()


def test_an_average_of_values_of_either_sign_that_is_returned_is_in_float():
    def forward(self, x):
        y = self.conv(x)
        return self.conv2(y), y.mean((2, 3)), self.pool(y).flatten(1) * 2

    original = model(forward, conv=conv(), conv2=conv(), pool=nn.AdaptiveAvgPool2d(1))
    checked = check(RULE, original, before=EARLIER)
    assert checked.skips["mean"] == ".mean(): an average of values of either sign, which the model returns"
    assert set(checked.skips) == {"mean", "pool", "flatten", "mul"}
    assert stubs(checked.lines) == ["quant_x", "dequant_conv", "dequant_conv2"]


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x).relu().mean((2, 3)), id="none is negative: nothing cancels"),
        pytest.param(lambda self, x: self.linear(self.conv(x).mean((2, 3))), id="a layer reads it"),
        pytest.param(lambda self, x: self.conv(x) + self.linear(self.conv(x).mean(3)).mean(), id="one behind another"),
    ],
)
def test_other_averages_stay_in_int8(forward):
    checked = check(RULE, model(forward, conv=conv(), linear=nn.Linear(8, 8)), before=EARLIER)
    assert "mean" not in checked.skips


def test_a_view_that_is_asked_for_its_size_alone_is_no_island():
    def forward(self, x):
        size = x[:, :4][:, :, 1:].size()
        return self.conv2(torch.cat([self.conv(x)[:, :, 1:], self.token.expand(size)], 1))

    original = model(forward, conv=conv(), conv2=conv(12), token=nn.Parameter(torch.randn(1, 4, 1, 1)))
    checked = check(RULE, original, before=EARLIER)
    assert checked.whole.islands == () and stubs(checked.lines) == ["quant_x", "quant_token", "dequant_conv2"]
