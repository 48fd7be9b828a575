"""The classes of a graph, the inner before those that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import fx

from rewrites.emit.blocks import Block, Blocks
from rewrites.emit.classes import Class, Template, camel, classes
from rewrites.emit.parts import Parts
from rewrites.emit.text import Expression
from rewrites.emit.tree import Tree


class Writer:
    """Writes a graph as classes. `used` collects the classes of this library that they name."""

    def __init__(
        self, graph_module: fx.GraphModule, tree: Tree, reasons: Mapping[fx.Node, str], used: set[Any]
    ) -> None:
        self.blocks = Blocks(graph_module, tree, reasons)
        self.found: dict[str, Block] = {path: self.blocks.block(path) for path in tree.kinds}
        self.parts = Parts(self.blocks, used)
        self.kinds = tree.kinds
        self.made: dict[str, tuple[Class, Template]] = {}

    def classes(self, taken: set[str]) -> list[Class]:
        """All but that of the whole. Their names are none of those `taken`, and join them."""
        heights = {path: self._height(path) for path, block in self.found.items() if path and not block.is_chain}
        done: list[Class] = []
        for height in sorted(set(heights.values())):
            alike = [self.template(path) for path in heights if heights[path] == height]
            for one in classes(alike, taken):
                self.made.update({template.block.path: (one, template) for template in one.templates})
                done.append(one)
        return done

    def template(self, path: str, name: str = "") -> Template:
        """What is written in the class of a module whose inner modules have theirs."""
        block = self.found[path]
        kind = self.kinds[path] or camel(re.sub(r"_?\d+", "", path.rpartition(".")[2])) or "Model"
        return Template(block, kind, self.parts.of(block, self._inner), name or path)

    def _inner(self, path: str, of: str) -> Expression:
        if self.found[path].is_chain:
            return self.parts.chain(self.found[path], self._inner, of)
        one, template = self.made[path]
        return one.made(template, of)

    def _height(self, path: str) -> int:
        """How many classes lie in each other in a module."""
        block = self.found[path]
        inner = [self._height(item) for item in block.items if isinstance(item, str)]
        return max(inner, default=0) + (not block.is_chain)
