"""Run an ordered list of passes over a model, on each of the graphs it was traced into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import PassError, RewritePass
from rewrites.copies import sharing_parameters, whole_copy
from rewrites.decisions import Fixed
from rewrites.diff import call_name, graph_lines, unified
from rewrites.domains import Island, assign
from rewrites.edits import Editor
from rewrites.parts import graphs_in, prefixed, trace_parts
from rewrites.passes import DEFAULT_PASSES, FusableNames, QuantBoundaries
from rewrites.records import Edit, PassResult, Skip
from rewrites.review import hunks, lines_of, names_of
from rewrites.spec import check_names, check_rewritten, check_source
from rewrites.tracing import FloatLeaf
from rewrites.unfolded_norms import UnfoldedNorm, unfolded_norms


@dataclass(frozen=True, repr=False)
class Rewritten:
    """A model after rewriting: its graphs, what each pass did, and where the checkpoint's keys went.

    `module` is the whole model: one graph, or what did not trace with graphs in it. `key_map` maps every key of the
    original state_dict to its new key, or to None when the forward never reads it. `source_lines` is the traced model
    as text and `source_calls` how often it called what. `leaves` are the modules that did not trace and stayed as they
    are, in float; `fixed` the decisions by size that were taken for the size of the example. `shapes` has the
    original's shape for each of its keys whose tensor has another one now: a view, such as a factored kernel's.
    `originals` has the original's key for the identity of each of its tensors.
    """

    module: nn.Module
    source_lines: tuple[str, ...]
    source_calls: Mapping[str, int]
    results: tuple[PassResult, ...]
    key_map: Mapping[str, str | None]
    leaves: tuple[FloatLeaf, ...]
    tolerance: float
    fixed: tuple[Fixed, ...] = ()
    shapes: Mapping[str, torch.Size] = field(default_factory=dict)
    originals: Mapping[int, str] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        active = [result for result in self.results if result.edits]
        edits = sum(len(result.edits) for result in active)
        return f"<Rewritten {type(self.module).__name__}: {edits} edits by {len(active)} of {len(self.results)} passes>"

    @property
    def graph_module(self) -> fx.GraphModule:
        """The model as the one graph it is. Raises `ValueError` for one whose own forward did not trace."""
        if not isinstance(self.module, fx.GraphModule):
            raise ValueError("the model's own forward did not trace; its graphs are in .graphs")
        return self.module

    @property
    def graphs(self) -> dict[str, fx.GraphModule]:
        """The graphs of the model by path; "" is the whole."""
        return graphs_in(self.module)

    @property
    def renames(self) -> tuple[Edit, ...]:
        """The renamed modules, parameters and buffers: `before` is the old path, `after` the new one."""
        return tuple(edit for result in self.results for edit in result.edits if edit.kind == "rename")

    @property
    def islands(self) -> tuple[Island, ...]:
        """The float operations between int8 ones, each with its reason."""
        return tuple(
            Island(tuple(prefixed(path, node) for node in island.nodes), island.reason)
            for path, graph in self.graphs.items()
            for island in assign(graph).islands()
        )

    @property
    def unfolded_norms(self) -> tuple[UnfoldedNorm, ...]:
        """The batch norms that run as operations of their own, each with the reason why no layer does its work."""
        return tuple(
            replace(norm, node=prefixed(path, norm.node))
            for path, graph in self.graphs.items()
            for norm in unfolded_norms(graph)
        )

    @property
    def sources(self) -> dict[str, str]:
        """The original's key for each key of the rewritten model's state_dict whose tensor comes from there."""
        sources = {new: old for old, new in self.key_map.items() if new is not None}
        for group in _keys_by_tensor(self.module).values():
            known = next((sources[key] for key in group if key in sources), None)
            if known is not None:
                sources.update({key: sources.get(key, known) for key in group})
        return sources

    def diff(self) -> str:
        """The diffs of all passes that changed something, in order."""
        return "\n".join(result.diff for result in self.results if result.diff)

    def state_dict_for(self, original: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An original checkpoint under the new names, ready for `module.load_state_dict`.

        Raises KeyError naming the first key of the rewritten model the checkpoint lacks, and ValueError for a
        checkpoint by whose buffers the forward would have decided otherwise than it did when it was rewritten. A tensor
        that does not have the original's shape is left as it is, for `load_state_dict` to refuse.
        """
        self._check_decisions(original)
        sources = self.sources
        state, own = {new: original[old] for new, old in sources.items()}, self.module.state_dict()
        for new, old in sources.items():
            if state[new].shape == self.shapes.get(old):
                state[new] = state[new].reshape(own[new].shape)
        return state

    def load_state_dict(self, original: Mapping[str, Tensor]) -> None:
        """Load a checkpoint of the original model into the rewritten one, strictly.

        Raises what `state_dict_for` raises; nothing is loaded then.
        """
        self.module.load_state_dict(self.state_dict_for(original))
        for graph in self.graphs.values():
            for constant in graph.meta.get("folded", ()):
                own = {key: original[old] for key, old in self._old_keys(constant.recipe).items()}
                constant.recipe.load_state_dict(own, strict=False)
                constant.work_out()

    def _check_decisions(self, original: Mapping[str, Tensor]) -> None:
        """Raises ValueError for a checkpoint by which the forward would have gone another way than it was traced."""
        for graph in self.graphs.values():
            for read in graph.meta.get("reads", ()):
                keys = self._old_keys(read.recipe)  # buffers that are in no checkpoint keep their values
                if keys and not read.agrees({own: original[old] for own, old in keys.items()}):
                    raise ValueError(read.refusal(keys.values()))

    def _old_keys(self, recipe: nn.Module) -> dict[str, str]:
        """The original's key for each of a recipe's tensors that is in its checkpoints."""
        state = recipe.state_dict(keep_vars=True)
        return {key: self.originals[id(tensor)] for key, tensor in state.items() if id(tensor) in self.originals}


def _keys_by_tensor(module: nn.Module) -> dict[int, list[str]]:
    """The state_dict keys under which each tensor of `module` stands."""
    keys: dict[int, list[str]] = {}
    for key, tensor in module.state_dict(keep_vars=True).items():
        keys.setdefault(id(tensor), []).append(key)
    return keys


def _keys_by_original(module: nn.Module, original: Mapping[str, Any]) -> dict[int, list[str]]:
    """The same, where a view of all values of a tensor of `original`, in their order, stands for that tensor."""
    tensors = [tensor for tensor in original.values() if isinstance(tensor, Tensor)]
    known = {id(tensor) for tensor in tensors}
    places = {_place(t): id(t) for t in reversed(tensors) if t.numel() and t.is_contiguous()}
    state, keys = module.state_dict(keep_vars=True), dict[int, list[str]]()
    for tensor, names in _keys_by_tensor(module).items():
        shown = tensor if tensor in known else places.get(_place(state[names[0]]), tensor)
        keys.setdefault(shown, []).extend(names)
    return keys


def _place(tensor: Any) -> tuple[int, int] | None:
    """Where the values of a tensor lie in memory, and how many there are."""
    return (tensor.data_ptr(), tensor.numel()) if isinstance(tensor, Tensor) and tensor.is_contiguous() else None


def _key_map(before: dict[int, list[str]], after: dict[int, list[str]]) -> dict[str, str | None]:
    """Pair old and new keys that hold the same tensor; tied weights are paired in order."""
    paired: dict[str, str | None] = {}
    for tensor, old_keys in before.items():
        new_keys = after.get(tensor, [])
        for index, old in enumerate(old_keys):
            paired[old] = new_keys[min(index, len(new_keys) - 1)] if new_keys else None
    return paired


def _changed_shapes(
    key_map: Mapping[str, str | None], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, torch.Size]:
    """The old shape under each old key whose tensor has a new one."""
    pairs = [(old, before[old], after[new]) for old, new in key_map.items() if new is not None]
    return {old: was.shape for old, was, now in pairs if isinstance(was, Tensor) and was.shape != now.shape}


def run_pass(graph_module: fx.GraphModule, rule: RewritePass, path: str = "") -> PassResult:
    """Run one pass on a graph module, in place, which stands at `path` of its model.

    Raises `PassError` when the pass itself is at fault.
    """
    before, names = lines_of(graph_module), names_of(graph_module)
    editor = Editor(graph_module, rule.name, path)
    try:
        rule.run(editor)
        graph_module.graph.lint()
        after = lines_of(graph_module)
        if editor.edits or after != before:
            graph_module.recompile()
    except Exception as error:
        raise PassError(rule.name, editor.current.name if editor.current else None, error, rule.is_own()) from error
    done = rule.name, rule.summary(), rule.why(), tuple(editor.edits), tuple(editor.skips)
    renamed = [edit for edit in editor.edits if edit.kind == "rename"]
    if renamed and len(renamed) == len(editor.edits):
        # Renames touch nearly every line of the graph; the paths say it better.
        return PassResult(*done, unified([e.before for e in renamed], [e.after for e in renamed], rule.name, 0))
    diff = unified([line.text for line in before], [line.text for line in after], rule.name)
    classes, names = graph_module.meta.get("classes"), names | names_of(graph_module)
    return PassResult(*done, diff, hunks(before, after, editor.edits, names, classes))


def run_pass_everywhere(graphs: Mapping[str, fx.GraphModule], rule: RewritePass) -> PassResult:
    """Run one pass on every graph of a model. Names in the result stand behind the path of their graph."""
    each = {path: run_pass(graph, rule, path) for path, graph in graphs.items()}
    edits = [_edit_in(path, edit) for path, result in each.items() for edit in result.edits]
    skips = [Skip(prefixed(path, skip.node), skip.reason) for path, result in each.items() for skip in result.skips]
    diffs = [_headed(path, result.diff) for path, result in each.items() if result.diff]
    pieces = [
        replace(one, module=prefixed(path, one.module) if one.module else path)
        for path, result in each.items()
        for one in result.hunks
    ]
    return PassResult(
        rule.name, rule.summary(), rule.why(), tuple(edits), tuple(skips), "\n".join(diffs), tuple(pieces)
    )


def _edit_in(path: str, edit: Edit) -> Edit:
    if not path:
        return edit
    node = prefixed(path, edit.node)
    if edit.kind == "rename":
        return replace(edit, node=node, before=prefixed(path, edit.before), after=prefixed(path, edit.after))
    return replace(edit, node=node)


def _headed(path: str, diff: str) -> str:
    """A diff that says in which graph it is."""
    if not path:
        return diff
    first, second, *rest = diff.splitlines()
    return "\n".join([f"{first} in {path}", f"{second} in {path}", *rest])


def _maker(graph_module: fx.GraphModule, name: str, rules: Sequence[RewritePass]) -> RewritePass:
    """The pass that wrote the node last; the last one of all for a node that none of them wrote."""
    made_by = {node.name: node.meta.get("rule") for node in graph_module.graph.nodes}.get(name)
    return next((rule for rule in rules if rule.name == made_by), rules[-1])


def rewrite(
    model: nn.Module,
    passes: Iterable[RewritePass] = DEFAULT_PASSES,
    after_pass: Callable[[PassResult, nn.Module], Any] | None = None,
    example: Sequence[Any] | None = None,
    share_parameters: bool = False,
) -> Rewritten:
    """Trace a copy of `model` in eval mode and run `passes` over it; the model itself is not touched.

    The result computes what the model computes in eval mode: `torch.equal`, or within `Rewritten.tolerance` of the
    output's largest magnitude where a pass declares one. `example` are positional arguments of the forward; with their
    shapes more models trace, and loops over a list of inputs do. `after_pass` is called after each pass with its result
    and the model. With `share_parameters` the result holds the parameters of `model` itself, which spares their memory:
    loading a checkpoint into it changes `model` as well. Raises `ValueError` for a model that is quantized already,
    `UntraceableError` for one of which no part with weights traces, and `PassError` when a pass is at fault.
    """
    offences = check_source(model)
    if offences:
        raise ValueError(f"{offences[0].node}: {offences[0].rule}")
    source = (sharing_parameters(model) if share_parameters else whole_copy(model)).eval()
    keys_before, state_before = _keys_by_tensor(source), source.state_dict(keep_vars=True)
    parts = trace_parts(source, example)
    parts.module.eval()
    lines = [prefixed(path, line) for path, graph in parts.graphs.items() for line in graph_lines(graph)]
    calls = Counter(
        call_name(graph, node)
        for graph in parts.graphs.values()
        for node in graph.graph.nodes
        if node.op.startswith("call_")
    )
    results, tolerance = [], 0.0
    rules = tuple(passes)
    for rule in rules:
        result = run_pass_everywhere(parts.graphs, rule)
        results.append(result)
        if result.edits:
            tolerance = max(tolerance, rule.tolerance)
        if after_pass is not None:
            after_pass(result, parts.module)
    for graph in parts.graphs.values():
        _check(graph, rules)
    key_map = _key_map(keys_before, _keys_by_original(parts.module, state_before))
    shapes = _changed_shapes(key_map, state_before, parts.module.state_dict())
    return Rewritten(
        module=parts.module,
        source_lines=tuple(lines),
        source_calls=calls,
        results=tuple(results),
        key_map=key_map,
        leaves=parts.leaves,
        tolerance=tolerance,
        fixed=parts.fixed,
        shapes=shapes,
        originals={tensor: keys[0] for tensor, keys in keys_before.items()},
    )


def _check(graph_module: fx.GraphModule, rules: Sequence[RewritePass]) -> None:
    """Raises `PassError` when illegal nodes are left."""
    for kind, examine in ((FusableNames, check_names), (QuantBoundaries, check_rewritten)):
        if any(isinstance(rule, kind) for rule in rules) and (offences := examine(graph_module)):
            listed = "; ".join(f"{o.node}: {o.rule}" for o in offences)
            culprit = _maker(graph_module, offences[0].node, rules)
            message = f"illegal nodes after rewriting: {listed}"
            raise PassError(culprit.name, offences[0].node, message, culprit.is_own())
