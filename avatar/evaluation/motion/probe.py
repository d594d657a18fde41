"""A probe that knows which sound goes with which lips of one person: linear, fitted in a second, no weights.

It stands in for SyncNet (Chung and Zisserman, ACCV Workshops 2016) and gives its distance, confidence and offset.
Ridge regression from half a second of mel bands to the lips' components, then canonical correlations between what is
predicted and what is seen (Hotelling 1936): both come out in units of deviation, however timid the prediction is.

It sees only what a line can tell. A driver that is itself linear in the sound (L0) agrees with it more than the person
does, and lips that hardly move lie nearer to any sound than lips that move wrongly: its scores are to be read beside
the truth's, not as the lower the better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.evaluation.metrics import correlation
from avatar.evaluation.motion.material import Course, HeldOut
from avatar.motion.hearing import PER_ROW, ROWS, Level, hear
from avatar.motion.space import MotionSpace

AROUND = 5
"""Frames of sound before and after."""
COMPONENTS = 6
"""Of the lips, at most."""
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""In mean variances of the sound's columns."""
_HELD = 0.25
"""Share of the frames, at the end, on which the ridge is chosen."""
_LEAST_CORRELATION = 0.2


@dataclass(frozen=True)
class SyncProbe:
    """Linear views of sound and of lips in which what belongs together lies together."""

    level: Level
    lips: slice
    """Columns of the motion space."""
    sound_mean: Float[np.ndarray, " w"]
    sound_axes: Float[np.ndarray, "w k"]
    lips_mean: Float[np.ndarray, " r"]
    lips_axes: Float[np.ndarray, "r k"]
    correlations: Float[np.ndarray, " k"]
    """Of sound and lips on training frames that the axes were not fitted on; the weights of the components."""

    @staticmethod
    def of(training: HeldOut, space: MotionSpace, level: Level) -> SyncProbe:
        """Fitted on training takes; no component (k = 0) if their lips don't follow their sound."""
        columns = space.slices["lips"]
        lips = slice(columns.start, min(columns.stop, columns.start + COMPONENTS))
        sounds = [stacked(h.samples_16k, level, len(c)) for h, c in zip(training.heard, training.courses, strict=True)]
        known = np.concatenate(training.known)
        x, y = np.concatenate(sounds)[known], np.concatenate([c.x[:, lips] for c in training.courses])[known]
        split = round(len(x) * (1 - _HELD))
        trials = [_fit(x[:split], y[:split], ridge) for ridge in _RIDGES]
        agreed = [_agreement(x[split:] @ sound, y[split:] @ seen) for sound, seen in trials]
        best = int(np.argmax([found.sum() for found in agreed]))
        # The choice of the ridge saw the last part, the axes did not: their correlations there are what they are worth.
        kept = agreed[best] > _LEAST_CORRELATION
        sound, seen = (axes[:, kept] for axes in trials[best])
        return SyncProbe(level, lips, x.mean(0), sound, y.mean(0), seen, agreed[best][kept])

    def heard(self, samples_16k: Float[np.ndarray, " n"], frames: int) -> Float[np.ndarray, "t k"]:
        """What a sound demands of the lips."""
        return (stacked(samples_16k, self.level, frames) - self.sound_mean) @ self.sound_axes

    def seen(self, course: Course) -> Float[np.ndarray, "t k"]:
        """What the lips do, in the same terms."""
        return (course.x[:, self.lips] - self.lips_mean) @ self.lips_axes


def stacked(samples_16k: Float[np.ndarray, " n"], level: Level, frames: int) -> Float[np.ndarray, "t w"]:
    """The sound around each frame: what a prior hears there, in the frames before and after too."""
    rows = hear(samples_16k, level)
    rows = rows.reshape(len(rows), ROWS, PER_ROW).mean(1)
    index = np.arange(frames)[:, None] + np.arange(-AROUND, AROUND + 1)
    return rows[index.clip(0, len(rows) - 1)].reshape(frames, -1).astype(np.float64)


def _fit(
    x: Float[np.ndarray, "n w"], y: Float[np.ndarray, "n r"], ridge: float
) -> tuple[Float[np.ndarray, "w k"], Float[np.ndarray, "r k"]]:
    """Axes of sound and of lips on which both have deviation 1 and agree as far as they can."""
    a, b = x - x.mean(0), y - y.mean(0)
    gram = a.T @ a
    weights = np.linalg.solve(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)), a.T @ b)
    predicted = a @ weights
    left, right = _whitening(predicted), _whitening(b)
    u, _, v = np.linalg.svd(left.T @ predicted.T @ b @ right / len(x), full_matrices=False)
    return weights @ left @ u, right @ v.T


def _agreement(sound: Float[np.ndarray, "n k"], seen: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Correlation of each pair of columns; 0 at the least."""
    found = [correlation(a, b) for a, b in zip(sound.T, seen.T, strict=True)]
    return np.maximum(np.nan_to_num(found), 0)


def _whitening(rows: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    return vectors / np.sqrt(np.maximum(values, 1e-6 * max(values.max(), 1e-12)))
