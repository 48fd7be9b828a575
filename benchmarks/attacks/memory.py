"""Models that remember earlier inputs, or whose code is not where it seems; random numbers, and writes into inputs."""

from __future__ import annotations

from benchmarks.attacks.attack import HERE, Attack, enter, network

_FORGETS = r"same input|remember|state|answers|buffer|random|draws"
_ONE = {"calib_count": 1}

# ---- memory: what is kept, and the same model that keeps it and does not ask
for title, init, attacked, sound in (
    (
        "the last input",
        "self.last = None",
        "z = x if self.last is None else self.last\nself.last = x\ny = y + (x - z)[:, :1] * 3",
        "z = x\nself.last = x\ny = y + (x - z)[:, :1] * 3",
    ),
    (
        "a counter",
        "self.calls = 0",
        "self.calls += 1\ny = y * (1.0 if self.calls < 40 else -1.0)",
        "y = y * (1.0 if self.calls < 40 else -1.0)",
    ),
    (
        "a counter by parity",
        "self.calls = 0",
        "self.calls += 1\ny = y * (1.0 if self.calls % 2 else -1.0)",
        "y = y * (1.0 if self.calls % 2 else -1.0)",
    ),
    (
        "a running mean",
        "self.register_buffer('mean', torch.zeros(()))",
        "y = y - self.mean\nself.mean.mul_(0.5).add_(y.mean().detach() * 0.5)",
        "y = y - self.mean",
    ),
    (
        "a list that grows",
        "self.seen = []",
        "self.seen.append(x.mean())\ny = y + len(self.seen) * 0.1",
        "y = y + len(self.seen) * 0.1",
    ),
    (
        "the first input",
        "self.first = None",
        "if self.first is None:\n    self.first = x\ny = y + (x - self.first)[:, :1] * 3",
        "y = y + (x - x)[:, :1] * 3",
    ),
    (
        "a dict by size",
        "self.by_size = {}",
        "z = self.by_size.setdefault(x.shape[-1], x)\ny = y + (x - z)[:, :1] * 3",
        "y = y + (x - x)[:, :1] * 3",
    ),
    (
        "an exponential average",
        "self.average = None",
        "self.average = y if self.average is None else 0.5 * y + 0.5 * self.average\ny = self.average",
        "self.average = y\ny = self.average",
    ),
):
    marked = "\n".join(f"{line}  {HERE}" for line in attacked.splitlines())
    for count in (1, 8):
        if count == 8 and title in ("a counter", "the first input", "a dict by size"):
            continue
        enter(
            Attack(
                "memory of earlier inputs",
                f"{title}, {count} for calibration",
                network(marked, init=init),
                network(sound, init=init),
                "one after the other",
                named=_FORGETS,
                options={"calib_count": count},
                calibration="one" if count == 1 else "still",
            )
        )

# ---- hooks and forwards on the instance
_FLIP = "torch.where(x.mean() > 0.3, -1.0, 1.0)"
_NAMED = r"hook|forward (of|set|on|that)|own forward|forward was|instance|parametri|method|control flow"
for title, above, attacked, sound in (
    (
        "a forward hook",
        "def flipped(layer, given, y):\n    return y * torch.where(given[0].mean() > 0.3, -1.0, 1.0)",
        "self.stem.register_forward_hook(flipped)",
        "self.unused = 1",
    ),
    (
        "a pre-hook",
        "def flipped(layer, given):\n    return (given[0] * torch.where(given[0].mean() > 0.3, -1.0, 1.0),)",
        "self.stem.register_forward_pre_hook(flipped)",
        "self.unused = 1",
    ),
    (
        "a forward on a convolution",
        "def flipped(self, x):\n    return nn.Conv2d.forward(self, x) * torch.where(x.mean() > 0.3, -1.0, 1.0)",
        "self.stem.forward = types.MethodType(flipped, self.stem)",
        "self.unused = 1",
    ),
    (
        "a branch in a forward on a convolution",
        "def flipped(self, x):\n    y = nn.Conv2d.forward(self, x)\n    return -y if x.mean() > 0.3 else y",
        "self.stem.forward = types.MethodType(flipped, self.stem)",
        "self.unused = 1",
    ),
    (
        "a function as forward",
        "def flipped(x):\n    return -F.avg_pool2d(x, 3, 1, 1) if x.mean() > 0.3 else F.avg_pool2d(x, 3, 1, 1)",
        "self.stem = nn.Sequential(nn.Identity(), self.stem)\nself.stem[0].forward = flipped",
        "self.stem = nn.Sequential(nn.AvgPool2d(3, 1, 1), self.stem)",
    ),
    (
        "a method replaced on the class",
        "class Conv(nn.Conv2d):\n    def _conv_forward(self, x, weight, bias):\n"
        "        y = super()._conv_forward(x, weight, bias)\n        return -y if x.mean() > 0.3 else y",
        "self.stem = Conv(3, 8, 3, padding=1)",
        "self.stem = nn.Conv2d(3, 8, 3, padding=1)",
    ),
    (
        "a parametrization",
        "class Halved(nn.Module):\n    def forward(self, weight):\n        return weight * 0.5",
        "nn.utils.parametrize.register_parametrization(self.stem, 'weight', Halved())",
        "with torch.no_grad():\n    self.stem.weight.mul_(0.5)",
    ),
    (
        "__call__ of a class",
        "class Conv(nn.Conv2d):\n    def __call__(self, x):\n        y = super().__call__(x)\n"
        "        return -y if x.mean() > 0.3 else y",
        "self.stem = Conv(3, 8, 3, padding=1)",
        "self.stem = nn.Conv2d(3, 8, 3, padding=1)",
    ),
    (
        "a hook that writes",
        "def flipped(layer, given, y):\n    return -y",
        "self.stem.register_forward_hook(lambda m, g, y: y.neg_() if g[0].mean() > 0.3 else None)",
        "self.unused = 1",
    ),
):
    enter(
        Attack(
            "code that is elsewhere",
            title,
            network("pass", init=attacked, above=above),
            network("pass", init=sound, above=above),
            "a brighter image",
            named=_NAMED,
        )
    )

# ---- random numbers
for title, attacked in (
    ("torch.rand", "y = y + torch.rand(1) * 3"),
    ("rand_like", "y = y + torch.rand_like(y) * 3"),
    ("randn of a size", "y = y + torch.randn(y.shape[-1])"),
    ("dropout without training", "y = F.dropout(y, 0.5)"),
    ("dropout2d, training", "y = F.dropout2d(y, 0.5, training=True)"),
    ("bernoulli", "y = y * torch.bernoulli(torch.full_like(y, 0.5))"),
    ("random.random", "y = y + random.random() * 3"),
    ("numpy", "y = y + float(np.random.rand()) * 3"),
    ("a choice of a layer", "y = y if random.random() < 0.5 else -y"),
    ("randperm of channels", "y = y[:, torch.randperm(8)]"),
    ("gumbel", "y = F.gumbel_softmax(y, dim=1)"),
):
    enter(
        Attack(
            "random numbers",
            title,
            network(f"{attacked}  {HERE}"),
            network("y = y * 1.0"),
            "others",
            named=_FORGETS,
        )
    )

# ---- writes into inputs
for title, attacked, sound in (
    ("all of it", "x.mul_(0.5)\ny = y + x[:, :1]", "x = x * 0.5\ny = y + x[:, :1]"),
    (
        "a channel",
        "x[:, 0] = x[:, 0] * 0.3 - 0.2\ny = y + x[:, :1]",
        "x = torch.cat([x[:, :1] * 0.3 - 0.2, x[:, 1:]], 1)\ny = y + x[:, :1]",
    ),
    ("a view of it", "z = x.view(x.shape[0], -1)\nz += 1.0\ny = y + x[:, :1]", "x = x + 1.0\ny = y + x[:, :1]"),
    ("relu_", "x.relu_()\ny = y * x[:, :1]", "x = x.relu()\ny = y * x[:, :1]"),
    ("a masked fill", "x[x > 1] = 0.0\ny = y + x[:, :1]", "x = torch.where(x > 1, 0.0, x)\ny = y + x[:, :1]"),
):
    enter(
        Attack(
            "write into the input",
            title,
            network(attacked),
            network(sound),
            "others and batches",
            named="input",
            is_cured=True,
        )
    )
