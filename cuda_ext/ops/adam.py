"""Adam over many tensors in one native call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cuda_ext.backends import native
from cuda_ext.ops.checks import CPU, checked


@dataclass(frozen=True)
class AdamRates:
    """Hyperparameters of one tensor."""

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        if not (0 <= self.lr < float("inf") and 0 <= self.eps < float("inf")):
            raise ValueError(f"lr, eps: expected finite numbers >= 0, got {self.lr}, {self.eps}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"beta1, beta2: expected 0 <= beta < 1, got {self.beta1}, {self.beta2}")

    def factors(self, step: int) -> tuple[float, float, float, float, float, float, float]:
        """What the kernels multiply with at that step, from 1: the members of AdamRates in include/maths/adam.h."""
        shares = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2)
        return *shares, self.eps, self.lr / (1 - self.beta1**step), (1 - self.beta2**step) ** -0.5


def _in_place(tensor: Any, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """`tensor`, which is written to: a copy would not do."""
    if not isinstance(tensor, Tensor) or not tensor.is_contiguous():
        raise TypeError(f"{name}: expected a contiguous torch.Tensor, since it is changed in place")
    return checked(tensor.detach(), name, shape, device=device)


def checked_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[int],
    rates: Sequence[AdamRates],
    device: torch.device = CPU,
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Value, gradient and moments of each tensor, fit for a kernel. Raises as `adam_step` does.

    A gradient that was not contiguous is a copy here: keep the list until the kernel is through.
    """
    lists = (params, grads, exp_avgs, exp_avg_sqs, steps, rates)
    if len({len(part) for part in lists}) != 1:
        raise ValueError(f"expected lists of one length, got {[len(part) for part in lists]}")
    tensors = []
    for i, (param, grad, first, second, step) in enumerate(zip(*lists[:-1], strict=True)):
        if step < 1:
            raise ValueError(f"steps[{i}]: expected at least 1, got {step}")
        shape = tuple(param.shape) if isinstance(param, Tensor) else ()
        tensors.append(
            (
                _in_place(param, f"params[{i}]", shape, device),
                checked(grad, f"grads[{i}]", shape, device=device),
                _in_place(first, f"exp_avgs[{i}]", shape, device),
                _in_place(second, f"exp_avg_sqs[{i}]", shape, device),
            )
        )
    return tensors


def adam_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[int],
    rates: Sequence[AdamRates],
) -> None:
    """One Adam step (Kingma & Ba 2015, algorithm 1) of every tensor, in place, as `torch.optim.Adam` would do it.

    Args:
        params, grads, exp_avgs, exp_avg_sqs: values, gradients, first and second moments: one of each per tensor, of
            one shape. All but the gradients are changed in place.
        steps: number of the step that this is for each tensor, from 1.
        rates: hyperparameters of each tensor.

    Raises:
        ValueError: lists of different lengths, wrong shapes, a step below 1, a NaN or infinity in a gradient; then
            nothing was changed.
        TypeError: wrong dtype or device, or a tensor to change that is not contiguous.
    """
    tensors = checked_step(params, grads, exp_avgs, exp_avg_sqs, steps, rates)
    addresses = [tuple(t.data_ptr() for t in row) for row in tensors]
    counts = [row[0].numel() for row in tensors]
    numbers = [rate.factors(step) for rate, step in zip(rates, steps, strict=True)]
    native().adam(addresses, counts, numbers)


class Adam(torch.optim.Optimizer):
    """`torch.optim.Adam` without weight decay and its other extras, for float32 tensors on the CPU.

    State (`step`, `exp_avg`, `exp_avg_sq` per parameter) and state dict are those of torch, so that either can go on
    where the other stopped, and rows of the moments can be reset from Python.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        AdamRates(lr, betas[0], betas[1], eps)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of every parameter that has a gradient. Raises as `adam_step` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        params, states, rates = [], [], []
        for group in self.param_groups:
            rate = AdamRates(float(group["lr"]), group["betas"][0], group["betas"][1], group["eps"])
            for param in group["params"]:
                if param.grad is not None:
                    params.append(param)
                    states.append(self._state_of(param))
                    rates.append(rate)
        adam_step(
            params,
            [p.grad for p in params],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [int(s["step"]) + 1 for s in states],
            rates,
        )
        for state in states:
            state["step"] += 1
        return loss

    def _state_of(self, param: Tensor) -> dict[str, Tensor]:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return state
