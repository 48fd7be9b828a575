"""Networks of packages other than torchvision, converted as they come: no file of theirs is edited, none written.

    python benchmarks/others.py [--packages DIR] [--results DIR] [--only PATTERN]... [--stale] [--again] [--table]
        [--before DIR]

The packages are those of benchmarks/other_packages.txt, installed into a folder of their own. A process a network, as
benchmarks/zoo.py has it; written to docs/other_packages.md and docs/other_packages.json. `--before` takes the records
that another version of fxconv made, whose islands and conversions to and from int8 then stand beside. Exits with
status 1 when what benchmarks/others_table.py requires is not met.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.networks import ROOT
from benchmarks.others_table import unmet, write_table
from benchmarks.zoo import MOST_SECONDS, Record, Zoo
from benchmarks.zoo_plan import Plan

RESULTS = ROOT / "benchmarks" / "results" / "others"
PACKAGES = ROOT / "benchmarks" / "results" / "packages"
PINS = ROOT / "benchmarks" / "other_packages.txt"
IMAGES, MOST_GIB = 8, 10.0

# What --input-size and --model-arg are given. Small inputs and few of many equal blocks: a network's kinds of
# operations are all there, and its layers are as wide as ever.
NETWORKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("timm:tf_mobilenetv3_small_minimal_100", "96", ()),
    ("timm:tf_efficientnetv2_b0", "96", ()),
    ("timm:mobilenetv4_conv_small", "96", ()),
    ("timm:mixnet_s", "96", ()),
    ("timm:ghostnetv2_100", "96", ()),
    ("timm:repghostnet_050", "96", ()),
    ("timm:mobileone_s0", "96", ()),
    ("timm:repvgg_a0", "96", ()),
    ("timm:repvit_m0_9", "96", ()),
    ("timm:fastvit_t8", "96", ()),
    ("timm:efficientvit_b0", "96", ()),
    ("timm:efficientformer_l1", "224", ()),
    ("timm:edgenext_xx_small", "96", ()),
    ("timm:poolformer_s12", "96", ()),
    ("timm:convnextv2_atto", "96", ()),
    ("timm:resnetv2_50x1_bit", "64", ()),
    ("timm:nf_resnet26", "64", ()),
    ("timm:resnetblur50", "64", ()),
    ("timm:resnest14d", "96", ()),
    ("timm:hrnet_w18_small", "96", ()),
    ("timm:levit_128s", "224", ()),
    ("timm:vit_tiny_patch16_224", "96", ()),
    ("timm:vit_small_patch14_dinov2", "98", ()),
    ("timm:swin_tiny_patch4_window7_224", "112", ()),
    ("timm:mobilevit_xxs", "96", ()),
    ("timm:mobilevitv2_050", "96", ()),
    ("transformers:ViTForImageClassification", "64", ("num_hidden_layers=4",)),
    ("transformers:Dinov2ForImageClassification", "70", ("num_hidden_layers=4",)),
    ("transformers:SegformerForSemanticSegmentation", "64", ()),
    ("transformers:MobileViTForImageClassification", "64", ()),
    ("transformers:MobileNetV2ForImageClassification", "96", ()),
    ("transformers:EfficientNetForImageClassification", "64", ()),
    ("transformers:ConvNextV2ForImageClassification", "64", ()),
    ("transformers:BitForImageClassification", "64", ()),
    ("transformers:DetrForObjectDetection", "96", ("encoder_layers=2", "decoder_layers=2")),
    ("benchmarks/yolo.py:yolov8n", "96", ()),
    ("benchmarks/yolo.py:yolo11n", "96", ()),
    ("segmentation_models_pytorch:Unet", "96", ("encoder_name=mobilenet_v2", "encoder_weights=None")),
    ("segmentation_models_pytorch:DeepLabV3Plus", "96", ("encoder_name=resnet18", "encoder_weights=None")),
    ("segmentation_models_pytorch:FPN", "96", ("encoder_name=timm-mobilenetv3_small_100", "encoder_weights=None")),
    ("pytorchcv.models.efficientnet:efficientnet_b0", "96", ()),
    ("geffnet:mixnet_s", "96", ()),
)


def install(folder: Path) -> None:
    """Bring the packages into `folder`, and nothing else, unless they are there: torch stays what it is."""
    stamp = folder / PINS.name
    if stamp.exists() and stamp.read_text() == PINS.read_text():
        return
    quiet = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*quiet, "install", "--upgrade", "--no-deps", "--target", folder, "-r", PINS], check=True)
    stamp.write_text(PINS.read_text())


def records_of(folder: Path, plans: list[Plan]) -> list[Record]:
    """What lies in a folder of records, a record a network; an empty one where there is none."""
    zoo = Zoo(folder, MOST_SECONDS, MOST_GIB)
    return [zoo.record(plan) or {} for plan in plans]


def main() -> None:
    parser = argparse.ArgumentParser(description="networks of other packages")
    parser.add_argument("--packages", type=Path, default=PACKAGES, help="folder the packages are installed into")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--only", metavar="PATTERN", action="append", default=[], help="networks that match")
    parser.add_argument("--stale", action="store_true", help="run again what other sources recorded")
    parser.add_argument("--again", action="store_true", help="run again what is recorded")
    parser.add_argument("--table", action="store_true", help="write the table from the records, and run nothing")
    parser.add_argument("--before", type=Path, help="folder of records of another version of fxconv")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time, a thread each")
    asked = parser.parse_args()
    zoo = Zoo(asked.results, MOST_SECONDS, MOST_GIB)
    folders = (str(asked.packages.resolve()),)
    plans = [Plan(model, size, IMAGES, 0.0, False, given, folders) for model, size, given in NETWORKS]
    if not asked.table:
        install(asked.packages)
        chosen = [p for p in plans if not asked.only or any(fnmatch(p.called, pattern) for pattern in asked.only)]
        zoo.run_all(
            [p for p in chosen if (found := zoo.record(p)) is None or asked.again
             or (asked.stale and found["code"] != zoo.code)], asked.jobs,
        )  # fmt: skip
    records = records_of(asked.results, plans)
    if missing := [plan.called for plan, record in zip(plans, records, strict=True) if not record]:
        raise SystemExit(f"without a record yet, so no table is written: {', '.join(missing)}")
    write_table(plans, records, records_of(asked.before, plans) if asked.before else None, zoo.code)
    if problems := unmet(records):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
