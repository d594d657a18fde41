"""A motion prior that is trained in seconds, on a synthetic voice."""

from __future__ import annotations

import numpy as np

from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from avatar.motion.prior.config import TrainConfig
from avatar.motion.rules import drive as by_rules
from avatar.motion.takes import Take
from preprocess.studio.voice import nonsense, synthesise

SMALL = TrainConfig(steps=30, width=32, blocks=2, batch=8)


def geometry() -> FaceGeometry:
    """A face whose lips are opened by the jaw: no detector has to look at it."""
    rng = np.random.default_rng(0)
    basis = 0.002 * rng.standard_normal((52, 30, 3)).astype(np.float32)
    aperture = np.zeros(52, np.float32)
    aperture[GROUPS["lips"][2]] = 0.03
    flat = basis.reshape(52, -1)
    return FaceGeometry(rng.standard_normal((30, 3)).astype(np.float32), basis, flat @ flat.T, 0.001, aperture)


def speaking(seconds: float, seed: int) -> Take:
    samples = synthesise(nonsense(seconds, seed), seconds, 3).astype(np.float32)
    motion = by_rules(samples, seed=seed)
    return Take(motion, samples, np.ones(len(motion), np.float32), "somebody")
