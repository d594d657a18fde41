"""A temporal prior on the whole track: accelerations are small, except where the frames insist.

The maximum a posteriori track under per-frame information H_t and independent heavy-tailed accelerations. Second
differences couple each frame with two on either side, so the system is banded and solving it is linear in the number
of frames (the Whittaker-Henderson smoother, here with matrix weights and uneven time steps).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solveh_banded

from avatar.types import N_EXPRESSIONS
from preprocess.tracking.geometry import log_rotation
from preprocess.tracking.solver import (
    N_POSE,
    Frames,
    Person,
    Targets,
    hold_bounds,
    information,
    normal_equations,
    project,
)
from preprocess.tracking.types import TrackConfig


def second_difference_rows(seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t-2 3"]:
    """Coefficients that turn three neighbouring samples into an acceleration (uneven steps allowed)."""
    before, after = np.diff(seconds)[:-1], np.diff(seconds)[1:]
    mean = (before + after) / 2
    return np.stack((1 / (before * mean), -(1 / before + 1 / after) / mean, 1 / (after * mean)), axis=1)


def smoothing_steps(
    information: Float[np.ndarray, "t d d"],
    gradient: Float[np.ndarray, "t d"],
    acceleration: Float[np.ndarray, "t-2 d"],
    acceleration_sd: Float[np.ndarray, " d"],
    seconds: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t d"]:
    """Increments that minimise the frames' quadratic costs plus the acceleration prior.

    Args:
        information: second derivative of each frame's cost by its d unknowns.
        gradient: first derivative there.
        acceleration: of the present track.
        acceleration_sd: expected size per unknown; larger accelerations are resisted less (Cauchy).
        seconds: time stamps, increasing.
    """
    t, d = gradient.shape
    rows = second_difference_rows(seconds)
    precision = 1 / (acceleration_sd**2 * (1 + (acceleration / (3 * acceleration_sd)) ** 2))
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


def smooth_frames(
    person: Person, frames: Frames, targets: Targets, seconds: Float[np.ndarray, " t"], config: TrackConfig
) -> Frames:
    """The track under the temporal prior, in overlapping windows (a prior this local forgets within a margin)."""
    margin, count = 24, len(seconds)
    parts = []
    for start in range(0, count, config.chunk_frames):
        stop = min(start + config.chunk_frames, count)
        window = slice(max(0, start - margin), min(count, stop + margin))
        smooth = _smooth_window(person, frames[window], targets[window], seconds[window], config)
        parts.append(smooth[start - window.start : stop - window.start])
    return Frames.cat(parts)


def _smooth_window(
    person: Person, frames: Frames, targets: Targets, seconds: Float[np.ndarray, " t"], config: TrackConfig
) -> Frames:
    if len(seconds) < 3:
        return frames
    sd = np.repeat(
        (config.smooth_rotation_sd, config.smooth_translation_sd, config.smooth_expression_sd), (3, 3, N_EXPRESSIONS)
    )
    rows = second_difference_rows(seconds)
    # The solver counts all landmarks as independent witnesses, which they are not.
    share = config.independent_landmarks / float(person.model.weights.sum())
    for _ in range(config.smooth_steps):
        seen = project(person, frames, targets)
        info = information(person, frames, targets, seen, config)
        a, g = normal_equations(person, seen, info, frames, targets, config)
        a, g = hold_bounds(a, g, frames, config.expression_bounds)
        to_world = torch.zeros(len(g), N_POSE, N_POSE)
        to_world[:, :3, :3] = to_world[:, 3:, 3:] = frames.rotation
        a[:, :N_POSE] = to_world @ a[:, :N_POSE]
        a[:, :, :N_POSE] = a[:, :, :N_POSE] @ to_world.mT
        g[:, :N_POSE] = (to_world @ g[:, :N_POSE, None])[..., 0]
        step = smoothing_steps(
            share * a.double().numpy(), share * g.double().numpy(), _accelerations(frames, seconds, rows), sd, seconds
        )
        step = torch.from_numpy(step).float()
        step[:, :N_POSE] = (to_world.mT @ step[:, :N_POSE, None])[..., 0]
        frames = frames.moved(step, config.expression_bounds)
    return frames


def _accelerations(
    frames: Frames, seconds: Float[np.ndarray, " t"], rows: Float[np.ndarray, "t-2 3"]
) -> Float[np.ndarray, "t-2 58"]:
    """Angular (world axes), linear and expression accelerations."""
    turns = log_rotation(frames.rotation[1:] @ frames.rotation[:-1].mT).double().numpy()
    speed = turns / np.diff(seconds)[:, None]
    angular = np.diff(speed, axis=0) / ((seconds[2:] - seconds[:-2]) / 2)[:, None]
    values = torch.cat((frames.translation, frames.expression), 1).double().numpy()
    linear = sum(rows[:, i, None] * values[i : len(values) - 2 + i] for i in range(3))
    return np.concatenate((angular, linear), axis=1)
