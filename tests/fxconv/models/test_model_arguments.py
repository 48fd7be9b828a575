"""What --model-arg says, and what is said to one that does not fit."""

from __future__ import annotations

import pytest

from fxconv.errors import UserError
from fxconv.models import loading
from fxconv.models.model_arguments import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=7", 7),
        ("k=-0.5", -0.5),
        ("k=[2, 2,6,2]", [2, 2, 6, 2]),
        ("k=(64,96)", (64, 96)),
        ("k={'a': 1}", {"a": 1}),
        ("k=True", True),
        ("k=true", True),
        ("k=false", False),
        ("k=None", None),
        ("k=null", None),
        ("k='None'", "None"),
        ("k=relu", "relu"),
        ("k=a=b", "a=b"),
        ("k=", ""),
        ("k=__import__('os')", "__import__('os')"),
        ("k=3x", "3x"),
        ("k= 3 ", 3),
    ],
)
def test_values_are_read_as_python_writes_them_and_are_texts_otherwise(text, value):
    assert parse([text]) == {"k": value}


def test_a_key_may_be_of_a_part():
    assert parse(["vision_config.hidden_size=64", "depth=2"]) == {"vision_config.hidden_size": 64, "depth": 2}


def test_a_mapping_is_taken_as_it_is():
    assert parse({"k": (1, 2)}) == {"k": (1, 2)}


@pytest.mark.parametrize("text", ["k", "=3", "a b=3", "a..b=1", "3=3", ".a=1", ""])
def test_what_is_no_key_and_value_is_refused(text):
    with pytest.raises(UserError, match=r"expected KEY=VALUE, such as num_classes=10"):
        parse([text])


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(UserError, match="--model-arg a=2: a is given twice"):
        parse(["a=1", "a=2"])


FACTORY = """
from torch import nn

def net(width, depth=1, *, bias=True):
    return nn.Sequential(*(nn.Conv2d(3, width, 1, bias=bias) for _ in range(depth)))

def open_ended(**more):
    return nn.Conv2d(3, 4, 1, **more)

def counted(n=[]):
    raise RuntimeError(f"first line of {n}\\nsecond line")

made = nn.Conv2d(3, 4, 1)
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)


def test_a_factory_gets_its_arguments(factory):
    module = loading.load("nets.py:net", "auto", "8", arguments=["width=3", "depth=2", "bias=False"]).module
    assert [(layer.out_channels, layer.bias) for layer in module] == [(3, None), (3, None)]
    assert loading.load("torch.nn:Conv2d", "auto", "8", arguments={"in_channels": 3, "out_channels": 5,
                        "kernel_size": 1}).module.out_channels == 5  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("net", (), r"nets.py:net\(\) needs width; give --model-arg width=VALUE, or a default"),
        (
            "net",
            ("width=3", "dept=2"),
            r"--model-arg dept: nets.py:net\(\) has no such argument; did you mean depth\?",
        ),
        ("net", ("width=3", "zzz=2"), r"has no such argument; it takes bias, depth, width"),
        ("open_ended", ("strid=2",), r"--model-arg strid: nets.py:open_ended\(\) has no such argument"),
        ("open_ended", ("a.b=2",), r"--model-arg a.b: nets.py:open_ended\(\) takes arguments by plain names"),
        ("made", ("width=3",), r"--model-arg width: nets.py:made is a module, which takes no arguments"),
        (
            "counted",
            ("n=[1]",),
            r"nets.py:counted\(\) failed with RuntimeError: first line of \[1\], in nets.py, line 11 .*; mend it there",
        ),
    ],
)
def test_arguments_that_a_factory_does_not_take(name, arguments, message, factory):
    with pytest.raises(UserError, match=message):
        loading.load(f"nets.py:{name}", "auto", "8", arguments=arguments)


def test_a_torchvision_model_gets_arguments_of_its_builder_and_its_class():
    module = loading.load("resnet18", "random", "32", arguments=["num_classes=7", "width_per_group=64"]).module
    assert module.fc.out_features == 7


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("num_clases=7", r"--model-arg num_clases: resnet18 has no such argument; did you mean num_classes"),
        ("block=7", r"resnet18 cannot be made with block=7: TypeError: .*multiple values"),
        ("weights=DEFAULT", r"--model-arg weights: where the weights of resnet18 come from is said by --weights"),
        ("num_classes=many", r"resnet18 cannot be made with num_classes='many': .*; mend --model-arg"),
    ],
)
def test_arguments_that_a_torchvision_model_does_not_take(argument, message):
    with pytest.raises(UserError, match=message):
        loading.load("resnet18", "random", "32", arguments=[argument])


def test_published_weights_that_do_not_fit_the_arguments_say_what_does(monkeypatch):
    state = loading.load("squeezenet1_1", "random").module.state_dict()
    monkeypatch.setattr(loading, "cached_or_fetched", lambda weights: state)
    with pytest.raises(UserError, match=r"does not fit squeezenet1_1: .*; of another form there are none: give "):
        loading.load("squeezenet1_1", "auto", "64", arguments=["num_classes=7"])


def test_a_detector_takes_none():
    with pytest.raises(UserError, match=r"--model-arg width: a detector takes no arguments; --heads chooses its heads"):
        loading.load("detector:mobilenet_v3_small", "random", arguments=["width=3"])
