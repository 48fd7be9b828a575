"""The section of docs/runtimes.md on the torches that fxconv runs on, made of the records of benchmarks/torches.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Record = dict[str, Any]
# How far what one torch writes may be from what another does: shares of the size and the latency, and decibels.
MOST_SIZE, MOST_SQNR_DB, MOST_LATENCY = 0.02, 0.2, 0.02
# The control of the latencies: the first torch in a second process.
CONTROL = "again"


# -- how far apart ----------------------------------------------------------------------------------------------------


def size_apart(network: Record) -> float:
    """The largest difference of a torch's file from the first torch's, as a share of it."""
    sizes = [file["bytes"] for file in network["files"].values()]
    return max(abs(size / sizes[0] - 1) for size in sizes)


def sqnr_apart(network: Record) -> float:
    """Decibels between the best and the worst SQNR of int8 against float, on the images of calibration and others."""
    kinds = [[file[name] for file in network["files"].values()] for name in ("sqnr_db", "unseen_sqnr_db")]
    return max(max(each) - min(each) for each in kinds if None not in each)


def latency_apart(network: Record) -> float:
    """The largest difference of a torch's latency from the first torch's, as a share of it."""
    return max(abs(ratio - 1) for name, ratio in network["latency"]["ratio"].items() if name != CONTROL)


def noise(network: Record) -> float:
    """The same of the first torch and itself."""
    return abs(network["latency"]["ratio"][CONTROL] - 1)


def unmet(network: Record) -> list[str]:
    """Each requirement that a network does not meet, a sentence each."""
    called = named(network)
    problems = [f"{called}: {torch}: {file['error']}" for torch, file in network["files"].items() if "error" in file]
    if problems:
        return problems
    problems += [f"{called}: not proven on torch {torch}" for torch, f in network["files"].items() if not f["proven"]]
    if (apart := size_apart(network)) > MOST_SIZE:
        problems.append(f"{called}: sizes are {apart:.1%} apart, {MOST_SIZE:.0%} allowed")
    if (apart := sqnr_apart(network)) > MOST_SQNR_DB:
        problems.append(f"{called}: SQNRs are {apart:.2f} dB apart, {MOST_SQNR_DB} dB allowed")
    if network["latency"] and (apart := latency_apart(network)) > MOST_LATENCY:
        problems.append(
            f"{called}: latencies are {apart:.1%} apart, {MOST_LATENCY:.0%} allowed; the control {noise(network):.1%}"
        )
    return problems


# -- the section ------------------------------------------------------------------------------------------------------


def torches_markdown(content: Record) -> str:
    """The section, from its heading on."""
    networks, versions = content["networks"], [one["torch"] for one in content["torches"]]
    whole = [one for one in networks if not any("error" in file for file in one["files"].values())]
    head = "network,input,weights,proven on,MB,apart,SQNR (dB),apart (dB),ms"
    ratios = [*versions[1:], f"{versions[0]} again"]
    return "\n\n".join([
        "## Files of each torch in the others",
        _intro(content),
        _items(_converted(whole, versions)),
        _table([*head.split(","), *ratios], (_row(one, versions) for one in whole)),
        _items(f"{named(one)}: {f['error']}" for one in networks for f in one["files"].values() if "error" in f),
        "What each interpreter makes of the golden inputs in a file:",
        _items([*_replayed(whole), *_kernels(content["kernels"])]),
        _table(
            ["network", "file of", *(f"in {version}" for version in (*versions, *content["old"])), "arm64"],
            (row for one in whole for row in _replays(one, (*versions, *content["old"]))),
        ),
    ]).replace("\n\n\n\n", "\n\n")  # fmt: skip


def named(network: Record) -> str:
    """A network with the options that it was converted with."""
    return " ".join((network["network"], *network["options"]))


def _intro(content: Record) -> str:
    listed = ", ".join(f"{one['torch']} (with torchvision {one['torchvision']})" for one in content["torches"])
    packs = [one["torch"] for one in content["torches"] if one["xnnpack"]]
    return (
        f"`python benchmarks/torches.py` (on {content['date']}, {content['processor']}, one thread) converts networks "
        f"by torch {listed}, each from the same weights, with `--recipe none --calib-count 8`; of these, "
        f"{_and(packs) or 'none'} has XNNPACK, which packs float layers. Then it runs each file on its golden inputs "
        f"under each torch, and under {_and(content['old'])}, of which the last Android library was made: that desktop "
        "package, and by `scripts/verify_arm64.sh` that of arm64 Linux on an emulator, which has no torchvision."
    )


def _converted(networks: Sequence[Record], versions: Sequence[str]) -> Iterator[str]:
    """Sentences on what the torches write, with the worst of each figure."""
    proven = sum(all(file["proven"] for file in one["files"].values()) for one in networks)
    yield f"{proven} of {len(networks)} are proven on all {len(versions)}."
    other = {named(one): {part for file in one["files"].values() for part in file["other_parts"]} for one in networks}
    alike = sum(not parts for parts in other.values())
    yield f"Of {alike} the files of all {len(versions)} have the same code, weights and golden outputs, bit for bit."
    yield from (f"{name} differs in its {_and(sorted(parts))}." for name, parts in other.items() if parts)
    size, name = max((size_apart(one), named(one)) for one in networks)
    yield f"Sizes are at most {size:.2%} apart{f' ({name})' if size else ''}; allowed are {MOST_SIZE:.0%}."
    sqnr, name = max((sqnr_apart(one), named(one)) for one in networks)
    yield (
        "*SQNR* is int8 against float on the images of calibration. That, and the one on images used for nothing else, "
        f"is at most {sqnr:.2f} dB apart{f' ({name})' if sqnr else ''}; allowed are {MOST_SQNR_DB} dB."
    )
    if timed := [one for one in networks if one["latency"]]:
        latency, name = max((latency_apart(one), named(one)) for one in timed)
        rounds = min(one["latency"]["rounds"] for one in timed)
        over = [one for one in timed if latency_apart(one) > MOST_LATENCY]
        beyond = [named(one) for one in over if latency_apart(one) > noise(one)]
        yield (
            f"*ms* is {versions[0]}'s latency, and the columns behind it are ratios to it: medians of {rounds} rounds "
            "or more, in which each torch runs its own file in a process of its own. They are at most "
            f"{latency:.1%} apart ({name}), {versions[0]} and itself in a second process "
            f"{max(map(noise, timed)):.1%}."
        )
        yield (
            f"Of {len(timed)} networks {len(timed) - len(over)} are within {MOST_LATENCY:.0%}; of the others "
            f"{len(over) - len(beyond)} are no further apart than {versions[0]} is from itself"
            + (f", and {_and(beyond)} {'is' if len(beyond) == 1 else 'are'}." if beyond else ".")
        )


def _row(network: Record, versions: Sequence[str]) -> Iterator[str]:
    files = [network["files"][version] for version in versions]
    proven = [version for version, file in zip(versions, files, strict=True) if file["proven"]]
    yield from (named(network), network["input"], network["weights"])
    yield "all" if len(proven) == len(versions) else _and(proven) or "none"
    yield f"{files[0]['bytes'] / 1e6:.2f}"
    yield f"{size_apart(network):.2%}"
    yield f"{files[0]['sqnr_db']:.1f}"
    yield f"{sqnr_apart(network):.2f}"
    latency = network["latency"]
    yield f"{latency['ms'][versions[0]]:.2f}" if latency else ""
    yield from (f"{latency['ratio'][name]:.3f}" if latency else "" for name in (*versions[1:], CONTROL))


# -- in the interpreters ----------------------------------------------------------------------------------------------


def _replayed(networks: Sequence[Record]) -> Iterator[str]:
    """Sentences on the runs: those of files without float islands, those of others, and those that there are not."""
    runs = [(one, file, run) for one in networks for file in one["files"].values() for run in _runs(file)]
    for is_int8, kind in ((True, "int8 throughout"), (False, "with float operations")):
        these = [(one, run) for one, file, run in runs if _is_int8(file) == is_int8 and "error" not in run]
        exact = sum(run["exact"] for _, run in these)
        told = f"Files that are {kind}: " if is_int8 else f"Files {kind}: "
        if exact == len(these) and these:
            yield f"{told}all {len(these)} runs give the same bits."
        elif these:
            yield f"{told}{exact} of {len(these)} runs give the same bits. {_others(these)}"
    failed = [(one, run) for one, _, run in runs if "error" in run]
    if failed:
        which = _and(sorted({named(one) for one, _ in failed}))
        why = "; ".join(sorted({short(run["error"]) for _, run in failed}))
        yield f"{len(failed)} run{'s do' if len(failed) > 1 else ' does'} not come to an end ({which}): {why}."
    packed = {name for one in networks for file in one["files"].values() for name in file["prepacked"]}
    if packed:
        yield (
            f"XNNPACK's operators in files: {_and(f'`{name}`' for name in sorted(packed))}. A torch without XNNPACK "
            "loads no file with them, though phones do; `--java` leaves float layers unpacked."
        )


def _others(runs: Sequence[tuple[Record, Record]]) -> str:
    """What becomes of those that are not the same bits."""
    off = [(run["sqnr_db"], named(one)) for one, run in runs if not run["exact"] and run["sqnr_db"] is not None]
    unmeasured = sorted({named(one) for one, run in runs if not run["exact"] and run["sqnr_db"] is None})
    told = []
    if off:
        least, name = min(off)
        told.append(f"The others are at least {least:.1f} dB ({name}) from them.")
    if failing := [named(one) for one, run in runs if not run["passed"]]:
        which = _and(sorted(set(failing)))
        told.append(f"`fxconv verify` says of {len(failing)} that they are not the same ({which}).")
    if unmeasured:
        told.append(f"Without a distance: {_and(unmeasured)}.")
    return " ".join(told)


def _kernels(kernels: Sequence[Record]) -> Iterator[str]:
    """Sentences on the kernels that are known to compute otherwise in one torch than in another."""
    if other := [one for one in kernels if one["quantized_otherwise"]]:
        which = _and(f"that of {one['torch']} {one['quantized_otherwise']}" for one in other)
        yield (
            "Of a million values `quantize_per_tensor` takes some to the next step where they lie half between two, as "
            f"it rounds before or after it adds the zero point: {which}, the others none."
        )
    by_digest: dict[str, list[str]] = {}
    for one in kernels:
        by_digest.setdefault(one["layer_norm"], []).append(one["torch"])
    if len(by_digest) > 1:
        yield f"`layer_norm` sums in another order in {', and in another in '.join(map(_and, by_digest.values()))}."
    if other or len(by_digest) > 1:
        yield (
            "A value that is rounded otherwise in an early layer makes others so in those behind it, and the more with "
            "seeded weights: the distance grows towards that of int8 from float, and is not an error of a kernel's."
        )


def _is_int8(file: Record) -> bool:
    return not (file["float_ops"] or file["islands"])


def _runs(file: Record) -> list[Record]:
    return [*file["replays"].values(), *([file["arm64"]] if file["arm64"] else [])]


def _replays(network: Record, versions: Sequence[str]) -> Iterator[list[str]]:
    """A row for each torch's file; those that fare alike share one."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for torch, file in network["files"].items():
        cells = [_cell(file["replays"].get(version)) for version in versions]
        rows.setdefault(tuple(cells), []).append(torch)
    for alike, torches in rows.items():
        arm64 = {_cell(found) for torch in torches if (found := network["files"][torch]["arm64"])}
        yield [named(network), ", ".join(torches), *alike, " or ".join(sorted(arm64))]


def _cell(run: Record | None) -> str:
    if run is None:
        return ""
    if "error" in run:
        return short(run["error"])
    if run["exact"]:
        return "equal"
    return f"{run['sqnr_db']:.1f} dB" if run["sqnr_db"] is not None else run["problem"]


def short(error: str) -> str:
    """An error in a cell's room: what is lacking by name, or else the first of what torch says, without its sources."""
    if found := re.search(r"(?:ops cannot be found|not find|Unknown builtin op)[^{]*\{([^}]*)\}", error):
        lacking = sorted(re.findall(r"[\w:.]+", found[1]))
        return f"has no {', '.join(f'`{name}`' for name in lacking)}"
    if found := re.match(r"does not run under torch \S+ \((\w+): (.*?)(?: at \".*)?\)?$", error):
        return f"`{found[1]}: {found[2]}`"
    return error


# -- Markdown ---------------------------------------------------------------------------------------------------------


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def _items(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {one}" for one in sentences)


def _table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
