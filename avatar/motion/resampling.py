"""A motion at other moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from avatar.tracks import Motion


def resampled(motion: Motion, seconds: Float[np.ndarray, " t"]) -> Motion:
    """A motion at other moments: rotations by slerp, all else linearly; the first and last frame hold beyond the ends.

    At its own moments it is the same to the bit.
    """
    known, wanted = motion.timestamps_seconds, np.asarray(seconds, np.float64)
    if len(known) == len(wanted) and (known == wanted).all():
        return motion
    if len(known) == 1:
        return replace(motion[np.zeros(len(wanted), int)], timestamps_seconds=wanted)

    def between(rows: np.ndarray) -> np.ndarray:
        columns = [np.interp(wanted, known, column) for column in rows.reshape(len(rows), -1).T]
        return np.stack(columns, -1).astype(np.float32).reshape(len(wanted), *rows.shape[1:])

    turns = Slerp(known, Rotation.from_quat(motion.quats_wxyz, scalar_first=True))
    quats = turns(wanted.clip(known[0], known[-1])).as_quat(scalar_first=True)
    return Motion(
        wanted, between(motion.expression), between(motion.joints), quats.astype(np.float32),
        between(motion.translation), between(motion.torso),
    )  # fmt: skip
