"""What the subject does: lips follow the speech, eyes and head move, now and then the face shows something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.motion.blinks import head_track
from avatar.motion.phones import articulation
from avatar.motion.rules import add_eyes, at_frames
from avatar.motion.visemes import SEALED, Cues, articulated, hear, shapes, target_vector
from avatar.types import JOINTS, Camera, Motion
from preprocess.studio.gestures import SMILE, Listening, liveliness, moods, said, stressed, turns
from preprocess.studio.manner import Manner
from preprocess.studio.scene import FLIP
from preprocess.studio.voice import Speech

_FACE_HEIGHT_M = 0.24
_TREMOR_DEGREES, _TREMOR_MM = 0.12, 0.2
"""Root mean square of the small movements of 1.5 to 6 Hz that no head is without; a perfectly smooth one would make any
tracker look jittery."""
_IDLE = 0.1
"""Strongest action of the mouth below which it begins to rest."""
_FREED = 0.85
"""How far a listener holds back the turns of his head."""
_FIXED = 0.7
"""How much less a listener's eyes stray."""


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
    """Everything that moves, before a camera.

    Args:
        pivot: what the head turns about, head frame, metres.
        size: side of the square picture, pixels.
        wobble_mm: amplitude of the camera's movement.
    """
    times, rng = frame_times(seconds, fps), np.random.default_rng([seed, 31])
    camera, distance = _camera(size, rng)
    anchor = np.array([0.0, 0.02, distance]) + FLIP @ pivot
    motion = act(speech, times, Manner.usual(), rng, seed=seed, pivot=pivot, anchor=anchor)
    rest = np.eye(4)
    rest[:3, :3], rest[:3, 3] = FLIP, anchor - FLIP @ pivot
    return Performance(motion, camera, _hand_held(times, seed, wobble_mm), rest)


def frame_times(seconds: float, fps: float) -> Float[np.ndarray, " t"]:
    """Of all frames of a recording, at least one."""
    return np.arange(max(1, round(seconds * fps))) / fps


def act(
    speech: Speech,
    times: Float[np.ndarray, " t"],
    manner: Manner,
    rng: np.random.Generator,
    *,
    seed: int,
    pivot: Float[np.ndarray, "3"],
    anchor: Float[np.ndarray, "3"],
    partner_16k: Float[np.ndarray, " n"] | None = None,
) -> Motion:
    """Motion of a speaker who faces a camera (its axes: X to the right, Y down, Z away from it).

    Args:
        rng: what differs from recording to recording within his manner is drawn from it.
        seed: everything else that is random follows from it.
        pivot: what the head turns about, head frame, metres.
        anchor: where that is at rest, metres.
        partner_16k: what somebody says to him meanwhile.
    """
    heard = hear(speech.samples_16k)
    lips, emphasis = at_frames(times, _closed_at_rest(_lips(speech, heard, rng.uniform(*manner.effort))), heard.level)
    listening = Listening.nobody(times)
    if partner_16k is not None:
        listening = Listening.to(partner_16k, speech.samples_16k, times, manner, seed)
    accents = said(speech.samples_16k).accents_seconds if manner.nod_degrees or manner.brow_raise else np.zeros(0)
    nods, brows = stressed(accents, times, manner, seed)
    smile = np.maximum(manner.smile, listening.smile)[:, None] * target_vector(SMILE)
    held = (moods(times, manner, seed) + brows + smile) * liveliness(times, manner, seed)
    expression = (lips + held).clip(0, 1)
    sway = head_track(manner.sway_speed * times, seed, limit_degrees=manner.sway_degrees)
    sway[:, 1] += manner.stoop_degrees * (emphasis - emphasis.mean())
    sway[:, 1] += nods + listening.nods
    sway += _TREMOR_DEGREES * _tremor(times, seed, 37)
    turned = turns(times, manner, seed) * (1 - _FREED * listening.attention)[:, None]
    # Eyes make up for the sway, but only in part for a turn: one does not look out of the corners of the eyes for long.
    expression = add_eyes(
        expression, times, sway + 0.35 * turned, seed,
        blink_every_seconds=manner.blink_every_seconds, straying=manner.straying * (1 - _FIXED * listening.attention),
    )  # fmt: skip
    rotation = FLIP @ Rotation.from_euler("YXZ", sway + turned, degrees=True).as_matrix()
    torso = _breath(times, seed)
    anchors = anchor + 0.9 * torso * (1, 1, 0) + np.outer(_drift(times, seed), (0, 0, 1))
    anchors += 1e-3 * _TREMOR_MM * _tremor(times, seed, 38)
    return Motion(
        times, expression.astype(np.float32), np.zeros((len(times), len(JOINTS), 3), np.float32),
        Rotation.from_matrix(rotation).as_quat(scalar_first=True).astype(np.float32),
        (anchors - rotation @ pivot).astype(np.float32), torso.astype(np.float32),
    )  # fmt: skip


def _lips(speech: Speech, heard: Cues, effort: float) -> Float[np.ndarray, "c 52"]:
    """From the phones where they are known, else by ear."""
    if speech.phones is None:
        return articulated(shapes(heard), heard.seal)
    return articulated(*articulation(speech.phones, len(heard.level), effort))


def _closed_at_rest(cues: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t 52"]:
    """Press the lips a little where they do nothing: some of the random heads rest with their lips ajar."""
    idle = 1 - (cues.max(axis=1) / _IDLE).clip(0, 1)
    return cues + 0.8 * idle[:, None] * target_vector(SEALED)


def _camera(size: int, rng: np.random.Generator) -> tuple[Camera, float]:
    """A lens between a laptop's (1.2 times the picture's side) and a portrait's (2.6), and how far away it stands."""
    focal = size * float(np.exp(rng.uniform(np.log(1.2), np.log(2.6))))
    share = rng.uniform(0.40, 0.52)
    return Camera(size, size, focal, focal, size / 2, size / 2), focal / size * _FACE_HEIGHT_M / share


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
