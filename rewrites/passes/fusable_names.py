"""features.4.block.1.0  ->  features_4.depthwise.conv."""

from __future__ import annotations

from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.naming import BATCH_NORMS, CONVOLUTIONS, all_different, class_word, convolution_role, module_word

# Containers whose name says nothing; what is in them is named as if it stood one level higher.
_EMPTY_WORDS = frozenset({"block"})
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _ancestors(paths: set[str]) -> set[str]:
    """The containers above these paths."""
    split = [path.split(".") for path in paths]
    return {".".join(parts[:depth]) for parts in split for depth in range(1, len(parts))}


def _inside(path: str, modules: set[str]) -> bool:
    """Whether `path` leads into one of these modules."""
    return not modules.isdisjoint(_ancestors({path}))


class _Names:
    """Decides the new path of every module, parameter and buffer the graph reads. Changes nothing."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module
        self.classes: dict[str, type[nn.Module]] = graph_module.meta.get("classes", {})
        nodes = [node for node in graph_module.graph.nodes if node.op in ("call_module", "get_attr")]
        called = {str(node.target) for node in nodes if node.op == "call_module"}
        # What lies in a called module moves with it and keeps its own name there.
        self.targets = [path for path in dict.fromkeys(str(node.target) for node in nodes) if not _inside(path, called)]
        self.tree: dict[str, list[str]] = {}
        for target in self.targets:
            parts = target.split(".")
            for depth, part in enumerate(parts):
                children = self.tree.setdefault(".".join(parts[:depth]), [])
                if part not in children:
                    children.append(part)
        self.prefixes: dict[str, str] = {"": ""}

    def renames(self) -> dict[str, str]:
        """Old path to new path, for those that change."""
        kept = {t for t in self.targets if not any(p.isdigit() or p in _EMPTY_WORDS for p in t.split("."))}
        taken, renamed = set(kept), {}
        for target in self.targets:
            if target in kept:
                continue
            wanted = self._new_path(target)
            if _inside(wanted, taken):  # a layer of that name is no container
                wanted = wanted.replace(".", "_")
            path, count = wanted, 0
            # `tree` has the containers of modules that are not renamed yet.
            while path in taken or path in self.tree or path in _ancestors(taken):
                count += 1
                path = f"{wanted}_{count}"
            taken.add(path)
            renamed[target] = path
        return renamed

    def _new_path(self, path: str) -> str:
        if path not in self.prefixes:
            parent, _, part = path.rpartition(".")
            self.prefixes[path] = self._child_path(parent, part)
        return self.prefixes[path]

    def _child_path(self, parent: str, part: str) -> str:
        above = self._new_path(parent)
        child = f"{parent}.{part}" if parent else part
        if part in _EMPTY_WORDS and child in self.tree:
            return above
        if not part.isdigit():
            return f"{above}.{part}" if above else part
        numbered = [c for c in self.tree[parent] if c.isdigit()]
        words = [self._word(parent, c) for c in numbered]
        word = words[numbered.index(part)]
        if word not in _EMPTY_WORDS and all_different([*words, *(c for c in self.tree[parent] if not c.isdigit())]):
            return f"{above}.{word}" if above else word
        if parent.rpartition(".")[2] in {*_EMPTY_WORDS, ""}:
            return f"{above}.{word}_{part}" if above else f"{word}_{part}"
        return f"{above}_{part}"

    def _module(self, path: str) -> nn.Module | None:
        try:
            return self.graph_module.get_submodule(path)
        except AttributeError:
            return None

    def _kind(self, path: str) -> type | None:
        module = self._module(path)
        return self.classes.get(path) if module is None or path in self.tree else type(module)

    def _leaves(self, path: str) -> list[nn.Module]:
        """The modules the graph calls directly below a container, or the module itself."""
        children = [f"{path}.{part}" for part in self.tree[path]] if path in self.tree else [path]
        found = [self._module(child) for child in children if child not in self.tree]
        return [module for module in found if module is not None]

    def _word(self, parent: str, part: str) -> str:
        """What the numbered child `part` is."""
        path = f"{parent}.{part}"[1:] if not parent else f"{parent}.{part}"
        leaves = self._leaves(path)
        convolutions = [leaf for leaf in leaves if isinstance(leaf, CONVOLUTIONS)]
        kind = self._kind(path)
        is_unit = path not in self.tree or (kind is not None and issubclass(kind, _CONTAINERS))
        if len(convolutions) == 1 and is_unit:
            siblings = [self._leaves(f"{parent}.{c}" if parent else c) for c in self.tree[parent] if c.isdigit()]
            several = sum(any(isinstance(leaf, CONVOLUTIONS) for leaf in group) for group in siblings) > 1
            activated = any(not isinstance(leaf, (*CONVOLUTIONS, *BATCH_NORMS)) for leaf in leaves)
            return convolution_role(convolutions[0], activated) if several else "conv"
        module = self._module(path)
        if path not in self.tree and module is not None:
            return module_word(module)
        return class_word(kind) if kind is not None and not issubclass(kind, _CONTAINERS) else "part"


class FusableNames(RewritePass):
    """Numbered and `block` names become names that say what a layer is.

    What it does: `features.4.block.1.0` becomes `features_4.depthwise.conv`. A number becomes the role of
    what it counts where the roles in one container all differ (conv, bn, relu; expand, depthwise, squeeze_excitation,
    project), and otherwise joins the name before it (`layer1_0`, `classifier_3`). `block` is dropped.
    The rename table shows old and new; `Rewritten.key_map` does the same for every checkpoint key.

    Why: people name layers to `fuse_modules`, to a configuration and to each other, and read the names in every
    report; a number says nothing.

    Leaves alone: names without a number or `block` in them, and whatever stands inside a module that did not trace.
    """

    name = "fusable-names"

    def run(self, editor: Editor) -> None:
        for old, new in _Names(editor.graph_module).renames().items():
            editor.rename_target(old, new, "the name says what the layer is")

    @staticmethod
    def example() -> nn.Module:
        class Inverted(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                expand = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.ReLU())
                depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.ReLU())
                project = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
                self.block = nn.Sequential(expand, depthwise, project)

            def forward(self, x: Tensor) -> Tensor:
                return self.block(x)

        return Inverted()
