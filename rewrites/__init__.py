"""FX passes that make a vision model quantizable: a library of its own that imports torch only.

from rewrites import rewrite, DEFAULT_PASSES
rewritten = rewrite(model)
rewritten.graph_module, rewritten.results, rewritten.key_map, rewritten.diff()

rewrite(model, passes=passes_with(MyPass()))  # rewrites.testing checks such a pass
"""

from rewrites.base import PassError, Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.passes import ALTERNATIVES, DEFAULT_PASSES, WRAPPED_PASSES, passes_with
from rewrites.records import Edit, Hunk, PassResult, Skip
from rewrites.runner import Rewritten, rewrite, run_pass
from rewrites.tracing import FloatLeaf, UntraceableError
from rewrites.unfolded_norms import UnfoldedNorm
from rewrites.values import callee, is_scalar, submodule, tensor_nodes, whole_numbers

__all__ = [
    "ALTERNATIVES",
    "DEFAULT_PASSES",
    "WRAPPED_PASSES",
    "Edit",
    "Editor",
    "FloatLeaf",
    "Hunk",
    "PassError",
    "PassResult",
    "Refusal",
    "RewritePass",
    "Rewritten",
    "Skip",
    "UnfoldedNorm",
    "UntraceableError",
    "callee",
    "is_scalar",
    "passes_with",
    "rewrite",
    "run_pass",
    "submodule",
    "tensor_nodes",
    "whole_numbers",
]
