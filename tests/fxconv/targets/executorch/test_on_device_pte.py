"""docs/on_device.md, the part on a .pte: its code asks for what files have, with libraries that go with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fxconv_commands import REPO
from fxconv_executorch import needs_executorch

from fxconv import replay
from fxconv.environment import EXECUTORCH
from fxconv.targets.executorch.runtime import SIZES_TEXT, load

WHOLE = (REPO / "docs" / "on_device.md").read_text()
START, END = WHOLE.index("\n## A .pte, in ExecuTorch\n"), WHOLE.index("\n## What was tried\n")
PART, REST = WHOLE[START:END], WHOLE[:START] + WHOLE[END:]


def files(language: str, text: str) -> dict[str, str]:
    """Code in this language by the name that its first line says."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {re.split(r"[ :]", block.splitlines()[0].lstrip("/# "))[0]: block for block in blocks}


KOTLIN, SWIFT = files("kotlin", PART), files("swift", PART)
MOBILE_KOTLIN, MOBILE_SWIFT = files("kotlin", REST), files("swift", REST)


def test_the_part_has_its_files():
    assert list(KOTLIN) == ["build.gradle.kts", "PteModel.kt"]
    assert list(SWIFT) == ["swift-tools-version", "PteModel.swift"]


def test_the_libraries_are_of_the_releases_that_write_files():
    newest = EXECUTORCH["2.14"][0]
    oldest = EXECUTORCH["2.12"][0]
    assert re.findall(r'implementation\("([\w.:-]+)"\)', KOTLIN["build.gradle.kts"]) == [
        f"org.pytorch:executorch-android:{newest}"
    ]
    assert re.findall(r'branch: "([\w.-]+)"', SWIFT["swift-tools-version"]) == [f"swiftpm-{newest}"]
    assert re.findall(r'name: "(\w+)", package', SWIFT["swift-tools-version"]) == [
        "executorch", "backend_xnnpack", "kernels_optimized", "kernels_quantized",
    ]  # fmt: skip
    for release in (newest, oldest):
        assert f"| `org.pytorch:executorch-android:{release}` | branch `swiftpm-{release}` |" in PART
    assert EXECUTORCH["2.13"][0] == newest


@pytest.mark.parametrize("code", [KOTLIN["PteModel.kt"], SWIFT["PteModel.swift"]], ids=["Kotlin", "Swift"])
def test_the_texts_are_asked_for_by_their_names(code):
    assert set(re.findall(r'"(fxconv_\w+)"', code)) == {"fxconv_metadata", "fxconv_golden", "fxconv_sizes"}
    assert set(re.findall(r"`(fxconv_\w+)`", PART)) == {"fxconv_metadata", "fxconv_golden", "fxconv_sizes"}


def test_the_warning_stands_in_bold_and_the_code_asserts_it():
    (warning,) = re.findall(r"^\*\*Always give contiguous values(.*?)\*\*", PART, re.MULTILINE | re.DOTALL)
    assert "channels" in warning and "says nothing" in warning
    assert PART.index("Always give contiguous") < PART.index("```kotlin")
    assert SWIFT["PteModel.swift"].count("precondition(tensor.dimensionOrder == Array(0..<tensor.shape.count)") == 2
    assert "check(isPlanar)" in KOTLIN["PteModel.kt"]


def test_the_limit_and_the_format_are_those_of_replay():
    db = f"{replay.ISLAND_SQNR_DB:.0f}"
    assert f"{db} dB where it does not say" in PART
    assert re.findall(r'optDouble\("least_db", (\d+)\.0\)', KOTLIN["PteModel.kt"]) == [db]
    assert re.findall(r"\?\.leastDb \?\? (\d+)", SWIFT["PteModel.swift"]) == [db]
    assert re.findall(r'getInt\("format"\) != (\d+)', KOTLIN["PteModel.kt"]) == [str(replay.FORMAT_OF_KERNELS)]
    assert re.findall(r"golden\.format == (\d+)", SWIFT["PteModel.swift"]) == [str(replay.FORMAT_OF_KERNELS)]


@needs_executorch
def test_the_texts_of_a_real_file_are_those_that_the_code_reads(golden_pte: Path) -> None:
    program = load(golden_pte)
    golden, sizes = json.loads(program.text("fxconv_golden") or ""), json.loads(program.text(SIZES_TEXT) or "")
    assert (golden["format"], golden["rule"]) == (replay.FORMAT_OF_KERNELS, "kernels")
    metadata = json.loads(program.text("fxconv_metadata") or "")
    assert keys_of(KOTLIN["PteModel.kt"]) - {"least_db"} <= keys_in(golden) | keys_in(metadata)
    shape = golden["inputs"][0]["shape"]
    assert len(sizes) == 1 and all(least <= side <= most for side, (least, most) in zip(shape, sizes[0], strict=True))
    for code in (KOTLIN["PteModel.kt"], SWIFT["PteModel.swift"]):
        assert f'said("{SIZES_TEXT}"' in code


def keys_in(value: object) -> set[str]:
    """All keys of a JSON text, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


def test_what_it_takes_from_golden_is_there():
    """Golden.kt and Golden.swift are shared with a .ptl: each function that the code calls is in them."""
    imported = re.findall(r"^import com\.example\.fxconv\.(\w+)$", KOTLIN["PteModel.kt"], re.MULTILINE)
    assert len(imported) == 6
    for name in imported:
        assert re.search(rf"^fun {name}\(", MOBILE_KOTLIN["Golden.kt"], re.MULTILINE), name
    own = SWIFT["PteModel.swift"]
    for name in ("pixels", "normalized", "sha256", "unsigned", "numbers", "decibels"):
        assert re.search(rf"(?<!func )\b{name}\(", own), name
        assert re.search(rf"^func {name}\(", MOBILE_SWIFT["Golden.swift"], re.MULTILINE), name


def keys_of(code: str) -> set[str]:
    return set(re.findall(r'\b(?:get|opt|has)(?:String|Int|Long|Double|JSONArray|JSONObject)?\("(\w+)"', code))


def test_kotlin_asks_for_keys_that_a_ptl_of_the_same_texts_is_asked_for():
    """The keys of the two texts are tested with the files; a .pte's have one more."""
    tables = "\n".join(line for line in REST.splitlines() if line.startswith("| `"))
    for key in keys_of(KOTLIN["PteModel.kt"]) - {"least_db"}:
        assert f"`{key}`" in tables, key


def test_a_copy_gets_its_name_when_it_is_whole():
    assert "part.renameTo(file)" in KOTLIN["PteModel.kt"]


def test_braces_are_balanced_and_no_other_module_is_used():
    for code in (*KOTLIN.values(), *SWIFT.values()):
        for opened, closed in ("{}", "()", "[]"):
            assert code.count(opened) == code.count(closed)
    assert re.findall(r"^import org\.pytorch\.(\w+)", KOTLIN["PteModel.kt"], re.MULTILINE) == ["executorch"] * 4
    assert re.findall(r"^import (\w+)", SWIFT["PteModel.swift"], re.MULTILINE) == ["ExecuTorch", "Foundation"]


def test_each_other_delegate_has_its_sentence():
    _, others = PART.split("### Other delegates\n")
    assert re.findall(r"^- \*\*(.*?)\*\*", others, re.MULTILINE) == ["Core ML", "Vulkan", "Qualcomm QNN"]
