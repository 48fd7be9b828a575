"""scripts/verify_arm64.sh as far as it needs no network and no emulator: what it asks for, calls and says."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fxconv_commands import REPO

SCRIPT = REPO / "scripts" / "verify_arm64.sh"
EXACT = {"sqnr_db": None, "exact": True}
NEAR = {"sqnr_db": 141.52, "exact": False}

# A qemu-aarch64 that writes down how it was called, prints what the test put beside it for the replay, and runs
# anything else in this Python.
EMULATOR = """#!/bin/sh
if [ "$1" = --version ]; then echo "qemu-aarch64 version 7.2.22 (Some Distribution 1:7.2)"; exit; fi
case $4 in
*replay.py)
    printf '%s\\n' "$PWD" "$@" >"${0%/*}/arguments"
    env >"${0%/*}/environment"
    cat "${0%/*}/answer"
    exit "$(cat "${0%/*}/status")" ;;
esac
shift 3
exec "${0%/*}/python" "$@"
"""


def runnable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Machine:
    """A machine with a false emulator, a false arm64 Python with torch 2.1.0, and a file."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.emulator = runnable(place / "bin" / "qemu-aarch64", EMULATOR)
        (place / "bin" / "python").symlink_to(sys.executable)
        self.sysroot = place / "sysroot"
        runnable(self.sysroot / "usr/bin/python3.11", "")
        runnable(self.sysroot / "usr/bin/python3.11-config", "")
        self.torch = self.sysroot / "usr/lib/python3/dist-packages"
        (self.torch / "torch").mkdir(parents=True)
        (self.torch / "torch/version.py").write_text("__all__ = []\n__version__ = '2.1.0'\n")
        self.file = place / "files" / "x.ptl"
        self.file.parent.mkdir()
        self.file.write_bytes(b"PK\x03\x04\x00\n\x00archive/extra/golden.json")
        self.answer(0, self.told())
        self.environment = {"QEMU": str(self.emulator), "ARM64_SYSROOT": str(self.sysroot)}

    @staticmethod
    def told(passed: bool | None = True, rows: tuple[dict, ...] = (EXACT, EXACT), **more: object) -> dict:
        exact = all(row["exact"] for row in rows)
        cases = [{"outputs": [row], "exact": row["exact"]} for row in rows]
        return {
            "torch": "2.1.0",
            "executorch": None,
            "machine": "aarch64",
            "passed": passed,
            "exact": exact,
            "cases": cases,
            **more,
        }

    def answer(self, status: int, told: dict | str) -> None:
        (self.emulator.parent / "answer").write_text(told if isinstance(told, str) else json.dumps(told) + "\n")
        (self.emulator.parent / "status").write_text(str(status))

    def run(self, *words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """The script with these words; what it may find is only what `environment` adds."""
        base = {"PATH": os.environ["PATH"], "FXCONV_CACHE": str(self.place / "cache")}
        return subprocess.run(
            ["/bin/sh", SCRIPT, *words],
            env={**base, **self.environment, **environment},
            cwd=cwd or self.place,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def add_executorch(machine: Machine, torch: str, executorch: str) -> Path:
    """These releases in the machine's sysroot, in a place of their own, and a program that the answer is of."""
    folder = machine.sysroot / "usr/local/lib/python3.11/dist-packages"
    for package, release in (("torch", f"'{torch}+cu130'"), ("executorch", f'"{executorch}+cpu"')):
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / "version.py").write_text(f"__version__ = {release}\n")
    machine.answer(0, machine.told(torch=f"{torch}+cu130", executorch=executorch))
    return folder


def program(machine: Machine) -> Path:
    path = machine.file.with_name("x.pte")
    path.write_bytes(b"\x3c\0\0\0ET12eh00\n\0fxconv_golden")
    return path


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    start = "verify_arm64: error: "
    return [line.removeprefix(start) for line in done.stderr.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("shell", ["/bin/sh", "bash"])
def test_it_is_a_shell_script(shell):
    assert subprocess.run([shell, "-n", SCRIPT], capture_output=True, text=True).stderr == ""
    assert SCRIPT.stat().st_mode & stat.S_IXUSR


def test_help(machine):
    done = machine.run("--help", PATH="")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--offline", "--clean", "TORCH_VERSION", "QEMU", "ARM64_SYSROOT", "PYTHON", "FXCONV_CACHE"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no file; give a .ptl or .pte that fxconv wrote (--help says more)"),
        (["gone.ptl"], "gone.ptl: no such file; give a .ptl or .pte that fxconv wrote"),
        (["files"], "files: no such file; give a .ptl or .pte that fxconv wrote"),
        (["--speed", "files/x.ptl"], "no such option: --speed; --help lists them"),
        (["files/x.ptl", "b.ptl"], "one file at a time; files/x.ptl and b.ptl were given"),
        (["--", "--help"], "--help: no such file; give a .ptl or .pte that fxconv wrote"),
        (["--clean", "files/x.ptl"], "--clean takes no file; it removes what was fetched"),
        (["x.onnx"], "x.onnx: is named neither .ptl nor .pte; give a file as fxconv convert writes it"),
        (["text.ptl"], "text.ptl: is no archive of the lite interpreter; give a .ptl as fxconv convert writes it"),
        (["older.ptl"], "older.ptl: holds no golden inputs; give a .ptl as fxconv convert writes it"),
        (["text.pte"], "text.pte: is no program of ExecuTorch's; give a .pte as fxconv convert writes it"),
        (["older.pte"], "older.pte: holds no golden inputs; give a .pte as fxconv convert writes it"),
        (["empty.ptl"], "empty.ptl: is no archive of the lite interpreter; give a .ptl as fxconv convert writes it"),
    ],
)
def test_what_is_given_wrongly(words, message, machine):
    (machine.place / "x.onnx").write_bytes(b"PK\x03\x04")
    (machine.place / "text.ptl").write_text("text\n")
    (machine.place / "older.ptl").write_bytes(b"PK\x03\x04archive/bytecode.pkl")
    (machine.place / "empty.ptl").touch()
    (machine.place / "text.pte").write_text("text\n")
    (machine.place / "older.pte").write_bytes(b"\x3c\0\0\0ET12eh00\0forward")
    add_executorch(machine, "2.14.1", "1.5.1")
    done = machine.run(*words)
    assert (done.returncode, done.stdout, errors(done)) == (2, "", [message])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TORCH_VERSION": "../2.1"}, "TORCH_VERSION=../2.1: give a release, such as 2.1.0"),
        ({"QEMU": "no-such-qemu"}, "QEMU=no-such-qemu: no such program; give a qemu-aarch64"),
        (
            {"ARM64_SYSROOT": "files"},
            "ARM64_SYSROOT=files: has no usr/bin/python3.N; give a root directory of arm64 Linux with Python",
        ),
        ({"FXCONV_CACHE": ""}, "there is no HOME to keep a cache in; set FXCONV_CACHE to a directory"),
    ],
)
def test_what_the_environment_says_wrongly(environment, message, machine):
    done = machine.run(machine.file, **environment)
    assert (done.returncode, done.stdout, errors(done)) == (2, "", [message])


def test_a_machine_with_nothing(machine, tmp_path):
    (tmp_path / "nothing").mkdir()
    machine.environment = {}
    done = machine.run(machine.file, PATH=str(tmp_path / "nothing"))
    tools = "or have apt-get, apt-cache, dpkg, dpkg-deb and tar, which fetch it"
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [
        f"needs qemu-aarch64: put it into PATH (package qemu-user-static or qemu-user) or set QEMU, {tools}",
        f"needs an arm64 Python: set ARM64_SYSROOT to a root directory with usr/bin/python3.N, {tools}",
        "needs torch 2.1.0 for arm64: set ARM64_SYSROOT to a root directory that has it, or have Python with pip here, "
        "which fetches it; PYTHON names one that is not python3",
    ]
    assert not (tmp_path / "cache").exists()


def test_only_what_is_lacking_is_named(machine):
    (machine.torch / "torch/version.py").write_text("__version__ = '2.1.2'\n")
    done = machine.run("--offline", machine.file)
    assert done.returncode == 2
    assert errors(done) == [
        "needs torch 2.1.0 for arm64: set ARM64_SYSROOT to a root directory that has it, or leave out --offline"
    ]
    assert machine.run("--offline", machine.file, TORCH_VERSION="2.1.2").returncode == 2  # the answer is of 2.1.0
    assert (machine.emulator.parent / "arguments").exists()


def test_how_the_emulator_is_called(machine):
    done = machine.run(machine.file, LD_PRELOAD="", LD_LIBRARY_PATH="/lib/here", PYTHONHOME="/here", PYTHONPATH="/here")
    assert (done.returncode, errors(done)) == (0, [])
    assert done.stdout == (
        f"{machine.file}: bit-exact under torch 2.1.0 on arm64 (qemu-aarch64 7.2.22), 2 golden inputs\n"
    )
    python = str(machine.sysroot / "usr/bin/python3.11")
    where, *words = (machine.emulator.parent / "arguments").read_text().splitlines()
    assert Path(where) == machine.file.parent.resolve()
    assert words[:3] == ["-L", str(machine.sysroot), python]
    assert Path(words[3]).resolve() == REPO / "fxconv" / "replay.py"
    assert words[4:] == ["./x.ptl"]
    lines = (machine.emulator.parent / "environment").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["PYTHONPATH"] == str(machine.torch)
    assert environment["OMP_NUM_THREADS"] == environment["PYTHONNOUSERSITE"] == environment["PYTHONSAFEPATH"] == "1"
    assert not {"LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONHOME"} & set(environment)
    assert not (machine.place / "cache").exists()


def test_from_another_directory_with_names_that_are_not_absolute(machine):
    here = machine.file.parent
    done = machine.run("x.ptl", cwd=here, QEMU="../bin/qemu-aarch64", ARM64_SYSROOT="../sysroot")
    assert (done.returncode, errors(done)) == (0, [])
    assert done.stdout.startswith("x.ptl: bit-exact under torch 2.1.0")


def test_an_emulator_in_the_path_and_torch_in_the_cache(machine):
    (machine.torch / "torch/version.py").unlink()
    torch = machine.place / "cache/arm64/torch-2.1.0-python3.11"
    torch.mkdir(parents=True)
    machine.environment.pop("QEMU")
    done = machine.run(machine.file, PATH=f"{machine.emulator.parent}:{os.environ['PATH']}")
    assert (done.returncode, errors(done)) == (0, [])
    assert f"PYTHONPATH={torch}\n" in (machine.emulator.parent / "environment").read_text()


def test_a_file_whose_name_begins_as_an_option(machine):
    machine.file.rename(machine.file.with_name("-x.ptl"))
    done = machine.run("--", "-x.ptl", cwd=machine.file.parent)
    assert (done.returncode, errors(done)) == (0, [])


PLACE = "torch 2.1.0 on arm64 (qemu-aarch64 7.2.22)"


@pytest.mark.parametrize(
    ("status", "told", "lines"),
    [
        (0, Machine.told(rows=(EXACT,)), [f"x.ptl: bit-exact under {PLACE}, 1 golden input"]),
        (
            0,
            Machine.told(rows=(EXACT, NEAR)),
            [
                f"x.ptl: passes under {PLACE}, 2 golden inputs",
                "not bit for bit: sums of its float layers come in another order there; at least 141.5 dB",
            ],
        ),
        (
            1,
            Machine.told(False, (EXACT, NEAR), problem="case 1: output 0 differs, by at most 0.25"),
            [f"x.ptl: NOT the same under {PLACE}, 2 golden inputs: case 1: output 0 differs, by at most 0.25"],
        ),
        (
            2,
            {
                "torch": "2.1.0",
                "machine": "aarch64",
                "passed": None,
                "error": "does not run under torch 2.1.0 (RuntimeError: unknown operator)",
            },
            ["x.ptl: does not run under torch 2.1.0 (RuntimeError: unknown operator)"],
        ),
    ],
    ids=["exact", "within the rule of float islands", "not the same", "does not run"],
)
def test_what_it_says_of_the_result(status, told, lines, machine):
    machine.answer(status, told)
    done = machine.run("x.ptl", cwd=machine.file.parent)
    assert (done.returncode, done.stdout.splitlines()) == (status, lines)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"machine": "x86_64"}, "x.ptl: ran under torch 2.1.0 on x86_64, not under 2.1.0 on aarch64"),
        ({"torch": "2.1.2"}, "x.ptl: ran under torch 2.1.2 on aarch64, not under 2.1.0 on aarch64"),
    ],
)
def test_another_machine_or_torch_proves_nothing(told, message, machine):
    machine.answer(0, {**machine.told(), **told})
    done = machine.run("x.ptl", cwd=machine.file.parent)
    assert (done.returncode, done.stdout, errors(done)) == (2, "", [message])


@pytest.mark.parametrize(("status", "answer"), [(132, ""), (1, "Traceback\n"), (0, "")])
def test_an_emulated_python_that_dies(status, answer, machine):
    machine.answer(status, answer)
    done = machine.run("x.ptl", cwd=machine.file.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [
        f"x.ptl: the emulated Python ended with status {status} and without a result; what it said is above"
    ]


def test_a_program_runs_under_executorch_on_a_processor_that_is_described(machine):
    folder, path = add_executorch(machine, "2.14.1", "1.5.1"), program(machine)
    done = machine.run("x.pte", cwd=path.parent)
    assert (done.returncode, errors(done)) == (0, [])
    assert done.stdout == "x.pte: bit-exact under ExecuTorch 1.5.1 on arm64 (qemu-aarch64 7.2.22), 2 golden inputs\n"
    root = machine.place / "cache" / "arm64" / "cortex-a76"
    words = (machine.emulator.parent / "arguments").read_text().splitlines()[1:]
    assert words[:3] == ["-L", str(root), str(machine.sysroot / "usr/bin/python3.11")]
    lines = (machine.emulator.parent / "environment").read_text().splitlines()
    assert {f"PYTHONPATH={folder}", "QEMU_CPU=cortex-a76"} <= set(lines)
    assert (root / "usr").resolve() == machine.sysroot / "usr"
    assert "CPU part\t: 0xd0b\n" in (root / "proc" / "cpuinfo").read_text()
    assert (root / "sys/devices/system/cpu/possible").read_text() == "0\n"
    assert machine.run("--clean").returncode == 0
    assert not root.parent.exists() and (machine.sysroot / "usr").exists()


def test_what_it_says_of_a_program_that_differs(machine):
    add_executorch(machine, "2.14.1", "1.5.1")
    program(machine)
    place = "ExecuTorch 1.5.1 on arm64 (qemu-aarch64 7.2.22)"
    machine.answer(0, {**machine.told(rows=(NEAR,)), "torch": "2.14.1", "executorch": "1.5.1"})
    done = machine.run("x.pte", cwd=machine.file.parent)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            f"x.pte: passes under {place}, 1 golden input",
            "not bit for bit: its float operations are computed otherwise there; at least 141.5 dB",
        ],
    )
    machine.answer(0, {**machine.told(), "torch": "2.14.1", "executorch": "1.3.1"})
    done = machine.run("x.pte", cwd=machine.file.parent)
    assert errors(done) == ["x.pte: ran under ExecuTorch 1.3.1, not under 1.5.1"]


@pytest.mark.parametrize(("release", "torch"), [("1.5.1", "2.14.1"), ("1.4.1", "2.14.1"), ("1.3.1", "2.12.1")])
def test_a_release_of_executorch_goes_with_one_torch(release, torch, machine):
    program(machine)
    done = machine.run("--offline", "files/x.pte", EXECUTORCH_VERSION=release)
    assert errors(done) == [
        f"needs ExecuTorch {release} and torch {torch} for arm64: set ARM64_SYSROOT to a root directory that has it, "
        "or leave out --offline"
    ]
    add_executorch(machine, torch, release)
    assert machine.run("--offline", "files/x.pte", EXECUTORCH_VERSION=release).returncode == 0


def test_of_another_release_the_torch_is_asked_for(machine):
    program(machine)
    done = machine.run("files/x.pte", EXECUTORCH_VERSION="1.9.0")
    assert errors(done) == ["EXECUTORCH_VERSION=1.9.0: which torch it goes with is not known; set TORCH_VERSION too"]
    done = machine.run("files/x.pte", EXECUTORCH_VERSION="new")
    assert errors(done) == ["EXECUTORCH_VERSION=new: give a release, such as 1.5.1"]


def test_clean_removes_what_was_fetched_and_nothing_else(machine):
    cache = machine.place / "cache" / "arm64"
    for name in ("qemu", "sysroot/usr", "torch-2.1.0-python3.11", "part/apt"):
        (cache / name).mkdir(parents=True)
    (cache / "lock").touch()
    (machine.place / "cache" / "mine").touch()
    done = machine.run("--clean")
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(path.name for path in (machine.place / "cache").iterdir()) == ["mine"]
    assert machine.run("--clean").returncode == 0  # of nothing


# False tools, which write down their calls and make what the script then puts in its place. They fail at WHAT where
# there is a file LOG.no-WHAT.
TOOL = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>"$LOG"
"""
TOOLS = {
    "dpkg": TOOL + "echo amd64",
    "dpkg-deb": TOOL,
    "apt-cache": TOOL + "printf '%s\\n' python3-minimal '  PreDepends: python3.11-minimal' '  Depends: dpkg'",
    "apt-get": TOOL
    + """
case $* in
*' update') [ ! -e "$LOG.no-lists" ] ;;
*' download '*) : >qemu-user-static_7.2_amd64.deb ;;
*' install '*)
    if [ -e "$LOG.no-packages" ]; then echo "E: Failed to fetch" >&2; exit 100; fi
    : >"${2%/*}/apt/archives/python3.11-minimal.deb" ;;
esac
""",
    "tar": TOOL
    + """
while [ "$1" != -C ]; do shift; done
mkdir -p "$2/usr/bin"
case $3 in
*/qemu-aarch64-static) cp "$EMULATOR" "$2/usr/bin/qemu-aarch64-static" ;;
*) cp "$EMULATOR" "$2/usr/bin/python3.11" ;;
esac
""",
    "python3": TOOL
    + """
case $*.$(ls "$LOG".no-torch 2>/dev/null) in
*' torch=='*no-torch) echo "ERROR: No matching distribution found" >&2; exit 1 ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
    --dest) mkdir -p "$2" && : >"$2/one.whl" ;;
    -e) mkdir -p "$3/torch/include" "$3/torch/bin" ;;
    */arm64_torch.py) mkdir -p "$3/torch" "$3/executorch" ;;
    esac
    shift
done
""",
}
FETCHED = {"qemu", "sysroot", "torch-2.1.0-python3.11", "lock"}


@pytest.fixture
def bare(machine):
    """A machine that has nothing of arm64, but false tools that fetch it."""
    if any(
        Path(folder, name).exists()
        for folder in ("/usr/bin", "/bin")
        for name in ("qemu-aarch64", "qemu-aarch64-static")
    ):
        pytest.skip("this machine has an emulator, which would be taken")
    for name, text in TOOLS.items():
        runnable(machine.place / "tools" / name, text)
    machine.environment = {
        "LOG": str(machine.place / "log"),
        "PATH": f"{machine.place / 'tools'}:/usr/bin:/bin",
        "EMULATOR": str(machine.emulator),
    }
    machine.cache = machine.place / "cache" / "arm64"
    (machine.cache / "qemu").mkdir(parents=True)
    for name in ("answer", "status", "python"):  # the false emulator looks for them beside itself
        (machine.cache / "qemu" / name).symlink_to(machine.emulator.parent / name)
    return machine


def calls(bare) -> list[str]:
    return (bare.place / "log").read_text().splitlines()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_first_run_fetches_and_the_second_does_not(bare):
    first = bare.run(bare.file)
    assert (first.returncode, errors(first)) == (0, []), first.stderr
    assert "bit-exact" in first.stdout
    assert names(bare.cache) == FETCHED
    assert names(bare.cache / "torch-2.1.0-python3.11" / "torch") == {"bin"}  # no include
    made = calls(bare)
    private = f"-c {bare.cache}/part/apt.conf"
    assert [call.removeprefix(f"apt-get {private} -qq ") for call in made if call.startswith("apt-get")] == [
        "update",
        "download qemu-user-static:amd64",
        "--yes --download-only install python3.11-minimal libpython3.11-stdlib libstdc++6 libgomp1 zlib1g",
    ]
    assert [call for call in made if call.startswith("apt-cache")] == [f"apt-cache {private} depends python3-minimal"]
    pip = [call for call in made if " download " in call and call.startswith("python3")]
    assert [" torch==2.1.0" in call for call in pip] == [True, False]
    assert all("--platform manylinux2014_aarch64" in call and "--python-version 3.11" in call for call in pip)
    second = bare.run(bare.file)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert calls(bare) == made


def test_another_torch_is_fetched_beside_the_first(bare):
    bare.run(bare.file)
    before = len(calls(bare))
    bare.answer(0, {**bare.told(), "torch": "2.1.2"})
    done = bare.run(bare.file, TORCH_VERSION="2.1.2")
    assert done.stdout.endswith("bit-exact under torch 2.1.2 on arm64 (qemu-aarch64 7.2.22), 2 golden inputs\n")
    assert all(call.startswith("python3") for call in calls(bare)[before:])
    assert names(bare.cache) == FETCHED | {"torch-2.1.2-python3.11"}


def test_executorch_is_fetched_with_its_torch_and_unpacked_without_cuda(bare):
    bare.answer(0, bare.told(torch="2.14.1+cu130", executorch="1.5.1"))
    done = bare.run(program(bare))
    assert (done.returncode, errors(done)) == (0, []), done.stderr
    name = "executorch-1.5.1-torch-2.14.1-python3.11"
    assert names(bare.cache) == {"qemu", "sysroot", "lock", "cortex-a76", name}
    made = [call for call in calls(bare) if call.startswith("python3 ")]
    wheels = [call for call in made if " download " in call]
    assert [" executorch==1.5.1" in call for call in wheels] == [True, False, False]
    assert wheels[1].endswith(" torch==2.14.1")
    part = bare.cache / "part"
    unpacked = [call for call in made if "arm64_torch.py" in call]
    assert unpacked == [
        f"python3 {REPO / 'scripts' / 'arm64_torch.py'} {part}/wheels-{name} {part}/torch {bare.cache}/sysroot "
        f"{bare.cache}/sysroot/usr/bin/python3.11"
    ]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("packages", "apt-get could not fetch Python 3.11 for arm64; run this again"),
        ("torch", "pip got no torch 2.1.0 for Python 3.11 on arm64; if there is none, set TORCH_VERSION"),
    ],
)
def test_what_could_not_be_fetched_is_fetched_by_the_next_run(what, message, bare):
    obstacle = bare.place / f"log.no-{what}"
    obstacle.touch()
    done = bare.run(bare.file)
    assert (done.returncode, done.stdout, errors(done)) == (2, "", [message])
    assert "torch-2.1.0-python3.11" not in names(bare.cache)
    obstacle.unlink()
    done = bare.run(bare.file)
    assert (done.returncode, errors(done)) == (0, [])
    assert names(bare.cache) == FETCHED
    assert sum("qemu-user-static" in call for call in calls(bare) if call.startswith("apt-get")) == 1


def test_lists_that_could_not_all_be_fetched_do_no_harm(bare):
    (bare.place / "log.no-lists").touch()
    done = bare.run(bare.file)
    assert done.returncode == 0
    assert "warning: not all package lists could be fetched" in done.stderr


def test_the_systems_state_is_not_that_of_the_fetching(bare):
    (bare.place / "log.no-packages").touch()
    bare.run(bare.file)
    lines = (bare.cache / "part" / "apt.conf").read_text().splitlines()
    told = dict(line.rstrip(";").split(" ", 1) for line in lines if not line.startswith("#"))
    for key in (
        "Dir::State",
        "Dir::State::lists",
        "Dir::State::status",
        "Dir::Cache",
        "Dir::Cache::archives",
        "Dir::Log",
    ):
        assert told[key].startswith(f'"{bare.cache}/part/apt')
    assert told["APT::Architecture"] == '"arm64"'
