"""A motion as named numbers that people edit: actions, angles and place of the head, where the eyes look."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.controls.pose import angles, places, turned
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import EYE_HIGH, EYE_LOW, eye_angles, with_eyes
from avatar.motion.groups import GROUPS
from avatar.tracks import Motion

TURNS = ("head.yaw", "head.pitch", "head.roll")
"""Degrees about rest: to the subject's left, down, to the subject's right shoulder."""
PLACES = ("head.left", "head.up", "head.forward")
"""Metres in the rest frame."""
LOOKS = ("gaze.left", "gaze.up")
"""Degrees of both eyes in the head."""
ACTIONS = tuple(name for name in ARKIT_INDEX if not name.startswith("eyeLook"))
CHANNELS = (*ACTIONS, *TURNS, *PLACES, *LOOKS)

_LIMITS = (
    dict.fromkeys(ACTIONS, (0.0, 1.0)) | dict.fromkeys(TURNS, (-80.0, 80.0)) | dict.fromkeys(PLACES, (-1.0, 1.0))
    | {name: (float(low), float(high)) for name, low, high in zip(LOOKS, EYE_LOW, EYE_HIGH, strict=True)}
)  # fmt: skip

Tracks = Mapping[str, Float[np.ndarray, " t"]]


def group_of(channel: str) -> str:
    """The group that a channel belongs to."""
    if channel in ACTIONS:
        return next(group for group, columns in GROUPS.items() if ARKIT_INDEX[channel] in columns)
    return channel.partition(".")[0]


def check_channel(channel: str, value: float, *, change: bool) -> None:
    """Refuse a name that is no channel, and a value (or a change) beyond what it can be.

    Raises:
        BadInput: says which there are, or the limits.
    """
    if channel not in _LIMITS:
        near = difflib.get_close_matches(channel, CHANNELS, n=3, cutoff=0.5)
        other = LOOKS if channel in ARKIT_INDEX else near
        fix = f"did you mean {' or '.join(other)}?" if other else ""
        raise BadInput(f"there is no channel {channel!r} to edit", expected=", ".join(CHANNELS), fix=fix)
    low, high = _LIMITS[channel]
    if change:
        low, high = low - high, high - low
    if not low <= value <= high:
        raise BadInput(f"{channel} can't be {value:g}", expected=f"{low:g} to {high:g}", got=f"{value:g}")


def read_channel(motion: Motion, rest: Rest, channel: str) -> Float[np.ndarray, " t"]:
    """One channel over time."""
    if channel in ACTIONS:
        return motion.expression[:, ARKIT_INDEX[channel]].astype(np.float64)
    if channel in TURNS:
        return angles(motion, rest)[:, TURNS.index(channel)]
    if channel in PLACES:
        return places(motion, rest)[:, PLACES.index(channel)]
    return eye_angles(motion.expression).mean(1)[:, LOOKS.index(channel)]


def add_to_channels(motion: Motion, rest: Rest, added: Tracks) -> Motion:
    """Add tracks to channels; where nothing is added every frame stays the same to the bit.

    A head turns about its neck. Actions stay in [0, 1] (or where they were beyond), eyes within their limits.
    """
    if turns := set(TURNS) & added.keys():
        motion = turned(motion, rest, _columns(added, TURNS, len(motion)))
    if shifts := set(PLACES) & added.keys():
        motion = turned(motion, rest, np.zeros((len(motion), 3)), _columns(added, PLACES, len(motion)))
    expression = motion.expression
    if looks := set(LOOKS) & added.keys():
        more = _columns(added, LOOKS, len(motion))
        wanted = (eye_angles(expression) + more[:, None]).clip(EYE_LOW, EYE_HIGH)
        expression = with_eyes(expression, wanted, (more != 0).any(1))
    expression = expression.copy()
    for channel in added.keys() - turns - shifts - looks:
        column = expression[:, ARKIT_INDEX[channel]]
        sum_ = (column + added[channel]).clip(np.minimum(column, 0), np.maximum(column, 1))
        expression[:, ARKIT_INDEX[channel]] = np.where(added[channel] == 0, column, sum_)
    return replace(motion, expression=expression)


def _columns(added: Tracks, names: tuple[str, ...], frames: int) -> np.ndarray:
    return np.stack([added.get(name, np.zeros(frames)) for name in names], -1)
