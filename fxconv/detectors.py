"""The import path that users have; see `fxconv.models.detectors`."""

from fxconv.models.detectors import BACKBONES, HEADS, HIDDEN, HeatmapDetector, HeatmapPeaks, detector, heads_in

__all__ = ["BACKBONES", "HEADS", "HIDDEN", "HeatmapDetector", "HeatmapPeaks", "detector", "heads_in"]
