"""A whole text as a sound file and its phones."""

from __future__ import annotations

import wave
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from avatar.errors import BadInput
from avatar.motion.phones import Phone
from avatar.motion.voices.base import Voice
from avatar.motion.voices.text import pieces, plain

_BEFORE_SECONDS, _AFTER_SECONDS = 0.2, 0.4
"""Of rest, so that a clip neither starts nor ends in the middle of a mouth movement."""


@dataclass(frozen=True)
class Spoken:
    """What was said."""

    seconds: float
    phones: list[Phone] | None
    """With times from the first sample on; None if the voice does not tell them."""


def say(text: str, voice: Voice, wav: Path, *, max_seconds: float | None = None) -> Spoken:
    """Read a text into a .wav file, piece by piece: a long text takes no more memory than its phones do.

    Args:
        max_seconds: read no further than to the end of the piece in which this lies.

    Raises:
        BadInput: there is nothing to say, the text is marked up, or the voice can't read it.
    """
    with closing(voice.read(pieces(plain(text)))) as utterances:
        first = next(utterances, None)
        if first is None or not len(first.samples):
            raise BadInput(f"{voice.name} said nothing", got=repr(text[:40]), fix="try another --voice or --language")
        with wave.open(str(wav), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(first.rate)
            now = _rest(file, _BEFORE_SECONDS)
            phones: list[Phone] | None = [Phone("pau", 0.0, now)]
            for utterance in chain([first], utterances):
                file.writeframes(utterance.samples.astype("<i2").tobytes())
                if phones is not None:
                    phones = None if utterance.phones is None else phones + _later(utterance.phones, now)
                now += utterance.seconds
                if max_seconds is not None and now >= max_seconds:
                    break
            end = now + _rest(file, _AFTER_SECONDS)
    return Spoken(end, None if phones is None else [*phones, Phone("pau", now, end)])


def _rest(file: wave.Wave_write, seconds: float) -> float:
    count = round(seconds * file.getframerate())
    file.writeframes(bytes(2 * count))
    return count / file.getframerate()


def _later(phones: list[Phone], seconds: float) -> list[Phone]:
    return [Phone(p.name, p.start_seconds + seconds, p.end_seconds + seconds) for p in phones]
