"""benchmarks/zoo.py --pte: which networks are run at which size, and the section made of their records."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.zoo import recorded
from benchmarks.zoo_plan import LARGEST_PROGRAM, left_out, plans, program_plans
from benchmarks.zoo_programs_table import section, summary_line, unmet

POOL = {"operator": "avg_pool2d", "how": "float", "calls": 3, "where": ["pool"], "values": 100}
CHUNK = {"operator": "split_with_sizes_copy", "how": "portable", "calls": 1, "where": ["chunk"], "values": 50}


def record(model: str = "a_network", **pte: Any) -> dict[str, Any]:
    own = {
        "verdict": "converted and verified", "proven": True, "verified": True, "bytes": 1_000_000,
        "float_bytes": 4_000_000, "int8_share": 1.0, "outside": [], "reasons": {}, "to_int8_db": 40.25,
        "sqnr_db": 25.0, "seconds": 30.0, "peak_mib": 900.0,
    }  # fmt: skip
    whole = {"model": model, "input": "3x64x64", "part": "", "pte": own | pte, "code": "ab", "torch": "2.14.1",
             "most_mib": 1000.0, "wall_seconds": 40.0}  # fmt: skip
    return {"model": model, "pte": whole}


def refused(model: str, why: str) -> dict[str, Any]:
    found = record(model)
    found["pte"]["pte"] = {"refused": why, "peak_mib": 800.0}
    return found


def test_networks_above_the_named_size_are_left_out_by_name():
    out = left_out()
    assert list(out) == ["regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32"]
    assert all(count > LARGEST_PROGRAM for count in out.values())
    assert {p.model for p in program_plans()} == {p.model for p in plans()} - set(out)


def test_each_is_run_at_a_small_size_that_it_takes():
    sizes = {p.model: p.size for p in program_plans()}
    assert sizes["resnet18"] == "64" and sizes["vgg16"] is None and sizes["mvit_v2_s"] is None
    assert sizes["fasterrcnn_mobilenet_v3_large_320_fpn"] == "160" and sizes["maskrcnn_resnet50_fpn"] == "128"
    assert {p.images for p in program_plans()} == {4}


def test_the_section_says_what_is_float_and_what_was_refused_and_why():
    records = [
        record(outside=[POOL, CHUNK], reasons={"Softmax: no kernel": 12}),
        refused("boxes", "returns | boxes"),
        refused("others", "returns | boxes"),
    ]
    text = "\n\n".join(section(records, {"vit_h_14": 633_000_000}, "ab"))
    row = "| a_network | 3x64x64 | proven | 100.0% | avg_pool2d 3 | split_with_sizes_copy 1 | 40.2 | 25.0 |"
    assert row + " 1,000 | 4,000 | 30 | 900 |" in text
    assert "1 of 3 networks are proven as ExecuTorch programs; 2 refused, 0 failed." in text
    assert "- boxes, others: returns / boxes" in text
    assert "Left out for their size: vit_h_14 (633 million parameters)." in text
    assert "### In float as in the int8 module, and why" in text and "- a_network 12: Softmax: no kernel" in text
    assert "made by other sources" not in text


def test_a_program_of_the_same_bits_is_called_equal():
    assert "| 100.0% | - | - | equal | 25.0 |" in "\n".join(section([record(to_int8_db=None)], {}, "ab"))


def test_there_is_no_section_without_programs():
    assert section([{"model": "resnet18"}], {}, "ab") == [] and unmet([{"model": "resnet18"}]) == []


def test_a_float_program_that_does_not_say_so_and_too_few_are_not_met():
    many = [record(f"n{index}") for index in range(85)]
    assert unmet(many) == []
    assert unmet(many[1:]) == ["84 networks are proven as .pte, 85 required"]
    assert unmet([*many, record("f", int8_share=0.5)]) == ["f, .pte: 50.0% in int8, and nothing says what is in float"]
    assert unmet([*many, record("f", int8_share=0.5, outside=[POOL])]) == []
    assert unmet([*many, record("f", proven=False, verdict="FAILED: twin")]) == ["f, .pte: FAILED: twin"]


def test_a_line_on_a_network():
    assert summary_line(record()["pte"]) == "a_network: proven, 100.0% int8, 1,000 MiB, 40 s"
    assert summary_line(refused("b", "no")["pte"]) == "b: refused, no, 1,000 MiB, 40 s"


def test_records_of_programs_stand_beside_those_that_are_there(tmp_path: Path) -> None:
    whole = record("resnet18")["pte"]
    (tmp_path / "resnet18.pte.json").write_text(json.dumps(whole))
    found, machine = recorded(tmp_path, ["resnet18", "resnet34"])
    assert [each["model"] for each in found] == ["resnet18", "resnet34"]
    assert found[0]["pte"] == whole and found[0]["ours"]["verified"] is True
    assert "torch" in machine
