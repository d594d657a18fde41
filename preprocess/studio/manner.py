"""The habits of a speaker: how clearly he articulates, how he holds and moves his head, where he looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOODS = (
    {"mouthSmile": 0.55, "cheekSquint": 0.4, "eyeSquint": 0.2},
    {"browInnerUp": 0.6, "browOuterUp": 0.5, "eyeWide": 0.15},
    {"browDown": 0.6, "eyeSquint": 0.25, "noseSneer": 0.15},
    {"mouthFrown": 0.45, "browInnerUp": 0.5},
    {"mouthSmile": 0.35},
)
"""Expressions that come and go, ARKit actions."""


@dataclass(frozen=True)
class Manner:
    """How somebody moves; the defaults are those of everybody whom the studio films."""

    effort: tuple[float, float] = (0.45, 0.75)
    """Of articulation, 1 for the shapes of single vowels, which nobody makes in running speech; a recording draws one
    between the two."""
    blink_every_seconds: float = 4.0
    sway_degrees: float = 6.0
    """Farthest that the head sways, slowly and without a cause."""
    sway_speed: float = 1.0
    """Multiple of the usual 0.05 to 0.45 Hz."""
    stoop_degrees: float = 2.0
    """How far the head goes down with slow loudness, from silence to the loudest."""
    turn_degrees: tuple[float, float] = (22.0, 36.0)
    """How far the head turns aside, at least and at most."""
    turn_every_seconds: float = 9.0
    """After a turn the head rests for up to 0.4 of this, besides the 2 to 8 s of the turn itself."""
    nod_degrees: float = 0.0
    """Of the nods on stressed syllables."""
    brow_raise: float = 0.0
    """Strength of raised brows on stressed syllables, 0 to 1."""
    straying: float = 1.0
    """How far the eyes leave whom they look at, as a multiple of the usual."""
    smile: float = 0.0
    """Of the face at rest, strength of `mouthSmile`."""
    mood_pause: float = 1.0
    """Time between expressions as a multiple of the usual 0.8 to 4 s."""
    mood_strength: float = 1.0
    moods: tuple[int, ...] = tuple(range(len(MOODS)))
    """Those he shows, as indices into `MOODS`; what stands twice comes twice as often."""
    unrest: float = 0.0
    """How far what the face holds for a while, a mood or a smile, comes and goes, as a share."""
    heed: float = 0.6
    """Chance that he nods when the one he listens to pauses."""
    heed_degrees: float = 4.0
    """Of such nods."""

    @staticmethod
    def usual() -> Manner:
        """Of everybody whom the studio films."""
        return Manner()

    @staticmethod
    def of(seed: int) -> Manner:
        """Other habits for every seed, wide apart."""
        rng = np.random.default_rng([seed, 41])

        def between(low: float, high: float) -> float:
            """Evenly by ratio."""
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))

        effort, turn = rng.uniform(0.32, 0.9), between(5, 24)
        return Manner(
            effort=(0.95 * effort, 1.05 * effort), blink_every_seconds=between(1.8, 9), sway_degrees=between(1.2, 7),
            sway_speed=between(0.6, 1.8), stoop_degrees=rng.uniform(0, 3), turn_degrees=(turn, 1.5 * turn),
            turn_every_seconds=between(10, 150), nod_degrees=between(0.5, 6), brow_raise=rng.uniform(0, 0.7),
            straying=between(0.5, 2.2), smile=max(0.0, rng.uniform(-0.15, 0.3)), mood_pause=between(1, 10),
            mood_strength=rng.uniform(0.35, 1), moods=tuple(rng.integers(len(MOODS), size=4).tolist()),
            heed=rng.uniform(0.35, 0.95), heed_degrees=between(2, 8), unrest=rng.uniform(0.1, 0.4),
        )  # fmt: skip
