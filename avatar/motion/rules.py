"""Talking by rule: speech in, a whole head's motion out, untrained. The floor that learned priors must beat."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.blinks import blink_track, gaze_actions, gaze_track, head_track
from avatar.motion.visemes import CUE_FPS, RATE, SEALED, hear, mouth
from avatar.tracks import JOINTS, N_EXPRESSIONS, Motion


def drive(
    samples_16k: Float[np.ndarray, " n"],
    *,
    seed: int,
    fps: float = 25.0,
    neutral: Float[np.ndarray, "52"] | None = None,
) -> Motion:
    """Motion for a piece of speech: lips by rule, blinks, gaze and head sway by seed.

    The head turns around the identity pose at the origin (head axes: X subject's left, Y up, Z out of the face); the
    avatar that plays it adds its own mean pose: `DrivingSpace.retarget(motion, expression_is_relative=False)`.

    Args:
        samples_16k: mono sound at 16 kHz in [-1, 1].
        seed: everything random follows from it; lips follow from the sound alone.
        fps: frames per second of the motion.
        neutral: the person's face at rest (ARKit actions); zeros if not given.

    Raises:
        BadInput: no samples, samples that are not finite, or a frame rate outside 1..240.
    """
    samples = np.asarray(samples_16k)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise BadInput("cannot talk to this sound", expected="finite mono samples at 16 kHz", got=f"{samples.shape}")
    if not 1 <= fps <= 240:
        raise BadInput(f"cannot make a motion of {fps:g} frames per second", expected="1 to 240")
    seconds = np.arange(max(1, round(len(samples) / RATE * fps))) / fps
    base = np.zeros(N_EXPRESSIONS) if neutral is None else np.asarray(neutral, dtype=np.float64)
    lips, emphasis = at_frames(seconds, mouth(samples), hear(samples).level)
    head = head_track(seconds, seed)
    head[:, 1] += 1.2 * (emphasis - emphasis.mean())
    expression = add_eyes(_add_lips(base, lips), seconds, head, seed)
    rotation = Rotation.from_euler("YXZ", head, degrees=True).as_quat(scalar_first=True)
    return Motion(
        timestamps_seconds=seconds.astype(np.float64),
        expression=expression.astype(np.float32),
        joints=np.zeros((len(seconds), len(JOINTS), 3), np.float32),
        quats_wxyz=rotation.astype(np.float32),
        translation=np.zeros((len(seconds), 3), np.float32),
    )


def at_frames(seconds: np.ndarray, lips: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lips and slow loudness at the frame times."""
    cue_times = np.arange(len(lips)) / CUE_FPS
    slow = gaussian_filter1d(level, 0.3 * CUE_FPS, mode="nearest")
    sampled = np.stack([np.interp(seconds, cue_times, column) for column in lips.T], axis=1)
    return sampled, np.interp(seconds, cue_times, slow)


def _add_lips(base: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Speech on top of the face at rest; pressed lips also close a mouth that rests ajar."""
    pressed = (lips[:, ARKIT_INDEX["mouthPressLeft"]] / SEALED["mouthPress"]).clip(0, 1)
    rest = np.repeat(base[None], len(lips), axis=0)
    for name in ("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"):
        column = rest[:, ARKIT_INDEX[name]]
        rest[:, ARKIT_INDEX[name]] = np.minimum(column, column * (1 - pressed))
    # Trackers give slightly negative actions; a rest below zero stays what it is.
    return (rest + lips).clip(np.minimum(base, 0), 1)


def add_eyes(
    expression: Float[np.ndarray, "t 52"],
    seconds: Float[np.ndarray, " t"],
    head: Float[np.ndarray, "t 3"],
    seed: int,
    *,
    blink_every_seconds: float = 4.0,
    straying: float | Float[np.ndarray, " t"] = 1.0,
) -> Float[np.ndarray, "t 52"]:
    """Set the gaze and close the lids of blinks, in place.

    Args:
        head: the turn (yaw, pitch, roll in degrees) that the eyes make up for.
        straying: how far the eyes leave what lies straight ahead, as a multiple of the usual; may change over time.
    """
    gaze = gaze_track(seconds, seed) * np.asarray(straying)[..., None]
    # The eyes turn against the head, so that they stay on what they look at.
    for name, track in gaze_actions(gaze[:, 0] - head[:, 0], gaze[:, 1] + head[:, 1]).items():
        expression[:, ARKIT_INDEX[name]] = track
    lids = blink_track(seconds, seed, blink_every_seconds)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        column = expression[:, ARKIT_INDEX[name]]
        expression[:, ARKIT_INDEX[name]] = column + (1 - column) * lids
    return expression
