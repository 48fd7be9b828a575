"""The releases of PyTorch for phones, as the app's build file names them.

Which exist is read off the public listings: Maven Central's of org.pytorch, and the folders of the CocoaPods/Specs
repository (docs/runtimes.md has them). `torch` is the desktop release whose operators and versions each has:
Android's numbers ran ahead. Its 1.12 was published on 10 March 2022, with 1.11 and before torch 1.12 existed, so the
older of the two is assumed; 1.12.1 (17 June) and 1.12.2 (29 June) came out around torch 1.12.0 (28 June), and before
1.12.1 (5 August).
"""

from __future__ import annotations

from dataclasses import dataclass

from fxconv.config import RUNTIMES, runtime_name


@dataclass(frozen=True)
class Package:
    """A library for apps: what it is called, for which system, and whether it holds the lite interpreter alone.

    `call` loads a file; `vision` is the library of torchvision's operators that goes with it.
    """

    name: str
    is_lite: bool
    is_android: bool
    call: str
    vision: str

    def line(self, name: str, version: str) -> str:
        """The line of build.gradle or of the Podfile that takes a library in."""
        return f"implementation 'org.pytorch:{name}:{version}'" if self.is_android else f"pod '{name}', '{version}'"


@dataclass(frozen=True)
class Release:
    """A release of a package: its version, and the torch it has the operators and the file versions of.

    `vision` is the version of torchvision's operators made for it, "" where none was published; `vision_source` the
    torchvision whose sources belong to it. `notes` are what an app with it has to mind.
    """

    package: Package
    version: str
    torch: str
    vision: str
    vision_source: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`pytorch_android_lite==2.1.0`, as `--runtime` takes it."""
        return f"{self.package.name}=={self.version}"

    @property
    def line(self) -> str:
        """The line of build.gradle or of the Podfile."""
        return self.package.line(self.package.name, self.version)

    @property
    def vision_line(self) -> str:
        """The line that takes torchvision's operators in, "" where none were published for this release."""
        return self.package.line(self.package.vision, self.vision) if self.vision else ""


_LITE = Package("pytorch_android_lite", True, True, "LiteModuleLoader.load(path)", "torchvision_ops")
_FULL = Package("pytorch_android", False, True, "Module.load(path)", "torchvision_ops")
_LITE_POD = Package("LibTorch-Lite", True, False, "torch::jit::_load_for_mobile(path)", "LibTorchvision")
_FULL_POD = Package("LibTorch", False, False, "torch::jit::load(path)", "LibTorchvision")
PACKAGES = (_LITE, _FULL, _LITE_POD, _FULL_POD)

# Android wants 16 KB for apps that target Android 15, since November 2025 (pytorch/pytorch#154449, #162605).
PAGES = (
    "its native libraries are aligned to 4 KB, and Google Play wants 16 KB of an app that targets Android 15 (API 35): "
    "build them from source with -Wl,-z,max-page-size=16384, libfbjni.so and libc++_shared.so too"
)
# pytorch/pytorch#121597
_NO_INTEL = "it has no x86_64 code, which the simulator on a Mac with an Intel processor needs"

# By version: torch, version of torchvision's operators published for it, torchvision of that torch.
_ANDROID = {
    "1.10.0": ("1.10.0", "0.11.1", "0.11.1"),
    "1.11": ("1.11.0", "", "0.12.0"),
    "1.12": ("1.11.0", "", "0.12.0"),
    "1.12.1": ("1.12.0", "0.13.0", "0.13.0"),
    "1.12.2": ("1.12.0", "0.13.1", "0.13.0"),
    "1.13.0": ("1.13.0", "0.14.0", "0.14.0"),
    "1.13.1": ("1.13.1", "", "0.14.1"),
    "2.1.0": ("2.1.0", "", "0.16.0"),
}
_IOS = {
    "1.10.0": ("1.10.0", "0.11.1", "0.11.1"),
    "1.11.0": ("1.11.0", "", "0.12.0"),
    "1.12.0": ("1.12.0", "0.13.0", "0.13.0"),
    "1.13.0": ("1.13.0", "0.14.0", "0.14.0"),
    "1.13.0.1": ("1.13.0", "0.14.0", "0.14.0"),
    "2.1.0": ("2.1.0", "", "0.16.0"),
}


def _notes(package: Package, version: str) -> tuple[str, ...]:
    if package.is_android:
        return (PAGES,)
    return (_NO_INTEL,) if version == "2.1.0" else ()


# Package by package, and of each the oldest first.
RELEASES = tuple(
    Release(package, version, *(_ANDROID if package.is_android else _IOS)[version], _notes(package, version))
    for package in PACKAGES
    for version in RUNTIMES[package.name]
)


_BY_NAME = {one.name: one for one in RELEASES}


def release(text: str) -> Release:
    """The release that `text` names, `pytorch_android_lite==2.1.0`; case, and `-` for `_`, do not matter.

    Raises `UserError` for one that does not exist, with those that do, the nearest first.
    """
    return _BY_NAME[runtime_name(text)]


def of(package: Package) -> list[Release]:
    """The releases of a package, the oldest first."""
    return [one for one in RELEASES if one.package is package]
