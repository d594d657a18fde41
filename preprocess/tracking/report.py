"""Figures that say how well a track explains the detected landmarks."""

from __future__ import annotations

import numpy as np
import torch

from avatar.head.landmarks import EYES, LIPS, OUTER_EYE_CORNERS
from preprocess.tracking.landmark_evidence import Seen
from preprocess.tracking.landmarks import LandmarkModel
from preprocess.tracking.types import Observations, TrackConfig


def track_metrics(
    model: LandmarkModel, projected: Seen, observations: Observations, config: TrackConfig
) -> dict[str, float]:
    """Reprojection errors over the used landmarks of the frames with a face, and the jitter ratio."""
    seen = observations.seen
    error = projected.residual.norm(dim=-1)
    corners = torch.from_numpy(observations.landmarks_px[seen][:, OUTER_EYE_CORNERS]).float()
    share = error / (corners[:, 0] - corners[:, 1]).norm(dim=-1, keepdim=True)
    test = torch.from_numpy(np.arange(len(seen))[seen] >= int(len(seen) * config.train_fraction))
    groups = {"": error, "_lips": error[:, model.is_in(LIPS)], "_eyes": error[:, model.is_in(EYES)]}
    metrics = {f"reprojection{name}_px": _mean(values) for name, values in groups.items()}
    metrics["reprojection_iod"] = _mean(share)
    metrics["reprojection_train_iod"], metrics["reprojection_test_iod"] = _mean(share[~test]), _mean(share[test])
    tracked = projected.pixels
    detected = projected.pixels - projected.residual
    metrics["jitter_ratio"] = _jitter(tracked, seen) / max(_jitter(detected, seen), 1e-9)
    return metrics


def _mean(values: torch.Tensor) -> float:
    return float(values.mean()) if values.numel() else float("nan")


def _jitter(points: torch.Tensor, seen: np.ndarray) -> float:
    """Mean second difference over triples of neighbouring frames that all show a face."""
    numbers = np.flatnonzero(seen)
    adjacent = torch.from_numpy(numbers[2:] - numbers[:-2] == 2)
    second = (points[2:] - 2 * points[1:-1] + points[:-2])[adjacent]
    return _mean(second.norm(dim=-1))
