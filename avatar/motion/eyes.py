"""A person's habits of blinking and looking, and eyes that have them: events, not averages. numpy only.

A network that predicts means smears what happens in a single frame. Blinks and saccades are therefore drawn from
processes with the person's rates and sizes (functions of seed and time, `avatar.motion.blinks`), and the eyes make up
for turns of the head by the person's own share (vestibulo-ocular reflex).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.errors import FormatMismatch
from avatar.motion.blinks import Gaze, find_blinks, paced_blinks
from avatar.motion.eye_angles import gaze_degrees, with_gaze
from avatar.motion.groups import GROUPS
from avatar.tracks import Motion

SACCADE_DEGREES_PER_SECOND = 60.0
_LEAST_DEPTH = 0.5
_LEAST_TURN = 2.0
"""Degrees per second from which on eyes are seen to make up for a turn of the head."""
_LEAST_FRAMES = 50
_USUAL = {"blink_every_seconds": 4.0, "fixation_seconds": 1.25, "head_share": 0.8}
"""Where too little was seen to tell."""
_LIMITS = {
    "blink_every_seconds": (1.2, 30.0), "lid_depth": (_LEAST_DEPTH, 1.0), "fixation_seconds": (0.4, 10.0),
    "reach_yaw_degrees": (0.2, 10.0), "reach_pitch_degrees": (0.2, 10.0), "rest_yaw_degrees": (-20.0, 20.0),
    "rest_pitch_degrees": (-20.0, 20.0), "head_share": (0.0, 1.2),
}  # fmt: skip
"""What eyes do: beyond lies what was measured wrongly, or overdone too far."""
_BY_RATIO = {"blink_every_seconds", "fixation_seconds", "reach_yaw_degrees", "reach_pitch_degrees"}


@dataclass(frozen=True)
class EyeHabits:
    """What one person's eyes usually do."""

    blink_every_seconds: float
    lid_depth: float
    """Closure in a blink over the lids at rest."""
    fixation_seconds: float
    reach_yaw_degrees: float
    reach_pitch_degrees: float
    rest_yaw_degrees: float
    rest_pitch_degrees: float
    head_share: float
    """Of a turn of the head, the share that the eyes make up for."""

    @staticmethod
    def of(motions: Sequence[Motion]) -> EyeHabits:
        """Habits of motions about the identity pose; usual ones where too little happens to tell."""
        found = [blinks(m) for m in motions]
        count, length = sum(map(len, found)), sum(len(m) / m.fps for m in motions)
        depths = [lid_closure(m)[blink].max() for m, runs in zip(motions, found, strict=True) for blink in runs]
        share = head_share(motions)
        share = float(np.clip(share, *_LIMITS["head_share"])) if np.isfinite(share) else _USUAL["head_share"]
        looks = [gaze_degrees(m.expression)[:, :2] + share * head_degrees(m)[:, :2] * (1, -1) for m in motions]
        saccades = sum(onsets(speed(look, m)) for look, m in zip(looks, motions, strict=True))
        looked = np.concatenate(looks)
        middle = np.median(looked, 0)
        reach = np.sqrt(2) * looked.std(0)  # every other fixation is on the listener
        return _limited(
            blink_every_seconds=length / count if count > 1 else _USUAL["blink_every_seconds"],
            lid_depth=float(np.median(depths)) if count else 1.0,
            fixation_seconds=length / saccades if saccades > 1 else _USUAL["fixation_seconds"],
            reach_yaw_degrees=float(reach[0]),
            reach_pitch_degrees=float(reach[1]),
            rest_yaw_degrees=float(middle[0]),
            rest_pitch_degrees=float(middle[1]),
            head_share=share,
        )

    def onto(self, motion: Motion, seed: int, neutral: Float[np.ndarray, "52"]) -> Motion:
        """The same motion with eyes that blink and look around; what they do follows from the seed and the time.

        Args:
            neutral: lids at rest.
        """
        return LiveEyes(self, seed, neutral).onto(motion)

    def toward(self, other: EyeHabits, amount: float) -> EyeHabits:
        """Habits on the way to another's, or beyond: 0 is these, 1 the other's; rates and sizes go by ratio."""
        mixed = {}
        for name in (f.name for f in fields(self)):
            own, theirs = getattr(self, name), getattr(other, name)
            by_ratio = name in _BY_RATIO
            mixed[name] = own * (theirs / own) ** amount if by_ratio else own + amount * (theirs - own)
        return _limited(**mixed)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file, by name."""
        return {f"eyes.{f.name}": np.array([getattr(self, f.name)], np.float32) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> EyeHabits:
        """What `arrays` gave.

        Raises:
            FormatMismatch: something is missing.
        """
        names = [f.name for f in fields(EyeHabits)]
        if lacking := [name for name in names if arrays.get(f"eyes.{name}", np.zeros(0)).shape != (1,)]:
            raise FormatMismatch("this prior has no habits of eyes", got=f"no {lacking[0]}", fix="train it again")
        return EyeHabits(*(float(arrays[f"eyes.{name}"][0]) for name in names))


def _limited(**habits: float) -> EyeHabits:
    return EyeHabits(**{name: float(np.clip(value, *_LIMITS[name])) for name, value in habits.items()})


class LiveEyes:
    """Eyes with somebody's habits for a motion that comes piece by piece; the pieces are those of the whole."""

    def __init__(self, habits: EyeHabits, seed: int, neutral: Float[np.ndarray, "52"]) -> None:
        self._habits, self._seed = habits, seed
        self._lids = list(GROUPS["lids"])
        self._lids_at_rest = neutral[self._lids]
        reach = habits.reach_yaw_degrees, habits.reach_pitch_degrees
        self._gaze = Gaze(seed, reach, habits.fixation_seconds)

    def onto(self, motion: Motion) -> Motion:
        """The next piece of the motion with these eyes; see `EyeHabits.onto`."""
        habits, seconds, rest = self._habits, motion.timestamps_seconds, self._lids_at_rest
        expression = motion.expression.astype(np.float64)
        closed = habits.lid_depth * paced_blinks(seconds, self._seed, 60 / habits.blink_every_seconds)[:, None]
        expression[:, self._lids] = rest + (1 - rest) * closed
        look = self._gaze.at(seconds) + (habits.rest_yaw_degrees, habits.rest_pitch_degrees)
        look = look - habits.head_share * head_degrees(motion)[:, :2] * (1, -1)
        return replace(motion, expression=with_gaze(expression, look).astype(np.float32))


def head_degrees(motion: Motion) -> Float[np.ndarray, "t 3"]:
    """Yaw to the subject's left, pitch down, roll to the right shoulder."""
    return Rotation.from_quat(motion.quats_wxyz, scalar_first=True).as_euler("YXZ", degrees=True)


def lid_closure(motion: Motion) -> Float[np.ndarray, " t"]:
    """Of both lids, over their rest."""
    lids = motion.expression[:, list(GROUPS["lids"])].mean(1)
    return lids - np.quantile(lids, 0.2)


def blinks(motion: Motion) -> list[slice]:
    """Frames of every blink."""
    return find_blinks(motion.expression[:, list(GROUPS["lids"])], motion.fps)


def head_share(motions: Sequence[Motion]) -> float:
    """Share of the head's turns aside that the eyes make up for, between saccades; NaN if the head hardly turns."""
    head = np.concatenate([np.gradient(head_degrees(m)[:, 0]) * m.fps for m in motions])
    eyes = np.concatenate([np.gradient(gaze_degrees(m.expression)[:, 0]) * m.fps for m in motions])
    steady = (np.abs(head) > _LEAST_TURN) & (np.abs(eyes) < SACCADE_DEGREES_PER_SECOND)
    if steady.sum() < _LEAST_FRAMES:
        return float("nan")
    return float(-(head[steady] @ eyes[steady]) / (head[steady] @ head[steady]))


def speed(look: Float[np.ndarray, "t k"], motion: Motion) -> Float[np.ndarray, " t1"]:
    """How fast a direction changes, degrees per second."""
    return np.linalg.norm(np.diff(look, axis=0), axis=1) * motion.fps


def onsets(speeds: Float[np.ndarray, " t"]) -> int:
    """How many saccades begin."""
    fast = speeds > SACCADE_DEGREES_PER_SECOND
    return int((fast[1:] & ~fast[:-1]).sum())
