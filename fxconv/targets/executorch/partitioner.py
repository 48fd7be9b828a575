"""What the XNNPACK delegate is given, and what of it runs in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

# XNN_MAX_TENSOR_DIMS of xnnpack.h. The partitioner does not ask, and such a program does not load.
MOST_DIMENSIONS = 6
# Operations that the delegate runs in int8 as well, by a table of 256 values, though its partitioner gives them to it
# in float alone. Whatever reads int8 values and gives int8 values is among them by its own scales.
_ALSO_INT8 = (
    "SigmoidConfig", "HardswishConfig", "TanhConfig", "LeakyReLUConfig", "GeluConfig", "ExpConfig", "AbsConfig",
    "NegConfig", "ConstantPadConfig", "MaximumConfig", "MinimumConfig", "CloneConfig", "CloneDimOrderConfig",
)  # fmt: skip
# The delegate computes these in channels_last alone, which values of four dimensions have. Not all are asked for it.
# PReLU is not among them: it gets four from `edges.prelu_ranks`, after the first question.
_OF_IMAGES = ("avg_pool2d.default", "max_pool2d.default", "mean.dim")


def xnnpack_partitioner() -> Any:
    """The partitioner of XNNPACK, with all that its kernels compute in int8."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, generic_node_configs
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    def both(_: Any) -> list[Any]:
        return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]

    known = list(ALL_PARTITIONER_CONFIGS)
    elu = getattr(generic_node_configs, "EluConfig", None)
    if elu is not None and elu not in known:  # left out of the list, in all releases so far
        known.append(elu)
    configs: list[Any] = []
    for config in known:
        changed: dict[str, Any] = {"check_constraints": _within_rank(config)}
        if config.__name__ in _ALSO_INT8:
            changed["supported_precision_types"] = both
        configs.append(type(config.__name__, (config,), changed))
    return XnnpackPartitioner(configs=configs)


def _within_rank(config: Any) -> Callable[[Any, fx.Node, Any], bool]:
    """The constraints of a kind of node, that no tensor of it has more dimensions than a program may hold, and more."""

    def check(self: Any, node: fx.Node, program: Any) -> bool:
        ranks = [_rank(one) for one in (node, *node.all_input_nodes)]
        if max(ranks) > MOST_DIMENSIONS or (config.target_name in _OF_IMAGES and _rank(node.all_input_nodes[0]) != 4):
            return False
        is_written = config.target_name != "max.dim" or _is_pool(node)
        try:
            return is_written and bool(config.check_constraints(self, node, program))
        except IndexError:  # ExecuTorch 1.3 reads arguments of a pool that export leaves out
            return False

    return check


def _is_pool(node: fx.Node) -> bool:
    """Whether a maximum along one dimension can be written as a pool, which the partitioner does not ask.

    It goes along height or width, named from the front and of known size, and leaves 1 there.
    """
    given, dim, *keep = node.args
    size = given.meta["val"].shape[dim] if dim in (2, 3) else None  # type: ignore[union-attr]
    return keep == [True] and isinstance(size, int)


def _rank(node: fx.Node) -> int:
    """The most dimensions of a node's value, one tensor or several."""
    return max((value.ndim for value in tree_leaves(node.meta.get("val")) if isinstance(value, Tensor)), default=0)
