"""docs/on_device.md: its code draws, normalizes and compares as fxconv.replay does, and reads what a file has.

There is neither Kotlin nor Swift where the tests run. Functions of the page that only compute are written plainly
enough to be turned into Java and Python by the few rules below; what those rules do not know does not compile.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from fxconv_commands import REPO
from torch import nn

import fxconv
from fxconv import replay
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.proof import metadata

WHOLE = (REPO / "docs" / "on_device.md").read_text()
# The code for a .pte is tested beside its target.
PTE = WHOLE[WHOLE.index("\n## A .pte, in ExecuTorch\n") : WHOLE.index("\n## What was tried\n")]
PAGE = WHOLE.replace(PTE, "")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# shape, seed, cell: an image, edges that cut squares off, one plane, a video, a vector, the largest seed
DRAWN = [
    ([1, 3, 16, 24], 2654435769, 8), ([2, 3, 13, 11], 1013904242, 8), ([1, 1, 9, 9], 4, 1),
    ([1, 3, 2, 10, 10], 3668339992, 4), ([1, 7], 99, 1), ([1, 3, 8, 8], 2**32 - 1, 8),
]  # fmt: skip


def files(language: str) -> dict[str, str]:
    """The page's code in this language by the name that its first line says."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return {re.split(r"[ :]", text.splitlines()[0].lstrip("/# "))[0]: text for text in blocks}


KOTLIN, SWIFT, OBJC, RUBY = files("kotlin"), files("swift"), files("objc"), files("ruby")


def function(text: str, start: str) -> str:
    """One top-level function, down to the brace in the first column."""
    (found,) = re.findall(rf"^{re.escape(start)}\(.*?^}}$", text, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """fxconv.json and golden.json of a file that takes normalized floats."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(64, 200)).eval()
    path = tmp_path_factory.mktemp("phone") / "x.ptl"
    names = [f"class {place}" for place in range(200)]
    data = [torch.randn(4, 3, 32, 32)]
    fxconv.convert(model, calibration=data, labels=names, preprocessing=Preprocessing(32, 32), recipe=("none",)).save(
        path
    )
    texts = [replay.extra_file(str(path), name) for name in (metadata.FILE, replay.FILE)]
    assert all(texts), "the file is too small for golden inputs"
    return [json.loads(text) for text in texts if text]


def keys(value) -> set[str]:
    """Every key in what JSON says, however deep."""
    if isinstance(value, dict):
        return set(value) | {key for member in value.values() for key in keys(member)}
    return {key for member in value for key in keys(member)} if isinstance(value, list) else set()


# -- by text -----------------------------------------------------------------------------------------


def test_the_page_has_its_files():
    assert list(KOTLIN) == ["build.gradle.kts", "Golden.kt", "FxModel.kt", "Preprocessing.kt", "Loading.kt"]
    assert list(SWIFT) == ["Golden.swift", "FxModel.swift", "Preprocessing.swift", "Loading.swift"]
    assert [list(OBJC), list(RUBY)] == [["FxModule.h", "FxModule.mm"], ["Podfile"]]
    assert '#import "FxModule.h"' in OBJC["FxModule.mm"]
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", prose)
    assert targets
    for target in targets:
        assert (REPO / "docs" / target).exists(), target


def test_the_libraries_have_versions():
    assert re.findall(r'implementation\("([\w.]+:\w+):([\d.]+)"\)', KOTLIN["build.gradle.kts"]) == [
        ("org.pytorch:pytorch_android_lite", "2.1.0")
    ]
    assert re.findall(r"pod '([\w-]+)', '([\d.]+)'", RUBY["Podfile"]) == [("LibTorch-Lite", "1.13.0.1")]


@pytest.mark.parametrize("code", [KOTLIN["FxModel.kt"], OBJC["FxModule.mm"]], ids=["Kotlin", "Objective-C++"])
def test_the_code_asks_for_the_files_that_are_written(code):
    assert set(re.findall(r'"(\w+\.json)"', code)) == {metadata.FILE, replay.FILE}


def test_kotlin_asks_for_keys_that_are_written(written):
    code = KOTLIN["FxModel.kt"] + KOTLIN["Preprocessing.kt"]
    asked = set(re.findall(r'\b(?:get|opt|has)(?:String|Int|Long|Boolean|JSONArray|JSONObject)?\("(\w+)"\)', code))
    assert {"seeds", "sha256", "every", "in_graph", "labels"} <= asked <= keys(written)


def test_swift_decodes_keys_that_are_written(written):
    renamed = dict(re.findall(r'case (\w+) = "(\w+)"', SWIFT["FxModel.swift"]))
    said, golden = written
    for name, code, text in (("Metadata", SWIFT["FxModel.swift"], said), ("Golden", SWIFT["Golden.swift"], golden)):
        body = re.search(rf"^struct {name}: Decodable {{\n(.*?)^}}", code, re.MULTILINE | re.DOTALL).group(1)
        found = {renamed.get(key, key) for key in re.findall(r"let (\w+):", body)}
        assert len(found) > 8 and found <= keys(text)
        # what Swift does not call optional has to be there; the innermost structures are those with a name
        must = {renamed.get(key, key) for key in re.findall(r"^    let (\w+): [^?]+$", body, re.MULTILINE)}
        assert must and must <= set(text)


def test_the_tables_have_every_key(written):
    said, golden = written
    for name, text in ((metadata.FILE, said), (replay.FILE, golden)):
        _, table = PAGE.split(f"| key of {name} | holds |\n|---|---|\n")
        rows = table.split("\n\n")[0].splitlines()
        assert [row.split("`")[1] for row in rows] == list(text)
        inner = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
        assert keys(text) - {"nodes", "reason"} <= inner


def test_the_limit_and_the_format_are_those_of_replay():
    db = f"{replay.ISLAND_SQNR_DB:.0f}"
    assert f"{db} dB are enough" in PAGE
    assert re.findall(r"near >= (\d+)", KOTLIN["FxModel.kt"] + SWIFT["FxModel.swift"]) == [db, db]
    assert re.findall(r'getInt\("format"\) != (\d+)', KOTLIN["FxModel.kt"]) == [str(replay.FORMAT)]
    assert re.findall(r"golden\.format == (\d+)", SWIFT["FxModel.swift"]) == [str(replay.FORMAT)]


# -- by running it -----------------------------------------------------------------------------------

_PARAMETER, _NAME = r"(?:_ )?(\w+): [^,]+", r"\1"
_TO_PYTHON = [
    (r"^func (.*)\) -> .*\{$", lambda found: f"def {re.sub(_PARAMETER, _NAME, found[1])}):"),
    (r"for (\w+) in 0\.\.<(.*) \{$", r"for \1 in range(\2):"),
    (r"\b(?:let|var) (\w+)(?:: \[\w+\])? = ", r"\1 = "),
    (r"\[Float\]\(repeating: 0, count: (.*)\)", r"numpy.zeros(\1, numpy.float32)"),
    (r"\.reserveCapacity\(.*\)", ""),
    (r"(\w+)\.last \?\? 1", r"(\1[-1] if \1 else 1)"),
    (r"(\w+)\.drop(Last|First)\(2\)\.reduce\(1, \*\)",
     lambda found: f"math.prod({found[1]}[{':-2' if found[2] == 'Last' else '2:'}])"),
    (r"\bdraws\(seed: (\w+), count: (.*)\)$", r"draws(\1, \2)"),
    (r"(\w+)\.count", r"len(\1)"),
    (r"= (.*) \? (.*) : (.*)$", r"= \2 if \1 else \3"),
    (r"\bInt\(", "int("), (r"\bUInt8\(", "uint8("), (r"\bFloat\(", "numpy.float32("), (r"\blog10\(", "math.log10("),
]  # fmt: skip


def python(text: str) -> str:
    """Swift functions in Python. What has no Float in it divides whole numbers, as Swift's Int does."""
    lines = []
    for line in text.splitlines():
        for pattern, into in _TO_PYTHON:
            line = re.sub(pattern, into, line)
        if line.strip() and line.strip() != "}":
            lines.append(line if "float" in line or "log10" in line else re.sub(r" / ", " // ", line))
    return "\n".join(lines)


def uint8(value: int) -> int:
    """Swift traps where a number does not fit, and so does this."""
    assert 0 <= value < 256
    return value


@pytest.fixture(scope="module")
def swift():
    """The functions of Golden.swift that only compute."""
    names = {"numpy": np, "math": math, "uint8": uint8}
    text = SWIFT["Golden.swift"]
    wanted = ("draws", "pixels", "normalized", "decibels")
    exec(python("\n".join(function(text, f"func {name}") for name in wanted)), names)
    return names


@pytest.mark.parametrize(("shape", "seed", "cell"), DRAWN)
def test_swift_draws_what_replay_draws(swift, shape, seed, cell):
    with np.errstate(over="ignore"):
        assert swift["draws"](np.uint32(seed), 50) == replay.draws(seed, 50)
        drawn = swift["pixels"](shape, np.uint32(seed), cell)
    assert drawn == replay.pixels(shape, seed, cell).flatten().tolist()


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), ([0.3137], [0.7])])
def test_swift_normalizes_as_replay_does(swift, mean, std):
    drawn = replay.pixels([2, 3, 8, 10], 77, 4)
    ours = swift["normalized"](drawn.flatten().tolist(), [2, 3, 8, 10], *map(np.float32, (mean, std)))
    assert ours.tobytes() == replay.content(_normalized(drawn, mean, std))


def test_swift_measures_as_replay_does(swift):
    output, expected, decibels = _off()
    kept = np.frombuffer(base64.b64decode(expected["data"]), np.float32).astype(float).tolist()
    assert swift["decibels"](kept, output.double().flatten().tolist(), expected["every"]) == pytest.approx(decibels)


def _normalized(drawn: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    return replay.input_from(drawn, {"dtype": "float32", "mean": mean, "std": std})


def _off() -> tuple[torch.Tensor, dict, float]:
    """An output, what it should have been, and by how many decibels it is off as fxconv.replay measures."""
    was = torch.linspace(-1, 2, 40).reshape(1, 40)
    kept = was.flatten()[::3].contiguous()
    data = base64.b64encode(replay.content(kept)).decode()
    expected = {"shape": [1, 40], "dtype": "float32", "sha256": "", "every": 3, "data": data}
    output = was + 0.01 * torch.arange(40).sin()
    found = replay.compared(output, expected)["sqnr_db"]
    assert 30 < found < 60
    return output, expected, found


_TYPES = {"Int": "int", "IntArray": "int[]", "LongArray": "long[]", "ByteArray": "byte[]", "FloatArray": "float[]",
          "DoubleArray": "double[]", "Double": "double"}  # fmt: skip
_TO_JAVA = [
    (r"\b(Int|Byte|Float)Array\((.*)\)$", lambda found: f"new {found[1].lower()}[{found[2]}]"),
    (r"^( *)(val|var) ", r"\1var "),
    (r"(\w+(?:\[[^\]]*\])?)\.toInt\(\)", r"(int) \1"),
    (r"= (\(.*\))\.toByte\(\)", r"= (byte) \1"),
    (r"= if \((.*?)\) (.*) else (.*)$", r"= \1 ? \2 : \3"),
    (r"for \((\w+) in (\S+) until (.*?)\)( \w| \{)", r"for (int \1 = \2; \1 < \3; \1++)\4"),
    (r"for \((\w+) in (\w+)\) ", r"for (var \1 : \2) "),
    (r"\.size\b", ".length"), (r"\blog10\(", "Math.log10("),
    (r" xor ", " ^ "), (r" shl ", " << "), (r" ushr ", " >>> "), (r" and ", " & "),
]  # fmt: skip


def java(text: str) -> str:
    """A Kotlin function in Java, where int and float are the same."""
    head, *body = text.splitlines()
    name, given, result = re.fullmatch(r"fun (\w+)\((.*)\): (\w+) \{", head).groups()
    typed = [f"{_TYPES[kind]} {word}" for word, kind in re.findall(r"(\w+): (\w+)", given)]
    lines = [f"static {_TYPES[result]} {name}({', '.join(typed)}) {{"]
    for line in body:
        for pattern, into in _TO_JAVA:
            line = re.sub(pattern, into, line)
        lines.append(line if line.endswith(("{", "}")) else f"{line};")
    return "\n".join(lines)


_MAIN = """
import java.io.*;
import java.nio.*;

public class Kotlin {
%s
static byte[] bytes(float[] values) {
    var all = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (var value : values) all.putFloat(value);
    return all.array();
}
static void print(byte[] all) {
    var text = new StringBuilder();
    for (var one : all) text.append(String.format("%%02x", one));
    System.out.println(text);
}
public static void main(String[] words) {
%s
}
}
"""


def _array(kind: str, values: list) -> str:
    return f"new {kind}[] {{{', '.join(f'({kind}) {value}' for value in values)}}}"


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac")
def test_kotlin_turned_into_java_computes_what_replay_computes(tmp_path):
    output, expected, decibels = _off()
    kept = np.frombuffer(base64.b64decode(expected["data"]), np.float32)
    names = ("draws", "pixels", "normalized", "channelsFirst", "decibels")
    functions = "\n".join(java(function(KOTLIN["Golden.kt"], f"fun {name}")) for name in names)
    whole = torch.arange(2 * 3 * 4 * 5, dtype=torch.int32).reshape(2, 3, 4, 5) * 97
    last = whole.permute(0, 2, 3, 1).contiguous().flatten().tolist()
    calls, wanted = [], []
    for shape, seed, cell in DRAWN:
        sides = _array("long", shape)
        drawn = replay.pixels(shape, seed, cell)
        calls.append(f"print(pixels({sides}, (int) {seed}L, {cell}));")
        wanted.append(replay.content(drawn).hex())
        for mean, std in ((MEAN, STD), ([0.3137], [0.7])):
            if len(mean) == 1 or (len(shape) > 2 and shape[1] == 3):
                both = ", ".join(_array("float", values) for values in (mean, std))
                calls.append(f"print(bytes(normalized(pixels({sides}, (int) {seed}L, {cell}), {sides}, {both})));")
                wanted.append(replay.content(_normalized(drawn, mean, std)).hex())
    calls.append(f"int[] last = {_array('int', last)};")
    calls.append("var memory = ByteBuffer.allocate(480).order(ByteOrder.LITTLE_ENDIAN);")
    calls.append("for (var value : last) memory.putInt(value);")
    calls.append("print(channelsFirst(memory.array(), new long[] {2, 3, 4, 5}, 4));")
    wanted.append(replay.content(whole).hex())
    numbers = ", ".join(_array("double", values) for values in (kept.tolist(), output.flatten().tolist()))
    calls.append(f"System.out.println(decibels({numbers}, {expected['every']}));")
    source = tmp_path / "Kotlin.java"
    source.write_text(_MAIN % (functions, "\n".join(calls)))
    compiled = subprocess.run(["javac", "-d", str(tmp_path), str(source)], capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    command = ["java", "-Xshare:auto", "-cp", str(tmp_path), "Kotlin"]
    *printed, last_line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(printed) == len(wanted) > 12
    assert printed == wanted
    assert float(last_line) == pytest.approx(decibels)


def test_what_the_apps_own_preprocessing_computes_is_the_same_arithmetic():
    """Kotlin's and Swift's, in the page's examples of preprocessing, are that of the golden inputs."""
    plain = [re.sub(r"\.toInt\(\)\.?| and|and\(255\)|[()]|f\b|Float", "", line) for line in (
        *re.findall(r"\{ \((.*?)\) / std\[it / area\] \}", KOTLIN["Preprocessing.kt"]),
        *re.findall(r"= \((.*?)\) / std\[place / area\]", SWIFT["Preprocessing.swift"]),
    )]  # fmt: skip
    assert plain == ["planes[it] / 255 - mean[it / area]", "planes[place] / 255 - mean[place / area]"]
