"""Who has the word in a conversation: told from the sound of both, for each moment.

Pauses within a turn are mostly shorter than a second, gaps between turns than half of one (Heldner and Edlund, J.
Phonetics 38, 2010); what a listener says is short and takes no turn (Yngve, On getting a word in edgewise, 1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from avatar.motion.features import HOP_SECONDS, features
from avatar.motion.prosody import Prosody, prosody, runs_of

STATES = ("speaking", "listening", "idle", "both")
SPEAKING, LISTENING, IDLE, BOTH = range(len(STATES))
_PAUSE_SECONDS = 0.9
"""Silence that is shorter belongs to the turn before it."""
_REMARK_SECONDS = 0.7
"""What is said while the other has the word and is shorter than this is a remark of a listener."""


@dataclass(frozen=True)
class Turns:
    """The states of one of two people, 100 per second, and how both speak."""

    timestamps_seconds: Float[np.ndarray, " n"]
    state: Int[np.ndarray, " n"]
    """Index into `STATES`."""
    own: Prosody
    partner: Prosody

    @staticmethod
    def of(samples_16k: Float[np.ndarray, " n"], partner_16k: Float[np.ndarray, " n"]) -> Turns:
        """Of what somebody says and what the other one says meanwhile, on one clock, mono at 16 kHz."""
        own, partner = (prosody(features(samples)) for samples in (samples_16k, partner_16k))
        return Turns(own.timestamps_seconds, states_of(own.speaking, partner.speaking), own, partner)

    def at(self, seconds: Float[np.ndarray, " t"]) -> Int[np.ndarray, " t"]:
        """The state at each of some times."""
        nearest = np.rint((seconds - self.timestamps_seconds[0]) / HOP_SECONDS).astype(int)
        return self.state[nearest.clip(0, len(self.state) - 1)]

    def spans(self, state: int) -> list[tuple[float, float]]:
        """Start and end of each stretch of a state, seconds."""
        return [(start, end) for start, end in (runs_of(self.state == state) * HOP_SECONDS).tolist()]

    def before(self, second: float) -> int:
        """The state just before a moment; `IDLE` before the first, the last one after the end."""
        index = min(round(second / HOP_SECONDS), len(self.state)) - 1
        return int(self.state[index]) if index >= 0 else IDLE

    @property
    def shares(self) -> dict[str, float]:
        """Of the time, by state."""
        return {name: round(float((self.state == k).mean()), 3) for k, name in enumerate(STATES)}


def states_of(own: Bool[np.ndarray, " n"], partner: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """States from who makes a sound when, both 100 times per second."""
    own, partner = _without_pauses(own), _without_pauses(partner)
    mine, theirs = _without_remarks(own, partner), _without_remarks(partner, own)
    out = np.select([mine & theirs, mine, theirs], [BOTH, SPEAKING, LISTENING], IDLE)
    for start, end in runs_of(out == IDLE):
        if end - start < _PAUSE_SECONDS / HOP_SECONDS and start:
            out[start:end] = out[start - 1]
    return out


def _without_pauses(speaking: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    out, stretches = speaking.copy(), runs_of(speaking)
    for (_, end), (start, _) in zip(stretches, stretches[1:], strict=False):
        if start - end < _PAUSE_SECONDS / HOP_SECONDS:
            out[end:start] = True
    return out


def _without_remarks(speaking: Bool[np.ndarray, " n"], other: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Stretches that are short and lie within what the other says are none of one's own."""
    out = speaking.copy()
    for start, end in runs_of(speaking):
        if end - start < _REMARK_SECONDS / HOP_SECONDS and other[start:end].all():
            out[start:end] = False
    return out
