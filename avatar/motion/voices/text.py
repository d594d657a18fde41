"""Text as synthesisers take it: plain, and in pieces that end where a reader would breathe."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from avatar.errors import BadInput

LONGEST_PIECE = 400
"""Characters. Programs hang on a hundred thousand at once, and lips want to start before the last page is read."""
_MARKUP = re.compile(r"<\s*/?\s*(speak|voice|prosody|break|phoneme|say-as|emphasis|sub|mark)\b[^>]*>", re.IGNORECASE)
_BREATHS = (r"[.!?…]+[\"'”’)\]]*\s|[。！？]|\n\s*\n", r"[,;:–—]\s|[、，；：]", r"\s")
"""Where to part a text: after a sentence, else a clause, else a word."""


def plain(text: str) -> str:
    """Text without control characters, in composed letters.

    Raises:
        BadInput: nothing in it can be said, or it is marked up.
    """
    if found := _MARKUP.search(text):
        raise BadInput(
            "this text has SSML in it, which is not understood", expected="plain text", got=found[0][:80],
            fix="take the markup out; --pace and --pitch set speed and height",
        )  # fmt: skip
    composed = unicodedata.normalize("NFC", text)
    clean = "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs", "Co", "Cn") else " "
        for letter in composed.replace("\r\n", "\n").replace("\r", "\n")
    )
    # Some programs would take double brackets for phonemes.
    clean = clean.replace("[[", "[ [").replace("]]", "] ]").strip()
    if not speakable(clean):
        got = repr(text[:40]) if text.strip() else "nothing"
        raise BadInput("there is nothing to say", expected="text with letters or digits", got=got)
    return clean


def speakable(text: str) -> bool:
    """Whether there is a letter or digit in it."""
    return any(letter.isalnum() for letter in text)


def pieces(text: str, longest: int = LONGEST_PIECE) -> Iterator[str]:
    """A text in parts of at most `longest` characters, parted after sentences, else clauses, words, anywhere."""
    rest = text.strip()
    while rest:
        cut = len(rest) if len(rest) <= longest else _cut(rest[:longest])
        piece, rest = rest[:cut].strip(), rest[cut:].lstrip()
        if speakable(piece):
            yield " ".join(piece.split())


def _cut(text: str) -> int:
    for breath in _BREATHS:
        if ends := [found.end() for found in re.finditer(breath, text)]:
            return ends[-1]
    return len(text)
