"""Dials on any motion: how far the mouth opens, how often the eyes blink, how much head and eyes move, and whereto."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.motion.controls.closures import closed, keep_closures
from avatar.motion.controls.gaze import AHEAD, look_at
from avatar.motion.controls.lids import with_blink_rate
from avatar.motion.controls.options import Dials, Point
from avatar.motion.controls.pose import angles, places, turns, with_pose
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import EYE_HIGH, EYE_LOW, eye_angles, with_eyes
from avatar.motion.groups import GROUPS
from avatar.motion.visemes import SEALED, target_vector
from avatar.tracks import JOINTS, Motion

_STRAIN_DEGREES = 12.0
"""Eyes do not make up for a head that was held back beyond this: a glance aside must not end in the eyes' corners."""


def apply_dials(
    motion: Motion, dials: Dials, *, seed: int = 0, rest: Rest | None = None, listener: Point = AHEAD
) -> Motion:
    """A motion played by dials. Groups that no dial concerns stay the same to the bit.

    Args:
        seed: chooses the moments of blinks, if a rate is given.
        rest: about what is scaled; the motion's own statistics if not given.
        listener: whom a composed host looks at, rest frame, metres.

    Raises:
        BadInput: a dial out of range, or a target inside of the head.
    """
    dials.check()
    dials = dials.resolved(listener)
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
    before, expression = motion.expression, _scaled(motion, rest, "lips", gain)
    # What presses the lips together is not scaled while they are: they would sink into each other.
    pressing = np.flatnonzero(target_vector(SEALED))
    share = closed(rest.aperture(before), motion.fps)[:, None].astype(np.float32)
    expression[:, pressing] += share * (before - expression)[:, pressing]
    expression = keep_closures(before, expression, rest, motion.fps)
    joints = motion.joints.copy()
    joints[:, JOINTS.index("jaw")] *= gain
    return replace(motion, expression=expression, joints=joints)
