"""Packages that name models: where they are imported from, and what is said when they are not there."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from fxconv.errors import UserError
from fxconv.models import installed_packages, loading


@pytest.fixture
def absent(monkeypatch):
    """No package timm or transformers can be imported, whatever is installed where the tests run."""
    for name in ("timm", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    class Nothing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("timm", "transformers"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Nothing(), *sys.meta_path])


@pytest.mark.parametrize("text", ["timm:resnet18", "transformers:ViTModel", "Timm:resnet18"])
def test_a_missing_package_is_one_line_with_what_to_install(text, absent):
    package = text.partition(":")[0].lower()
    with pytest.raises(
        UserError, match=f"^{package}:.*: the package {package} is not installed: pip install {package}$"
    ):
        loading.load(text, "random")


def test_nothing_is_named_without_the_package(absent):
    for prefix in ("timm:", "transformers:"):
        assert installed_packages.names_in_source(prefix) == []
        with pytest.raises(UserError, match="is not installed: pip install"):
            loading.in_packages(prefix)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A package of the user's in the current folder, which Python looks into first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    return tmp_path


def test_nothing_is_imported_from_the_users_folder(here):
    (here / "fxconv_nobodys_package.py").write_text("raise AssertionError('imported')")
    assert importlib.util.find_spec("fxconv_nobodys_package") is not None
    before = list(sys.path)
    with pytest.raises(UserError, match="the package fxconv_nobodys_package is not installed"):
        installed_packages.imported("fxconv_nobodys_package", "x:y")
    assert sys.path == before


def test_a_package_that_does_not_import_is_told_as_that(tmp_path, monkeypatch):
    (tmp_path / "fxconv_broken_package.py").write_text("import fxconv_no_such_module\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UserError, match=r"fxconv_broken_package does not import: ModuleNotFoundError.*install it anew"):
        installed_packages.imported("fxconv_broken_package", "x:y")


def test_names_are_read_from_the_source(tmp_path, monkeypatch):
    for name in ("timm", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    models, auto = tmp_path / "timm" / "models", tmp_path / "transformers" / "models" / "auto"
    models.mkdir(parents=True)
    auto.mkdir(parents=True)
    for package in ("timm", "transformers"):
        (tmp_path / package / "__init__.py").write_text("raise AssertionError('imported')")
    (models / "net.py").write_text("@register_model\ndef net_b(x):\n  pass\n\n@register_model\ndef net_a():\n  pass\n")
    (auto / "modeling_auto.py").write_text(
        'MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict(\n    [("bert", "BertLM")]\n)\n'
        'MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES = OrderedDict(\n'
        '    [\n        ("vit", "ViTNet"),\n        ("two", ("OneNet", "TwoNet")),\n    ]\n)\n'
    )  # fmt: skip
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert installed_packages.names_in_source("timm:") == ["timm:net_a", "timm:net_b"]
    named = [f"transformers:{name}" for name in ("OneNet", "TwoNet", "ViTNet")]
    assert installed_packages.names_in_source("transformers:") == named


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("timm:x", "timm:"),
        ("Transformers:X", "transformers:"),
        ("timm.models:x", None),
        ("timm", None),
        ("x:timm:", None),
    ],
)
def test_what_a_text_begins_with(text, package):
    assert installed_packages.package_of(text) == package
