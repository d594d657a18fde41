"""What native code can't check: types, shapes, dtypes, devices and memory order of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")


def checked(
    tensor: Any,
    name: str,
    shape: tuple[int | None, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> Tensor:
    """`tensor`, contiguous, after checking what native code can't; None in `shape` fits any length."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    fits = tensor.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        want = ", ".join("n" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected shape ({want}), got {tuple(tensor.shape)}")
    if tensor.dtype != dtype or tensor.device != device:
        where = "the CPU" if device == CPU else device
        raise TypeError(f"{name}: expected {dtype} on {where}, got {tensor.dtype} on {tensor.device}")
    return tensor.contiguous()


def require_finite(**tensors: Tensor) -> None:
    """Raises ValueError for the first tensor that holds a NaN or infinity. Waits once for the device."""
    fine = torch.stack([torch.isfinite(values).all() for values in tensors.values()]).tolist()
    for name, good in zip(tensors, fine, strict=True):
        if not good:
            raise ValueError(f"{name}: expected finite numbers, got a NaN or infinity")
