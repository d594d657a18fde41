"""What native code can't check: types, shapes, dtypes, devices and memory order of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ext.types import CAMERA_MODELS, HARMONICS, MAX_CAMERAS, MAX_CHANNELS, MAX_SIDE, Cameras

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
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got {tensor.layout}")
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


def require_finite_gaussians(*tensors: Tensor | None) -> None:
    """Raises ValueError when rows of these tensors, one per Gaussian, hold a NaN or infinity. Waits for the device."""
    spoilt = torch.stack([~torch.isfinite(t[:, None]).flatten(1).all(1) for t in tensors if t is not None]).any(0)
    if bad := int(spoilt.sum()):
        raise ValueError(f"{bad} of {len(spoilt)} Gaussians hold a NaN or infinity")


def checked_cameras(cameras: Cameras, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """Poses (c, 4, 4) and intrinsics (c, 4) of the cameras, float32 on that device."""
    width, height = cameras.width, cameras.height
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"image size: expected 1..{MAX_SIDE} pixels a side, got {width} x {height}")
    if cameras.model not in CAMERA_MODELS:
        raise ValueError(f"camera model: expected one of {', '.join(CAMERA_MODELS)}, got {cameras.model!r}")
    intrinsics = _numbers(cameras.intrinsics, "intrinsics fx, fy, cx, cy", device).detach()
    pose = _numbers(cameras.T_camera_world, "T_camera_world", device)
    count = len(intrinsics) if intrinsics.ndim else 0
    if not 1 <= count <= MAX_CAMERAS:
        raise ValueError(f"cameras: expected 1..{MAX_CAMERAS} of them, got {count}")
    return (
        checked(pose, "T_camera_world", (count, 4, 4), device=device),
        checked(intrinsics, "intrinsics", (count, 4), device=device),
    )


def checked_colors(colors: Any, n: int | None, device: torch.device = CPU) -> Tensor | None:
    """Plain colours or spherical harmonics, or None."""
    if not isinstance(colors, Tensor) or colors.ndim != 3:
        return None if colors is None else checked(colors, "colors", (n, 3), device=device)
    if colors.shape[1] not in HARMONICS:
        raise ValueError(f"colors: expected {HARMONICS} spherical harmonics, got shape {tuple(colors.shape)}")
    return checked(colors, "colors", (n, colors.shape[1], 3), device=device)


def checked_features(features: Any, n: int | None, device: torch.device = CPU) -> Tensor | None:
    """1 to 32 further channels, or None."""
    if features is None:
        return None
    features = checked(features, "features", (n, None), device=device)
    if not 1 <= features.shape[1] <= MAX_CHANNELS:
        raise ValueError(f"features: expected 1..{MAX_CHANNELS} channels, got {features.shape[1]}")
    return features


def checked_labels(labels: Any, n: int | None, device: torch.device = CPU) -> Tensor | None:
    """int32 labels in 0 .. 2^24 - 1, or None. Waits for their device."""
    if labels is None:
        return None
    labels = checked(labels, "labels", (n,), torch.int32, device)
    if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < 2**24):
        raise ValueError(f"labels: expected 0..{2**24 - 1}, got {int(labels.min())}..{int(labels.max())}")
    return labels


def _numbers(tensor: Any, name: str, device: torch.device) -> Tensor:
    """A camera's few numbers, of any type and device; waits for the device that they come from only."""
    if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.layout != torch.strided or tensor.is_meta:
        got = f"{tensor.dtype} on {tensor.device}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name}: expected a dense torch.Tensor of real numbers, got {got}")
    numbers = tensor.to(torch.float32)
    if not torch.isfinite(numbers).all():
        raise ValueError(f"{name}: expected finite numbers, got {tensor.tolist()}")
    return numbers.to(device)
