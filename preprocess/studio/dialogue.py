"""Who says what and when if two talk with each other: turns, short overlaps, remarks of the one who listens.

Gaps between turns are mostly under half a second, and one in five turns begins before the other has ended (Heldner and
Edlund, J. Phonetics 38, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avatar.motion.phones import Phone
from preprocess.studio.voice import Delivery, nonsense

_TURN_SECONDS = (3.0, 11.0)
_GAP_SECONDS, _GAP_SPREAD, _MOST_OVERLAP_SECONDS = 0.25, 0.3, 0.5
_LULL_CHANCE, _LULL_SECONDS = 0.12, (2.0, 4.0)
"""Of both being silent after a turn."""
_REMARK_CHANCE = 0.5
"""That the listener says something at a pause."""
_REMARKS = (
    (("m", 0.28),),
    (("hh", 0.05), ("m", 0.3)),
    (("y", 0.06), ("eh", 0.16)),
    (("m", 0.12), ("hh", 0.08), ("m", 0.2)),
)
"""Sounds with their seconds."""


@dataclass(frozen=True)
class Turn:
    """Somebody has the word."""

    speaker: int
    """0 or 1."""
    phones: list[Phone]

    @property
    def start_seconds(self) -> float:
        return self.phones[0].start_seconds

    @property
    def end_seconds(self) -> float:
        return self.phones[-1].end_seconds


def dialogue(seconds: float, deliveries: tuple[Delivery, Delivery], rng: np.random.Generator) -> list[list[Phone]]:
    """The phones of both, each filling the time."""
    said: list[list[Phone]] = [[], []]
    for turn in _turns(seconds, deliveries, rng):
        said[turn.speaker] += turn.phones
        said[1 - turn.speaker] += _remarks(turn, rng)
    return [filled(sorted(phones, key=lambda phone: phone.start_seconds), seconds) for phones in said]


def _turns(seconds: float, deliveries: tuple[Delivery, Delivery], rng: np.random.Generator) -> list[Turn]:
    turns, speaker, start = [], int(rng.integers(2)), rng.uniform(0.2, 0.6)
    while start < seconds - 1:
        length = min(rng.uniform(*_TURN_SECONDS), seconds - start)
        words = nonsense(length, int(rng.integers(2**31)), replace(deliveries[speaker], rests=0.0))
        while words[-1].name == "pau":
            words.pop()
        late = start - words[1].start_seconds  # the first is a pause
        turns.append(Turn(speaker, [_moved(phone, late) for phone in words[1:]]))
        gap = max(rng.normal(_GAP_SECONDS, _GAP_SPREAD), -_MOST_OVERLAP_SECONDS)
        lull, silence = rng.random(), rng.uniform(*_LULL_SECONDS)
        start = turns[-1].end_seconds + (silence if lull < _LULL_CHANCE else gap)
        speaker = 1 - speaker
    return turns


def _remarks(turn: Turn, rng: np.random.Generator) -> list[Phone]:
    """What the other says at the pauses of a turn, not near its ends, where he may speak himself."""
    phones = []
    for pause in turn.phones:
        if pause.name != "pau":
            continue
        called, kind = rng.random(), int(rng.integers(len(_REMARKS)))
        start = pause.start_seconds + rng.uniform(0.05, 0.3)
        if called > _REMARK_CHANCE or not turn.start_seconds + 1 < start < turn.end_seconds - 1.5:
            continue
        for name, length in _REMARKS[kind]:
            phones.append(Phone(name, start, start + length))
            start += length
    return phones


def _moved(phone: Phone, seconds: float) -> Phone:
    return replace(phone, start_seconds=phone.start_seconds + seconds, end_seconds=phone.end_seconds + seconds)


def filled(phones: list[Phone], seconds: float) -> list[Phone]:
    """One after the other with pauses in between, up to the end; what is too late is cut off."""
    out, now = [], 0.0
    for phone in phones:
        start, end = max(phone.start_seconds, now), min(phone.end_seconds, seconds)
        if start >= end:
            continue
        if start > now:
            out.append(Phone("pau", now, start))
        out.append(replace(phone, start_seconds=start, end_seconds=end))
        now = end
    return [*out, Phone("pau", now, seconds)] if now < seconds else out
