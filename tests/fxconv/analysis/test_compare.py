"""Two conversions beside each other; and one conversion, done twice."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from fxconv_commands import NETWORKS, assert_user_error
from fxconv_warm import Warm

from fxconv.analysis.compare import differences, read_report

TINY = ("convert", f"{NETWORKS}:tiny", "--input-size", "32", "--quiet", "--recipe", "none")


@pytest.fixture
def reports(command, tmp_path):
    """Writes NAME.json and NAME.ptl of a conversion with some options."""

    def made(name: str, *options: str) -> Path:
        run = command(*TINY, *options, "-o", f"{name}.ptl", "--json", f"{name}.json")
        assert run.status == 0, run.stderr
        return Path(f"{name}.json")

    return made


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """The folder of one conversion, and of the same with its saved choices under another name, each a process."""
    folder = tmp_path_factory.mktemp("twice")
    (folder / "longer").mkdir()
    saving = ("--seed", "3", "-o", "a.ptl", "--json", "a.json", "--save-config", "c.json")
    repeated = ("--config", "c.json", "-o", "longer/b.ptl", "--json", "b.json")
    for words in ((*TINY, *saving), (*TINY[:-2], *repeated)):
        run = warm.command(folder, *words)
        assert run.status == 0, run.stderr
    return folder


def test_saved_choices_give_the_same_file_under_another_name(twice):
    assert (twice / "a.ptl").read_bytes() == (twice / "longer" / "b.ptl").read_bytes()
    a, b = (json.loads((twice / name).read_text()) for name in ("a.json", "b.json"))
    for report in (a, b):
        del report["timings"], report["latency"], report["artifact"]["path"]
        for file in report["artifacts"]:
            del file["path"], file["latency"]
        for part in ("seconds", "float_seconds"):
            del report["calibration"][part]
    assert a == b


def test_the_same_conversion(twice, command):
    run = command("compare", str(twice / "a.json"), str(twice / "b.json"))
    digest = read_report(twice / "a.json")["artifact"]["sha256"]
    assert run.stdout.splitlines() == [
        f"- {twice / 'a.json'}: tiny, converted and verified",
        f"+ {twice / 'b.json'}: tiny, converted and verified",
        f"the same conversion, and the same file (sha256 {digest})",
    ]


def test_what_another_arithmetic_changes(reports, command):
    a, b = reports("a"), reports("b", "--arithmetic", "wrap", "--seed", "1")
    found = differences(read_report(a), read_report(b))
    by_section: dict[str, list[str]] = {}
    for one in found:
        assert one.first != one.second
        by_section.setdefault(one.section, []).append(one.what)
    assert by_section["asked for"] == ["arithmetic", "seed"]
    assert "mul" in by_section["pass arithmetic-to-functional"]
    assert "mul" in by_section["pass wrap-arithmetic"]
    assert {"bytes", "sha256"} <= set(by_section["artifact"])
    assert "int8" in by_section["ledger"]
    run = command("compare", str(a), str(b))
    assert "Asked for: 2 differences\n" in run.stdout
    assert "arithmetic\n- functional\n+ wrap\n" in run.stdout


def test_how_faithful_both_are(reports):
    first = read_report(reports("a"))
    assert first["fidelity"]["asked"] == 100
    second = copy.deepcopy(first)
    assert list(differences(first, second)) == []
    second["fidelity"].update(grade="poor", same=3)
    (found,) = differences(first, second)
    same = first["fidelity"]["same"]
    assert (found.section, found.second) == (
        "fidelity",
        "poor: 3 of 100 same top-1",
    ) and f": {same} of 100" in found.first
    del second["fidelity"]
    assert [found.second for found in differences(first, second)] == ["not there"]


def test_layers_kept_in_float_are_islands(reports):
    found = differences(read_report(reports("a")), read_report(reports("b", "--keep-float", "head*")))
    sections = {one.section for one in found}
    assert {"asked for", "artifact"} <= sections
    assert any(one.what == "keep_float" and (one.first, one.second) == ("nothing more", "head*") for one in found)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{}", b"[1]", b"nothing", b"[" * 100_000])
def test_what_is_no_report(command, tmp_path, content):
    if content is not None:
        Path("a.json").write_bytes(content)
    assert_user_error(command("compare", "a.json", "a.json"), "a.json: ", "fxconv convert --json wrote")


def test_a_report_of_another_schema_and_a_damaged_one(reports, command):
    content = json.loads(reports("a").read_text())
    Path("a.ptl").unlink()
    Path("b.json").write_text(json.dumps(content | {"schema": 7}))
    assert_user_error(command("compare", "a.json", "b.json"), "b.json: schema 7, this fxconv reads 1")
    Path("c.json").write_text(json.dumps(content | {"passes": [1], "verdict": "x"}))
    assert_user_error(command("compare", "a.json", "c.json"), "one of the two reports is damaged")


def test_files_behind_the_first_are_compared_by_their_kind(reports):
    first = read_report(reports("a"))
    assert [file["target"] for file in first["artifacts"]] == ["mobile"]
    second = copy.deepcopy(first)
    program = {**copy.deepcopy(first["artifacts"][0]), "target": "executorch", "to_int8_db": 31.0}
    second["artifacts"].append(program)
    (found,) = differences(first, second)
    assert (found.section, found.first, found.second) == ("the .pte", "not there", "there")
    third = copy.deepcopy(second)
    outside = {"operator": "aten::elu.out", "how": "portable", "calls": 2, "where": ["elu"], "values": 8}
    third["artifacts"][1].update(to_int8_db=29.0, outside_int8=[outside])
    assert [(one.section, one.what, one.first, one.second) for one in differences(second, third)] == [
        ("the .pte", "to_int8_db", "31", "29"),
        ("the .pte", "outside_int8", "nothing more", "aten::elu.out portable 2"),
    ]
    alone = {**first, "artifacts": [program]}
    assert [(one.what, one.first, one.second) for one in differences(first, alone)] == [
        ("target", "mobile", "executorch")
    ]
    before = {key: value for key, value in first.items() if key != "artifacts"}
    assert list(differences(before, first)) == []
