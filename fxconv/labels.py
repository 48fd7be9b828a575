"""The import path that users have; see `fxconv.data.labels`."""

from fxconv.data.labels import Classes, LabelledBatches, LabelledPhotographs, read_classes

__all__ = ["Classes", "LabelledBatches", "LabelledPhotographs", "read_classes"]
