"""What a model's name, file or package can be, and the input that comes with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fxconv_commands import NETWORKS
from torch import nn
from torchvision.models import get_model, get_model_weights

from fxconv.errors import UserError
from fxconv.models import loading
from fxconv.models.preprocessing import IMAGENET_MEAN, Preprocessing


def test_a_torchvision_model_is_in_eval_mode_with_its_preprocessing():
    loaded = loading.load("mobilenet_v3_small", "random")
    assert (loaded.name, loaded.weights, loaded.is_random) == ("mobilenet_v3_small", "random, seed 0", True)
    assert not any(module.training for module in loaded.module.modules())
    weights = get_model_weights("mobilenet_v3_small").DEFAULT
    assert loaded.preprocessing == Preprocessing.from_preset(weights.transforms(), str(weights))
    assert loaded.parameters == weights.meta["num_params"]


def test_the_input_size_replaces_the_preset_one():
    loaded = loading.load("mobilenet_v3_small", "random", "96x160")
    assert loaded.preprocessing.shape == (3, 96, 160)
    assert loaded.preprocessing.mean == IMAGENET_MEAN


def test_the_seed_makes_the_weights_and_leaves_torchs_own_seed_alone():
    torch.manual_seed(7)
    undisturbed = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (loading.load(f"{NETWORKS}:tiny", "random", "32", seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), undisturbed)
    weight = first.module.head.weight
    assert torch.equal(again.module.head.weight, weight)
    assert not torch.equal(other.module.head.weight, weight)


def test_structure_alone_needs_no_weights(monkeypatch):
    def fetched(_):
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr(loading, "cached_or_fetched", fetched)
    assert loading.load("mobilenet_v3_small", "auto", structure_only=True).is_random


def test_weights_that_cannot_be_had_are_replaced_with_a_warning_nobody_can_miss(monkeypatch):
    monkeypatch.setattr(loading, "cached_or_fetched", lambda weights: None)
    loaded = loading.load("mobilenet_v3_small", "auto")
    assert loaded.is_random
    (warning,) = loaded.warnings
    assert warning.startswith("RANDOM WEIGHTS: MobileNet_V3_Small_Weights.IMAGENET1K_V1 is not cached")
    assert loading.load("mobilenet_v3_small", "random").warnings == ()


def test_weights_that_are_cached_are_used(monkeypatch):
    state = {key: value + 1 for key, value in loading.load("mobilenet_v3_small", "random").module.state_dict().items()}
    monkeypatch.setattr(loading, "cached_or_fetched", lambda weights: state)
    loaded = loading.load("mobilenet_v3_small", "auto")
    assert (loaded.weights, loaded.is_random) == ("MobileNet_V3_Small_Weights.IMAGENET1K_V1", False)
    assert torch.equal(loaded.module.classifier[3].bias, state["classifier.3.bias"])


def test_a_checkpoint_is_loaded_and_named(tmp_path):
    path = tmp_path / "trained.pth"
    trained = loading.load(f"{NETWORKS}:tiny", "random", seed=5).module
    torch.save(trained.state_dict(), path)
    loaded = loading.load(f"{NETWORKS}:tiny", str(path))
    assert (loaded.weights, loaded.is_random) == (str(path), False)
    assert torch.equal(loaded.module.head.weight, trained.head.weight)


def test_the_checkpoints_own_name_chooses_the_preprocessing(tmp_path):
    # resnet50 V1 was trained for another margin around the crop than V2, the default
    weights = get_model_weights("resnet18").IMAGENET1K_V1
    path = tmp_path / weights.url.rsplit("/", 1)[-1]
    torch.save(loading.load("resnet18", "random").module.state_dict(), path)
    assert loading.load("resnet18", str(path)).preprocessing.source == f"transforms of {weights}"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("squeezenet1_1", {}),
        ("mobilenet_v3_small", {}),
        ("mnasnet0_5", {}),
        ("googlenet", {"init_weights": False}),
        ("googlenet", {"init_weights": False, "aux_logits": False}),
        ("lraspp_mobilenet_v3_large", {"weights_backbone": None}),
        ("deeplabv3_mobilenet_v3_large", {"weights_backbone": None}),
        ("deeplabv3_mobilenet_v3_large", {"weights_backbone": None, "aux_loss": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(key for key in value if key.startswith("aux")),
)
@pytest.mark.parametrize("classes", [7, 1003])
def test_the_head_is_sized_to_the_checkpoint(name, options, classes, tmp_path):
    path = tmp_path / "x.pth"
    trained = get_model(name, weights=None, num_classes=classes, **options).eval()
    torch.save({"state_dict": {f"module.{key}": value for key, value in trained.state_dict().items()}}, path)
    loaded = loading.load(name, str(path), "64")
    assert loaded.weights == f"{path}, its state_dict, 'module.' stripped, head sized to its {classes} classes"
    state = loaded.module.state_dict()
    assert state.keys() == trained.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())


def test_a_checkpoint_of_the_usual_classes_needs_no_word(tmp_path):
    path = tmp_path / "x.pth"
    torch.save(loading.load("resnet18", "random").module.state_dict(), path)
    assert loading.load("resnet18", str(path)).weights == str(path)


def test_a_checkpoint_that_differs_elsewhere_is_refused_as_it_is(tmp_path):
    path = tmp_path / "x.pth"
    state = loading.load("resnet18", "random").module.state_dict()
    torch.save({**state, "layer1.0.bn1.weight": torch.ones(65), "fc.bias": torch.ones(10)}, path)
    with pytest.raises(UserError, match=r"layer1.0.bn1.weight is \(65,\), the model's is \(64,\), fc.bias is \(10,\)"):
        loading.load("resnet18", str(path))


@pytest.mark.parametrize(("published", "transforms"), [(True, True), (False, False)])
def test_torchvisions_own_googlenet_has_its_inputs_transformed(published, transforms, tmp_path):
    path = tmp_path / (get_model_weights("googlenet").DEFAULT.url.rsplit("/", 1)[-1] if published else "x.pth")
    torch.save(loading.load("googlenet", "random").module.state_dict(), path)
    loaded = loading.load("googlenet", str(path))
    assert loaded.module.transform_input is transforms
    assert len(loaded.warnings) == (not published)
    assert all("transform_input=True" in warning for warning in loaded.warnings)


def test_a_pickled_model_is_loaded_only_when_that_is_said(tmp_path):
    path = tmp_path / "x.pth"
    trained = get_model("mobilenet_v3_small", weights=None, num_classes=10)
    torch.save(trained, path)
    with pytest.raises(UserError, match=r"unpickling runs whatever code is in the file"):
        loading.load("mobilenet_v3_small", str(path))
    loaded = loading.load("mobilenet_v3_small", str(path), unsafe_load=True)
    assert torch.equal(loaded.module.classifier[3].weight, trained.classifier[3].weight)


@pytest.mark.parametrize("text", ["100000", "3x5000x5000", "64x2048x2048", "3x1000x512x512"])
def test_inputs_that_no_memory_holds_are_refused(text):
    with pytest.raises(UserError, match=f"--input-size {text}: is too large; 3x4096x4096 is the most"):
        loading.parse_input_size(text)


FILES = {
    "module.py": "from torch import nn\nnet = nn.Conv2d(3, 4, 1)\n",
    "syntax.py": "def net(:\n",
    "imports.py": "import no_such_package_anywhere\n",
    "sibling.py": "from neighbour import net\n",
    "neighbour.py": "from torch import nn\n\ndef net():\n    return nn.Conv2d(3, 4, 1)\n",
    "raising.py": "def net():\n    raise OSError('disk on fire')\n",
    "constant.py": "net = 3\n",
    "data.py": (
        "from __future__ import annotations\nimport dataclasses\nfrom torch import nn\n\n"
        "@dataclasses.dataclass\nclass Size:\n    width: int = 4\n\n"
        "def net():\n    return nn.Conv2d(3, Size().width, 1)\n"
    ),
}


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text", ["module.py:net", "sibling.py:net", "data.py:net", "neighbour:net", "torch.nn:Identity"]
)
def test_a_file_or_package_gives_a_module(text, files):
    loaded = loading.load(text, "auto", "8")
    assert isinstance(loaded.module, nn.Module)
    assert loaded.weights == "as the factory made them"
    assert loaded.name == text.rpartition(":")[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("syntax.py:net", r"syntax.py does not import: SyntaxError"),
        (
            "imports.py:net",
            r"imports.py does not import: ModuleNotFoundError: No module named 'no_such_package_anywhere'",
        ),
        (
            "raising.py:net",
            r"raising.py:net\(\) failed with OSError: disk on fire, in raising.py, line 2 \(raise .*\); mend it there",
        ),
        ("constant.py:net", r"constant.py:net is neither a module nor a function that makes one"),
        ("module.py:nett", r"module.py has no 'nett'; did you mean net\?"),
        ("gone.py:net", r"gone.py: no such file; expected FILE.py:NAME"),
    ],
)
def test_files_and_packages_that_give_none(text, message, files):
    with pytest.raises(UserError, match=message):
        loading.load(text, "auto", "8")


def test_imports_leave_the_search_path_as_it_was(files):
    import sys

    before = list(sys.path)
    loading.load("sibling.py:net", "auto", "8")
    loading.load("neighbour:net", "auto", "8")
    assert sys.path == before
