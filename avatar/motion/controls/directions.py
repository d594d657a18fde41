"""Directions on a timeline ("0.5 nod; 2-4 smile"), acted by whatever motion there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.motion.blinks import smoothstep
from avatar.motion.controls.blending import add_actions, of_mood
from avatar.motion.controls.drivers import crossfade
from avatar.motion.controls.emotion_table import EMOTIONS
from avatar.motion.controls.gaze import AHEAD, look_at
from avatar.motion.controls.gestures import GESTURES, Gesture
from avatar.motion.controls.options import Point
from avatar.motion.controls.pose import turned
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import EYE_HIGH, EYE_LOW, eye_angles, with_eyes
from avatar.motion.visemes import target_vector
from avatar.tracks import Motion

STRONGEST = 1.5
_SACCADE_SECONDS = 0.1
_BACK_EARLY_SECONDS = 0.25
"""The eyes return this much before the head has."""


@dataclass(frozen=True)
class Direction:
    """One direction, from a second to another of the motion."""

    name: str
    """Of `GESTURES` or `EMOTIONS`."""
    start_seconds: float
    end_seconds: float
    strength: float = 1.0
    """0 to `STRONGEST`."""

    @property
    def gesture(self) -> Gesture:
        return gesture_of(self.name)

    def meets(self, other: Direction) -> bool:
        """Whether the two share some time."""
        return max(self.start_seconds, other.start_seconds) < min(self.end_seconds, other.end_seconds)

    def __str__(self) -> str:
        return f"{self.start_seconds:g}-{self.end_seconds:g} {self.name}"


def gesture_of(name: str) -> Gesture:
    """A gesture by its name; a mood is one too."""
    return GESTURES[name] if name in GESTURES else Gesture(EMOTIONS[name], strength=0.6, ramp=0.5)


def refuse_conflicts(directions: Sequence[Direction]) -> None:
    """Two directions at the same time must not want opposite things; the same one twice is as strong as the stronger.

    Raises:
        BadInput: names the two and what they both want.
    """
    for one, other in combinations(directions, 2):
        if one.meets(other) and contradict(one.name, other.name):
            raise BadInput(
                f"the directions {one.name!r} and {other.name!r} contradict each other",
                expected="one after the other",
                got=f"{one}; {other}",
                fix=f"end {one.name!r} before {other.name!r} begins, or leave one out",
            )


def contradict(one: str, other: str) -> bool:
    """Whether nobody can do both at once; two moods are such, one gesture twice is not."""
    first, second = gesture_of(one).needs, gesture_of(other).needs
    two_moods = one in EMOTIONS and other in EMOTIONS
    return one != other and (two_moods or any(first[axis] != second[axis] for axis in first.keys() & second.keys()))


def apply_directions(
    motion: Motion,
    directions: Sequence[Direction],
    rest: Rest | None = None,
    listener: Point = AHEAD,
) -> Motion:
    """Act directions on top of a motion.

    Each comes and goes smoothly; before its first and after its last moment everything is the same to the bit.
    Different directions add up. The eyes make up for what the head does, unless they look somewhere else.

    Args:
        rest: whose face and pose; the motion's own statistics if not given.
        listener: where "look at me" looks, rest frame, metres.

    Raises:
        BadInput: directions that contradict each other, or that begin after the motion has ended.
    """
    refuse_conflicts(directions)
    rest = rest or Rest.of(motion)
    seconds = motion.timestamps_seconds - motion.timestamps_seconds[0]
    for direction in directions:
        if direction.start_seconds > seconds[-1]:
            raise BadInput(
                f"the direction {direction.name!r} begins after the end",
                expected=f"0 to {seconds[-1]:.4g} seconds",
                got=f"{direction.start_seconds:g}",
            )
    for direction in directions:
        if direction.gesture.holds:
            motion = _held(motion, seconds, direction)
    motion = _moved(motion, rest, seconds, directions)
    motion = _faced(motion, rest, seconds, directions)
    looks = [d for d in directions if d.gesture.at_me]
    if looks:
        motion = look_at(motion, rest, np.array(listener), _strongest(_courses(looks, seconds)).clip(0, 1))
    return motion


def course(direction: Direction, seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How far a direction that goes somewhere and stays has come, 0 to its strength."""
    ramp = min(direction.gesture.ramp, (direction.end_seconds - direction.start_seconds) / 2)
    return direction.strength * _window(seconds, direction.start_seconds, direction.end_seconds, ramp)


def _window(seconds: np.ndarray, start: float, end: float, ramp: float) -> np.ndarray:
    return smoothstep((seconds - start) / ramp) * smoothstep((end - seconds) / ramp)


def _courses(directions: Iterable[Direction], seconds: np.ndarray) -> Iterator[np.ndarray]:
    return (course(d, seconds) for d in directions)


def _strongest(tracks: Iterable[np.ndarray]) -> np.ndarray:
    """Of several tracks, at each moment the one that is furthest from 0; one after the other, for there may be many."""
    return reduce(lambda best, track: np.where(np.abs(track) > np.abs(best), track, best), tracks)


def _head_turn(direction: Direction, seconds: np.ndarray) -> Float[np.ndarray, "t 3"]:
    """Yaw, pitch, roll that a direction adds, degrees."""
    gesture = direction.gesture
    if not gesture.swings:
        return np.outer(course(direction, seconds), gesture.head)
    length = direction.end_seconds - direction.start_seconds
    done = ((seconds - direction.start_seconds) / length).clip(0, 1)
    swings = max(1, round(gesture.swings * length / gesture.seconds))
    ends = _window(seconds, direction.start_seconds, direction.end_seconds, min(gesture.ramp, length / 2))
    # A nod goes down and back, ever less far; a shake goes to both sides.
    down = (0.5 - 0.5 * np.cos(2 * np.pi * swings * done)) * (1 - 0.35 * done)
    aside = np.sin(2 * np.pi * swings * done) * ends
    yaw, pitch, roll = gesture.head
    return direction.strength * np.stack([yaw * aside, pitch * down, roll * down], -1)


def _gaze_goal(direction: Direction, seconds: np.ndarray) -> Float[np.ndarray, "t 2"]:
    """Where a direction wants head and eyes together to look, degrees; the eyes jump there."""
    length = direction.end_seconds - direction.start_seconds
    end = direction.end_seconds - min(_BACK_EARLY_SECONDS, length / 4)
    jump = min(_SACCADE_SECONDS, (end - direction.start_seconds) / 2)
    there = _window(seconds, direction.start_seconds, end, jump)
    return direction.strength * np.outer(there, direction.gesture.gaze)


def _moved(motion: Motion, rest: Rest, seconds: np.ndarray, directions: Sequence[Direction]) -> Motion:
    turn, gaze, shift = (np.zeros((len(seconds), n)) for n in (3, 2, 3))
    for name in dict.fromkeys(d.name for d in directions):
        same, gesture = [d for d in directions if d.name == name], gesture_of(name)
        if any(gesture.head):
            turn += _strongest(_head_turn(d, seconds) for d in same)
        if any(gesture.gaze):
            gaze += _strongest(_gaze_goal(d, seconds) for d in same)
        if gesture.forward:
            shift[:, 2] += gesture.forward * _strongest(_courses(same, seconds))
    out = turned(motion, rest, turn, shift)
    eyes = gaze - np.stack([turn[:, 0], -turn[:, 1]], -1)
    wanted = (eye_angles(motion.expression) + eyes[:, None]).clip(EYE_LOW, EYE_HIGH)
    return replace(out, expression=with_eyes(out.expression, wanted, (eyes != 0).any(1)))


def _faced(motion: Motion, rest: Rest, seconds: np.ndarray, directions: Sequence[Direction]) -> Motion:
    face, mood = np.zeros((len(seconds), 52)), np.zeros((len(seconds), 52))
    for name in dict.fromkeys(d.name for d in directions):
        strength = _strongest(_courses((d for d in directions if d.name == name), seconds))
        into = mood if name in EMOTIONS else face
        into += np.outer(strength, target_vector(gesture_of(name).actions))
    if mood.any():
        face += of_mood(motion, rest, mood)
    return add_actions(motion, rest, face) if face.any() else motion


def _held(motion: Motion, seconds: np.ndarray, direction: Direction) -> Motion:
    """Head, gaze and brows as they were when a direction began."""
    first = motion[np.full(len(motion), np.searchsorted(seconds, direction.start_seconds))]
    return crossfade(motion, first, ("head", "gaze", "upper"), course(direction, seconds).clip(0, 1))
