"""A rewritten model as a Python module of its own, such as people wrote by hand before."""

from rewrites.emit.frame import MADE_BY
from rewrites.emit.layers import NotEmittable
from rewrites.emit.module import emit

__all__ = ["MADE_BY", "NotEmittable", "emit"]
