"""Distances between tracks: up to a similarity, in angle, in jitter, in time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

MAX_LAG_FRAMES = 8
BLINK_SLACK_FRAMES = 2
"""A blink counts as found where it meets a true one that is widened by so many frames on both sides."""
_SHUT = 0.5


def aligned_errors(moving: Float[np.ndarray, "t n 3"], fixed: Float[np.ndarray, "t n 3"]) -> Float[np.ndarray, "t n"]:
    """Distances after the best rotation, translation and scale of each frame's points (Umeyama 1991)."""
    a, b = (x - x.mean(1, keepdims=True) for x in (moving.astype(np.float64), fixed.astype(np.float64)))
    u, values, vt = np.linalg.svd(np.einsum("tni,tnj->tij", b, a))
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * signs[:, None]) @ vt
    scale = (values * signs).sum(1) / np.maximum((a**2).sum((1, 2)), 1e-18)
    return np.linalg.norm(scale[:, None, None] * (a @ rotation.transpose(0, 2, 1)) - b, axis=2)


def rotation_angles(a: Float[np.ndarray, "t 3 3"], b: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, " t"]:
    """Angles between rotations, radians."""
    from scipy.spatial.transform import Rotation

    return (Rotation.from_matrix(a) * Rotation.from_matrix(b).inv()).magnitude()


def third_difference(track: Float[np.ndarray, "t *n"]) -> float:
    """Mean magnitude of a track's third difference: jitter that smooth movement has hardly any of."""
    return float(np.abs(np.diff(track, n=3, axis=0)).mean()) if len(track) > 3 else 0.0


def lag_frames(tracked: Float[np.ndarray, " t"], true: Float[np.ndarray, " t"]) -> int:
    """The shift, within `MAX_LAG_FRAMES`, at which a track correlates best with the truth; positive is late."""
    lags = range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1)
    inner = slice(MAX_LAG_FRAMES, len(true) - MAX_LAG_FRAMES)
    if len(true) < 4 * MAX_LAG_FRAMES:
        return 0
    centred = true[inner] - true[inner].mean()
    fits = [float(centred @ _unit(np.roll(tracked, -lag)[inner])) for lag in lags]
    return lags[int(np.argmax(fits))]


def blink_f1(tracked: Float[np.ndarray, " t"], true: Float[np.ndarray, " t"]) -> float:
    """Harmonic mean of precision and recall of blinks; 1 where there are none and none were found.

    A true blink shuts the lids by half. The tracked threshold is the person's own: half of the range that the lids
    take, since closed eyes reach very different scores from one person to the next.
    """
    low, high = np.percentile(tracked, [20, 99.5])
    found = _runs(tracked > (low + high) / 2) if high - low > 0.15 else []
    wanted = _runs(true > _SHUT)
    if not found and not wanted:
        return 1.0
    slack = BLINK_SLACK_FRAMES
    hits = sum(any(a < end + slack and b > start - slack for a, b in found) for start, end in wanted)
    right = sum(any(a < end + slack and b > start - slack for start, end in wanted) for a, b in found)
    precision, recall = right / max(len(found), 1), hits / max(len(wanted), 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _runs(where: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _unit(x: np.ndarray) -> np.ndarray:
    x = x - x.mean()
    return x / max(float(np.linalg.norm(x)), 1e-12)
