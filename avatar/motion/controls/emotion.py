"""Moods: a label and an intensity, laid over any motion."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.motion.controls.blending import add_actions, of_mood
from avatar.motion.controls.emotion_table import EMOTIONS
from avatar.motion.controls.rest import Rest
from avatar.motion.visemes import target_vector
from avatar.tracks import Motion

Takes = Mapping[str, Float[np.ndarray, "52"]]
"""What a person's own labelled takes add to their face, by label."""


@dataclass(frozen=True)
class Emotion:
    """A mood that lasts."""

    label: str
    intensity: float = 0.6
    """0 to 1."""

    def check(self, takes: Takes | None = None) -> None:
        """Refuse what can't be meant.

        Raises:
            BadInput: an unknown label, or an intensity outside 0 to 1.
        """
        emotion_vector(self.label, takes)
        if not 0 <= self.intensity <= 1:
            raise BadInput("--intensity is out of range", expected="0 to 1", got=f"{self.intensity:g}")


def emotion_vector(label: str, takes: Takes | None = None) -> Float[np.ndarray, "52"]:
    """What a mood adds to the face at full strength: the person's own take if there is one, else the built-in one.

    Raises:
        BadInput: neither has this label.
    """
    if takes and label in takes:
        return np.asarray(takes[label], np.float64)
    if label in EMOTIONS:
        return target_vector(EMOTIONS[label])
    names = list(dict.fromkeys([*(takes or ()), *EMOTIONS]))
    near = difflib.get_close_matches(label, names, n=1, cutoff=0.5)
    raise BadInput(
        f"unknown emotion {label!r}", expected=", ".join(names), fix=f"did you mean {near[0]}?" if near else ""
    )


def apply_emotion(motion: Motion, emotion: Emotion, rest: Rest | None = None, takes: Takes | None = None) -> Motion:
    """Lay a mood over a motion; while the lips speak, the mouth shows a third of it, and closures stay closed.

    Raises:
        BadInput: an unknown label, or an intensity outside 0 to 1.
    """
    emotion.check(takes)
    rest = rest or Rest.of(motion)
    added = np.repeat(emotion.intensity * emotion_vector(emotion.label, takes)[None], len(motion), 0)
    return add_actions(motion, rest, of_mood(motion, rest, added))
