"""Talking by rule: speech in, a whole head's motion out, untrained. The floor that learned priors must beat."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.blinks import blink_track, gaze_track, head_track
from avatar.motion.eye_angles import with_gaze
from avatar.motion.phones import Phone, articulation
from avatar.motion.visemes import CUE_FPS, RATE, SEALED, articulated, hear, shapes, target_vector
from avatar.tracks import JOINTS, N_EXPRESSIONS, Motion

_EFFORT = (0.5, 0.9)
"""How far the mouth goes towards the shapes of known phones, in the softest and the loudest speech."""
_SHORTEST_CLOSURE_SECONDS = 0.06
"""Labels and synthesisers give p, b and m as little as 20 ms; lips are slower."""
_PRESSED = 0.5
_SEALING = np.flatnonzero(target_vector(SEALED))
_SPEAKING = 0.3
"""Strength of an action at which the mouth speaks and rests no more."""


def drive(
    samples_16k: Float[np.ndarray, " n"],
    *,
    seed: int,
    fps: float = 25.0,
    neutral: Float[np.ndarray, "52"] | None = None,
    phones: list[Phone] | None = None,
) -> Motion:
    """Motion for a piece of speech: lips by rule, blinks, gaze and head sway by seed.

    Lips follow what is heard or, better, known phones; they meet on p, b and m in one frame at the least.

    The head turns around the identity pose at the origin (head axes: X subject's left, Y up, Z out of the face); the
    avatar that plays it adds its own mean pose: `DrivingSpace.retarget(motion, expression_is_relative=False)`.

    Args:
        samples_16k: mono sound at 16 kHz in [-1, 1].
        seed: everything random follows from it; lips follow from the sound alone.
        fps: frames per second of the motion.
        neutral: the person's face at rest (ARKit actions); zeros if not given.
        phones: what is said, with times from the first sample on (`avatar.motion.phone_files`).

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
    cues = hear(samples)
    if phones is None:
        shaped = articulated(shapes(cues), cues.seal)
    else:
        effort = np.interp(gaussian_filter1d(cues.level, 0.08 * CUE_FPS), (0, 1), _EFFORT)
        said = _with_rest(phones, len(samples) / RATE)
        shaped = articulated(*articulation(said, len(effort), effort, _SHORTEST_CLOSURE_SECONDS))
    lips, emphasis = at_frames(seconds, shaped, cues.level)
    _keep_closures(lips, shaped, fps)
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


def _with_rest(phones: list[Phone], seconds: float) -> list[Phone]:
    """The mouth rests before and after what is known."""
    first, last = (phones[0].start_seconds, phones[-1].end_seconds) if phones else (seconds, seconds)
    return [Phone("pau", 0.0, first), *phones, Phone("pau", min(last, seconds), seconds)]


def _keep_closures(lips: np.ndarray, shaped: np.ndarray, fps: float) -> None:
    """Show the firmest cue of every closure in the frame nearest to its middle, in place: it may fall between two."""
    press = shaped[:, ARKIT_INDEX["mouthPressLeft"]] / SEALED["mouthPress"]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], press > _PRESSED, [0]])))
    for start, end in edges.reshape(-1, 2):
        frame = round((start + end - 1) / 2 / CUE_FPS * fps)
        lips[min(frame, len(lips) - 1)] = shaped[start + press[start:end].argmax()]


def _add_lips(base: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Speech on top of the face at rest: what holds lips together at rest lets go while they speak, and pressed lips
    also close a mouth that rests ajar."""
    pressed = (lips[:, ARKIT_INDEX["mouthPressLeft"]] / SEALED["mouthPress"]).clip(0, 1)
    rest = np.repeat(base[None], len(lips), axis=0)
    silent = 1 - (lips.max(axis=1) / _SPEAKING).clip(0, 1)
    rest[:, _SEALING] = np.minimum(rest[:, _SEALING], rest[:, _SEALING] * silent[:, None])
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
    """The gaze set, and the lids closed in blinks.

    Args:
        head: the turn (yaw, pitch, roll in degrees) that the eyes make up for.
        straying: how far the eyes leave what lies straight ahead, as a multiple of the usual; may change over time.
    """
    gaze = gaze_track(seconds, seed) * np.asarray(straying)[..., None]
    # The eyes turn against the head, so that they stay on what they look at.
    expression = with_gaze(expression, gaze - head[:, :2] * (1, -1))
    lids = blink_track(seconds, seed, blink_every_seconds)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        column = expression[:, ARKIT_INDEX[name]]
        expression[:, ARKIT_INDEX[name]] = column + (1 - column) * lids
    return expression
