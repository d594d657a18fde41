"""Second differences over uneven time steps, and the banded system of a track under an acceleration prior."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded


def second_difference_rows(seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t-2 3"]:
    """Coefficients that turn three neighbouring samples into an acceleration, 1/s^2."""
    before, after = np.diff(seconds)[:-1], np.diff(seconds)[1:]
    mean = (before + after) / 2
    return np.stack((1 / (before * mean), -(1 / before + 1 / after) / mean, 1 / (after * mean)), axis=1)


def accelerations(values: Float[np.ndarray, "t d"], seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t-2 d"]:
    """Second time derivative of samples."""
    rows = second_difference_rows(seconds)
    return rows[:, :1] * values[:-2] + rows[:, 1:2] * values[1:-1] + rows[:, 2:] * values[2:]


def solve_track(
    information: Float[np.ndarray, "t d d"],
    gradient: Float[np.ndarray, "t d"],
    acceleration: Float[np.ndarray, "t-2 d"],
    precision: Float[np.ndarray, "t-2 d"],
    seconds: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t d"]:
    """Increments that minimise the frames' quadratic costs plus half the weighted squared accelerations.

    Each frame is coupled with two on either side, so the matrix is banded and the time linear in t: the smoother of
    Whittaker and Henderson, with a matrix weight per sample.

    Args:
        information: second derivative of each frame's cost by its d unknowns.
        gradient: first derivative there.
        acceleration: of the present track.
        precision: weight of each squared acceleration.
        seconds: time stamps, increasing.
    """
    t, d = gradient.shape
    rows = second_difference_rows(seconds)
    band = np.zeros((2 * d + 1, t * d))
    right = -gradient.astype(np.float64)
    for i in range(d):
        for j in range(i + 1):
            band[i - j, j::d] = information[:, i, j]
    for a in range(3):
        right[a : t - 2 + a] -= precision * acceleration * rows[:, a, None]
        for b in range(a, 3):
            # Sample a of each triple meets sample b: (b - a) frames, so (b - a) d diagonals below the main one.
            band[(b - a) * d].reshape(t, d)[a : t - 2 + a] += precision * (rows[:, a] * rows[:, b])[:, None]
    return solveh_banded(band, right.ravel(), lower=True, overwrite_ab=True, check_finite=False).reshape(t, d)
