"""Dials on any motion: how far the mouth opens, how often the eyes blink, how much head and eyes move, and whereto."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.motion.controls.closures import keep_closures
from avatar.motion.controls.gaze import AHEAD, EYE_HIGH, EYE_LOW, eye_angles, look_at, with_eyes
from avatar.motion.controls.lids import with_blink_rate
from avatar.motion.controls.pose import angles, places, turns, with_pose
from avatar.motion.controls.rest import Rest
from avatar.motion.groups import GROUPS
from avatar.tracks import JOINTS, Motion

GroupName = Literal["lips", "upper", "lids", "gaze", "head"]

MOST_BLINKS = 60.0
_MOST_GAIN = 3.0
_STRAIN_DEGREES = 12.0
"""Eyes do not make up for a head that was held back beyond this: a glance aside must not end in the eyes' corners."""


@dataclass(frozen=True)
class Dials:
    """How strongly a motion is played; the defaults change nothing, to the bit."""

    mouth_gain: float = 1.0
    """How far lips and jaw move from rest; closed lips stay closed."""
    blink_rate: float | None = None
    """Blinks per minute; the motion's own if not given."""
    pose_amplitude: float = 1.0
    """How far the head moves from its mean pose; the eyes make up for it."""
    gaze_amplitude: float = 1.0
    """How far the eyes move from rest, beside making up for the head."""
    brow_gain: float = 1.0
    """How far brows, cheeks and squint move from rest."""
    composed: bool = False
    """A calm host: small head movements, and the eyes on whoever is looked at (--look-at, else straight ahead)."""
    look_at: tuple[float, float, float] | None = None
    """Point that the eyes stay on, metres from the head at rest: to the subject's left, up, out of the face."""
    still: tuple[GroupName, ...] = ()
    """What stays at rest altogether, any of: lips upper lids gaze head."""

    def check(self) -> None:
        """Refuse what can't be meant.

        Raises:
            BadInput: a gain outside 0 to 3, or a rate outside 0 to 60.
        """
        for name in ("mouth_gain", "pose_amplitude", "gaze_amplitude", "brow_gain"):
            _check(name, getattr(self, name), _MOST_GAIN)
        if self.blink_rate is not None:
            _check("blink_rate", self.blink_rate, MOST_BLINKS)

    def resolved(self) -> Dials:
        """With what `composed` stands for; dials that were turned by hand count."""
        if not self.composed:
            return self
        head = 0.35 if self.pose_amplitude == 1 else self.pose_amplitude
        return replace(self, composed=False, pose_amplitude=head, look_at=self.look_at or AHEAD)


def _check(name: str, value: float, highest: float) -> None:
    if not 0 <= value <= highest:  # NaN is in no range either
        raise BadInput(f"--{name.replace('_', '-')} is out of range", expected=f"0 to {highest:g}", got=f"{value:g}")


def apply_dials(motion: Motion, dials: Dials, *, seed: int = 0, rest: Rest | None = None) -> Motion:
    """A motion played by dials. Groups that no dial concerns stay the same to the bit.

    Args:
        seed: chooses the moments of blinks, if a rate is given.
        rest: about what is scaled; the motion's own statistics if not given.

    Raises:
        BadInput: a dial out of range, or a target inside of the head.
    """
    dials.check()
    dials = dials.resolved()
    rest = rest or Rest.of(motion)
    if (head := 0.0 if "head" in dials.still else dials.pose_amplitude) != 1:
        motion = _scale_head(motion, rest, head)
    if dials.gaze_amplitude != 1:
        motion = _scale_gaze(motion, rest, dials.gaze_amplitude)
    if dials.brow_gain != 1:
        motion = replace(motion, expression=_scaled(motion, rest, "upper", dials.brow_gain))
    if dials.mouth_gain != 1:
        motion = _scale_mouth(motion, rest, dials.mouth_gain)
    if dials.blink_rate is not None:
        motion = with_blink_rate(motion, dials.blink_rate, seed)
    if dials.look_at is not None:
        motion = look_at(motion, rest, np.array(dials.look_at))
    return _at_rest(motion, rest, [column for group in dials.still for column in GROUPS[group]])


def _at_rest(motion: Motion, rest: Rest, columns: list[int]) -> Motion:
    if not columns:
        return motion
    expression = motion.expression.copy()
    expression[:, columns] = rest.expression[columns]
    return replace(motion, expression=expression)


def _scale_head(motion: Motion, rest: Rest, amplitude: float) -> Motion:
    """Rotation and position about rest, along the shortest way; the eyes make up for the difference."""
    before = angles(motion, rest)
    scaled = Rotation.from_rotvec(amplitude * turns(motion, rest).as_rotvec())
    shift = (amplitude - 1) * places(motion, rest)
    out = with_pose(motion, rest, scaled, shift, about_pivot=False)
    neck = JOINTS.index("neck")
    joints = motion.joints.copy()
    joints[:, neck] *= amplitude
    less = before - angles(out, rest)
    eyes = eye_angles(motion.expression)
    wanted = eyes + np.stack([less[:, 0], -less[:, 1]], -1)[:, None]
    limit = np.maximum(np.abs(eyes), _STRAIN_DEGREES)
    return replace(out, joints=joints, expression=with_eyes(motion.expression, wanted.clip(-limit, limit)))


def _scale_gaze(motion: Motion, rest: Rest, amplitude: float) -> Motion:
    """What the eyes do beside making up for the head; that stays, or a calm gaze would swim."""
    turn, eyes = angles(motion, rest), eye_angles(motion.expression)
    at_rest = eye_angles(rest.expression[None])
    against = -np.stack([turn[:, 0], -turn[:, 1]], -1)[:, None]
    against = against.clip(-_STRAIN_DEGREES, _STRAIN_DEGREES)
    own = eyes - at_rest - against
    return replace(
        motion, expression=with_eyes(motion.expression, (at_rest + against + amplitude * own).clip(EYE_LOW, EYE_HIGH))
    )


def _scaled(motion: Motion, rest: Rest, group: str, gain: float) -> np.ndarray:
    columns = list(GROUPS[group])
    before, base = motion.expression[:, columns], rest.expression[columns]
    out = motion.expression.copy()
    out[:, columns] = (base + gain * (before - base)).clip(np.minimum(before, 0), np.maximum(before, 1))
    return out


def _scale_mouth(motion: Motion, rest: Rest, gain: float) -> Motion:
    expression = keep_closures(motion.expression, _scaled(motion, rest, "lips", gain), rest, motion.fps)
    joints = motion.joints.copy()
    joints[:, JOINTS.index("jaw")] *= gain
    return replace(motion, expression=expression, joints=joints)
