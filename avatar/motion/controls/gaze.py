"""Eyes and head aimed at a point in space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.motion.controls.options import Point
from avatar.motion.controls.pose import ORDER, angles, places, turned, turns
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import EYE_HIGH, EYE_LOW, eye_angles, with_eyes
from avatar.tracks import JOINTS, Motion

HEAD_SHARE = 0.4
"""Of the way to a target that the head goes: eyes alone look sly beyond some 15 degrees."""
HEAD_LIMIT = np.array([55.0, 35.0])
"""How far looking turns the head (yaw, pitch), degrees."""
_COMFORT_LOW, _COMFORT_HIGH = np.array([-20.0, -20.0]), np.array([20.0, 15.0])
"""Beyond this the head takes over from the eyes."""
_NEAREST_METRES = 0.08
AHEAD: Point = (0.0, 0.03, 10.0)
"""Whoever is talked to, in the rest frame, if nothing better is known: straight ahead, far enough for parallel eyes."""
_EYE_JOINTS = [JOINTS.index("left_eye"), JOINTS.index("right_eye")]


def look_at(
    motion: Motion, rest: Rest, target: Float[np.ndarray, "3"], weight: Float[np.ndarray, " t"] | None = None
) -> Motion:
    """Eyes on a point in space, and the head part of the way; the head's own movement goes on, and the eyes make up
    for it (vestibulo-ocular reflex). Each eye aims for itself, so that near targets make them converge.

    The head takes `HEAD_SHARE` of the way, and whatever the eyes can't do in comfort, up to `HEAD_LIMIT`. What is
    beyond both is looked at as nearly as can be.

    Args:
        target: in the rest frame, metres (`Rest.from_world` brings a point of the world there).
        weight: how much of it, per frame, 0 (untouched, to the bit) to 1; all if not given.

    Raises:
        BadInput: the target lies in the head, or is no point.
    """
    target = np.asarray(target, np.float64)
    middle = rest.eyes.mean(0)
    if target.shape != (3,) or not np.isfinite(target).all() or np.linalg.norm(target - middle) < _NEAREST_METRES:
        raise BadInput(
            "can't look there",
            expected=f"x,y,z in metres, at least {_NEAREST_METRES:g} from the eyes (left of the subject, up, ahead)",
            got=str(target.tolist()),
        )
    weight = np.ones(len(motion)) if weight is None else weight
    where, before = weight > 0, angles(motion, rest)
    turn = np.repeat((HEAD_SHARE * _direction(target - middle))[None], len(motion), 0)
    for _ in range(3):
        turn = turn.clip(-HEAD_LIMIT, HEAD_LIMIT)
        eyes = _aim(_poses(before, turn), places(motion, rest), rest, target)
        both = eyes.mean(1)
        turn = turn + both - both.clip(_COMFORT_LOW, _COMFORT_HIGH)
    turn = turn.clip(-HEAD_LIMIT, HEAD_LIMIT) * weight[:, None]
    out = turned(motion, rest, np.stack([turn[:, 0], -turn[:, 1], 0 * weight], -1))
    aimed = _aim(turns(out, rest), places(out, rest), rest, target).clip(EYE_LOW, EYE_HIGH)
    share = weight[:, None, None]
    joints = out.joints.copy()
    joints[:, _EYE_JOINTS] *= (1 - share).astype(np.float32)
    eyes = with_eyes(motion.expression, (1 - share) * eye_angles(motion.expression) + share * aimed, where)
    return replace(out, expression=eyes, joints=joints)


def _poses(before: np.ndarray, turn: np.ndarray) -> Rotation:
    added = np.stack([turn[:, 0], -turn[:, 1], 0 * turn[:, 0]], -1)
    return Rotation.from_euler(ORDER, before + added, degrees=True)


def _direction(way: Float[np.ndarray, "*t 3"]) -> Float[np.ndarray, "*t 2"]:
    """Degrees to the subject's left and up."""
    x, y, z = np.moveaxis(way, -1, 0)
    return np.degrees(np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1))


def _aim(pose: Rotation, place: np.ndarray, rest: Rest, target: np.ndarray) -> Float[np.ndarray, "t 2 2"]:
    """How each eye has to turn in its head to look at the target."""
    ways = [_direction(pose.inv().apply(target - place - pose.apply(eye))) for eye in rest.eyes]
    return np.stack(ways, 1)
