"""What the subject does: lips follow the speech, eyes and head move, now and then the face shows something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.motion.blinks import head_track, smoothstep
from avatar.motion.phones import articulation
from avatar.motion.rules import add_eyes, at_frames
from avatar.motion.visemes import SEALED, articulated, hear, mouth, target_vector
from avatar.types import JOINTS, N_EXPRESSIONS, Camera, Motion
from preprocess.studio.scene import FLIP
from preprocess.studio.voice import Speech

TURN_DEGREES = (22.0, 36.0)
"""How far the head turns aside, at least and at most."""
_TURN_EVERY_SECONDS = 9.0
_FACE_HEIGHT_M = 0.24
_EFFORT = (0.45, 0.75)
"""Of articulation: nobody opens the mouth in running speech as far as in a single vowel."""
_TREMOR_DEGREES, _TREMOR_MM = 0.12, 0.2
"""Root mean square of the small movements of 1.5 to 6 Hz that no head is without; a perfectly smooth one would make any
tracker look jittery."""
_IDLE = 0.1
"""Strongest action of the mouth below which it begins to rest."""
_MOODS = (
    {"mouthSmile": 0.55, "cheekSquint": 0.4, "eyeSquint": 0.2},
    {"browInnerUp": 0.6, "browOuterUp": 0.5, "eyeWide": 0.15},
    {"browDown": 0.6, "eyeSquint": 0.25, "noseSneer": 0.15},
    {"mouthFrown": 0.45, "browInnerUp": 0.5},
    {"mouthSmile": 0.35},
)


@dataclass(frozen=True)
class Performance:
    """The motion of one recording, seen by one camera that may be held by hand."""

    motion: Motion
    camera: Camera
    """At the first frame, where it defines the world."""
    T_camera_world: Float[np.ndarray, "t 4 4"]
    torso_rest: Float[np.ndarray, "4 4"]
    """T_world_torso before `motion.torso` is applied."""


def perform(
    speech: Speech, pivot: Float[np.ndarray, "3"], *, seed: int, seconds: float, fps: float, size: int, wobble_mm: float
) -> Performance:
    """Everything that moves.

    Args:
        pivot: what the head turns about, head frame, metres.
        size: side of the square picture, pixels.
        wobble_mm: amplitude of the camera's movement.
    """
    times = np.arange(max(1, round(seconds * fps))) / fps
    rng = np.random.default_rng([seed, 31])
    camera, distance = _camera(size, rng)
    cues = mouth(speech.samples_16k)
    if speech.phones is not None:
        cues = articulated(*articulation(speech.phones, len(cues), rng.uniform(*_EFFORT)))
    lips, emphasis = at_frames(times, _closed_at_rest(cues), hear(speech.samples_16k).level)
    expression = (lips + _moods(times, seed)).clip(0, 1)
    sway = head_track(times, seed, limit_degrees=6.0)
    sway[:, 1] += 2.0 * (emphasis - emphasis.mean())
    sway += _TREMOR_DEGREES * _tremor(times, seed, 37)
    turns = _turns(times, seed)
    # Eyes make up for the sway, but only in part for a turn: one does not look out of the corners of the eyes for long.
    expression = add_eyes(expression, times, sway + 0.35 * turns, seed)
    rotation = FLIP @ Rotation.from_euler("YXZ", sway + turns, degrees=True).as_matrix()
    torso = _breath(times, seed)
    anchor = np.array([0.0, 0.02, distance]) + FLIP @ pivot
    anchors = anchor + 0.9 * torso * (1, 1, 0) + np.outer(_drift(times, seed), (0, 0, 1))
    anchors += 1e-3 * _TREMOR_MM * _tremor(times, seed, 38)
    translation = anchors - rotation @ pivot
    rest = np.eye(4)
    rest[:3, :3], rest[:3, 3] = FLIP, anchor - FLIP @ pivot
    motion = Motion(
        times, expression.astype(np.float32), np.zeros((len(times), len(JOINTS), 3), np.float32),
        Rotation.from_matrix(rotation).as_quat(scalar_first=True).astype(np.float32), translation.astype(np.float32),
        torso.astype(np.float32),
    )  # fmt: skip
    return Performance(motion, camera, _hand_held(times, seed, wobble_mm), rest)


def _closed_at_rest(cues: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t 52"]:
    """Press the lips a little where they do nothing: some of the random heads rest with their lips ajar."""
    idle = 1 - (cues.max(axis=1) / _IDLE).clip(0, 1)
    return cues + 0.8 * idle[:, None] * target_vector(SEALED)


def _camera(size: int, rng: np.random.Generator) -> tuple[Camera, float]:
    """A lens between a laptop's (1.2 times the picture's side) and a portrait's (2.6), and how far away it stands."""
    focal = size * float(np.exp(rng.uniform(np.log(1.2), np.log(2.6))))
    share = rng.uniform(0.40, 0.52)
    return Camera(size, size, focal, focal, size / 2, size / 2), focal / size * _FACE_HEIGHT_M / share


def _turns(times: Float[np.ndarray, " t"], seed: int) -> Float[np.ndarray, "t 3"]:
    """Now and then the head turns aside and back, sometimes up or down as well; degrees of yaw, pitch, roll."""
    rng = np.random.default_rng([seed, 32])
    out, length = np.zeros((len(times), 3)), float(times[-1])
    start, side = 0.2 * min(length, _TURN_EVERY_SECONDS), float(rng.choice([-1.0, 1.0]))
    while start < length:
        yaw = side * rng.uniform(*TURN_DEGREES)
        rise, hold = rng.uniform(0.5, 1.0), rng.uniform(0.3, 1.2)
        up, down = smoothstep((times - start) / rise), smoothstep((times - start - rise - hold) / rise)
        out += np.outer(up - down, (yaw, rng.normal(0, 5), rng.normal(0, 3)))
        start += (2 * rise + hold) * (1.0 if rng.random() < 0.4 else 2.5) + rng.uniform(0, 0.4) * _TURN_EVERY_SECONDS
        side = -side
    return out


def _moods(times: Float[np.ndarray, " t"], seed: int) -> Float[np.ndarray, "t 52"]:
    """Expressions that come and go within a second or three; brows most."""
    rng = np.random.default_rng([seed, 33])
    out, start = np.zeros((len(times), N_EXPRESSIONS)), float(rng.uniform(0.5, 3))
    while start < times[-1]:
        length, strength = rng.uniform(1.0, 3.0), rng.uniform(0.5, 1.0)
        shape = smoothstep((times - start) / 0.35) - smoothstep((times - start - length) / 0.5)
        out += strength * shape[:, None] * target_vector(_MOODS[int(rng.integers(len(_MOODS)))])
        start += length + rng.uniform(0.8, 4.0)
    return out


def _breath(times: Float[np.ndarray, " t"], seed: int) -> Float[np.ndarray, "t 3"]:
    """Movement of the shoulders: metres to the right and down, roll in radians; 0 in the first frame."""
    rng = np.random.default_rng([seed, 34])
    slow = head_track(times, int(rng.integers(2**31)), limit_degrees=1.0)
    breath = np.sin(2 * np.pi * rng.uniform(0.22, 0.33) * times + rng.uniform(0, 6))
    out = slow * (0.008, 0.004, np.radians(2.0)) + np.outer(breath, (0, 0.0015, 0))
    return out - out[0]


def _drift(times: Float[np.ndarray, " t"], seed: int) -> Float[np.ndarray, " t"]:
    """Leaning forward and back, metres."""
    return head_track(times, int(np.random.default_rng([seed, 35]).integers(2**31)), limit_degrees=0.015)[:, 0]


def _tremor(times: Float[np.ndarray, " t"], seed: int, stream: int) -> Float[np.ndarray, "t 3"]:
    """Sums of sines of 1.5 to 6 Hz on three axes, root mean square 1."""
    rng = np.random.default_rng([seed, stream])
    hz, phase = rng.uniform(1.5, 6.0, (8, 3)), rng.uniform(0, 2 * np.pi, (8, 3))
    return 0.5 * np.sin(2 * np.pi * hz * times[:, None, None] + phase).sum(1)


def _hand_held(times: Float[np.ndarray, " t"], seed: int, amplitude_mm: float) -> Float[np.ndarray, "t 4 4"]:
    """T_camera_world of a camera that sways by some millimetres and a tenth of a degree per millimetre."""
    out = np.tile(np.eye(4, dtype=np.float32), (len(times), 1, 1))
    if amplitude_mm == 0:
        return out
    rng = np.random.default_rng([seed, 36])
    shift, turn = (head_track(1.6 * times, int(rng.integers(2**31)), limit_degrees=amplitude_mm) for _ in range(2))
    shift, turn = shift - shift[0], turn - turn[0]
    out[:, :3, :3] = Rotation.from_euler("YXZ", 0.1 * turn, degrees=True).as_matrix()
    out[:, :3, 3] = 1e-3 * shift
    return out
