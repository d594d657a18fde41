"""How somebody takes what is said to him: a closed vocabulary, and what each word does to what a listener does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

AttitudeName = Literal["neutral", "agreeing", "doubtful", "amused", "bored"]


@dataclass(frozen=True)
class Attitude:
    """Habits of a listener. Names of gestures are those of `avatar.motion.controls.gestures`."""

    nod_chance: float
    """At a pause of the other one; at what he stresses it is a part of this."""
    nod_strength: float
    """Of the usual 10 degrees."""
    smile_chance: float
    """At a pause, of a smile that passes."""
    brow_chance: float
    """At what the other one stresses, of raised brows."""
    glance_every_seconds: float
    """The eyes leave him about this often."""
    glance_seconds: tuple[float, float]
    held: tuple[tuple[str, float], ...] = ()
    """Gestures, with their strength, that last as long as he listens."""
    shake_chance: float = 0.0
    shake_strength: float = 0.0


ATTITUDES: dict[AttitudeName, Attitude] = {
    "neutral": Attitude(0.6, 0.4, 0.12, 0.15, 11.0, (0.6, 1.0)),
    "agreeing": Attitude(0.95, 0.6, 0.3, 0.25, 14.0, (0.5, 0.8), (("smile", 0.15),)),
    "doubtful": Attitude(
        0.05, 0.3, 0.0, 0.0, 7.0, (0.7, 1.2), (("lower brows", 0.5), ("tilt right", 0.45)), 0.6, 0.45
    ),
    "amused": Attitude(0.45, 0.4, 0.0, 0.4, 11.0, (0.5, 0.9), (("smile", 0.65),)),
    "bored": Attitude(0.08, 0.25, 0.0, 0.0, 3.5, (1.2, 2.2), (("tilt left", 0.5), ("chin down", 0.3))),
}  # fmt: skip
ATTITUDE_NAMES: tuple[AttitudeName, ...] = get_args(AttitudeName)
