"""FrozenBatchNorm2d, SyncBatchNorm  ->  BatchNorm2d in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.channel_axis import rank_of
from rewrites.edits import Editor
from rewrites.frozen_norms import frozen_batch_norm
from rewrites.modules import bind
from rewrites.values import calls_of, submodule

_BY_RANK: dict[int | None, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def _batch_norm(frozen: nn.Module, eps: float) -> nn.BatchNorm2d:
    """A batch norm that shares the tensors of the frozen one."""
    weight, bias, mean, variance = (getattr(frozen, name) for name in ("weight", "bias", "running_mean", "running_var"))
    made = nn.BatchNorm2d(len(mean), eps=eps, device="meta")
    made.weight, made.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))
    made.running_mean, made.running_var = mean, variance
    made.num_batches_tracked = torch.tensor(0)  # torch looks for one, and makes it for a checkpoint that has none
    return made.eval()


def _of_one_process(norm: nn.SyncBatchNorm, ranks: set[int | None]) -> nn.Module:
    """The batch norm that one of several processes is in eval mode, with its tensors, for inputs of these ranks."""
    kinds = {_BY_RANK.get(rank) for rank in ranks}
    kind = kinds.pop()
    if kind is None or kinds:
        raise Refusal("whether it normalizes vectors, images or videos is not known")
    made = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
    for name, tensor in (norm._parameters | norm._buffers).items():
        bind(made, name, tensor)
    return made.eval()


class UnfreezeBatchNorms(RewritePass):
    """A frozen batch norm, or one of several processes, becomes an ordinary one in eval mode.

    What it does: torchvision's `FrozenBatchNorm2d`, and any other module that computes the same of the same four
    buffers, whatever its name, becomes an `nn.BatchNorm2d` that holds the same tensors. `nn.SyncBatchNorm`, which in
    eval mode computes what an ordinary one does, becomes the one for its input's dimensions.

    Why: the first multiplies and adds with buffers, which would be two int8 operations behind every convolution of a
    detector, and the second has no kernel; an ordinary batch norm is folded into the convolution.

    Leaves alone: a `SyncBatchNorm` of whose input nobody knows how many dimensions it has. Declared tolerance: 1e-5 of
    the output's largest magnitude, because an ordinary batch norm rounds in another order than a frozen one.
    """

    name = "unfreeze-batch-norms"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            module = submodule(editor.graph_module, node)
            if isinstance(module, nn.SyncBatchNorm):
                calls = calls_of(editor.graph_module, node)
                try:
                    ordinary = _of_one_process(module, {rank_of(editor.graph_module, call) for call in calls})
                except Refusal as refusal:
                    editor.skip(node, str(refusal))
                else:
                    editor.replace_module(node, ordinary, "in eval mode it takes nothing from other processes")
            elif module is not None and (eps := frozen_batch_norm(module)) is not None:
                editor.replace_module(node, _batch_norm(module, eps), "a batch norm is folded into its convolution")

    @staticmethod
    def example() -> nn.Module:
        class FrozenBatchNorm2d(nn.Module):
            def __init__(self, channels: int, eps: float = 1e-5) -> None:
                super().__init__()
                self.eps = eps
                for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 2.0)):
                    self.register_buffer(name, torch.full((channels,), value))

            def forward(self, x: Tensor) -> Tensor:
                names = ("weight", "bias", "running_mean", "running_var")
                weight, bias, mean, variance = (self.get_buffer(name).reshape(1, -1, 1, 1) for name in names)
                scale = weight * torch.rsqrt(variance + self.eps)
                return x * scale + (bias - mean * scale)

        return nn.Sequential(nn.Conv2d(8, 8, 1), FrozenBatchNorm2d(8), nn.ReLU())
