"""Detectors of the ultralytics package as fxconv takes them: `fxconv convert benchmarks/yolo.py:yolov8n`.

Its licence is AGPL-3.0, so nothing of fxconv imports it but this file, when a user or a benchmark names it.
"""

from __future__ import annotations

from torch import nn
from ultralytics import YOLO


def yolov8n() -> nn.Module:
    """YOLOv8 nano with random weights: 80 classes, boxes in pixels beside scores."""
    network: nn.Module = YOLO("yolov8n.yaml").model
    return network


def yolo11n() -> nn.Module:
    """YOLO11 nano with random weights: an attention in front of the heads of YOLOv8."""
    network: nn.Module = YOLO("yolo11n.yaml").model
    return network
