"""Files that appear whole or not at all: where they may be put, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from io import FileIO
from pathlib import Path

import pytest

from fxconv.data import staged_file
from fxconv.data.staged_file import StagedFile, check_place, clear_leftovers, commit_all, write_whole
from fxconv.errors import UserError

OLD = b"the artifact of last week"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A target under whose name the user has something already."""
    path = tmp_path / "x.ptl"
    path.write_bytes(OLD)
    return path


def test_a_staged_file_gets_its_name_on_commit_only(tmp_path):
    target = tmp_path / "x.ptl"
    with StagedFile(target, b"whole") as staged:
        assert staged.path.read_bytes() == b"whole"
        assert staged.path.name == f".x.ptl.{os.getpid()}.0.part"  # hidden, beside: renaming works within a disk only
        assert staged.path.parent == tmp_path
        assert not target.exists()
        staged.commit()
        assert target.read_bytes() == b"whole"
    assert names(tmp_path) == ["x.ptl"]


def test_a_staged_file_that_is_not_committed_vanishes(target):
    with StagedFile(target, b"whole") as staged:
        assert len(names(target.parent)) == 2
    assert names(target.parent) == ["x.ptl"]  # although the object lives, whose end would remove it too
    assert not staged.path.exists()
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_is_raised_leaves_nothing_and_spares_what_stood_there(error, target):
    with pytest.raises(error), StagedFile(target, b"whole"):
        raise error
    assert names(target.parent) == ["x.ptl"]
    assert target.read_bytes() == OLD


def fail(error: BaseException):
    def raising(*_, **__):
        raise error

    return raising


FULL = OSError(errno.ENOSPC, "No space left on device")
TOLD = r"^-o .*x.ptl: cannot be written \(No space left on device\); free some space there or write elsewhere$"


def trouble(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """Let one step of writing a file raise `error`."""
    place, name = {
        "open": (Path, "open"),
        "lock": (staged_file.fcntl, "flock"),
        "write": (StagedFile, "_write"),
        "fsync": (staged_file.os, "fsync"),
        "mode": (staged_file.shutil, "copymode"),
        "rename": (Path, "replace"),
    }[step]
    write = StagedFile._write

    def half(self, data):
        write(self, data[: len(data) // 2])
        raise error

    monkeypatch.setattr(place, name, half if step == "write" else fail(error))


@pytest.mark.parametrize("step", ["open", "write", "fsync", "mode", "rename"])
@pytest.mark.parametrize(("error", "raised", "told"), [(FULL, UserError, TOLD), (KeyboardInterrupt(), None, None)])
def test_trouble_at_every_step_of_writing(step, error, raised, told, target, monkeypatch):
    with monkeypatch.context() as patch:
        trouble(patch, step, error)
        with pytest.raises(raised or type(error), match=told), StagedFile(target, b"whole", "-o") as staged:
            staged.commit()
    assert names(target.parent) == ["x.ptl"]
    assert target.read_bytes() == OLD


class Short(FileIO):
    """A file that takes three bytes at a time, as one on a network or a nearly full disk may."""

    def write(self, data):
        return super().write(data[:3])


def test_what_a_write_leaves_over_is_written_next(target, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode, buffering: Short(path, mode))
        staged = StagedFile(target, b"whole and in order")
    with staged:
        staged.commit()
    assert target.read_bytes() == b"whole and in order"


def test_a_file_system_without_locks_is_no_trouble(target, monkeypatch):
    trouble(monkeypatch, "lock", OSError(errno.ENOLCK, "No locks available"))
    with StagedFile(target, b"whole") as staged:
        staged.commit()
    assert target.read_bytes() == b"whole"


def test_an_interruption_before_the_with_block_is_entered_leaves_nothing(target):
    StagedFile(target, b"whole")  # the object dies at once, as it does when its `with` is never reached
    assert names(target.parent) == ["x.ptl"]


def test_an_interruption_after_the_rename_leaves_the_whole_file(target):
    with pytest.raises(KeyboardInterrupt), StagedFile(target, b"whole") as staged:
        staged.commit()
        raise KeyboardInterrupt
    assert names(target.parent) == ["x.ptl"]
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("error", [None, RuntimeError("open file failed"), KeyboardInterrupt()])
def test_a_file_that_vanishes_while_it_is_checked_is_told(error, target):
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as caught, StagedFile(target, b"whole") as staged:
        staged.path.unlink()
        if error is not None:
            raise error
    if expected is UserError:
        told = "x.ptl: the file vanished while it was written; leave its folder alone, and run again"
        assert str(caught.value).endswith(told)
    assert target.read_bytes() == OLD


def test_a_file_that_vanishes_before_its_commit_is_told(target):
    with pytest.raises(UserError, match="the file vanished"), StagedFile(target, b"whole") as staged:
        staged.path.unlink()
        staged.commit()
    assert target.read_bytes() == OLD


def test_a_folder_that_takes_the_name_meanwhile_is_told(tmp_path):
    target = tmp_path / "x.ptl"
    with pytest.raises(UserError, match=r"x\.ptl: is a folder; give a file name"), StagedFile(target, b"1") as staged:
        (target / "within").mkdir(parents=True)
        staged.commit()
    assert names(tmp_path) == ["x.ptl"]


def test_a_committed_file_has_ordinary_permissions_or_those_of_the_file_it_replaces(tmp_path):
    mask = os.umask(0o022)
    try:
        write_whole(tmp_path / "new", "{}")
        (tmp_path / "old").touch(0o640)
        write_whole(tmp_path / "old", "{}")
    finally:
        os.umask(mask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "old")] == [0o644, 0o640]


def test_without_a_target_the_file_lives_elsewhere_for_a_while():
    with StagedFile(None, b"beside") as staged:
        assert staged.path.read_bytes() == b"beside"
    assert not staged.path.exists()


def test_no_folder_for_temporary_files(monkeypatch):
    monkeypatch.setattr(
        staged_file.tempfile, "gettempdir", fail(FileNotFoundError(errno.ENOENT, "No usable temporary directory found"))
    )
    with pytest.raises(UserError, match=r"no folder for temporary files can be written to \(No usable .*; set TMPDIR"):
        StagedFile(None, b"")


def test_text_is_written_whole_and_replaces_what_stood_there(target):
    write_whole(target, "new: ü\n")
    assert target.read_text(encoding="utf-8") == "new: ü\n"


# -- where a file may be put ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("folder", "is a folder; give a file name"),
        ("gone/x.ptl", "there is no folder gone; make it, or write elsewhere"),
        ("file/x.ptl", "cannot be written (Not a directory); write elsewhere"),
        ("pipe", "is a device or a pipe, which cannot be replaced by a file; give a file name"),
        ("/dev/null", "is a device or a pipe, which cannot be replaced by a file; give a file name"),
        ("circle", "cannot be written (Too many levels of symbolic links); write elsewhere"),
        ("read-only", "the file there is read-only; choose another name, or allow it with chmod u+w"),
        ("dangling far", "there is no folder"),
        ("n" * 256, "cannot be written (File name too long); choose a shorter name"),
    ],
)
def test_places_where_no_file_can_be_put(place, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    Path("read-only").touch(0o444)
    Path("dangling far").symlink_to("nowhere/x.ptl")
    before = names(tmp_path)
    with pytest.raises(UserError) as caught:
        check_place(Path(place), "-o")
    assert str(caught.value).startswith(f"-o {place}: ")
    assert words in str(caught.value)
    with pytest.raises(UserError):
        StagedFile(Path(place), b"whole")
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "ein Name mit Leerzeichen, 名前.ptl", "-o", "%s{}*?[a]\n.ptl"])
def test_every_name_a_file_can_have(name, tmp_path):
    path = tmp_path / name
    for content in ("one", "two"):
        write_whole(path, content)
    assert path.read_text() == "two"
    assert names(tmp_path) == [name]


def test_a_symbolic_link_stays_and_the_file_it_points_to_is_replaced(tmp_path):
    (tmp_path / "releases").mkdir()
    real, link = tmp_path / "releases" / "3.ptl", tmp_path / "latest.ptl"
    link.symlink_to("releases/3.ptl")
    for content in ("made", "replaced"):  # the first finds the link dangling
        write_whole(link, content)
        assert real.read_text() == content
    assert link.is_symlink()
    assert names(tmp_path / "releases") == ["3.ptl"]


# -- what killed runs leave ----------------------------------------------------------------------------


def dead_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_what_a_dead_process_left_is_cleared_by_the_next_run_for_the_same_target(tmp_path):
    left = tmp_path / f".x.ptl.{dead_process()}.3.part"
    left.write_bytes(b"half")
    write_whole(tmp_path / "x.ptl", "whole")
    assert names(tmp_path) == ["x.ptl"]


def test_what_may_belong_to_others_stays(tmp_path):
    dead = dead_process()
    for name in (f".y.ptl.{dead}.0.part", f".x.ptl.{os.getppid()}.0.part", ".x.ptl.1.0.part", "x.ptl", ".x.ptl.part"):
        (tmp_path / name).touch()
    locked = tmp_path / f".x.ptl.{dead}.0.part"  # held by another container or machine, whose ids are not ours
    with locked.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = names(tmp_path)
        clear_leftovers(tmp_path / "x.ptl")
        assert names(tmp_path) == before
    clear_leftovers(tmp_path / "x.ptl")
    assert locked.name not in names(tmp_path)


def test_a_name_that_is_taken_is_left_alone(target):
    taken = target.parent / f".x.ptl.{os.getpid()}.0.part"
    taken.write_bytes(b"somebody's")
    with StagedFile(target, b"whole") as staged:
        assert staged.path.name == f".x.ptl.{os.getpid()}.1.part"
    assert taken.read_bytes() == b"somebody's"


def test_several_files_get_their_names_together_or_none_does(tmp_path, monkeypatch):
    first, second = tmp_path / "a.ptl", tmp_path / "b.pte"
    first.write_bytes(b"old")
    with StagedFile(first, b"new") as one, StagedFile(second, b"too") as two:
        commit_all([one, two])
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"too")
    second.unlink()
    with StagedFile(first, b"newer") as one, StagedFile(second, b"too") as two:
        monkeypatch.setattr(two, "commit", lambda: (_ for _ in ()).throw(UserError("it cannot be")))
        with pytest.raises(UserError, match="it cannot be"):
            commit_all([one, two])
    assert first.read_bytes() == b"new", "what was there is put back"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ptl"]
