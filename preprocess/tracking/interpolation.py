"""Values for the frames without a face."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp


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
