"""Decisions by sizes, and sizes that become numbers: an example has one of each."""

from __future__ import annotations

from benchmarks.attacks.attack import HERE, PLACES, Attack, enter, network

_ASKED = (
    *("x.shape[-1] in {40, 48}", "x.shape[-1] in {40: 1, 48: 1}", "f'w{x.shape[-1]}' in ('w40', 'w48')"),
    *("str(x.shape[-1]) != '32'", "'%d' % x.shape[3] != '32'", "int(x.shape[-1]) > 32", "x.shape[-1] > 32"),
    *("math.floor(x.shape[-1] / 10) > 3", "math.sqrt(x.size(-1)) > 6", "max(x.shape[2], x.shape[3]) > 32"),
    *("x.size()[2:].numel() > 1024", "len(range(x.shape[-1])) > 32", "round(x.shape[-1] * 0.1) > 3"),
    *("hash(x.shape[-1]) > 32", "divmod(x.shape[-1], 32)[1] > 0", "int(np.prod(x.shape[2:])) > 1024"),
    *("tuple(x.shape[2:]) != (32, 32)", "list(x.shape)[2] > 32", "x.numel() // x.shape[0] > 3072"),
    *("bool(x.shape[-1] - 32)", "any(s > 32 for s in x.shape)", "sum(x.shape[2:]) > 64", "chr(x.shape[-1]) in '(0'"),
    *("{40: True, 48: True}.get(x.shape[-1], False)", "math.log2(x.shape[-1]) > 5", "x.shape[-1] ** 2 > 1024"),
    *("range(40, 50).count(x.shape[-1]) > 0", "len(x[0, 0]) > 32", "'32' not in repr(tuple(x.shape))"),
    *("'{:03d}'.format(x.shape[2]) > '032'", "frozenset(x.shape[2:]).isdisjoint({32})", "len(x[0, 0].unbind(1)) > 32"),
)
_OF_BATCH = (
    *("x.shape[0] > 1", "len(x) > 1", "x.size(0) % 2 == 1 and x.size(0) > 1", "f'{len(x)}' != '1'"),
    *("len(list(x)) > 1", "x.numel() > 3072", "x.shape[0] in (2, 3)", "int(x.shape[0]) != 1", "len(x.unbind(0)) > 1"),
)
_EFFECTS = ("y = -y", "y = y * 0.1", "y = y.flip(1)")

for kind, probes, asked in (("decision by a size", "sizes", _ASKED), ("decision by the batch", "a batch", _OF_BATCH)):
    for number, ask in enumerate(asked):
        place, effect = PLACES[number % len(PLACES)], _EFFECTS[number % len(_EFFECTS)]
        attacked = network(f"if {ask}:  {HERE}\n    {effect}", place)
        sound = network(f"if {{other}}:\n    {effect}", place)
        enter(Attack(kind, f"{ask}, {place}", attacked, sound, probes))

# What is asked of the size, and the same without Python's numbers.
_NUMBERS = (
    ("int() in a view", "b = int(y.shape[0])\ny = y.view(b, 8, -1).view_as(y)", "y = y.flatten(2).view_as(y)"),
    (
        "int() in pooling",
        "y = F.adaptive_avg_pool2d(y, (int(y.shape[2]) // 4, int(y.shape[3]) // 4))",
        "y = F.avg_pool2d(y, 4)",
    ),
    ("floor in a slice", "y = y[:, :, : int(math.floor(y.shape[2] / 2))]", "y = y.chunk(2, 2)[0]"),
    ("sizes of zeros", "y = y + torch.zeros(int(y.shape[2]), int(y.shape[3]))", "y = y + torch.zeros_like(y)"),
    (
        "arange of a size",
        "y = y * (1 + torch.arange(int(y.shape[3])) * 0.01)",
        "y = y * (1 + torch.ones_like(y[0, 0, 0]).cumsum(0) * 0.01)",
    ),
    ("ceil in padding", "y = F.pad(y, (0, int(math.ceil(y.shape[3] / 32) * 32 - y.shape[3])))", "y = F.pad(y, (0, 0))"),
    (
        "prod in a reshape",
        "y = y.reshape(-1, 8, int(np.prod(y.shape[2:]))).reshape(y.shape)",
        "y = y.flatten(2).reshape(y.shape)",
    ),
    ("a size divides", "y = y / int(y.shape[3]) * 32", "y = y / 32 * 32"),
    ("float() of a size", "y = y * (float(y.shape[2]) / 32.0)", "y = y * 1.0"),
    (
        "tolist of sizes",
        "n, c, h, w = list(map(int, y.shape))\ny = y.reshape(n, c, h * w).reshape(n, c, h, w)",
        "y = y.flatten(2).view_as(y)",
    ),
)
for number, (what, attacked, sound) in enumerate(_NUMBERS):
    place = PLACES[number % 2]
    first, rest = attacked.rpartition("\n")[::2] if "\n" in attacked else ("", attacked)
    marked = f"{first}  {HERE}\n{rest}  {HERE}" if first else f"{rest}  {HERE}"
    enter(
        Attack(
            "size as a number",
            f"{what}, {place}",
            network(marked, place),
            network(sound, place),
            "sizes and batches",
            is_cured=True,
        )
    )
