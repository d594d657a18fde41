"""Rotations, projection and interpolation in batches."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor


def hat(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Matrices of the cross product: hat(v) @ x = v x x."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).unflatten(-1, (3, 3))


def exp_rotation(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors (Rodrigues), accurate down to zero."""
    angle2 = (v * v).sum(-1)[..., None, None]
    angle = angle2.clamp_min(1e-12).sqrt()
    sin_over = torch.where(angle2 < 1e-6, 1 - angle2 / 6, angle.sin() / angle)
    cos_over = torch.where(angle2 < 1e-6, 0.5 - angle2 / 24, (1 - angle.cos()) / angle2.clamp_min(1e-12))
    k = hat(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + sin_over * k + cos_over * (k @ k)


def log_rotation(r: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Axis-angle vectors of rotations (through scipy's, stable near half turns)."""
    flat = Rotation.from_matrix(r.reshape(-1, 3, 3).double().numpy()).as_rotvec()
    return torch.from_numpy(flat).to(r.dtype).reshape(*r.shape[:-2], 3)


def nearest_rotation(m: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation nearest to each matrix in the Frobenius norm (orthogonal Procrustes)."""
    u, _, vt = torch.linalg.svd(m)
    sign = torch.ones_like(m[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vt)
    return (u * sign[..., None, :]) @ vt


def fill_linear(
    values: Float[np.ndarray, "t ..."], seen: np.ndarray, seconds: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t ..."]:
    """Values with unseen frames interpolated linearly in time, held at the ends."""
    flat = values[seen].reshape(int(seen.sum()), -1)
    filled = np.stack([np.interp(seconds, seconds[seen], column) for column in flat.T], axis=1)
    return filled.reshape(values.shape).astype(values.dtype)


def fill_quats(
    rotations: Float[np.ndarray, "t 3 3"], seen: np.ndarray, seconds: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 4"]:
    """Quaternions wxyz of rotations with unseen frames slerped in time, held at the ends, neighbours of equal sign."""
    known = Rotation.from_matrix(rotations[seen].astype(np.float64))
    if len(known) > 1:
        times = seconds[seen]
        known = Slerp(times, known)(np.clip(seconds, times[0], times[-1]))
    quats = np.broadcast_to(known.as_quat()[:, [3, 0, 1, 2]], (len(seconds), 4)).copy()
    flips = np.cumprod(np.where((quats[1:] * quats[:-1]).sum(1) < 0, -1.0, 1.0))
    quats[1:] *= flips[:, None]
    return quats.astype(np.float32)
