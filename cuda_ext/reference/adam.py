"""Adam in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def adam_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[int],
    rates: Sequence,
) -> None:
    """See `cuda_ext.ops.adam_step`."""
    for param, grad, first, second, step, rate in zip(params, grads, exp_avgs, exp_avg_sqs, steps, rates, strict=True):
        first.lerp_(grad, 1 - rate.beta1)
        second.mul_(rate.beta2).addcmul_(grad, grad, value=1 - rate.beta2)
        root = (second / (1 - rate.beta2**step)).sqrt() + rate.eps
        param.sub_(rate.lr / (1 - rate.beta1**step) * first / root)
