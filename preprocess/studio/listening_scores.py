"""How a listener listens: nods, lips and head of a motion, against those of somebody real (or of the studio)."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter1d
from scipy.signal import find_peaks

from avatar.motion.eyes import head_degrees
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.features import HOP_SECONDS
from avatar.motion.prosody import runs_of
from avatar.motion.turns import IDLE, LISTENING, SPEAKING, Turns
from avatar.tracks import Motion

TOLERANCE_SECONDS = 0.5
"""Between a nod and the one that it is matched with."""
_NOD_DEGREES = 1.2
"""That the head goes down, at least, over its course of the seconds around."""
_SLOW_SECONDS, _SMOOTH_SECONDS = 0.35, 0.05
_ONE_NOD_SECONDS = 0.8
"""Dips that follow so fast are one nod."""
_WIDEST_SECONDS = 0.5
_AFTER_PAUSE_SECONDS = 1.0
_MARGIN_SECONDS = 0.3
"""Around what is said, in which lips and head still belong to it."""


def nods_of(motion: Motion) -> Float[np.ndarray, " k"]:
    """When somebody nods: the seconds at which the head is lowest for the first time in each row of dips.

    A dip is a peak of pitch, between 0.1 and 0.5 s wide, of 1.2 degrees over the slower course of the head.
    """
    fps, pitch = motion.fps, head_degrees(motion)[:, 1]
    slow = gaussian_filter1d(pitch, _SLOW_SECONDS * fps, mode="nearest")
    fast = gaussian_filter1d(pitch, _SMOOTH_SECONDS * fps, mode="nearest") - slow
    dips, _ = find_peaks(fast, prominence=_NOD_DEGREES, width=(0.1 * fps, _WIDEST_SECONDS * fps))
    seconds = motion.timestamps_seconds[dips]
    return seconds[np.diff(seconds, prepend=-np.inf) > _ONE_NOD_SECONDS]


@dataclass(frozen=True)
class Counts:
    """What is added up over takes before anything is divided."""

    nods: float = 0
    right: float = 0
    """Nods that have one of the truth's within the tolerance, one each."""
    true_nods: float = 0
    after_pauses: float = 0
    """Nods within a second after the other one's pauses begin."""
    listening_seconds: float = 0.0
    after_pauses_seconds: float = 0.0
    lips_listening: float = 0.0
    """Way of the lips' opening, metres, while listening and saying nothing."""
    silent_seconds: float = 0.0
    lips_speaking: float = 0.0
    speaking_seconds: float = 0.0
    idle_degrees: float = 0.0
    """That the head turns."""
    idle_seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def scores(self) -> dict[str, float | None]:
        """Numbers of a row; None where nothing can be told."""
        elsewhere = self.listening_seconds - self.after_pauses_seconds
        precision, recall = _share(self.right, self.nods), _share(self.right, self.true_nods)
        near, far = (
            _share(self.after_pauses, self.after_pauses_seconds),
            _share(self.nods - self.after_pauses, elsewhere),
        )
        lips = _share(self.lips_listening, self.silent_seconds), _share(self.lips_speaking, self.speaking_seconds)
        row = {
            "nods_per_minute": _share(60 * self.nods, self.listening_seconds), "nod_precision": precision,
            "nod_recall": recall, "nod_f1": _share(2 * self.right, self.nods + self.true_nods),
            "nods_after_pauses": _ratio(near, far), "lips_listening": _ratio(*lips),
            "idle_head_deg_s": _share(self.idle_degrees, self.idle_seconds),
        }  # fmt: skip
        return {name: None if value is None else round(value, 4) for name, value in row.items()}


def count(motion: Motion, truth: Motion, turns: Turns, geometry: FaceGeometry) -> Counts:
    """Of a motion beside the truth, both on the clock of the turns."""
    seconds, fps = motion.timestamps_seconds, motion.fps
    states = turns.at(seconds)
    listening, after = states == LISTENING, _after_pauses(turns, seconds)
    found, true = (_during(nods_of(m), listening, fps) for m in (motion, truth))
    own = np.interp(seconds, turns.timestamps_seconds, turns.own.speaking) > 0.5
    reach = np.ones(round(2 * _MARGIN_SECONDS * fps) + 1, bool)
    silent = ~np.asarray(binary_dilation(own, reach), bool)
    speaks = own & (states == SPEAKING)
    opening = np.abs(np.gradient(geometry.aperture(motion.expression)))
    turning = np.linalg.norm(np.gradient(head_degrees(motion), axis=0), axis=1)
    idle = np.asarray(binary_erosion(states == IDLE, reach), bool)
    quiet = listening & silent
    return Counts(
        len(found), matched(found, true), len(true), len(_during(found, after & listening, fps)),
        listening.sum() / fps, (after & listening).sum() / fps,
        float(opening[quiet].sum()), quiet.sum() / fps, float(opening[speaks].sum()), speaks.sum() / fps,
        float(turning[idle].sum()), idle.sum() / fps,
    )  # fmt: skip


def matched(found: Float[np.ndarray, " k"], true: Float[np.ndarray, " m"]) -> int:
    """How many moments have one of the others within the tolerance, one each, both rising."""
    right, free = 0, 0
    for at in found:
        while free < len(true) and true[free] < at - TOLERANCE_SECONDS:
            free += 1
        if free < len(true) and true[free] <= at + TOLERANCE_SECONDS:
            right, free = right + 1, free + 1
    return right


def _during(seconds: Float[np.ndarray, " k"], frames: Bool[np.ndarray, " t"], fps: float) -> Float[np.ndarray, " k1"]:
    return seconds[frames[np.rint(seconds * fps).astype(int).clip(0, len(frames) - 1)]]


def _after_pauses(turns: Turns, seconds: Float[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    ends = runs_of(turns.partner.speaking)[:, 1] * HOP_SECONDS
    since = seconds - np.concatenate([[-np.inf], ends])[np.searchsorted(ends, seconds, side="right")]
    return (since >= 0) & (since < _AFTER_PAUSE_SECONDS)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other
