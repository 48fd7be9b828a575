"""Files that appear whole or not at all: staged beside their final name, renamed when they are good."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from itertools import count
from pathlib import Path
from types import TracebackType

from fxconv.errors import UserError, from_here

# A file name has at most 255 bytes; the process id and the suffix need some of them.
_LONGEST_STEM = 200
_CURES = {
    errno.ENOSPC: "free some space there or write elsewhere",
    errno.EDQUOT: "free some of your quota there or write elsewhere",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.ENOENT: "its folder has gone: make it again, or write elsewhere",
    errno.EISDIR: "a folder has that name: choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a file and a folder you may write to",
}


def cannot_write(path: Path, error: OSError, option: str = "") -> UserError:
    """Why nothing can be written under `path`, as the user is told; `option` is the one that named it."""
    cure = _CURES.get(error.errno or 0, "write elsewhere")
    return UserError(f"{f'{option} {path}'.strip()}: cannot be written ({error.strerror or error}); {cure}")


class StagedFile:
    """Bytes written beside a final name; they get that name with `commit`, or vanish.

        with StagedFile(Path("model.ptl"), data) as staged:
            check(staged.path)
            staged.commit()

    The file is called `.model.ptl.PID.N.part` until then and is locked, so that a later run for the same target knows
    what a killed one left behind, and removes it. A target that is a symbolic link stays one: the file it
    points to is replaced. Without a target the bytes go to the system's temporary folder and are never committed.

    Raises `UserError` when the file cannot be written or renamed, or when somebody removes it before its commit;
    `option` is the option that named the target, for the message.
    """

    def __init__(self, target: Path | None, data: bytes, option: str = "") -> None:
        self.target, self.option, self._done = target, option, False
        self._file: FileIO | None = None
        if target is not None:
            check_place(target, option)
            self._final = Path(os.path.realpath(target))
            clear_leftovers(self._final)
        else:
            self._final = _temporary_folder() / "fxconv.ptl"
        try:
            self._open()
            self._write(data)
        except OSError as error:
            self._close()
            raise cannot_write(target or self._final.parent, error, option or ("" if target else "TMPDIR")) from error
        except BaseException:
            self._close()
            raise

    def _open(self) -> None:
        """Find a name of our own; the file's removal is settled before the file is there, whatever may come between."""
        for number in count():
            self.path = self._final.with_name(f"{_prefix(self._final)}{os.getpid()}.{number}.part")
            self._remove = weakref.finalize(self, self.path.unlink, missing_ok=True)  # runs at exit, too
            try:
                self._file = self.path.open("xb", buffering=0)
            except OSError as error:
                self._remove.detach()  # nothing was made, and a file of that name is not ours
                if not isinstance(error, FileExistsError):
                    raise
            else:
                return

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        with suppress(OSError):  # not every file system has locks; then nobody clears anything there
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file)

    def _close(self) -> None:
        self._remove()
        if self._file is not None:
            self._file.close()

    def commit(self) -> None:
        """Give the file its final name, replacing what stood there, in one step."""
        assert self.target is not None, "nothing to commit to"
        check_place(self.target, self.option)  # it may have changed since
        try:
            if self._final.exists():
                shutil.copymode(self._final, self.path)
            self.path.replace(self._final)
        except FileNotFoundError as error:
            raise self._vanished() from error
        except OSError as error:
            raise cannot_write(self.target, error, self.option) from error
        self._done = True

    def _kept(self) -> Path | None:
        """What stands under the final name, under another name as well; None where nothing does."""
        if not self._final.exists():
            return None
        # a name of which a later run removes what a killed one left behind
        kept = self.path.with_name(self.path.name.replace(".part", "0.part"))
        shutil.copy2(self._final, kept)
        return kept

    def _put_back(self, kept: Path | None) -> None:
        if kept is None:
            self._final.unlink(missing_ok=True)
        else:
            kept.replace(self._final)

    def _vanished(self) -> UserError:
        name = f"{self.option} {self.target or self._final}".strip()
        return UserError(f"{name}: the file vanished while it was written; leave its folder alone, and run again")

    def __enter__(self) -> StagedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        vanished = not self._done and not self.path.exists()
        self._close()
        if vanished and (error is None or isinstance(error, (RuntimeError, OSError, ValueError))):
            raise self._vanished() from error


def commit_all(files: Sequence[StagedFile]) -> None:
    """Give these files their final names, all or none. Raises `UserError` where one cannot have its, as `commit`."""
    if len(files) == 1:
        files[0].commit()
        return
    done = list[tuple[StagedFile, Path | None]]()
    try:
        for file in files:
            done.append((file, file._kept()))
            file.commit()
    except BaseException:
        for file, kept in reversed(done):
            file._put_back(kept)
        raise
    for _, kept in done:
        if kept is not None:
            kept.unlink(missing_ok=True)


def check_place(target: Path, option: str = "") -> None:
    """Raise `UserError` when no file may be put under the name `target`, as far as its name and what is there tell."""
    name = f"{option} {target}".strip()
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:  # too long a name, links in a circle, a file where a folder should be
        raise cannot_write(target, error, option) from error
    if mode is None:
        folder = Path(os.path.realpath(target)).parent
        if not folder.is_dir():
            shown = from_here(str(folder)) if target.is_symlink() else target.parent
            raise UserError(f"{name}: there is no folder {shown}; make it, or write elsewhere")
    elif stat.S_ISDIR(mode):
        raise UserError(f"{name}: is a folder; give a file name")
    elif not stat.S_ISREG(mode):
        raise UserError(f"{name}: is a device or a pipe, which cannot be replaced by a file; give a file name")
    elif not mode & 0o222:  # root may write it all the same, but was not meant to
        raise UserError(f"{name}: the file there is read-only; choose another name, or allow it with chmod u+w")
    elif not os.access(target, os.W_OK):
        raise UserError(f"{name}: the file there may not be changed; choose another name, or write elsewhere")
    elif module := _imported_from(target):
        raise UserError(f"{name}: is the module {module}, which is imported here; choose another name")


def _imported_from(target: Path) -> str:
    """The module that this process has imported from the file, under any name of it; "" where there is none."""
    status, final = target.stat(), os.path.realpath(target)
    attribute = "__cached__" if final.endswith(".pyc") else "__file__"
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__dict__", {}).get(attribute)
        if isinstance(place, str):
            with suppress(OSError, ValueError):
                if os.path.samestat(os.stat(place), status):  # noqa: PTH116  a Path each of thousands takes time
                    return name
    return ""


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise UserError(f"no folder for temporary files can be written to ({error.strerror}); set TMPDIR") from error


def _prefix(final: Path) -> str:
    """How the names of all files staged for `final` begin."""
    return f".{os.fsdecode(os.fsencode(final.name)[:_LONGEST_STEM])}."


def clear_leftovers(final: Path) -> None:
    """Remove what killed runs left beside `final`; what may belong to a living one, wherever it runs, stays."""
    pattern = re.compile(re.escape(_prefix(final)) + r"(\d+)\.\d+\.part")
    with suppress(OSError):
        for path in final.parent.iterdir():
            found = pattern.fullmatch(path.name)
            if found and not _is_alive(int(found[1])) and not _is_locked(path):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


def _is_locked(path: Path) -> bool:
    """Whether a process holds the file, in another container or on another machine too, where ids mean nothing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def write_whole(path: Path, text: str, option: str = "") -> None:
    """Write a text file whole or not at all. Raises `UserError` when it cannot be written."""
    with StagedFile(path, text.encode(), option) as staged:
        staged.commit()
