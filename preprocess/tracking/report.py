"""Figures that say how well a track explains the detected landmarks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avatar.head.landmarks import EYES, LIPS, OUTER_EYE_CORNERS
from preprocess.tracking.frames import Frames
from preprocess.tracking.landmark_evidence import Person, Targets, project, robust_weights
from preprocess.tracking.types import Observations, TrackConfig


def judge_track(
    person: Person, frames: Frames, targets: Targets, observations: Observations, config: TrackConfig
) -> tuple[dict[str, float], Float[np.ndarray, " t"]]:
    """Reprojection errors over the used landmarks, the jitter ratio, and the confidence of each frame with a face.

    Landmarks are projected chunk by chunk, so that long clips need no memory for it.
    """
    numbers = np.flatnonzero(observations.seen)
    adjacent = torch.from_numpy(numbers[2:] - numbers[:-2] == 2)
    errors, confidence, jitter = [], [], torch.zeros(2)
    for start in range(0, len(numbers), config.chunk_frames):
        span = slice(start, start + config.chunk_frames + 2)  # the last triple begins in this chunk
        here = targets[span]
        projected = project(person, frames[span], here)
        trust = robust_weights(projected.residual, here, person.model, config, adaptive=False)
        errors.append(projected.residual.norm(dim=-1)[: config.chunk_frames])
        agreeing = (trust * here.weights).sum(1) / here.weights.sum(1)
        confidence.append(agreeing[: config.chunk_frames])
        tracked, detected = projected.pixels, here.landmarks_px
        jitter += torch.stack([_jitter(points, adjacent[span][: len(points) - 2]) for points in (tracked, detected)])
    metrics = _reprojection(person, torch.cat(errors), observations, config)
    metrics["jitter_ratio"] = float(jitter[0] / jitter[1].clamp_min(1e-9))
    return metrics, torch.cat(confidence).numpy()


def _reprojection(
    person: Person, error: Float[Tensor, "t n"], observations: Observations, config: TrackConfig
) -> dict[str, float]:
    seen, model = observations.seen, person.model
    corners = torch.from_numpy(observations.landmarks_px[:, OUTER_EYE_CORNERS][seen]).float()
    share = error.mean(1) / (corners[:, 0] - corners[:, 1]).norm(dim=-1)
    test = torch.from_numpy(np.arange(len(seen))[seen] >= int(len(seen) * config.train_fraction))
    groups = {"": error, "_lips": error[:, model.is_in(LIPS)], "_eyes": error[:, model.is_in(EYES)]}
    metrics = {f"reprojection{name}_px": _mean(values) for name, values in groups.items()}
    spans = {"": share, "_train": share[~test], "_test": share[test]}
    return metrics | {f"reprojection{name}_iod": _mean(values) for name, values in spans.items()}


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else float("nan")


def _jitter(points: Float[Tensor, "t n 2"], adjacent: Bool[Tensor, " u"]) -> Tensor:
    """Summed second differences over the triples of neighbouring frames that all show a face."""
    return (points[2:] - 2 * points[1:-1] + points[:-2])[adjacent].norm(dim=-1).sum()
