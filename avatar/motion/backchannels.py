"""What a listener does, by rule: nods at the other's pauses and at what he stresses, looks, passing smiles; brows that
rise when he is interrupted; glances aside while nobody speaks.

Listeners nod most at pauses and after what is stressed, and look at the speaker: Dittmann and Llewellyn, J. Personality
and Social Psychology 9 (1968); Kendon, Acta Psychologica 26 (1967). Whatever is random about a reaction follows from
the seed and the moment that it answers, so that another sound later on changes nothing before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from avatar.motion.attitudes import ATTITUDES, Attitude, AttitudeName
from avatar.motion.controls.directions import Direction, apply_directions, contradict
from avatar.motion.controls.gaze import AHEAD
from avatar.motion.controls.options import Point
from avatar.motion.controls.rest import Rest
from avatar.motion.features import HOP_SECONDS
from avatar.motion.prosody import runs_of
from avatar.motion.turns import BOTH, IDLE, LISTENING, SPEAKING, Turns
from avatar.tracks import Motion

_STRESS_SHARE = 0.35
"""Chance of a nod at a stressed syllable, as a share of that at a pause."""
_DELAY_SECONDS = (0.15, 0.4)
"""Of an answer after what it answers."""
_SWING_SECONDS = {"nod": (0.4, 0.55), "shake head": (0.5, 0.65)}
_SMILE_SECONDS, _BROW_SECONDS, _SURPRISE_SECONDS = 2.0, 0.8, 0.9
_LOOK, _SMILE, _BROWS, _SURPRISE, _GLANCE = 0.7, 0.4, 0.4, 0.6, 0.6
"""Strengths. A look that is complete would be a stare: the eyes keep some of their own life."""
_SHORTEST_SECONDS = 0.6
"""Of looks and of what is held; a look that comes and goes faster is a twitch."""
_NOTICED_SECONDS = 0.3
"""An overlap that is shorter is how turns change."""
_IDLE_GLANCE_EVERY, _IDLE_GLANCE_SECONDS = 5.0, (1.0, 2.0)
_ANSWERS, _GLANCES, _IDLE_GLANCES = 47, 48, 49
"""Streams of random numbers."""


def with_back_channels(
    motion: Motion,
    turns: Turns,
    attitude: AttitudeName,
    *,
    seed: int,
    rest: Rest | None = None,
    listener: Point = AHEAD,
    asked: Sequence[Direction] = (),
) -> Motion:
    """A motion that reacts to the other one; where there is nothing to react to it stays the same to the bit.

    Args:
        turns: on the motion's own clock.
        listener: where the other one is, rest frame, metres.
        asked: directions that will be acted later; reactions that are in their way are left out.
    """
    end = float(motion.timestamps_seconds[-1] - motion.timestamps_seconds[0])
    planned = [d for d in back_channels(turns, attitude, seed) if d.start_seconds < end]
    planned = [d for d in planned if not any(_in_the_way(d, other) for other in asked)]
    return apply_directions(motion, planned, rest, listener) if planned else motion


def back_channels(turns: Turns, attitude: AttitudeName, seed: int) -> tuple[Direction, ...]:
    """What is done when, in the words of `avatar.motion.controls`; no two of them contradict each other."""
    habits = ATTITUDES[attitude]
    out = [*_answers(turns, habits, seed)]
    for start, end in turns.spans(LISTENING):
        glances = _glances(start, end, habits.glance_every_seconds, habits.glance_seconds, [seed, _GLANCES])
        out += [*glances, *_looks(start, end, glances)]
        out += [Direction(name, start, end, strength) for name, strength in habits.held if _long(start, end)]
    for start, end in turns.spans(IDLE):
        out += _glances(start, end, _IDLE_GLANCE_EVERY, _IDLE_GLANCE_SECONDS, [seed, _IDLE_GLANCES])
    for start, end in turns.spans(BOTH):
        out += _looks(start, end, ())
        if turns.before(start) == SPEAKING and end - start >= _NOTICED_SECONDS:  # the other one breaks in
            out.append(Direction("raise brows", start, min(end, start + _SURPRISE_SECONDS), _SURPRISE))
    return tuple(sorted(out, key=lambda direction: direction.start_seconds))


def _answers(turns: Turns, habits: Attitude, seed: int) -> Iterator[Direction]:
    """Nods, shakes, smiles and brows at the other's pauses and accents, one movement of the head at a time."""
    pauses = runs_of(turns.partner.speaking)[:, 1] * HOP_SECONDS
    calls = [(at, 1.0) for at in pauses] + [(at, _STRESS_SHARE) for at in turns.partner.accents_seconds]
    free = 0.0
    for called, weight in sorted(calls):
        rng = np.random.default_rng([seed, _ANSWERS, round(100 * called)])
        at = float(called + rng.uniform(*_DELAY_SECONDS))
        moved, smiled, raised, size = rng.random(), rng.random(), rng.random(), rng.uniform(0.7, 1.3)
        swings, pace = int(rng.integers(1, 4)), rng.random()
        if turns.before(called) != LISTENING or turns.before(at) in (SPEAKING, BOTH):
            continue
        nods, shakes = weight * habits.nod_chance, weight * habits.shake_chance
        if at > free and moved < nods + shakes:
            name, strength = ("nod", habits.nod_strength) if moved < nods else ("shake head", habits.shake_strength)
            slow, fast = _SWING_SECONDS[name]
            free = at + swings * (slow + pace * (fast - slow))
            yield Direction(name, at, free, size * strength * weight**0.5)
        if smiled < weight * habits.smile_chance:
            yield Direction("smile", at, at + _SMILE_SECONDS, _SMILE)
        if weight < 1 and raised < habits.brow_chance:
            yield Direction("raise brows", at, at + _BROW_SECONDS, _BROWS)


def _glances(
    start: float, end: float, every: float, lasting: tuple[float, float], stream: list[int]
) -> list[Direction]:
    """Looks aside within a stretch: at most one in each `every` seconds of the clock."""
    out = []
    for slot in range(int(start // every), int(end // every) + 1):
        rng = np.random.default_rng([*stream, slot])
        at = every * (slot + rng.uniform(0.1, 0.5))
        until = at + min(rng.uniform(*lasting), 0.5 * every)
        if start + _SHORTEST_SECONDS <= at and until <= end:
            out.append(Direction("look away", at, until, _GLANCE))
    return out


def _looks(start: float, end: float, glances: Sequence[Direction]) -> list[Direction]:
    """At the other one, whenever it is not aside."""
    edges = [start, *(t for d in glances for t in (d.start_seconds, d.end_seconds)), end]
    pieces = zip(edges[::2], edges[1::2], strict=True)
    return [Direction("look at me", a, b, _LOOK) for a, b in pieces if b - a >= _SHORTEST_SECONDS]


def _long(start: float, end: float) -> bool:
    return end - start >= 2 * _SHORTEST_SECONDS


def _in_the_way(planned: Direction, asked: Direction) -> bool:
    return planned.meets(asked) and (planned.name == asked.name or contradict(planned.name, asked.name))
