"""Outputs that are complex, bool or whole numbers; statistics over a batch."""

from __future__ import annotations

from benchmarks.attacks.attack import HERE, Attack, enter, network

_NAMED = r"imaginary|complex|channel|constant|int8 .{0,80}dB|output \d|bool|index|integer|agree"
_TWO = "self.b = nn.Conv2d(8, 4, 3, padding=1)\nwith torch.no_grad():\n    self.b.bias.add_({0})"

for title, last, init in (
    ("a loud real part", "return torch.complex(self.head(y) * {0}, self.b(y))", _TWO.format("0.0")),
    (
        "an imaginary part int8 destroys",
        "return torch.complex(self.head(y), (self.b(y) - self.b(y * 1.01)) * {0})",
        _TWO.format("0.0"),
    ),
    (
        "view_as_complex",
        "return torch.view_as_complex(torch.stack([self.head(y) * {0}, self.b(y)], -1))",
        _TWO.format("0.0"),
    ),
    ("polar", "return torch.polar(self.head(y).abs(), self.b(y) * {0})", _TWO.format("0.0")),
    ("fft", "return torch.fft.fft2(self.head(y) + {0})", "pass"),
    ("rfft of a difference", "return torch.fft.rfft((self.head(y) - self.head(y * 1.01)) * {0})", "pass"),
):
    loud = "100.0" if "1.01" in last else "1000.0"
    sound = last.replace("1.01", "0.3") if "1.01" in last else last
    enter(
        Attack(
            "complex output",
            title,
            network("pass", init=init, last=f"{last.format(loud)}  {HERE}"),
            network("pass", init=init, last=sound.format("1.0")),
            "others",
            named=_NAMED,
        )
    )

for title, attacked, sound in (
    ("a fine comparison", "return (self.head(y) - self.head(y * 1.01)) * 100 > 0", "return self.head(y) > 0"),
    (
        "argmax of a difference",
        "return ((self.head(y) - self.head(y * 1.01)) * 100).argmax(1)",
        "return self.head(y).argmax(1)",
    ),
    ("argmax beside an offset", "return (self.head(y) + 1000.0).argmax(1)", "return self.head(y).argmax(1)"),
    (
        "a mask beside scores",
        "s = self.head(y); return s, (s - s.mean()) * 1e3 > (s * 1e3).detach().abs().mean() - 1e3 * s.mean()",
        "s = self.head(y); return s, s > 0",
    ),
    (
        "indices of topk",
        "return self.head(y).flatten(1).topk(40).indices",
        "return self.head(y).mean((2, 3)).argmax(1)",
    ),
    ("sorted indices", "return self.head(y).flatten(1).argsort(1)", "return self.head(y).argmax(1)"),
    (
        "a count",
        "return ((self.head(y) - self.head(y * 1.01)) * 100 > 0).sum((2, 3))",
        "return (self.head(y) > 0).float()",
    ),
):
    enter(
        Attack(
            "bool or whole numbers",
            title,
            network("pass", last=f"{attacked}  {HERE}"),
            network("pass", last=sound),
            "others",
            named=_NAMED,
        )
    )

for title, attacked, sound in (
    ("divided by the largest", "y = y / y.max()", "y = y / y.amax((1, 2, 3), keepdim=True)"),
    ("from least to largest", "y = (y - y.min()) / (y.max() - y.min())", "y = y / y.amax((1, 2, 3), keepdim=True)"),
    ("divided by the deviation", "y = y / y.std()", "y = y / y.std((1, 2, 3), keepdim=True)"),
    ("the mean of what is positive", "y = y / y[y > 0].mean()", "y = y / y.mean((1, 2, 3), keepdim=True)"),
    ("softmax over images", "y = y.softmax(0)", "y = y.softmax(1)"),
    ("less the mean image", "y = y - y.mean(0, keepdim=True)", "y = y - y.mean((2, 3), keepdim=True)"),
    ("norm of all", "y = y / y.norm() * 30", "y = y / y.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * 30"),
    ("batch statistics", "y = F.batch_norm(y, None, None, training=True)", "y = F.instance_norm(y)"),
    ("the median", "y = y - y.median()", "y = y - y.mean((1, 2, 3), keepdim=True)"),
    ("the next image", "y = y + y.roll(1, 0)", "y = y + y.roll(1, 1)"),
    ("cumulative", "y = y.cumsum(0)", "y = y.cumsum(1)"),
):
    for calibration in ("still", "batches of 4"):
        enter(
            Attack(
                "statistics over a batch",
                f"{title}, calibrated on {'single images' if calibration == 'still' else calibration}",
                network(f"{attacked}  {HERE}"),
                network(sound),
                "quiet beside loud",
                calibration,
                named=r"batch|one by one|alone",
                is_cured=True,
            )
        )
