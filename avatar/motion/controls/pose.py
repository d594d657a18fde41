"""Head poses as angles about rest, and turning a head about its neck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.motion.controls.rest import Rest
from avatar.tracks import Motion

ORDER = "YXZ"
"""Yaw to the subject's left, pitch down, roll to the subject's right shoulder: right-handed about Y, X, Z."""


def turns(motion: Motion, rest: Rest) -> Rotation:
    """Rotations rest frame <- head."""
    return Rotation.from_matrix(rest.rotation).inv() * Rotation.from_quat(motion.quats_wxyz, scalar_first=True)


def angles(motion: Motion, rest: Rest) -> Float[np.ndarray, "t 3"]:
    """Yaw (to the subject's left), pitch (down) and roll (to the subject's right shoulder) about rest, degrees."""
    return turns(motion, rest).as_euler(ORDER, degrees=True)


def places(motion: Motion, rest: Rest) -> Float[np.ndarray, "t 3"]:
    """Where the head's origin is in the rest frame, metres."""
    return (motion.translation - rest.translation) @ rest.rotation


def with_pose(
    motion: Motion,
    rest: Rest,
    new: Rotation,
    shift: Float[np.ndarray, "t 3"] | None = None,
    *,
    where: np.ndarray | None = None,
    about_pivot: bool = True,
) -> Motion:
    """A motion with other head rotations.

    Args:
        new: rotations rest frame <- head, one per frame.
        shift: added to the position, rest frame, metres.
        where: frames to change (bool); the others stay the same to the bit. All if not given.
        about_pivot: move the head so that its pivot on the neck stays where it was.
    """
    where = np.ones(len(motion), bool) if where is None else where
    if not where.any():
        return motion
    moved = Rotation.from_matrix(rest.rotation) * new
    quats = moved.as_quat(scalar_first=True)
    quats *= np.where((quats * motion.quats_wxyz).sum(1, keepdims=True) < 0, -1, 1)
    position = motion.translation.astype(np.float64)
    if about_pivot:
        old = Rotation.from_quat(motion.quats_wxyz, scalar_first=True)
        position = position + old.apply(rest.pivot) - moved.apply(rest.pivot)
    if shift is not None:
        position = position + shift @ rest.rotation.T
    return replace(
        motion,
        quats_wxyz=np.where(where[:, None], quats, motion.quats_wxyz).astype(np.float32),
        translation=np.where(where[:, None], position, motion.translation).astype(np.float32),
    )


def turned(
    motion: Motion, rest: Rest, added: Float[np.ndarray, "t 3"], shift: Float[np.ndarray, "t 3"] | None = None
) -> Motion:
    """Add to yaw, pitch and roll (degrees), and to the position (rest frame, metres), about the neck's pivot.

    Frames to which nothing is added stay the same to the bit.
    """
    where = (added != 0).any(1) if shift is None else (added != 0).any(1) | (shift != 0).any(1)
    new = Rotation.from_euler(ORDER, angles(motion, rest) + added, degrees=True)
    return with_pose(motion, rest, new, shift, where=where)
