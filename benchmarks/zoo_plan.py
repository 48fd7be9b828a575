"""What the zoo benchmark runs: every network of torchvision, in which order, on how many images of which size."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from torchvision import models as zoo

from fxconv import models

# Natural sizes where one processor can afford them; smaller ones for these, with the operations in billions of
# multiply-accumulates that is left of torchvision's figure. A network not named has torchvision's own size.
SMALLER: tuple[tuple[str, str, float], ...] = (
    ("efficientnet_b4", "256", 0.45),
    ("efficientnet_b5", "256", 0.31),
    ("efficientnet_b6", "256", 0.23),
    ("efficientnet_b7", "256", 0.18),
    ("efficientnet_v2_s", "256", 0.44),
    ("efficientnet_v2_[ml]", "224", 0.22),
    ("regnet_?_3_2gf", "160", 0.51),
    ("regnet_?_8gf", "160", 0.51),
    ("regnet_?_16gf", "128", 0.33),
    ("regnet_?_32gf", "128", 0.17),
    ("regnet_y_128gf", "128", 0.11),
    ("densenet*", "160", 0.51),
    ("resnet50", "160", 0.51),
    ("resnet101", "160", 0.51),
    ("resnet152", "160", 0.51),
    ("resnext50_*", "160", 0.51),
    ("wide_resnet50_2", "160", 0.51),
    ("swin_?", "128", 0.33),
    ("swin_v2_?", "128", 0.25),
    ("vgg*", "128", 0.33),
    ("resnext101_*", "128", 0.33),
    ("wide_resnet101_2", "128", 0.33),
    ("convnext_*", "128", 0.33),
    ("deeplabv3_resnet*", "160", 0.095),
    ("fcn_*", "160", 0.095),
    ("deeplabv3_*", "260", 0.25),
    ("lraspp_*", "260", 0.25),
    ("ssdlite320_*", "320", 1.0),
    ("ssd300_*", "300", 1.0),
    ("*rcnn_mobilenet*", "320", 0.12),
    ("*rcnn_*", "224", 0.06),
    ("retinanet_*", "224", 0.06),
    ("fcos_*", "224", 0.06),
    ("vit_h_14", "224", 0.16),
    ("r3d_18", "3x8x96x96", 0.37),
    ("mc3_18", "3x8x96x96", 0.37),
    ("r2plus1d_18", "3x8x96x96", 0.37),
    ("s3d", "3x14x224x224", 1.0),
    ("swin3d_*", "3x8x112x112", 0.06),
    ("mvit_*", "3x16x224x224", 1.0),
    ("raft_*", "128", 0.04),
)
# Multiply-accumulates that the calibration images of one network may take together, in billions.
_CALIBRATION_GMACS = 40.0
_FEWEST, _MOST = 4, 6
# With more parameters than these nothing else runs beside it.
_ALONE = 400_000_000


@dataclass(frozen=True)
class Plan:
    """One network: `size` is --input-size (None for its own), `gmacs` one inference in billions, `images` a count."""

    model: str
    size: str | None
    images: int
    gmacs: float
    is_alone: bool = False


def plan(name: str, most_images: int | None = None) -> Plan:
    """How a torchvision network is run, on at most so many images."""
    published = zoo.get_model_weights(name)
    meta = published.DEFAULT.meta if len(published) else {}
    size, share = next(((size, share) for pattern, size, share in SMALLER if fnmatch(name, pattern)), (None, 1.0))
    gmacs = share * meta.get("_ops", 1.0)
    images = max(_FEWEST, min(_MOST, round(_CALIBRATION_GMACS / gmacs)))
    images = min(images, most_images or images)
    return Plan(name, size, images, gmacs, meta.get("num_params", 0) > _ALONE)


def plans(most_images: int | None = None) -> list[Plan]:
    """All of them, the cheap ones first and those that need the machine's memory for themselves last."""
    return sorted((plan(name, most_images) for name in models.names()), key=lambda p: (p.is_alone, p.gmacs, p.model))
