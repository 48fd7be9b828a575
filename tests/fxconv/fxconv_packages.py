"""Small packages with the interface of timm and of transformers, for tests that need neither."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn


class Small(nn.Module):
    """A network of one size, or of any, as timm's classes take their arguments."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, img_size: int | None = None, width: int = 4) -> None:
        super().__init__()
        self.img_size = img_size
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1)
        if img_size is not None:
            self.position = nn.Parameter(torch.randn(1, width, img_size, img_size))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        y = self.conv(x)
        return self.head((y if self.img_size is None else y + self.position).relu().mean((2, 3)))


class Free(Small):
    """The same without a size."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: int = 4) -> None:
        super().__init__(num_classes, in_chans, None, width)


def timm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A package timm of three names; what `create_model` was called with is in `.calls`."""
    calls: list[tuple[str, dict[str, Any]]] = []
    about = {
        "small_net": (Free, "in1k", False, (3, 48, 48), 0.875),
        "small_vit_patch16_32": (lambda **given: Small(**{"img_size": 32, **given}), "in1k", True, (3, 32, 32), 0.9),
        "failing_net": (None, "in1k", False, (3, 32, 32), None),
    }

    def create_model(name: str, pretrained: bool = False, pretrained_cfg_overlay: Any = None, **given: Any) -> Any:
        calls.append((name, {"pretrained": pretrained, "overlay": pretrained_cfg_overlay, **given}))
        make = about[name.partition(".")[0]][0]
        if make is None:
            raise RuntimeError("its own fault\nand more")
        model = make(**given)
        if pretrained:
            with Path(pretrained_cfg_overlay["file"]).open("rb") as file:  # by name torch may read another format
                model.load_state_dict(torch.load(file, weights_only=True))
        return model

    def get_pretrained_cfg(name: str) -> Any:
        architecture, _, tag = name.partition(".")
        _, known, fixed, size, crop = about[architecture]
        if tag not in ("", known):
            raise RuntimeError(f"Invalid pretrained tag ({tag}) for {architecture}.")
        return SimpleNamespace(
            tag=known, fixed_input_size=fixed, input_size=size, crop_pct=crop, interpolation="bicubic",
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), hf_hub_id=f"timm/{architecture}.{known}", url=None,
        )  # fmt: skip

    package = ModuleType("timm")
    package.create_model = create_model
    package.get_pretrained_cfg = get_pretrained_cfg
    package.is_model = lambda name: name in about
    package.list_models = lambda pretrained=False: [f"{name}.in1k" if pretrained else name for name in about]
    monkeypatch.setitem(sys.modules, "timm", package)
    return SimpleNamespace(calls=calls)


def hub(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """A package huggingface_hub whose cache holds one file of each of these repositories."""
    package = ModuleType("huggingface_hub")
    package.try_to_load_from_cache = lambda repository, name: (
        files.get(repository) if name == "model.safetensors" else None
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)


class Config:
    """A configuration that, as those of transformers do, keeps whatever it is given."""

    model_type = "small"
    attribute_map = {"width": "hidden_size"}

    def __init__(self, hidden_size: int = 4, image_size: Any = 32, num_channels: int = 3, **more: Any) -> None:
        if isinstance(hidden_size, str):
            raise TypeError("hidden_size expected int,\n got str")
        self.hidden_size, self.image_size, self.num_channels = hidden_size, image_size, num_channels
        self.id2label = {0: "LABEL_0", 1: "LABEL_1"}
        for key, value in more.items():
            setattr(self, key, value)

    @property
    def num_labels(self) -> int:
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        self.id2label = {index: f"LABEL_{index}" for index in range(count)}

    def to_diff_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value != vars(type(self)()).get(key)}


class BackboneConfig(Config):
    """A configuration with another one inside, which asks for weights of the network's unless told not to."""

    model_type = "with_backbone"

    def __init__(self, backbone_config: Any = None, use_pretrained_backbone: bool = True, **more: Any) -> None:
        super().__init__(**{"image_size": None, **more})
        given = {} if backbone_config is None else {k: v for k, v in backbone_config.items() if k != "model_type"}
        self.backbone_config = Config(**{"hidden_size": 6, **given})
        self.use_pretrained_backbone = use_pretrained_backbone

    def to_diff_dict(self) -> dict[str, Any]:
        return {}


class SmallForImageClassification(nn.Module):
    """A class that takes images."""

    config_class = Config
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = copy.copy(config)
        size = config.image_size if isinstance(config.image_size, int) else 8
        self.conv = nn.Conv2d(config.num_channels, config.hidden_size, 3, stride=size // 4)
        self.head = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pixel_values=None, labels=None):
        return {"logits": self.head(self.conv(pixel_values).relu().mean((2, 3)))}

    @classmethod
    def from_pretrained(cls, name, config, state_dict, output_loading_info):
        assert name is None and output_loading_info
        model = cls(config)
        renamed = {key.replace("old_conv.", "conv."): value for key, value in state_dict.items()}
        missing = set(model.state_dict()) - set(renamed)
        if not missing:
            model.load_state_dict(renamed)
        return model, {"missing_keys": missing, "unexpected_keys": set(renamed) - set(model.state_dict())}


class WithBackbone(SmallForImageClassification):
    """A class whose network is its backbone's."""

    config_class = BackboneConfig

    def __init__(self, config: Any) -> None:
        assert not config.use_pretrained_backbone, "weights would be fetched"
        super().__init__(config.backbone_config)


class TextModel(SmallForImageClassification):
    """A class that takes texts."""

    main_input_name = "input_ids"


class TwoInputs(SmallForImageClassification):
    """A class that needs more than images."""

    def forward(self, pixel_values, prompt_boxes):
        return pixel_values


class VideoModel(SmallForImageClassification):
    """A class that takes clips."""

    input_modalities = "video"


def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package transformers of these classes."""
    package = ModuleType("transformers")
    for kind in (SmallForImageClassification, WithBackbone, TextModel, TwoInputs, VideoModel):
        setattr(package, kind.__name__, kind)
    package.SmallConfig, package.AutoModel = Config, type("AutoModel", (), {})
    monkeypatch.setitem(sys.modules, "transformers", package)
    return package
