"""A motion at other moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from avatar.tracks import MOTION_FIELDS, Motion


class LiveResampling:
    """`resampled` at k / fps for a motion whose frames come one by one."""

    def __init__(self, fps: float) -> None:
        self.fps, self._next = fps, 0
        self._last: Motion | None = None

    def onto(self, frame: Motion) -> Motion:
        """The moments up to this frame."""
        known = frame if self._last is None else joined([self._last, frame])
        self._last = frame
        return self._until(known, int(np.floor(float(frame.timestamps_seconds[-1]) * self.fps + 1e-9)) + 1)

    def skip_to(self, seconds: float) -> None:
        """Nothing is wanted of the time before."""
        self._next = max(self._next, int(np.ceil(seconds * self.fps - 1e-9)))

    def finish(self, count: int) -> Motion | None:
        """The moments up to number `count`, at which the last frame holds; None if nothing came."""
        return None if self._last is None else self._until(self._last, count)

    def _until(self, known: Motion, end: int) -> Motion:
        seconds = np.arange(self._next, max(self._next, end)) / self.fps
        self._next += len(seconds)
        return resampled(known, seconds)


def joined(parts: Sequence[Motion]) -> Motion:
    """Motions that follow each other as one."""
    return Motion(*(np.concatenate([getattr(part, name) for part in parts]) for name in MOTION_FIELDS))


def resampled(motion: Motion, seconds: Float[np.ndarray, " t"]) -> Motion:
    """A motion at other moments: rotations by slerp, all else linearly; the first and last frame hold beyond the ends.

    At its own moments it is the same to the bit.
    """
    known, wanted = motion.timestamps_seconds, np.asarray(seconds, np.float64)
    if len(known) == len(wanted) and (known == wanted).all():
        return motion
    if len(known) == 1 or not len(wanted):
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
