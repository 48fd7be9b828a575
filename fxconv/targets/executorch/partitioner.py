"""What the XNNPACK delegate is given, and what of it runs in int8."""

from __future__ import annotations

from typing import Any

# Operations that the delegate runs in int8 as well, by a table of 256 values, though its partitioner gives them to it
# in float alone. Whatever reads int8 values and gives int8 values is among them by its own scales.
_ALSO_INT8 = (
    "SigmoidConfig", "HardswishConfig", "TanhConfig", "LeakyReLUConfig", "GeluConfig", "ExpConfig", "AbsConfig",
    "NegConfig", "ConstantPadConfig", "MaximumConfig", "MinimumConfig", "CloneConfig", "CloneDimOrderConfig",
)  # fmt: skip


def xnnpack_partitioner() -> Any:
    """The partitioner of XNNPACK, with all that its kernels compute in int8."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, generic_node_configs
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    def both(_: Any) -> list[Any]:
        return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]

    configs: list[Any] = []
    for config in ALL_PARTITIONER_CONFIGS:
        if config.__name__ in _ALSO_INT8:
            config = type(config.__name__, (config,), {"supported_precision_types": both})
        configs.append(config)
    elu = getattr(generic_node_configs, "EluConfig", None)
    if elu is not None and elu not in ALL_PARTITIONER_CONFIGS:  # left out of the list, in all releases so far
        configs.append(elu)
    return XnnpackPartitioner(configs=configs)
