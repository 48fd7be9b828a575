"""The README's figures are those of the tables that the benchmarks wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxconv.cli.app import app

REPO = Path(__file__).resolve().parents[1]
README = " ".join((REPO / "README.md").read_text().split())


def rows(name: str, first: str, section: str = "") -> list[dict[str, str]]:
    """The table of docs/NAME whose first column is headed `first`, below the title that begins so, a dict a row."""
    page = (REPO / "docs" / name).read_text()
    lines = page[page.index(f"## {section}") if section else 0 :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head = cells(lines[start])
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(dict(zip(head, cells(line), strict=True)))
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def span(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def test_accuracy():
    pooled = {row["flow"]: row for row in rows("accuracy.md", "flow", "mobilenet_v2, official")}
    auto = pooled["fxconv, auto"]
    assert f"an official mobilenet_v2 of {pooled['float']['top-1']} top-1" in README
    assert f"into one of {pooled['stock']['top-1']}" in README
    assert f"fxconv's has {auto['top-1']}" in README
    assert f"agrees with float on {auto['agrees with float']}" in README
    points = [pooled[flow]["points lost"].split()[0].lstrip("+") for flow in ("fxconv, auto", "stock, mended")]
    assert f"on mobilenet_v2 {points[0]}, where a stock flow mended by hand loses {points[1]}" in README
    lost = []
    for network in ("resnet18", "mobilenet_v3_small"):
        found = {row["flow"]: row for row in rows("accuracy.md", "flow", f"{network}, CIFAR-10")}
        lost.append(found["fxconv, auto"]["points lost"].split()[0])
    assert f"{' and '.join(lost)} points lost on CIFAR-10 (resnet18, mobilenet_v3_small)" in README


def test_size():
    table = rows("size.md", "network")
    assert len(table) == 10
    assert f"{span([float(row['to float']) for row in table])} of float's bytes" in README


def test_latency():
    table = {row["network"]: float(row["to stock"]) for row in rows("latency.md", "network")}
    assert len(table) == 10
    relu6 = table.pop("mobilenet_v2")
    assert f"{relu6:.2f} of the stock flow's latency on mobilenet_v2" in README
    assert f"{span(list(table.values()))} on the nine others" in README


def test_conversion_time():
    table = {row["network"]: row for row in rows("conversion_time.md", "network")}
    plain, auto = ({name: float(row[f"{way} / stock"]) for name, row in table.items()} for way in ("none", "auto"))
    first = plain.pop("mobilenet_v2"), auto.pop("mobilenet_v2")
    assert f"{first[0]:.2f} of its time on mobilenet_v2 without a recipe and {first[1]:.2f} with `auto`" in README
    assert f"{span(list(plain.values()))} and {span(list(auto.values()))} on the others" in README


def test_calibration_costs_about_a_plain_forward():
    shares = [float(cells(line)[3]) for line in section("What calibration costs")]
    assert len(shares) == 3
    assert max(shares) <= 1.3
    assert f"{span(shares)} of a plain float forward in batches of 25" in README


def test_the_proof_costs_at_most_twice_a_calibration():
    shares = [float(cells(line)[-1]) for line in section("What the proof costs")]
    assert len(shares) == 10
    assert max(shares) <= 2
    assert f"audit and ledger take {span(shares)} of what calibration costs" in README


def section(title: str) -> list[str]:
    """The lines of the table under this title of docs/conversion_time.md, without its head."""
    text = (REPO / "docs" / "conversion_time.md").read_text().split(f"## {title}")[1].split("## ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_targets():
    networks = {one["network"]: one for one in json.loads((REPO / "docs" / "targets.json").read_text())["networks"]}
    files = networks["mobilenet_v2"]["files"]
    ours, theirs = files["auto.pte"], files["executorch.pte"]
    words = f"agrees with float on {ours['agreement']:.1f} % ({ours['sqnr_db']:.1f} dB), ExecuTorch's own recipe on"
    assert f"{words} {theirs['agreement']:.1f} % ({theirs['sqnr_db']:.1f} dB)" in README
    row = next(line for line in (REPO / "docs" / "targets.md").read_text().splitlines() if "| fxconv `.pte` |" in line)
    assert f"at {float(cells(row)[6].split()[0]):.2f} of its latency" in README


def test_robustness():
    text = (REPO / "docs" / "robustness.md").read_text()
    held = text.split(" cases held")[0].rsplit(": ", 1)[1]
    assert f"{held} cases held" in README
    assert "FAILED" not in text


def test_fuzz():
    table = rows("fuzz.md", "kind", "fxconv inspect")
    count = sum(int(row["files"]) for row in table)
    assert count >= 1000
    for row in table:
        wrong = ("tracebacks", "hangs", "files written", "code run", "escapes")
        assert [row[column] for column in wrong] == ["0"] * 5, row["kind"]
        assert int(row["read"]) + int(row["refused"]) == int(row["files"])
    assert f"{count:,} of them through `fxconv inspect`" in README


def test_planted_faults():
    text = (REPO / "docs" / "mutants.md").read_text()
    killed = [line.split(" | ")[2] for line in text.splitlines() if line.startswith("| ") and ".py` | " in line]
    assert len(killed) >= 45 and "**nothing**" not in killed
    assert f"{len(killed)} of {len(killed)} seen by the tests" in README


@pytest.mark.parametrize("word", ["MEASURED", "TODO"])
def test_nothing_is_left_to_fill_in(word):
    assert word not in README


def test_the_zoo():
    networks = json.loads((REPO / "docs" / "zoo.json").read_text())["networks"]
    verified = [record for record in networks if record["ours"].get("verified")]
    converted = [record for record in verified if record["ours"]["converted"]]
    right = [record for record in networks if (record["stock"].get("sqnr_db") or 0.0) >= 10]
    words = f"{len(verified)} of torchvision's {len(networks)} networks verified and {len(converted)} converted"
    assert f"{words}, where the stock flow gives a file that is right for {len(right)}" in README


def test_the_example_is_the_tools_real_output(capsys):
    text = (REPO / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("$ fxconv diff "))
    shown = text.split(f"{line}\n\n")[1].split("\n```")[0]
    app(line.split()[2:], standalone_mode=False)
    assert capsys.readouterr().out.strip() == shown
