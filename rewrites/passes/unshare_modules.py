"""A parameterless module called twice becomes two."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.values import submodule


class UnshareModules(RewritePass):
    """A parameterless module called at several places becomes one module a place.

    What it does: the first call keeps the module; each further call gets a copy under a name next to it.

    Why: an observer belongs to a module, so two call sites would share one range, and a module fused
    into the convolution before its first call would be gone at its second.

    Leaves alone: modules with parameters or buffers. They are shared on purpose, and copying them would
    multiply the file; they keep one set of weights and one joint range.
    """

    name = "unshare-modules"

    def run(self, editor: Editor) -> None:
        seen: set[int] = set()
        for node in editor.nodes():
            module = submodule(editor.graph_module, node)
            if module is None:
                continue
            if id(module) not in seen:
                seen.add(id(module))
            elif "float_reason" in node.meta:
                editor.skip(node, f"{node.target} did not trace; what it keeps from call to call is its own affair")
            elif any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
                editor.skip(node, f"{node.target} has weights, which stay shared by all its calls")
            else:
                scope, _, leaf = str(node.target).rpartition(".")
                path = editor.free_path(scope, leaf)
                fresh = copy.deepcopy(module)
                seen.add(id(fresh))
                editor.copy_module(node, path, fresh, f"one observer and one fusion for each call of {node.target}")

    @staticmethod
    def example() -> nn.Module:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv1, self.conv2 = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
                self.relu = nn.ReLU()

            def forward(self, x: Tensor) -> Tensor:
                return self.relu(self.conv2(self.relu(self.conv1(x))))

        return Twice()
