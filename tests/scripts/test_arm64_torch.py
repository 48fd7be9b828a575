"""scripts/arm64_torch.py: empty libraries that the loader takes, and what of the wheels is unpacked."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import struct
import sys
import zipfile

import pytest
import torch
from fxconv_commands import REPO

PATH = REPO / "scripts" / "arm64_torch.py"
SPEC = importlib.util.spec_from_file_location("arm64_torch", PATH)
arm64_torch = importlib.util.module_from_spec(SPEC)
sys.modules["arm64_torch"] = arm64_torch
SPEC.loader.exec_module(arm64_torch)

# mov eax, 100; ret, and lea rax, [rip + away - 7]; ret
X86 = arm64_torch.Processor(
    62,
    8,
    struct.pack("<BIBxx", 0xB8, 100, 0xC3),
    lambda away: struct.pack("<BBBiB", 0x48, 0x8D, 0x05, away - 7, 0xC3),
)
on_x86 = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the loader takes its own processor's"
)


def test_functions_of_arm64():
    assert arm64_torch.ARM64.no_device.hex() == "800c8052c0035fd6"  # mov w0, #100; ret
    assert arm64_torch.ARM64.address(0x10001).hex() == "00000830c0035fd6"  # adr x0, #0x10001; ret


@on_x86
def test_the_loader_takes_an_empty_library(tmp_path):
    symbols = {"cudaGetDeviceCount": "libcudart.so.13", "plain": "", "_ZN2at4zeroEv": "", "_ZTV1A": "", "_ZTI1A": ""}
    path = tmp_path / "libcudart.so.13"
    path.write_bytes(arm64_torch.empty_library(path.name, symbols, X86))
    library = ctypes.CDLL(str(path))
    assert library.cudaGetDeviceCount() == library.plain() == 100
    library._ZN2at4zeroEv.restype = ctypes.c_void_p
    table = ctypes.addressof(ctypes.c_char.in_dll(library, "_ZTV1A"))
    assert library._ZN2at4zeroEv() == table
    assert ctypes.string_at(table, 64) == bytes(64)
    info = (ctypes.c_void_p * 2).in_dll(library, "_ZTI1A")
    assert ctypes.string_at(info[1]) == b"1A"
    with pytest.raises(AttributeError):
        _ = library.cudaMalloc


@on_x86
def test_a_library_without_symbols(tmp_path):
    path = tmp_path / "libnccl.so.2"
    path.write_bytes(arm64_torch.empty_library(path.name, {}, X86))
    with pytest.raises(AttributeError):
        _ = ctypes.CDLL(str(path)).ncclInit


@on_x86
def test_what_a_library_needs_and_asks_for_is_read(tmp_path):
    """torch's own, of which the neighbours are taken away."""
    source = next(path for path in (REPO.joinpath(torch.__file__).parent / "lib").glob("libshm.so"))
    library = arm64_torch.Library(source.read_bytes())
    assert {"libtorch_cpu.so", "libc10.so", "libc.so.6"} <= set(library.needed)
    assert any(file == "libc.so.6" for file, _ in library.asked.values())
    folder, sysroot = tmp_path / "lib", tmp_path / "root"
    folder.mkdir()
    (folder / "libshm.so").write_bytes(source.read_bytes())
    (sysroot / "usr" / "lib").mkdir(parents=True)
    for name in set(library.needed) - {"libtorch_cpu.so", "libc10.so"}:
        (sysroot / "usr" / "lib" / name).write_bytes(source.read_bytes())
    lacking = arm64_torch.what_lacks(folder, sysroot, source)
    assert set(lacking) == {"libtorch_cpu.so", "libc10.so"}
    assert any(name.startswith("_ZN3c10") for name in lacking["libc10.so"])
    (sysroot / "usr" / "lib" / "libtorch_cpu.so").write_bytes(source.read_bytes())
    (sysroot / "usr" / "lib" / "libc10.so").write_bytes(source.read_bytes())
    assert arm64_torch.what_lacks(folder, sysroot, source) == {}


def test_only_what_runs_a_program_is_unpacked(tmp_path):
    kept = {
        "torch/__init__.py",
        "torch/bin/torch_shm_manager",
        "torch/lib/libtorch_cpu.so",
        "executorch/runtime/__init__.py",
        "executorch/exir/_warnings.py",
        "executorch-1.5.1.dist-info/METADATA",
        "executorch/lib/libexecutorch.so",
    }
    left = {
        "torch/include/a.h",
        "torch/bin/protoc",
        "torch/lib/libtorch_cuda.so",
        "torch/lib/libtorch_cuda_linalg.so",
        "executorch/exir/__init__.py",
        "executorch/backends/x.py",
    }
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in kept | left:
            archive.writestr(name, "x")
    arm64_torch.unpack(tmp_path, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == kept


def test_torch_is_told_that_it_has_no_distribution(tmp_path):
    for name in ("_native", "distributed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("found = hasattr(torch._C, '_c10d_init')\n")
    arm64_torch.without_cuda(tmp_path)
    assert (tmp_path / "_native" / "__init__.py").read_text() == ""
    text = (tmp_path / "distributed" / "__init__.py").read_text()

    class Core:
        _c10d_init = _rpc_init = None

    class Torch:
        _C = Core

    names = {}
    exec(text.replace("import torch\n", "", 1), {"torch": Torch}, names)
    assert names["found"] is False and not hasattr(Core, "_rpc_init")
