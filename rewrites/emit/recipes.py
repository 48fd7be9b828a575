"""What is worked out of parameters once, as a class that works it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

from rewrites.emit.tree import Tree
from rewrites.naming import class_word


@dataclass(frozen=True)
class Recipe:
    """The tree of a recipe, a single module, and what each of its tensors is called in the recipe's own graph."""

    tree: Tree
    keys: Mapping[str, str]


def recipe_tree(recipe: fx.GraphModule, kind: str) -> Recipe:
    """A recipe's tree, of class `kind`; its layers and parameters get names of one word."""
    paths: dict[fx.Node, str] = {}
    words: dict[str, str] = {}
    for node in recipe.graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        target = str(node.target)
        if target not in words:
            word = target.rpartition(".")[2]
            if node.op == "call_module" and not word.isidentifier():
                word = class_word(type(recipe.get_submodule(target)))
            words[target] = _free(word if word.isidentifier() else "constant", set(words.values()))
        paths[node] = words[target]
    keys = {}
    for target, word in words.items():
        held = _at(recipe, target)
        if isinstance(held, nn.Module):
            keys.update({f"{word}.{name}": f"{target}.{name}" for name in held.state_dict()})
        else:
            keys[word] = target
    place = dict.fromkeys(recipe.graph.nodes, "")
    return Recipe(Tree(tuple(recipe.graph.nodes), place, paths, {"": kind}), keys)


def _at(module: nn.Module, path: str) -> object:
    holder, _, name = path.rpartition(".")
    return getattr(module.get_submodule(holder), name)


def _free(word: str, taken: set[str]) -> str:
    name, count = word, 1
    while name in taken:
        count += 1
        name = f"{word}{count}"
    return name
