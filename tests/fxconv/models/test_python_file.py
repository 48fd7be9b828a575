"""What in a Python file makes a model, found without running it."""

from __future__ import annotations

import pytest

from fxconv.models import python_file

HEAD = "import torch.nn as nn\nimport timm\nfrom torch.nn import Module\n\nraise SystemExit('never run')\n"


@pytest.fixture
def found(tmp_path):
    def names(text, of=python_file.makers):
        (tmp_path / "net.py").write_text(HEAD + text)
        return of(tmp_path / "net.py")

    return names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = 1\ndef f():\n    return 2\n", []),
        ("class A(object):\n    pass\n", []),
        ("class A(nn.Module):\n    pass\n", ["A"]),
        ("class _A(nn.Module):\n    pass\n", []),
        ("class A(Module):\n    pass\nclass B(A):\n    pass\n", ["A", "B"]),
        ("class A(pl.LightningModule):\n    pass\n", ["A"]),
        ("class A(nn.Module):\n    pass\ndef f():\n    return A()\n", ["f", "A"]),
        ("class A(nn.Module):\n    pass\ndef f():\n    a = A()\n    return a\n", ["f", "A"]),
        ("class A(nn.Module):\n    pass\ndef _f():\n    return A()\n", ["A"]),
        ("def f() -> nn.Module:\n    ...\n", ["f"]),
        ("def f():\n    return nn.Conv2d(3, 4, 1)\n", ["f"]),
        ("def f(x):\n    return nn.functional.relu(x)\n", []),
        ("def f():\n    return timm.create_model('resnet18')\n", ["f"]),
        ("def build_it():\n    return something(3)\n", ["build_it"]),
        ("def count():\n    return len([])\n", []),
        ("net = nn.Sequential(nn.Conv2d(3, 4, 1))\n", ["net"]),
        ("class B(nn.Module):\n    pass\nclass A(nn.Module):\n    def __init__(self):\n        self.b = B()\n", ["A"]),
        (
            "class A(nn.Module):\n    def __init__(self, width):\n        pass\nclass B(nn.Module):\n    pass\n"
            "def f(width=3):\n    return A(width)\ndef g(width):\n    return A(width)\n"
            "def h(*, width):\n    return A(width)\n",
            ["f", "B", "g", "h", "A"],
        ),
    ],
)
def test_makers(text, names, found):
    assert sorted(found(text)) == sorted(names)
    if len(names) == 2 or not names:
        assert found(text) == names


def test_what_needs_no_arguments_comes_first(found):
    text = "class A(nn.Module):\n    def __init__(self, width):\n        pass\ndef g(width):\n    return A(width)\n"
    assert found(text + "def f(width=3):\n    return A(width)\n") == ["f", "g", "A"]


def test_passes(found):
    assert found(
        "class Mine(rewrites.RewritePass):\n    pass\nclass Net(nn.Module):\n    pass\n", python_file.passes
    ) == ["Mine"]


def test_relative_imports(found, tmp_path):
    assert found("from .blocks import A\nfrom . import b\nfrom torch import nn\n", python_file.relative_imports) == [
        ".blocks",
        ".b",
    ]
    (tmp_path / "broken.py").write_text("def f(:\n")
    assert python_file.relative_imports(tmp_path / "broken.py") == []
    with pytest.raises(SyntaxError):
        python_file.makers(tmp_path / "broken.py")
