"""Batch norm over the global batch of all processes, on a GPU and on a CPU.

torch's own ``SyncBatchNorm`` runs on CUDA alone. The one for the CPU exists so that training with
several processes can be checked without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Summed(torch.autograd.Function):
    """The sum over all processes; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        whole = own.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole


class CpuSyncBatchNorm(_BatchNorm):
    """Batch norm with the mean and variance of every process's batch together.

    Normalises (B, C, …) by channel; running statistics follow the unbiased variance, as in torch.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self._check_input_dim(input)
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = input.float()
        count = values.new_full((1,), float(input.numel() // input.shape[1]))
        sums = _Summed.apply(torch.cat([values.sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        # The deviations in a second pass: the mean of squares less the squared mean loses digits.
        away = values - mean.view(shape)
        variance = _Summed.apply(away.square().sum(axes)) / total
        batches, running_mean = self.num_batches_tracked, self.running_mean
        running_var = self.running_var
        if batches is not None and running_mean is not None and running_var is not None:
            with torch.no_grad():
                batches.add_(1)
                rate = self.momentum
                if rate is None:
                    rate = 1.0 / float(batches)
                unbiased = variance * total / (total - 1)
                running_mean.lerp_(mean.to(running_mean.dtype), rate)
                running_var.lerp_(unbiased.to(running_var.dtype), rate)
        out = away * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


class CpuSyncBatchNormAct(CpuSyncBatchNorm):
    """The same for timm's batch norm, which has dropout and activation inside."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(input)))


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Make every batch norm of ``model`` one over all processes, in place; keys stay."""
    for name, child in list(model.named_children()):
        if isinstance(child, _BatchNorm):
            setattr(model, name, _synchronised(child, device))
        else:
            synchronise_batch_norm(child, device)


def _synchronised(norm: _BatchNorm, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(norm)
    has_act = hasattr(norm, "act") and hasattr(norm, "drop")
    kind = CpuSyncBatchNormAct if has_act else CpuSyncBatchNorm
    made = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if has_act:
        made.act, made.drop = norm.act, norm.drop
    made.weight, made.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(norm, name))
    return made.train(norm.training)
