"""Names and messages out of files reach the terminal as text: they neither command it nor make lines of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fxconv_commands import SMALL
from torch import nn

from benchmarks.hostile.archives import zip_of
from fxconv.cli import terminal

EVIL = "x\x1b]0;mine\x07\x1b[2J\u202e\nfxconv: proven [red]"
SHOWN = "\\x1b[2J\\u202e"
SPEC, *REST = SMALL


def check_shown(run, *, elsewhere: bool = False) -> None:
    """No letter that a terminal obeys, no line of the file's; the name is there, written out."""
    printed = run.stdout + run.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in printed), printed
    assert "Traceback" not in printed and not any(line.startswith("fxconv: proven") for line in printed.splitlines())
    assert elsewhere or (SHOWN in printed and "[red]" in printed), printed


def test_keys_of_a_state_dict(command, tmp_path):
    torch.save({EVIL: torch.ones(2)}, tmp_path / "x.pth")
    run = command("convert", SPEC, *REST, "--weights", str(tmp_path / "x.pth"))
    assert run.status == 2 and run.stderr.count("\n") == 1
    check_shown(run)


def test_keys_beside_a_state_dict(command, tmp_path):
    torch.save({EVIL: 3, "a": "b"}, tmp_path / "x.pth")
    run = command("convert", SPEC, *REST, "--weights", str(tmp_path / "x.pth"))
    assert run.status == 2 and run.stderr.count("\n") == 1
    check_shown(run)


def test_keys_of_safetensors(command, tmp_path):
    from safetensors.torch import save_file

    save_file({EVIL: torch.ones(2)}, tmp_path / "x.safetensors")
    check_shown(command("convert", SPEC, *REST, "--weights", str(tmp_path / "x.safetensors")))


@pytest.mark.parametrize("option", ["--calib", "--example"])
def test_names_in_an_npz(command, tmp_path, option):
    np.savez(
        tmp_path / "x.npz", **{EVIL: np.zeros((1, 3, 32, 32), np.float32), "b": np.zeros((1, 3, 32, 32), np.float32)}
    )
    run = command("convert", SPEC, *REST, option, str(tmp_path / "x.npz"))
    assert run.status == 2
    check_shown(run)


def test_names_in_an_npz_that_is_used(command, tmp_path):
    np.savez(tmp_path / "x.npz", **{EVIL: np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)})
    run = command("convert", SPEC, *REST, "--calib", str(tmp_path / "x.npz"), "--recipe", "none", "--report",
                  "--html", "x.html", "--json", "report.json")  # fmt: skip
    assert run.status == 0, run.stderr
    check_shown(run, elsewhere=True)
    page = (run.folder / "x.html").read_text()
    assert all(letter.isprintable() or letter in "\n\t" for letter in page)
    assert (run.folder / "report.json").read_text().isascii()


def test_names_of_files_and_folders(command, tmp_path):
    folder = tmp_path / EVIL.replace("/", "")
    folder.mkdir()
    (folder / f"{EVIL}.png").write_text("no image")
    check_shown(command("convert", SPEC, *REST, "--calib", str(folder)))
    check_shown(command("convert", SPEC, *REST, "--labels", str(folder / "gone")))
    check_shown(command("verify", str(folder / "gone.ptl")))
    check_shown(command("bench", str(folder / "gone.ptl")))
    check_shown(command("inspect", str(folder / "gone.ptl")))
    check_shown(command("compare", str(folder / "gone.json"), str(folder / "gone.json")))
    check_shown(command("doctor", str(folder / "gone.log")), elsewhere=True)  # it takes the words for a message


def test_lists_of_photographs(command, tmp_path):
    (tmp_path / "list.csv").write_text(f"{EVIL.partition(chr(10))[0]}[red].png,1\n")
    check_shown(command("convert", SPEC, *REST, "--labels", str(tmp_path / "list.csv")))


def test_keys_and_values_of_choices(command, tmp_path):
    for choices in ({EVIL: 1}, {"engine": EVIL}, {"skip": [EVIL]}, {"keep_float": [EVIL]}, {"runtime": EVIL}):
        (tmp_path / "c.json").write_text(json.dumps(choices))
        run = command("convert", SPEC, *REST, "--config", str(tmp_path / "c.json"))
        assert run.status == 2 and run.stderr.count("\n") == 1
        check_shown(run, elsewhere=True)


def archive(path, **records):
    path.write_bytes(zip_of({"data.pkl": b"\x80\x02}.", "version": b"3", **records}))
    return str(path)


@pytest.mark.parametrize("verb", ["verify", "predict", "bench", "inspect"])
@pytest.mark.parametrize(
    "records",
    [
        pytest.param({f"{EVIL}/../x": b""}, id="a record that leads out"),
        pytest.param({"Bytecode.pkl\x1b[2J\u202e[red]": b"", "bytecode.pkl\x1b[2J\u202e[red]": b""}, id="twice"),
    ],
)
def test_names_of_records(command, tmp_path, verb, records):
    others = (str(tmp_path),) if verb == "predict" else ()
    (tmp_path / "x.png").write_bytes(b"")
    check_shown(command(verb, archive(tmp_path / "x.ptl", **records), *others))


@pytest.mark.parametrize("words", [("inspect",), ("verify",), ("bench", "--input-size", "8"), ("bench",)])
def test_operators_and_metadata_of_an_artifact(command, tmp_path, words):
    metadata = {EVIL: EVIL, "fxconv.json": json.dumps({"schema": 1, "inputs": EVIL, "model": {"name": EVIL}})}
    net = torch.jit.script(nn.ReLU())
    content = net._save_to_buffer_for_lite_interpreter(_extra_files=metadata | {"golden.json": EVIL})
    for name, changed in (("a.ptl", content), ("b.ptl", content.replace(b"aten::relu", b"aten::\x1b[2J"))):
        if words[0] == "inspect" or name == "b.ptl" or words == ("verify",):  # a.ptl would be measured
            (tmp_path / name).write_bytes(changed)
            check_shown(command(words[0], str(tmp_path / name), *words[1:]), elsewhere=True)


def test_warnings_are_one_line_each(capsys):
    terminal.warn(EVIL)
    printed = capsys.readouterr().err
    assert printed.startswith("warning: x\\x1b]0;mine") and printed.endswith("fxconv: proven [red]\n")
    assert SHOWN in printed and printed.count("\n") == 1 and printed[:-1].isprintable()


def test_the_traceback_of_an_error(command, tmp_path):
    torch.save({EVIL: torch.ones(2)}, tmp_path / "x.pth")
    run = command("convert", SPEC, *REST, "--weights", str(tmp_path / "x.pth"), "--traceback")
    assert "Traceback (most recent call last)" in run.stderr and SHOWN in run.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in run.stderr)
