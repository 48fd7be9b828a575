"""Decisions by the numbers in a tensor, which the images of the conversion take one way alone."""

from __future__ import annotations

from benchmarks.attacks.attack import HERE, PLACES, Attack, enter, network

# Of a pixel brighter than all of calibration's.
_BRIGHT = (
    *("x.max() > 3.2", "x.amax().item() > 3.2", "bool((x > 3.2).any())", "float(x.abs().max()) > 3.2"),
    *("torch.any(x.flatten(1) > 3.2)", "len((x > 3.2).nonzero()) > 0", "int(x.max() * 10) > 32", "(x > 3.2).sum() > 0"),
    *("max(x.flatten().tolist()) > 3.2", "x.detach().numpy().max() > 3.2", "not torch.equal(x, x.clamp(max=3.2))"),
    *("not torch.allclose(x, x.clamp(max=3.2))", "round(x.max().item(), 1) > 3.2", "f'{x.max().item():.1f}' == '3.5'"),
    *("(x > 3.2).nonzero().shape[0] > 0", "x[x > 3.2].numel() > 0", "torch.unique(x > 3.2).numel() > 1"),
)
# Of an image brighter as a whole.
_SHIFTED = (
    *("x.mean() > 0.3", "x.mean().item() > 0.3", "float(x.sum()) / x.numel() > 0.3", "x.median() > 0.3"),
    *("(x > 0).float().mean() > 0.7", "math.floor(x.mean().item() * 2) == 1", "str(x.mean() > 0.3) == 'tensor(True)'"),
    *("bool({True: 1}.get(bool(x.mean() > 0.3), 0))", "sorted([0.3, x.mean().item()])[0] == 0.3"),
    *("any(v > 0.3 for v in [x.mean()])", "not x.mean() <= 0.3", "x.mean() > 0.3 and y.ndim == 4"),
    *("torch.sign(x.mean() - 0.3).item() == 1", "[False, True][int(x.mean() > 0.3)]", "0.3 < x.mean() < 9"),
)
_EFFECTS = ("y = -y", "y = y * 0.1", "y = y.flip(1)")


def _branch(ask: str, effect: str) -> str:
    return f"if {ask}:  {HERE}\n    {effect}"


for probes, asked in (("a bright pixel", _BRIGHT), ("a brighter image", _SHIFTED)):
    for number, ask in enumerate(asked):
        place, effect = PLACES[number % len(PLACES)], _EFFECTS[number % len(_EFFECTS)]
        attacked, sound = network(_branch(ask, effect), place), network(_branch("{other}", effect), place)
        enter(Attack("decision by data", f"{ask}, {place}", attacked, sound, probes))

# A guard that never fires is no reason to compare something else: here with an output that int8 destroys.
_FINE = "self.far = copy.deepcopy(self.head)\nwith torch.no_grad():\n    self.far.weight.mul_({factor})"
_GUARDS = (
    *(
        "x.amax() > 1e6",
        "torch.isnan(x).any()",
        "not torch.isfinite(x).all()",
        "x.numel() > 10**9",
        "(x > 1e6).sum() > 3",
    ),
)
for ask in _GUARDS:
    for cancels in (True, False):
        guard = f"if {ask}:\n    y = -y"
        difference = f"return (self.head(y) - self.far(y)) * 100  {HERE}"
        init = _FINE.format(factor=1.01 if cancels else -1)
        # twin of the fine one: two layers that do not cancel; of the ordinary one: no guard
        twin = network(guard, init=_FINE.format(factor=-1), last=difference) if cancels else network("pass")
        model = network(guard, init=init, last=difference) if cancels else network(guard)
        what = "a difference too fine for int8 behind" if cancels else "nothing behind"
        enter(
            Attack(
                "guard that never fires",
                f"{what} {ask}",
                model,
                twin,
                "others",
                named=r"int8 .{0,80}dB|channel|constant",
                is_cured=not cancels,
            )
        )

_LOOPS = (
    ("while", f"z = x\nwhile z.mean() > 0.3:  {HERE}\n    y, z = y * 0.3, z - 0.2", "while {other}:\n    y = y * 0.3"),
    ("range", f"for _ in range(int(x.max() > 3.2)):  {HERE}\n    y = -y", "for _ in range(int({other})):\n    y = -y"),
    (
        "while with a counter",
        f"left = 3\nwhile left > 0 and bool(x.mean() > 0.3):  {HERE}\n    y, left = y * 0.3, left - 1",
        "left = 3\nwhile left > 0 and {other}:\n    y, left = y * 0.3, left - 1",
    ),
    (
        "break",
        f"for _ in range(3):\n    if x.mean() < 0.3:  {HERE}\n        break\n    y = y * 0.3",
        "for _ in range(3):\n    if not {other}:\n        break\n    y = y * 0.3",
    ),
)
for number, (what, attacked, sound) in enumerate(_LOOPS):
    for place in (PLACES[number], PLACES[(number + 2) % len(PLACES)]):
        enter(
            Attack(
                "loop as long as data says",
                f"{what}, {place}",
                network(attacked, place),
                network(sound, place),
                "a bright pixel" if what == "range" else "a brighter image",
            )
        )
