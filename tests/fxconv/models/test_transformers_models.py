"""`transformers:CLASS`: its configuration, what --model-arg makes of it, and where its weights come from."""

from __future__ import annotations

import json

import fxconv_packages
import pytest
import torch

from fxconv.errors import UserError
from fxconv.models import loading

NAME = "transformers:SmallForImageClassification"


@pytest.fixture(autouse=True)
def transformers(monkeypatch):
    return fxconv_packages.transformers(monkeypatch)


def test_a_class_gives_the_model_of_its_default_configuration():
    loaded = loading.load(NAME, "random")
    assert (loaded.name, loaded.weights, loaded.is_random) == (NAME, "random, seed 0", True)
    assert loaded.preprocessing.shape == (3, 32, 32)
    assert loaded.signature.names == ("pixel_values",)
    assert loaded.warnings == ()
    (warning,) = loading.load(NAME, "auto").warnings
    assert warning.startswith("RANDOM WEIGHTS: a class has a configuration and no weights of its own")


def test_arguments_are_fields_of_the_configuration():
    given = ["hidden_size=6", "num_labels=5", "num_channels=1", "image_size=[16,24]"]
    loaded = loading.load(NAME, "random", arguments=given)
    assert loaded.preprocessing.shape == (1, 16, 24)
    assert loaded.module(torch.zeros(1, 1, 16, 24))["logits"].shape == (1, 5)
    assert loaded.module.conv.out_channels == 6


def test_the_input_size_is_a_field_unless_it_is_given():
    assert loading.load(NAME, "random", "64").module.config.image_size == 64
    assert loading.load(NAME, "random", "64x96").module.config.image_size == (64, 96)
    kept = loading.load(NAME, "random", "64", arguments=["image_size=16"])
    assert (kept.module.config.image_size, kept.preprocessing.shape) == (16, (3, 64, 64))


def test_a_part_of_the_configuration_keeps_its_other_fields():
    name = "transformers:WithBackbone"
    assert loading.load(name, "random").module.conv.out_channels == 6
    loaded = loading.load(name, "random", arguments=["backbone_config.image_size=16", "backbone_config.num_labels=3"])
    assert (loaded.module.conv.out_channels, loaded.module.head.out_features) == (6, 3)
    assert loaded.preprocessing.shape == (3, 16, 16)
    sized = loading.load(name, "random", "64").module
    assert (sized.config.image_size, sized.conv.out_channels) == (64, 6)


def test_a_checkpoint_decides_the_head_and_config_json_beside_it_the_rest(tmp_path):
    trained = fxconv_packages.SmallForImageClassification(fxconv_packages.Config(id2label=dict(enumerate("abc"))))
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "x.pth")
    loaded = loading.load(NAME, str(tmp_path / "x.pth"))
    assert loaded.weights == f"{tmp_path / 'x.pth'}, its state_dict, head sized to its 3 classes"
    assert torch.equal(loaded.module.head.weight, trained.head.weight)
    wide = fxconv_packages.SmallForImageClassification(fxconv_packages.Config(9, id2label={0: "cat", 1: "dog"}))
    torch.save(wide.state_dict(), tmp_path / "x.pth")
    with pytest.raises(UserError, match=rf"x.pth does not fit {NAME}: .*conv.weight is \(9, 3, 3, 3\)"):
        loading.load(NAME, str(tmp_path / "x.pth"))
    file = {"model_type": "small", "architectures": ["X"], "hidden_size": 9, "id2label": {"1": "dog", "0": "cat"}}
    (tmp_path / "config.json").write_text(json.dumps(file))
    loaded = loading.load(NAME, str(tmp_path / "x.pth"))
    assert loaded.classes == ("cat", "dog")
    assert torch.equal(loaded.module.conv.weight, wide.conv.weight)
    (tmp_path / "config.json").write_text(json.dumps({**file, "model_type": "large"}))
    with pytest.raises(UserError, match="does not fit"):
        loading.load(NAME, str(tmp_path / "x.pth"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: the configuration beside --weights cannot be read"):
        loading.load(NAME, str(tmp_path / "x.pth"))


def test_a_checkpoint_under_names_of_before_is_read_by_the_package(tmp_path):
    trained = fxconv_packages.SmallForImageClassification(fxconv_packages.Config())
    old = {key.replace("conv.", "old_conv."): value for key, value in trained.state_dict().items()}
    torch.save(old, tmp_path / "x.pth")
    loaded = loading.load(NAME, str(tmp_path / "x.pth"))
    assert torch.equal(loaded.module.conv.weight, trained.conv.weight) and not loaded.is_random
    del old["head.bias"]
    torch.save(old, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"it lacks conv.weight, conv.bias, head.bias; the model has no old_conv"):
        loading.load(NAME, str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("TextModel", (), r"transformers:TextModel: takes input_ids; fxconv converts models of images"),
        ("TwoInputs", (), r"transformers:TwoInputs: takes prompt_boxes; fxconv converts models of images"),
        ("VideoModel", (), r"takes video with its frames before the channels, \[N, T, C, H, W\]"),
        ("AutoModel", (), r"AutoModel looks up the class of a checkpoint on the network; name the class itself"),
        ("AutoModelForAnything", (), r"AutoModelForAnything looks up the class of a checkpoint"),
        ("SmallConfig", (), r"transformers:SmallConfig: is no class of a model"),
        ("SmallForImageClassificatio", (), r"did you mean transformers:SmallForImageClassification\?"),
        ("", (), r"unknown model 'transformers:' \(fxconv models transformers: lists those of images\)"),
        ("a.b", (), r"unknown model 'transformers:a.b'"),
        ("TwoInputs:x", (), r"unknown model 'transformers:TwoInputs:x'"),
        ("WithBackbone", ("backbone_config.hiden_size=3",), r"--model-arg hiden_size: transformers:WithBackbone "
         r"backbone_config has no such argument; did you mean hidden_size"),
        ("WithBackbone", ("hidden_size.x=3",), r"hidden_size of transformers:WithBackbone is no configuration"),
        ("WithBackbone", ("use_pretrained_backbone=True",), r"--model-arg use_pretrained_backbone: where the weights"),
        ("SmallForImageClassification", ("attn_implementation=owner/kernel",), r"would fetch that from the network"),
        ("SmallForImageClassification", ("backbone=hf-hub:owner/net",), r"would fetch that from the network"),
        ("SmallForImageClassification", ("hiden_size=3",), r"has no such argument; did you mean hidden_size"),
        ("SmallForImageClassification", ("hidden_size=a",),
         r"its configuration cannot be made: TypeError: .*; --model-arg KEY=VALUE sets its fields"),
        ("SmallForImageClassification", ("hidden_size=-1",), r"transformers cannot make it: RuntimeError"),
    ],
)  # fmt: skip
def test_what_cannot_be_named_or_made(name, arguments, message):
    with pytest.raises(UserError, match=message):
        loading.load(f"transformers:{name}", "random", arguments=arguments)
