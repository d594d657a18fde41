"""What the person's training takes tell about the person, so that nothing that judges has seen the held-out takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar.evaluation.motion.frechet import WindowBasis, bases
from avatar.evaluation.motion.material import HeldOut
from avatar.evaluation.motion.probe import SyncProbe
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.hearing import level_of
from avatar.motion.space import MotionSpace
from avatar.motion.takes import Take

CLOSED_QUANTILE = 0.08
"""Lips count as closed below this quantile of the opening in the training's speech."""
_LEAST_SILENT_FRAMES = 25


@dataclass(frozen=True)
class Reference:
    """Statistics of the training takes."""

    geometry: FaceGeometry
    space: MotionSpace
    training: HeldOut
    closed_mm: float
    """Aperture below which this person's lips count as closed."""
    rest_mm: float
    """Aperture at which the lips rest while nobody speaks."""
    probe: SyncProbe
    windows: dict[str, WindowBasis]
    """What windows of motion are compared in."""

    @staticmethod
    def of(training: Sequence[Take], geometry: FaceGeometry) -> Reference:
        """Of the takes that a prior was trained on, or could have been."""
        space = MotionSpace.of(training, geometry)
        known = HeldOut.of(training, geometry, space)
        aperture = np.concatenate([c.aperture_mm for c in known.courses])
        tracked = np.concatenate(known.known)
        silent = np.concatenate([heard.quiet for heard in known.heard]) & tracked
        spoken = np.concatenate([heard.speech for heard in known.heard]) & tracked
        at_rest = 1e3 * float(geometry.aperture(space.rest_expression[None].astype(np.float64))[0])
        return Reference(
            geometry, space, known,
            float(np.quantile(aperture[spoken], CLOSED_QUANTILE)) if spoken.any() else at_rest,
            float(np.median(aperture[silent])) if silent.sum() >= _LEAST_SILENT_FRAMES else at_rest,
            SyncProbe.of(known, space, level_of([take.samples_16k for take in training])),
            bases(known),
        )  # fmt: skip
