#!/bin/sh
# Runs the golden inputs of a lite-interpreter file or an ExecuTorch program on emulated arm64: a .ptl under the torch
# release of the Android runtime, a .pte under a release of ExecuTorch beside the torch that it goes with.
# POSIX sh. Installs nothing and needs no root: what it fetches stays in a cache directory, and --clean removes it.
set -eu

case $0 in
*/*) here=$(cd "${0%/*}" && pwd) ;;
*) here=$PWD ;;
esac
executorch_version=
pip_python=${PYTHON:-python3}

# Without cat, so that it can be read where nothing else works.
usage() {
    while IFS= read -r line; do printf '%s\n' "$line"; done <<'END'
usage: scripts/verify_arm64.sh [--offline] FILE.ptl|FILE.pte
       scripts/verify_arm64.sh --clean | --help

Runs the golden inputs of a file that fxconv wrote on emulated arm64, and says whether it computes the same bits: a
.ptl under the torch release that the last pytorch_android_lite was made from, a .pte under ExecuTorch. A file of
others is to be looked at first, with fxconv inspect: what is in it runs.

  --offline  fetch nothing; say what is lacking
  --clean    remove what was fetched, and end
  --help     this text

The first run fetches about 190 MB by apt-get and pip, and keeps about 420 MB in the cache. Later runs fetch nothing.
For a .pte it is about 580 MB, and 520 are kept: the package index has the torch that ExecuTorch needs with CUDA,
which is left out. PIP_EXTRA_INDEX_URL names an index that has it without.

environment:
  TORCH_VERSION   the torch release (2.1.0; for a .pte the one that goes with ExecuTorch's)
  EXECUTORCH_VERSION  the release of ExecuTorch (1.5.1)
  QEMU            a qemu-aarch64 to use, rather than the one in PATH or the distribution's
  ARM64_SYSROOT   a root directory of arm64 Linux with usr/bin/python3.N, and perhaps with torch, rather than the
                  distribution's Python
  PYTHON          the Python of this machine whose pip fetches torch (python3)
  FXCONV_CACHE    where what is fetched is kept, in a directory arm64 ($XDG_CACHE_HOME/fxconv or ~/.cache/fxconv)

exit status: 0 the golden inputs pass; 1 they do not; 2 the file or an option is wrong, or something cannot be got.
END
}

say() { printf 'verify_arm64: %s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 2
}

has() { command -v "$1" >/dev/null 2>&1; }

absolute() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$PWD/$1" ;;
    esac
}

# -- what is there already -----------------------------------------------------------------------------

# The path of a sysroot's python3.N; status 1 when it has none.
python_in() {
    for found in "$1"/usr/local/bin/python3.* "$1"/usr/bin/python3.*; do
        case ${found##*/python3.} in
        '' | *[!0-9]*) ;; # python3.11-config, or the pattern itself
        *)
            if [ -x "$found" ]; then
                printf '%s\n' "$found"
                return 0
            fi
            ;;
        esac
    done
    return 1
}

# Whether a directory has this release of a package.
has_release() { # DIRECTORY PACKAGE RELEASE
    [ -r "$1/$2/version.py" ] || return 1
    while IFS= read -r line; do
        case $line in
        "__version__ = '$3'" | "__version__ = '$3+"* | "__version__ = \"$3\"" | "__version__ = \"$3+"*) return 0 ;;
        esac
    done <"$1/$2/version.py"
    return 1
}

# The directory in which a sysroot has what is asked for; status 1 when it has not.
torch_in() {
    for found in "$1"/usr/local/lib/python3*/*-packages "$1"/usr/lib/python3*/*-packages; do
        if has_release "$found" torch "$torch_version" && {
            [ -z "$executorch_version" ] || has_release "$found" executorch "$executorch_version"
        }; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

# Sets qemu, sysroot, python and torch to what is there, each to nothing when it is not.
look() {
    if [ -n "${QEMU:-}" ]; then
        qemu=$(command -v "$QEMU") || fail "QEMU=$QEMU: no such program; give a qemu-aarch64"
        qemu=$(absolute "$qemu")
    else
        qemu=
        for program in qemu-aarch64-static qemu-aarch64 "$cache/qemu/qemu-aarch64"; do
            [ -n "$qemu" ] || qemu=$(command -v "$program") || qemu=
        done
    fi
    sysroot=$(absolute "${ARM64_SYSROOT:-$cache/sysroot}")
    python=$(python_in "$sysroot") || python=
    if [ -n "${ARM64_SYSROOT:-}" ] && [ -z "$python" ]; then
        fail "ARM64_SYSROOT=$ARM64_SYSROOT: has no usr/bin/python3.N; give a root directory of arm64 Linux with Python"
    fi
    kept=$cache/torch-$torch_version-${python##*/}
    [ -z "$executorch_version" ] || kept=$cache/executorch-$executorch_version-torch-$torch_version-${python##*/}
    torch=$(torch_in "$sysroot") || torch=$kept
    [ -d "$torch" ] || torch=
}

# A line for each thing that is neither there nor to be fetched, and status 2 when there is one.
demand() {
    apt_tools="apt-get, apt-cache, dpkg, dpkg-deb and tar"
    can_apt=1
    for tool in apt-get apt-cache dpkg dpkg-deb tar; do has "$tool" || can_apt=; done
    can_pip=1
    if [ -z "$torch" ]; then "$pip_python" -m pip --version >/dev/null 2>&1 || can_pip=; fi
    by_apt="or have $apt_tools, which fetch it"
    by_pip="or have Python with pip here, which fetches it; PYTHON names one that is not python3"
    if [ -n "$offline" ]; then
        can_apt=
        can_pip=
        by_apt="or leave out --offline"
        by_pip=$by_apt
    fi
    lacks=
    if [ -z "$qemu" ] && [ -z "$can_apt" ]; then
        lacks=1
        say "error: needs qemu-aarch64: put it into PATH (package qemu-user-static or qemu-user) or set QEMU, $by_apt"
    fi
    if [ -z "$python" ] && [ -z "$can_apt" ]; then
        lacks=1
        say "error: needs an arm64 Python: set ARM64_SYSROOT to a root directory with usr/bin/python3.N, $by_apt"
    fi
    if [ -z "$torch" ] && [ -z "$can_pip" ]; then
        lacks=1
        say "error: needs $needed for arm64: set ARM64_SYSROOT to a root directory that has it, $by_pip"
    fi
    [ -z "$lacks" ] || exit 2
}

# -- fetching ------------------------------------------------------------------------------------------

# What is fetched lies in $part until it is whole, and goes to its place by a rename. What an interrupted run left in
# $part is taken up again: apt-get goes on where a package stopped, and pip keeps the wheels that are there.

apt() { # apt-get or apt-cache, reading the system's configuration and sources, with a state of its own
    program=apt-$1
    shift
    "$program" -c "$part/apt.conf" "$@"
}

apt_failed() { # lists older than the packages they name are no use to the next run
    rm -f "$part/lists.done"
    fail "$*"
}

get_lists() {
    if [ -e "$part/lists.done" ]; then return; fi
    mkdir -p "$part/apt/lists/partial" "$part/apt/archives/partial"
    : >"$part/apt/status" # nothing counts as installed, so that what Python depends on is fetched with it
    # Read after the system's. The hooks that are cleared here are what distributions and images hang on downloads; they
    # would write to the system. Of the indexes, those of programs are enough.
    cat >"$part/apt.conf" <<END
Dir::State "$part/apt";
Dir::State::lists "$part/apt/lists";
Dir::State::status "$part/apt/status";
Dir::Cache "$part/apt";
Dir::Cache::archives "$part/apt/archives";
Dir::Log "$part/apt";
APT::Architecture "arm64";
#clear APT::Architectures;
APT::Architectures { "arm64"; "$(dpkg --print-architecture)"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
END
    say "fetching package lists, by apt-get (about 20 MB)"
    # A source without arm64 packages fails here and does no harm; what is lacking afterwards says so itself.
    apt get -qq update >&2 || say "warning: not all package lists could be fetched"
    : >"$part/lists.done"
}

get_qemu() {
    get_lists
    # Debian 12 has static programs in qemu-user-static, later releases in qemu-user.
    for package in qemu-user-static qemu-user; do
        rm -rf "$part/qemu"
        mkdir -p "$part/qemu" "$part/apt/qemu"
        say "fetching qemu-aarch64, by apt-get (package $package, about 60 MB)"
        (cd "$part/apt/qemu" && apt get -qq download "$package:$(dpkg --print-architecture)" >&2) || continue
        for program in qemu-aarch64-static qemu-aarch64; do
            # One of thirty programs, of 370 MB together.
            dpkg-deb --fsys-tarfile "$part/apt/qemu/${package}_"*.deb |
                tar -x -C "$part/qemu" "./usr/bin/$program" 2>/dev/null || continue
            if "$part/qemu/usr/bin/$program" --version >/dev/null 2>&1; then
                mkdir -p "$cache/qemu"
                mv "$part/qemu/usr/bin/$program" "$cache/qemu/qemu-aarch64"
                return
            fi
        done
    done
    apt_failed "apt-get could not fetch a qemu-aarch64 that runs here; run this again, or set QEMU"
}

get_python() {
    get_lists
    version=$(apt cache depends python3-minimal 2>/dev/null | sed -n 's/.*Depends: python\(3\.[0-9]*\)-minimal$/\1/p')
    version=${version%%[!0-9.]*} # the first, where there are several
    [ -n "$version" ] || apt_failed "this system's package sources have no arm64 Python; set ARM64_SYSROOT"
    say "fetching Python $version for arm64, by apt-get (about 16 MB)"
    apt get -qq --yes --download-only install "python$version-minimal" "libpython$version-stdlib" \
        libstdc++6 libgomp1 zlib1g >&2 || apt_failed "apt-get could not fetch Python $version for arm64; run this again"
    rm -rf "$part/sysroot"
    mkdir "$part/sysroot"
    for package in "$part/apt/archives"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$part/sysroot" --exclude './usr/share/*' --exclude './var/*' ||
            fail "$package cannot be unpacked; run this with --clean, and again"
    done
    # Programs ask for their loader in /lib. Debian 13 has it in usr/lib, and the link in a package that is not needed.
    [ -e "$part/sysroot/lib" ] || ln -s usr/lib "$part/sysroot/lib"
    sysroot=$part/sysroot
    python=$(python_in "$sysroot") || fail "the packages hold no python$version; set ARM64_SYSROOT"
    emulated -c 'import ctypes, hashlib, json, zipfile, zlib' ||
        fail "Python $version for arm64 does not start under $qemu; run this with --clean, and again, or set QEMU"
    mv "$part/sysroot" "$cache/sysroot"
}

wheels() { # without pip's own view of what torch depends on, which is that of this machine
    "$pip_python" -m pip --disable-pip-version-check -qq download --no-deps --only-binary :all: --implementation cp \
        --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_28_aarch64 \
        --python-version "$version" --dest "$part/wheels-$needed_name" "$@" >&2
}

get_torch() {
    version=${python##*/python}
    needed_name=${kept##*/}
    size=95
    [ -z "$executorch_version" ] || size=480
    say "fetching $needed for Python $version on arm64 and what it imports, by pip (about $size MB)"
    if [ -n "$executorch_version" ]; then
        wheels "executorch==$executorch_version" ||
            fail "pip got no executorch $executorch_version for Python $version on arm64; if there is none, set" \
                "EXECUTORCH_VERSION, or ARM64_SYSROOT to a root directory with another Python"
    fi
    wheels "torch==$torch_version" ||
        fail "pip got no torch $torch_version for Python $version on arm64; if there is none, set TORCH_VERSION"
    wheels filelock 'typing-extensions<5' 'sympy<2' 'mpmath<2' 'networkx<4' 'jinja2<4' 'MarkupSafe<4' fsspec ||
        fail "pip could not fetch what torch imports; run this again"
    rm -rf "$part/torch"
    mkdir "$part/torch"
    if [ -n "$executorch_version" ]; then
        "$pip_python" "$here/arm64_torch.py" "$part/wheels-$needed_name" "$part/torch" "$sysroot" "$python" ||
            fail "the wheels cannot be unpacked; what was said is above. Run this with --clean, and again"
    else
        for wheel in "$part/wheels-$needed_name"/*.whl; do
            "$pip_python" -m zipfile -e "$wheel" "$part/torch" ||
                fail "$wheel is damaged; run this with --clean, and again"
        done
        rm -rf "$part/torch/torch/include" # for compilers
    fi
    mv "$part/torch" "$kept"
}

fetch() {
    part=$cache/part
    mkdir -p "$part" || fail "$part: cannot be made; set FXCONV_CACHE to a directory of yours"
    # A second run at the same time waits, and finds everything there. The lock of a run that was killed ends with it.
    exec 9>"$cache/lock"
    if has flock; then flock 9; fi
    mkdir -p "$part"
    look
    if [ -z "$qemu" ]; then get_qemu; fi
    look
    if [ -z "$python" ]; then get_python; fi
    look
    if [ -z "$torch" ]; then get_torch; fi
    look
    rm -rf "$part"
    exec 9>&-
    say "kept in $cache ($(du -sm "$cache" | cut -f1) MB)"
}

clean() {
    # By name: FXCONV_CACHE may be a directory with other things in it.
    rm -rf "$cache/qemu" "$cache/sysroot" "$cache/part" "$cache/lock" "$cache/cortex-a76" "$cache"/torch-* \
        "$cache"/executorch-*
    if [ -d "$cache" ]; then rmdir "$cache" || fail "$cache: holds what is not this script's; the rest is removed"; fi
    say "nothing is kept in $cache"
}

# -- running -------------------------------------------------------------------------------------------

# The sysroot with a description of one processor, which the kernels of ExecuTorch and of the torch beside it are chosen
# by: qemu has that of this machine in /proc/cpuinfo, on which they crash. Files were bit-exact as cortex-a53, -a72, -a76
# and neoverse-n1; as all that qemu 7.2 knows, with SME, a file gave numbers that have nothing to do with it.
describe_processor() {
    root=$cache/cortex-a76
    identification=$root/sys/devices/system/cpu/cpu0/regs/identification
    mkdir -p "$root/proc" "$identification" || fail "$root: cannot be made; set FXCONV_CACHE to a directory of yours"
    for entry in "$sysroot"/*; do
        case ${entry##*/} in
        proc | sys) ;;
        *) ln -sfn "$entry" "$root/${entry##*/}" ;;
        esac
    done
    {
        printf 'processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics '
        printf 'fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\n'
        printf 'CPU variant\t: 0x3\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
    } >"$root/proc/cpuinfo"
    for name in possible present; do echo 0 >"$root/sys/devices/system/cpu/$name"; done
    echo 0x00000000413fd0b1 >"$identification/midr_el1"
    export QEMU_CPU=cortex-a76
}

# The emulated Python, in a shell of its own.
emulated() (
    # What is set for the Python and the libraries of this machine.
    unset PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONPLATLIBDIR PYTHONPYCACHEPREFIX LD_PRELOAD LD_LIBRARY_PATH
    export PYTHONPATH="$torch" PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1
    export PYTHONWARNINGS=ignore # torch's, that there is no numpy, which nothing here needs
    export OMP_NUM_THREADS=1 # float sums in one order, however many cores this machine has
    # No -cpu: int8 networks were bit-exact as cortex-a53, -a72, -a76, neoverse-n1 and as qemu's default, all it knows.
    exec "$qemu" -L "${root:-$sysroot}" "$python" "$@"
)

# The JSON line of the replay as a sentence. Status 3: it is not of the torch and the machine asked for.
sentence='
import json, sys
file, version, executorch, emulator, line = sys.argv[1:]
told = json.loads(line)
ran = told["torch"].split("+")[0]
if ran != version or told["machine"] != "aarch64":
    print("%s: ran under torch %s on %s, not under %s on aarch64" % (file, told["torch"], told["machine"], version))
    sys.exit(3)
if executorch and told["passed"] is not None and told["executorch"] != executorch:
    print("%s: ran under ExecuTorch %s, not under %s" % (file, told["executorch"], executorch))
    sys.exit(3)
place = "ExecuTorch %s" % executorch if executorch else "torch %s" % told["torch"]
place = "%s on arm64 (%s)" % (place, emulator)
if told["passed"] is None:
    print("%s: %s" % (file, told["error"]))
    sys.exit()
count = "%d golden input%s" % (len(told["cases"]), "s" if len(told["cases"]) != 1 else "")
if told["exact"]:
    print("%s: bit-exact under %s, %s" % (file, place, count))
elif told["passed"]:
    near = min(row["sqnr_db"] for case in told["cases"] for row in case["outputs"] if not row["exact"])
    print("%s: passes under %s, %s" % (file, place, count))
    why = "its float operations are computed otherwise" if executorch else "sums of its float layers come in another order"
    print("not bit for bit: %s there; at least %.1f dB" % (why, near))
else:
    print("%s: NOT the same under %s, %s: %s" % (file, place, count, told["problem"]))
'

# Prints the sentence and ends with the status of the replay itself.
replay() {
    emulator=$("$qemu" --version | sed -n '1s/ version \([^ ]*\).*/ \1/p') || emulator=
    say "running $file under $needed on arm64 (the import of torch alone takes the emulator a minute)"
    [ -z "$executorch_version" ] || describe_processor
    status=0
    # By a name that is not absolute: qemu looks for those in the sysroot first.
    line=$(cd "$folder" && emulated "$here/../fxconv/replay.py" "./${file##*/}") || status=$?
    case $status:$line in
    [012]:'{'*'}') ;;
    *) fail "$file: the emulated Python ended with status $status and without a result; what it said is above" ;;
    esac
    told=$(emulated -c "$sentence" "$file" "$torch_version" "$executorch_version" "${emulator:-$qemu}" "$line") || fail "$told"
    printf '%s\n' "$told"
    exit "$status"
}

# -- the command line ----------------------------------------------------------------------------------

file=
offline=
action=replay
options=1
for word in "$@"; do
    case $options$word in
    1--help | 1-h) action=usage ;;
    1--clean) action=clean ;;
    1--offline) offline=1 ;;
    1--) options= ;;
    1-*) fail "no such option: $word; --help lists them" ;;
    *)
        [ -z "$file" ] || fail "one file at a time; $file and $word were given"
        file=$word
        ;;
    esac
done

if [ "$action" = usage ]; then
    usage
    exit 0
fi

release() { # NAME VALUE EXAMPLE
    case $2 in
    [!0-9]* | *[!0-9.]*) fail "$1=$2: give a release, such as $3" ;;
    esac
}

torch_version=${TORCH_VERSION:-2.1.0}
case $file in
*.pte)
    executorch_version=${EXECUTORCH_VERSION:-1.5.1}
    release EXECUTORCH_VERSION "$executorch_version" 1.5.1
    # A release goes with one torch: with others its import fails, or it dies when it runs.
    case $executorch_version in
    1.3.*) torch_version=${TORCH_VERSION:-2.12.1} ;;
    1.[45].*) torch_version=${TORCH_VERSION:-2.14.1} ;;
    *)
        torch_version=${TORCH_VERSION:-}
        [ -n "$torch_version" ] ||
            fail "EXECUTORCH_VERSION=$executorch_version: which torch it goes with is not known; set TORCH_VERSION too"
        ;;
    esac
    ;;
esac
release TORCH_VERSION "$torch_version" 2.1.0
needed="torch $torch_version"
[ -z "$executorch_version" ] || needed="ExecuTorch $executorch_version and torch $torch_version"

if [ -n "${FXCONV_CACHE:-}" ]; then
    cache=$FXCONV_CACHE
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    cache=$XDG_CACHE_HOME/fxconv
else
    [ -n "${HOME:-}" ] || fail "there is no HOME to keep a cache in; set FXCONV_CACHE to a directory"
    cache=$HOME/.cache/fxconv
fi
cache=$(absolute "$cache/arm64")

if [ "$action" = clean ]; then
    [ -z "$file" ] || fail "--clean takes no file; it removes what was fetched"
    clean
    exit 0
fi

[ -n "$file" ] || fail "no file; give a .ptl or .pte that fxconv wrote (--help says more)"
[ -f "$file" ] || fail "$file: no such file; give a .ptl or .pte that fxconv wrote"
[ -r "$file" ] || fail "$file: cannot be read"
folder=.
case $file in
*/*) folder=${file%/*}/ ;;
esac
# By the first bytes, of a zip archive or of a program; read without a program, for one may be lacking. Those of a
# program are behind four that may be zeros, which shells leave out.
IFS= read -r head <"$file" 2>/dev/null || :
case $file in
*.ptl)
    case $head in
    PK*) ;;
    *) fail "$file: is no archive of the lite interpreter; give a .ptl as fxconv convert writes it" ;;
    esac
    golden=/extra/golden.json
    ;;
*.pte)
    case $head in
    *ET12*) ;;
    *) fail "$file: is no program of ExecuTorch's; give a .pte as fxconv convert writes it" ;;
    esac
    golden=fxconv_golden
    ;;
*) fail "$file: is named neither .ptl nor .pte; give a file as fxconv convert writes it" ;;
esac

look
demand
# The emulator takes a minute before it could say so.
LC_ALL=C grep -q "$golden" <"$file" ||
    fail "$file: holds no golden inputs; give a .${file##*.} as fxconv convert writes it"
if [ -z "$qemu" ] || [ -z "$python" ] || [ -z "$torch" ]; then fetch; fi
replay
