"""Motions that the tests of controls act on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.motion.blinks import BlinkShape
from avatar.motion.controls.rest import Rest
from avatar.motion.groups import GROUPS
from avatar.motion.rules import add_eyes
from avatar.motion.visemes import SEALED, target_vector
from avatar.types import Motion

REST = Rest()


def still_motion(seconds: float = 4.0, fps: float = 25.0) -> Motion:
    """A face at rest in front of nobody."""
    times = np.arange(round(seconds * fps)) / fps
    quats = np.zeros((len(times), 4), np.float32)
    quats[:, 0] = 1
    zeros = np.zeros((len(times), 3), np.float32)
    return Motion(times, np.zeros((len(times), 52), np.float32), np.zeros((len(times), 4, 3), np.float32), quats, zeros)


def chatter(seconds: float = 6.0, fps: float = 25.0, seed: int = 0) -> Motion:
    """A jaw that opens three times a second, lips sealed in between as on p; head, eyes and lids by the rules."""
    motion = still_motion(seconds, fps)
    times, rng = motion.timestamps_seconds, np.random.default_rng(seed)
    phase = np.sin(2 * np.pi * 3 * times)
    open_lips, sealed = np.maximum(phase, 0) ** 0.5, np.maximum(-phase, 0) ** 0.3
    expression = 0.4 * np.outer(open_lips, target_vector({"jawOpen": 1.0, "mouthLowerDown": 0.5}))
    expression += np.outer(sealed, target_vector(SEALED))
    expression[:, GROUPS["upper"]] += rng.uniform(0, 0.2, len(GROUPS["upper"]))
    head = 4 * np.sin(2 * np.pi * 0.3 * times)[:, None] * [1.0, 0.5, 0.2]
    expression = add_eyes(expression.clip(0, 1), times, head, seed)
    turns = Rotation.from_euler("YXZ", head, degrees=True).as_quat(scalar_first=True)
    return replace(motion, expression=expression.astype(np.float32), quats_wxyz=turns.astype(np.float32))


def blinks_in(motion: Motion, column: int) -> int:
    """How often the lid passes half shut downwards."""
    shut = motion.expression[:, column] > 0.5
    return int((shut[1:] & ~shut[:-1]).sum() + shut[0])


SLOW_BLINK = BlinkShape(close=0.12, hold=0.04, open=0.28, depth=0.9)
