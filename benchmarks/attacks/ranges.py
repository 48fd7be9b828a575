"""Outputs of which one loud part hides the rest, and values no 8 bits hold."""

from __future__ import annotations

from benchmarks.attacks.attack import Attack, enter, whole

# What a message must name: an output, a channel, an operand, or the layer.
_NAMED = r"channel|constant|about (its|the) mean|operand|bias|row|output \d|int8 .{0,80}dB"
_HEADS = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
        self.box, self.cls = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)
        self.pool, self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(16, 10)
        with torch.no_grad():
            self.fc.weight.mul_(4)
            {init}

    def forward(self, x):
        f = self.body(x)
        {last}  # here
"""


def _pair(
    title: str,
    kind: str,
    last: tuple[str, str],
    init: tuple[str, str] = ("pass", "pass"),
    is_cured: bool = False,
    methods: tuple[str, ...] = ("auto", "trace"),
    options: dict[str, str] | None = None,
) -> None:
    attacked, sound = (whole(_HEADS.format(last=a, init=b)) for a, b in zip(last, init, strict=True))
    enter(
        Attack(
            kind,
            title,
            attacked,
            sound,
            "others",
            named=_NAMED,
            is_cured=is_cured,
            methods=methods,
            options=options or {},
        )
    )


def _same(last: str) -> tuple[str, str]:
    return last, last


# ---- one loud operand of a cat
for title, joined in (
    ("boxes beside scores", "torch.cat([torch.sigmoid(self.box(f)) * {0}, torch.sigmoid(self.cls(f))], 1)"),
    ("scores beside boxes", "torch.cat([torch.sigmoid(self.cls(f)), torch.sigmoid(self.box(f)) * {0}], 1)"),
    ("raw boxes", "torch.cat([self.box(f) * {0}, self.cls(f)], 1)"),
    ("rows of anchors", "torch.cat([(self.box(f) * {0}).flatten(2), self.cls(f).flatten(2)], 1).transpose(1, 2)"),
    ("along width", "torch.cat([self.box(f)[:, :3] * {0}, self.cls(f)], 3)"),
    ("stacked", "torch.stack([self.box(f)[:, :3] * {0}, self.cls(f)], 1)"),
    ("of vectors", "torch.cat([self.fc(self.pool(f)) * {0}, self.cls(f).mean((2, 3))], 1)"),
    ("nested", "torch.cat([torch.cat([self.box(f) * {0}, self.box(f)], 1), self.cls(f)], 1)"),
):
    last = joined.format("640"), joined.format("1")
    _pair(title, "loud operand of a cat", (f"return {last[0]}", f"return {last[1]}"), is_cured=True)

# ---- offsets and biases
for title, last, init in (
    ("linear", "return self.fc(self.pool(f))", "self.fc.bias.add_({0})"),
    ("linear, one class", "return self.fc(self.pool(f))", "self.fc.bias[3] += {0}"),
    ("linear, below 0", "return self.fc(self.pool(f))", "self.fc.bias.sub_({0})"),
    ("convolution", "return self.box(f)", "self.box.bias.add_({0})"),
    ("convolution, one channel", "return self.box(f)", "self.box.bias[1] += {0}"),
    ("inside, then a layer", "return self.cls(self.body[2](f))", "self.body[2].bias.add_({0})"),
    ("behind a relu", "return torch.relu(self.box(f))", "self.box.bias.add_({0})"),
):
    inits = (init.format("1000.0"), init.format("0.1"))
    cured = title in ("linear", "linear, below 0", "convolution", "linear, one class", "convolution, one channel")
    _pair(title, "bias that dwarfs products", _same(last), inits, is_cured=cured)
for title, last in (
    ("added to the output", "return self.fc(self.pool(f)) + {0}"),
    ("added to a map", "return self.box(f) + {0}"),
    ("subtracted", "return {0} - self.box(f)"),
    ("added and taken away", "return (self.box(f) + {0}) - {0}"),
):
    _pair(title, "offset", (last.format("1000.0"), last.format("0.1")))
for title, layer, factor in (
    ("linear, dynamic", "return self.fc(self.pool(f))", "self.fc.bias.add_({0})"),
    ("one class, dynamic", "return self.fc(self.pool(f))", "self.fc.bias[3] += {0}"),
    ("one row, dynamic", "return self.fc(self.pool(f))", "self.fc.weight[0] *= {0}"),
):
    inits = (factor.format("1000.0"), factor.format("1.0"))
    _pair(title, "dynamic", _same(layer), inits, methods=("auto",), options={"mode": "dynamic"}, is_cured=True)

# ---- one loud channel, one of two outputs
for title, last, init in (
    ("of a convolution", "return self.box(f)", "self.box.weight[0] *= {0}"),
    ("of a linear layer", "return self.fc(self.pool(f))", "self.fc.weight[0] *= {0}"),
    ("channels last", "return self.box(f).permute(0, 2, 3, 1)", "self.box.weight[0] *= {0}"),
    (
        "rows of anchors",
        "return self.box(f).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)",
        "self.box.weight[0] *= {0}",
    ),
    (
        "anchors of a head",
        "return self.box(f).unflatten(1, (2, 2)).permute(0, 1, 3, 4, 2)",
        "self.box.weight[0] *= {0}",
    ),
    ("without a batch", "return self.box(f)[0]", "self.box.weight[0] *= {0}"),
    ("pixel shuffle", "return nn.functional.pixel_shuffle(self.box(f), 2)", "self.box.weight[0] *= {0}"),
    ("a mask", "g = self.box(f); return g[:, 1:] > g[:, 1:].mean((2, 3), keepdim=True)", "self.box.weight[0] *= {0}"),
    ("scaled behind", "return self.box(f) * torch.tensor([{0}, 1.0, 1.0, 1.0]).view(1, 4, 1, 1)", "pass"),
    (
        "between two layers",
        "return self.cls(self.body[2](f))",
        "self.body[2].weight[0] *= {0}; self.cls.weight[:, 0] /= {0}",
    ),
    ("written into a slice", "g = self.box(f); g[:, 0] = g[:, 0] * {0}; return g", "pass"),
):
    _pair(
        title,
        "loud channel",
        (last.replace("{0}", "1000.0"), last.replace("{0}", "1.0")),
        (init.replace("{0}", "1000.0"), init.replace("{0}", "1.0")),
    )
_GUARDED = (
    "k = self.fc(self.pool(f))[:, 1:].argmax(1)\n        if int(k[0]) > 100:\n            k = -k\n        return k"
)
_pair(
    "an answer behind a guard",
    "loud channel",
    (_GUARDED, "return self.fc(self.pool(f))[:, 1:].argmax(1)"),
    ("self.fc.weight[0] *= 1000.0", "pass"),
)
for title, last in (
    ("a tuple", "return self.box(f) * {0}, self.cls(f)"),
    ("a dict", "return {{'boxes': self.box(f) * {0}, 'scores': self.cls(f)}}"),
    ("the second", "return self.cls(f), self.fc(self.pool(f)) * {0}"),
    ("a list of levels", "return [self.box(f) * {0}, self.box(self.body[2](f))]"),
):
    _pair(title, "one of two outputs", (f"{last.format('1e4')}", f"{last.format('1.0')}"), is_cured=True)
_pair(
    "one output within another's noise",
    "one of two outputs",
    (
        "return self.box(f), (self.box(f) - self.box(f * 1.01)) * 100",
        "return self.box(f), (self.box(f) - self.box(f * 0.3)) * 100",
    ),
)

# ---- nearly cancelling differences
_COPY = "self.far = copy.deepcopy(self.box); self.far.weight.mul_({0})"
for title, last in (
    ("of two layers", "return (self.box(f) - self.far(f)) * 100"),
    ("torch.sub", "return torch.sub(self.box(f), self.far(f)) * 100"),
    (
        "by weights of 1 and -1",
        "g = torch.cat([self.box(f), self.far(f)], 1).unflatten(1, (2, 4)); "
        "return (g * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1)).sum(1) * 100",
    ),
    ("a quotient", "return (self.box(f) / (self.far(f).abs() + 1.0) - self.far(f) / (self.box(f).abs() + 1.0)) * 100"),
    ("in place", "g = self.box(f); g -= self.far(f); return g * 100"),
    ("then a layer", "return self.cls(F.pad(self.box(f) - self.far(f), (0, 0, 0, 0, 6, 6)) * 100)"),
):
    _pair(title, "differences that nearly cancel", _same(last), (_COPY.format("1.01"), _COPY.format("-0.5")))

# ---- an int8 output that is constant, and values no range holds
for title, attacked, sound in (
    ("steps finer than the eps", "return self.box(f) * 1e-8", "return self.box(f) * 1.0"),
    ("exp of large values", "return torch.exp(self.box(f) * 20)", "return torch.exp(self.box(f) * 0.5)"),
    ("a power of 8", "return (self.box(f) * 3) ** 8", "return (self.box(f) * 0.5) ** 2"),
    ("a reciprocal near 0", "return 1 / (self.box(f).abs() + 1e-4)", "return 1 / (self.box(f).abs() + 1.0)"),
    (
        "a logarithm near 0",
        "return torch.log(torch.relu(self.box(f)) + 1e-12)",
        "return torch.log(self.box(f).abs() + 1.0)",
    ),
    ("sine of many periods", "return torch.sin(self.box(f) * 300)", "return torch.sin(self.box(f))"),
    (
        "a steep sigmoid",
        "return torch.sigmoid((self.box(f) - self.box(f).mean()) * 1e4)",
        "return torch.sigmoid(self.box(f) - self.box(f).mean())",
    ),
    ("a remainder", "return torch.remainder(self.box(f) * 100, 1.0)", "return torch.remainder(self.box(f), 100.0)"),
):
    _pair(title, "values no range holds", (attacked, sound))

# ---- modules used twice
for title, last in (
    ("a convolution", "return self.cls(self.body[2](f)) + self.cls(self.body[2](f * {0})) / {0}"),
    ("a relu", "return self.cls(self.body[1](f)), self.cls(self.body[1](f * {0}))"),
    ("a head", "return self.box(f), self.box(f * {0})"),
    (
        "in a loop",
        "g = f\n        for _ in range(3):\n            g = self.body[3](self.body[2](g)) * {0}\n"
        "        return self.cls(g)",
    ),
):
    sizes = ("100.0", "1.0") if title != "in a loop" else ("20.0", "1.0")
    _pair(
        title,
        "module used twice",
        (last.format(sizes[0]), last.format(sizes[1])),
        is_cured=True,
    )
# qnnpack pads every call of a convolution with the zero point of the first
for title, last in (
    (
        "a padded convolution, at another zero point",
        "return self.cls(self.body[2](f)) + self.cls(self.body[2](f * {0}))",
    ),
    ("two calls of a padded convolution, two outputs", "return self.body[2](f), self.body[2](f * {0})"),
):
    _pair(title, "module used twice", (last.format("-1.0"), last.format("0.9")), is_cured=True)
