"""A temporal prior on the whole track: accelerations are small, except where the frames insist.

The maximum a posteriori track under the frames' evidence and independent heavy-tailed (Cauchy)
accelerations of pose and expression, by damped Gauss-Newton with reweighting. A large acceleration that lasts, as in a
blink or a consonant, is believed; a lone shiver is not. Shapes: t frames, u = t - 2 accelerations.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar.geometry import matrix_to_axis_angle
from avatar.head.arkit import ARKIT_NAMES
from avatar.types import N_EXPRESSIONS
from preprocess.tracking.frames import Frames, Linearised, Remembered, hold_bounds
from preprocess.tracking.landmark_evidence import LandmarkEvidence
from preprocess.tracking.points import N_POSE
from preprocess.tracking.temporal_system import accelerations, solve_track
from preprocess.tracking.types import TrackConfig

MARGIN = 24
"""Frames that a window borrows on either side; the prior forgets within far fewer."""


@dataclass(frozen=True)
class _Window:
    """What stays fixed while a window of t frames is smoothed."""

    evidence: LandmarkEvidence | Remembered
    seconds: Float[np.ndarray, " t"]
    sd: Float[np.ndarray, " 58"]
    config: TrackConfig

    def acceleration(self, frames: Frames) -> Float[np.ndarray, "u 58"]:
        """Angular (about the world's axes), linear and expression accelerations."""
        rotation = frames.rotation.double()
        speed = matrix_to_axis_angle(rotation[1:] @ rotation[:-1].mT).numpy() / np.diff(self.seconds)[:, None]
        angular = np.diff(speed, axis=0) / ((self.seconds[2:] - self.seconds[:-2]) / 2)[:, None]
        values = torch.cat((frames.translation, frames.expression), 1).double().numpy()
        return np.concatenate((angular, accelerations(values, self.seconds)), axis=1)

    def precision(self, acceleration: Float[np.ndarray, "u 58"]) -> Float[np.ndarray, "u 58"]:
        """Cauchy weights of squared accelerations."""
        return 1 / (self.sd**2 * (1 + (acceleration / (3 * self.sd)) ** 2))

    def cost(self, data: Float[Tensor, " t"], frames: Frames, precision: np.ndarray) -> float:
        """Cost of a track whose frames cost `data`, under fixed weights."""
        return float(data.double().sum()) + float((precision * self.acceleration(frames) ** 2).sum()) / 2


def smooth_frames(
    evidence: LandmarkEvidence | Remembered, frames: Frames, seconds: Float[np.ndarray, " t"], config: TrackConfig,
    pool: Executor,
) -> Frames:  # fmt: skip
    """The track under the temporal prior, solved in overlapping windows of bounded size."""
    eyes = np.array([name.startswith("eye") for name in ARKIT_NAMES])
    actions = np.where(eyes, config.smooth_eyes_sd, config.smooth_expression_sd)
    sd = np.concatenate((np.repeat((config.smooth_rotation_sd, config.smooth_translation_sd), 3), actions))

    def part(start: int) -> Frames:
        stop = min(start + config.chunk_frames, len(seconds))
        span = slice(max(0, start - MARGIN), min(len(seconds), stop + MARGIN))
        window = _Window(evidence[span], seconds[span], sd, config)
        return _smooth_window(window, frames[span])[start - span.start : stop - span.start]

    return Frames.cat(list(pool.map(part, range(0, len(seconds), config.chunk_frames))))


def _smooth_window(window: _Window, frames: Frames) -> Frames:
    if len(window.seconds) < 3:
        return frames
    bounds, damping = window.config.expression_bounds, 1e-2
    for _ in range(window.config.smooth_steps):
        here = window.evidence.linearise(frames)
        acceleration = window.acceleration(frames)
        precision = window.precision(acceleration)
        trial = frames.moved(_window_step(window, frames, here, damping, acceleration, precision), bounds)
        if window.cost(here.cost(trial), trial, precision) <= window.cost(here.value, frames, precision):
            frames, damping = trial, damping / 5
        else:
            damping *= 10
    return frames


def _window_step(
    window: _Window,
    frames: Frames,
    here: Linearised,
    damping: float,
    acceleration: Float[np.ndarray, "u 58"],
    precision: Float[np.ndarray, "u 58"],
) -> Float[Tensor, "t 58"]:
    """One step of all frames together; pose unknowns are turned to the world's axes, which neighbours share."""
    a, g, free = hold_bounds(here.matrix, here.gradient, frames, window.config.expression_bounds)
    to_world = torch.eye(N_POSE + N_EXPRESSIONS, dtype=torch.float64).repeat(len(g), 1, 1)
    to_world[:, :3, :3] = to_world[:, 3:6, 3:6] = frames.rotation.double()
    a = to_world @ a.double() @ to_world.mT
    g = (to_world @ g.double()[..., None])[..., 0]
    # Frozen expressions must not be drawn along by their neighbours in time.
    diagonal = a.diagonal(dim1=1, dim2=2)
    diagonal.add_(diagonal * damping + 1e12 * (1 - free))
    step = solve_track(a, g, acceleration, precision, window.seconds)
    return (to_world.mT @ step[..., None])[..., 0].float()
