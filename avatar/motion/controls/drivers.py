"""Several drivers at once: each group of channels from another motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.motion.resampling import resampled
from avatar.tracks import JOINTS, Motion

ALIASES: dict[str, tuple[str, ...]] = {
    "mouth": ("lips",), "brows": ("upper",), "eyes": ("lids", "gaze"), "pose": ("head",),
    "face": ("lips", "upper", "lids", "gaze"),
}  # fmt: skip
"""Other names, some for several groups."""
_GROUP_OF_JOINT = {"neck": "head", "jaw": "lips", "left_eye": "gaze", "right_eye": "gaze"}
_SAME_SECONDS = 1e-6


def combine(base: Motion, sources: Mapping[str, Motion]) -> Motion:
    """A motion with groups of it taken from others, at the base's moments.

    Every source starts when the base does; one that is shorter goes back and forth. Groups from a source with the same
    moments, and those of the base, are the same to the bit. Shoulders go with the head.

    Args:
        sources: motions by group (`avatar.motion.groups`), in the same person's terms and frame as the base.

    Raises:
        BadInput: there is no such group.
    """
    for group, source in sources.items():
        if group not in GROUPS:
            raise BadInput(f"there is no group {group!r}", expected=", ".join(GROUP_NAMES), got=group)
        base = crossfade(base, fitted(source, base), (group,), np.ones(len(base)))
    return base


def fitted(source: Motion, base: Motion) -> Motion:
    """A motion at the moments of another, both from their own beginning on, back and forth if it is too short."""
    wanted = base.timestamps_seconds - base.timestamps_seconds[0]
    own = source.timestamps_seconds - source.timestamps_seconds[0]
    if len(own) == len(wanted) and np.abs(own - wanted).max() < _SAME_SECONDS:
        return replace(source, timestamps_seconds=base.timestamps_seconds)
    length = float(own[-1])
    there = wanted if length == 0 else length - np.abs(length - wanted % (2 * length))
    out = resampled(replace(source, timestamps_seconds=own.astype(np.float64)), there)
    return replace(out, timestamps_seconds=base.timestamps_seconds)


def crossfade(motion: Motion, other: Motion, groups: Sequence[str], weight: Float[np.ndarray, " t"]) -> Motion:
    """Groups of a motion blended with those of another of the same moments.

    Args:
        weight: 0 leaves a frame as it is and 1 takes the other's, both to the bit; rotations go the shortest way.
    """
    columns = [column for group in groups for column in GROUPS[group]]
    joints = [i for i, joint in enumerate(JOINTS) if _GROUP_OF_JOINT[joint] in groups]
    expression, turns = motion.expression.copy(), motion.joints.copy()
    expression[:, columns] = _mixed(expression[:, columns], other.expression[:, columns], weight)
    turns[:, joints] = _mixed(turns[:, joints], other.joints[:, joints], weight)
    out = replace(motion, expression=expression, joints=turns)
    if "head" not in groups:
        return out
    start, end = (Rotation.from_quat(m.quats_wxyz, scalar_first=True) for m in (motion, other))
    between = start * Rotation.from_rotvec(weight[:, None] * (start.inv() * end).as_rotvec())
    return replace(
        out,
        quats_wxyz=_chosen(motion.quats_wxyz, other.quats_wxyz, between.as_quat(scalar_first=True), weight),
        translation=_mixed(motion.translation, other.translation, weight),
        torso=_mixed(motion.torso, other.torso, weight),
    )


def _mixed(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    share = weight.reshape(-1, *[1] * (one.ndim - 1))
    return _chosen(one, other, (1 - share) * one + share * other, weight)


def _chosen(one: np.ndarray, other: np.ndarray, between: np.ndarray, weight: np.ndarray) -> np.ndarray:
    share = weight.reshape(-1, *[1] * (one.ndim - 1))
    return np.where(share == 0, one, np.where(share == 1, other, between)).astype(np.float32)


def parse_sources(texts: Sequence[str]) -> dict[str, str]:
    """What each group comes from, of texts such as `eyes=other.capture`.

    Raises:
        BadInput: no such group, nothing after the =, or a group that is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, source = (part.strip() for part in text.partition("="))
        groups = ALIASES.get(name, (name,))
        if not source or not set(groups) <= set(GROUP_NAMES):
            raise BadInput(
                f"--from {text!r} is not understood",
                expected=f"GROUP=MOTION, GROUP one of {', '.join((*GROUP_NAMES, *ALIASES))}",
                fix="for instance --from lips=audio --from eyes=other.capture",
            )
        for group in groups:
            if found.setdefault(group, source) != source:
                raise BadInput(f"two motions for {group}", expected="one", got=f"{found[group]} and {source}")
    return found
