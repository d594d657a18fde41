"""flite: small English voices; `-psdur` prints where each phone ends."""

from __future__ import annotations

import tempfile
import unicodedata
import wave
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.motion.phone_sets import to_phones
from avatar.motion.phones import Phone
from avatar.motion.voices.base import Manner, Utterance, run
from avatar.motion.voices.text import speakable

_BEST = ("slt", "rms", "awb", "kal16", "kal")
_LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "đ": "d", "ð": "th", "þ": "th",
     "“": '"', "”": '"', "‘": "'", "’": "'", "–": ", ", "—": ", ", "…": "...", "€": " euro ", "£": " pound "}
)  # fmt: skip


def pick(program: str, wanted: str = "") -> str:
    """A voice as `flite -lv` names it, or a .flitevox file; the best one that is there if none is wanted.

    Raises:
        BadInput: flite has no such voice; it would silently take another one.
    """
    has = run([program, "-lv"]).partition(":")[2].split()
    wanted = wanted or next((name for name in _BEST if name in has), "")
    if wanted not in has and not Path(wanted).is_file():
        raise BadInput(f"flite has no voice {wanted!r}", expected=" ".join(has), fix="--voice flite")
    return wanted


@dataclass(frozen=True)
class Flite:
    """A voice of flite."""

    program: str
    voice: str
    settings: tuple[str, ...] = ()
    """Further options of the program."""

    @property
    def name(self) -> str:
        return f"flite {self.voice}"

    def read(self, pieces: Iterable[str]) -> Generator[Utterance, None, None]:
        with tempfile.TemporaryDirectory() as folder:
            text, sound = Path(folder) / "text.txt", Path(folder) / "speech.wav"
            command = [self.program, "-psdur", "-voice", self.voice, *self.settings, "-f", str(text), "-o", str(sound)]
            for piece in pieces:
                text.write_text(in_latin_letters(piece), encoding="ascii")
                printed = run(command)
                with wave.open(str(sound)) as file:
                    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
                    yield Utterance(samples, file.getframerate(), psdur_phones(printed))


def settings(manner: Manner) -> tuple[str, ...]:
    """Options for a manner of speaking."""
    return "--setf", f"duration_stretch={1 / manner.pace:.4f}", "--setf", f"f0_shift={manner.pitch:.4f}"


def in_latin_letters(text: str) -> str:
    """Text in ASCII, accents taken off: flite reads other bytes as letters of their own.

    Raises:
        BadInput: letters of another script.
    """
    parts = unicodedata.normalize("NFKD", text.translate(_LATIN))
    lost = [letter for letter in parts if letter.isalnum() and not letter.isascii()]
    ascii_text = parts.encode("ascii", "ignore").decode()
    if lost or not speakable(ascii_text):
        raise BadInput(
            "flite reads English only", expected="Latin letters", got="".join(lost[:20]),
            fix="--voice espeak-ng with a --language",
        )  # fmt: skip
    return ascii_text


def psdur_phones(printed: str) -> list[Phone]:
    """What `flite -psdur` prints: a line of `phone:end` per sentence, ends in seconds since the sentence began."""
    labelled, sentence = [], 0.0
    for line in printed.splitlines():
        begin = sentence
        for word in line.split():
            name, _, end = word.rpartition(":")
            labelled.append((name, begin, sentence + float(end)))
            begin = sentence + float(end)
        sentence = begin
    return to_phones(labelled)
