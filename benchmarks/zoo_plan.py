"""What the zoo benchmark runs: every network of torchvision, in which order, on how many images of which size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatch

from torchvision import models as zoo

from fxconv.models import loading

# Natural sizes where one processor can afford them; smaller ones for these, with the operations in billions of
# multiply-accumulates that is left of torchvision's figure. A network not named has torchvision's own size.
SMALLER: tuple[tuple[str, str, float], ...] = (
    ("efficientnet_b4", "256", 0.45),
    ("efficientnet_b5", "160", 0.12),
    ("efficientnet_b6", "160", 0.09),
    ("efficientnet_b7", "160", 0.07),
    ("efficientnet_v2_s", "160", 0.17),
    ("efficientnet_v2_[ml]", "160", 0.11),
    ("regnet_?_3_2gf", "160", 0.51),
    ("regnet_?_8gf", "96", 0.18),
    ("regnet_?_16gf", "96", 0.18),
    ("regnet_?_32gf", "96", 0.1),
    ("regnet_y_128gf", "96", 0.06),
    ("densenet161", "96", 0.18),
    ("densenet*", "160", 0.51),
    ("resnet50", "160", 0.51),
    ("resnet101", "96", 0.18),
    ("resnet152", "96", 0.18),
    ("resnext50_*", "160", 0.51),
    ("wide_resnet50_2", "96", 0.18),
    ("swin_t", "128", 0.33),
    ("swin_?", "96", 0.18),
    ("swin_v2_t", "128", 0.25),
    ("swin_v2_?", "64", 0.06),
    ("vgg11", "128", 0.33),
    ("vgg*", "64", 0.08),
    ("resnext101_*", "96", 0.18),
    ("wide_resnet101_2", "96", 0.18),
    ("convnext_tiny", "128", 0.33),
    ("convnext_*", "96", 0.18),
    ("deeplabv3_resnet50", "160", 0.095),
    ("deeplabv3_resnet101", "96", 0.03),
    ("fcn_*", "96", 0.03),
    ("deeplabv3_*", "260", 0.25),
    ("lraspp_*", "260", 0.25),
    ("ssdlite320_*", "320", 1.0),
    ("ssd300_*", "300", 1.0),
    ("*rcnn_mobilenet*", "320", 0.12),
    ("*rcnn_*", "160", 0.03),
    ("retinanet_resnet50_fpn_v2", "224", 0.06),
    ("retinanet_*", "160", 0.03),
    ("fcos_*", "160", 0.03),
    ("vit_h_14", "224", 0.16),
    ("r3d_18", "3x8x64x64", 0.17),
    ("mc3_18", "3x8x64x64", 0.17),
    ("r2plus1d_18", "3x8x64x64", 0.17),
    ("s3d", "3x14x224x224", 1.0),
    ("swin3d_*", "3x8x64x64", 0.03),
    ("mvit_*", "3x16x224x224", 1.0),
    ("raft_*", "128", 0.04),
)
# The smallest sensible sizes, for ExecuTorch programs: what is tried is the way to the file. None is torchvision's own,
# where an adaptive pool would be given fewer values than it returns, or the network takes no other.
SMALLEST: tuple[tuple[str, str | None], ...] = (
    ("alexnet", None),
    ("vgg*", None),
    ("vit_*", None),
    ("maxvit_*", None),
    ("mvit_*", None),
    ("ssd*", None),
    ("inception_v3", "128"),
    ("*rcnn_mobilenet*_320_fpn", "160"),
    ("*rcnn_*", "128"),
    ("retinanet_*", "128"),
    ("fcos_*", "128"),
    ("raft_*", "128"),
    ("deeplabv3_*", "96"),
    ("lraspp_*", "96"),
    ("swin3d_*", "3x8x64x64"),
    ("r3d_18", "3x8x32x32"),
    ("mc3_18", "3x8x32x32"),
    ("r2plus1d_18", "3x8x32x32"),
    ("s3d", "3x14x224x224"),
    ("*", "64"),
)
# Networks of more parameters than these are left out of the programs: ExecuTorch holds several copies of the weights
# while it lowers, and lowers three times for the proof.
LARGEST_PROGRAM = 200_000_000
# Multiply-accumulates that the calibration images of one network may take together, in billions.
_CALIBRATION_GMACS = 20.0
_FEWEST, _MOST = 4, 6
# With more parameters than these nothing else runs beside it.
_ALONE = 400_000_000


@dataclass(frozen=True)
class Plan:
    """One network: `size` is --input-size (None for its own), `gmacs` one inference in billions, `images` a count.

    `arguments` are what `--model-arg` takes, and `folders` where what the network is made of lies, if nowhere else.
    """

    model: str
    size: str | None
    images: int
    gmacs: float
    is_alone: bool = False
    arguments: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """The network and its arguments, as they are written on the command line."""
        return " ".join([self.model, *(f"--model-arg {each}" for each in self.arguments)])


def plan(name: str, most_images: int | None = None) -> Plan:
    """How a torchvision network is run, on at most so many images."""
    published = zoo.get_model_weights(name)
    meta = published.DEFAULT.meta if len(published) else {}
    size, share = next(((size, share) for pattern, size, share in SMALLER if fnmatch(name, pattern)), (None, 1.0))
    gmacs = share * meta.get("_ops", 1.0)
    images = max(_FEWEST, min(_MOST, round(_CALIBRATION_GMACS / gmacs)))
    images = min(images, most_images or images)
    return Plan(name, size, images, gmacs, meta.get("num_params", 0) > _ALONE)


def program_plans(most_images: int | None = None) -> list[Plan]:
    """How those that are run as ExecuTorch programs are run, in the same order: small, and on few images."""
    out = left_out()
    return [
        replace(p, size=next(size for pattern, size in SMALLEST if fnmatch(p.model, pattern)), is_alone=False)
        for p in plans(min(_FEWEST, most_images or _FEWEST))
        if p.model not in out
    ]


def left_out() -> dict[str, int]:
    """The networks that are not run as programs, and how many parameters each has."""
    published = {name: list(zoo.get_model_weights(name)) for name in loading.names()}
    counts = {name: each[0].meta.get("num_params", 0) for name, each in published.items() if each}
    return {name: count for name, count in counts.items() if count > LARGEST_PROGRAM}


def plans(most_images: int | None = None) -> list[Plan]:
    """All of them, the cheap ones first and those that need the machine's memory for themselves last."""
    return sorted((plan(name, most_images) for name in loading.names()), key=lambda p: (p.is_alone, p.gmacs, p.model))
