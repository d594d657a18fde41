"""What people write for a direction: "nodding", "smiles", "eyes closed" and "looks to the left" all have their name."""

from __future__ import annotations

import difflib
import re

from avatar.errors import BadInput
from avatar.motion.controls.emotion_table import EMOTIONS
from avatar.motion.controls.gestures import GESTURES

NAMES = (*GESTURES, *EMOTIONS)
"""All directions, the moods among them."""

_FILLERS = set("a an the to at of with and his her their my your its one be is are it side bit little".split())
_SYNONYMS = {
    "eyebrow": "brow", "forward": "in", "closer": "in", "back": "out", "backward": "out", "shut": "close",
    "freeze": "pause", "hold": "pause", "still": "pause", "wait": "pause", "lift": "raise", "drop": "lower",
    "furrow": "lower", "listener": "me", "camera": "me", "viewer": "me", "aside": "away", "grin": "smile",
    "smilingly": "smile", "glance": "look", "gaze": "look", "stare": "look", "downward": "down", "upward": "up",
    "leftward": "left", "rightward": "right", "wide": "widen",
}  # fmt: skip
_PHRASES = {
    "shake": "shake head", "nod head": "nod", "shake no": "shake head", "nod yes": "nod", "brow up": "raise brows",
    "brow raise up": "raise brows", "brow down": "lower brows", "open eye": "widen eyes", "raise chin": "chin up",
    "raise chin up": "chin up", "lower chin": "chin down", "raise head": "chin up", "lower head": "chin down",
    "turn head left": "turn left", "turn head right": "turn right", "tilt head left": "tilt left",
    "tilt head right": "tilt right", "wink left eye": "wink left", "wink right eye": "wink right",
    "wink": "wink left", "lean": "lean in", "look me": "look at me", "eye contact": "look at me", "blow kiss": "kiss",
    "make eye contact": "look at me", "wrinkle nose": "sneer", "blink eye": "blink", "squint eye": "squint",
    "pause pause": "pause", "pause stay": "pause", "frown brow": "lower brows", "open mouth wide": "open mouth",
    "smile happy": "smile", "look eye left": "look left", "look eye right": "look right",
    "happily": "happy", "sadly": "sad", "angrily": "angry", "calmly": "calm", "scared": "afraid", "fear": "afraid",
    "surprise": "surprised", "disgust": "disgusted", "anger": "angry", "sadness": "sad", "joy": "happy",
}  # fmt: skip


def canonical(text: str) -> str:
    """The name of a direction, from how people put it.

    Raises:
        BadInput: nothing like it is known; names the nearest directions, and all.
    """
    words = re.findall(r"[a-z]+", text.lower())
    for chosen in (words, [w for w in words if w not in _FILLERS]):
        if " ".join(chosen) in NAMES:
            return " ".join(chosen)
    key = _key([_stem(word) for word in words if word not in _FILLERS])
    if key in _BY_KEY:
        return _BY_KEY[key]
    near = difflib.get_close_matches(text.lower().strip(), NAMES, n=3, cutoff=0.5)
    raise BadInput(
        f"unknown direction {text.strip()!r}",
        expected=", ".join(NAMES),
        fix=f"did you mean {' or '.join(near)}?" if near else "choose one of these",
    )


def _stem(word: str) -> str:
    """A word as the vocabulary has it: without -s, -ing, -ed."""
    word = _SYNONYMS.get(word, word)
    for stem in _stems(word):
        if stem in _WORDS:
            return _SYNONYMS.get(stem, stem)
    return word


def _stems(word: str):
    yield word
    for ending in ("s", "es", "d", "ed", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            short = word[: -len(ending)]
            yield from (short, short + "e")
            if short[-1:] == short[-2:-1]:
                yield short[:-1]


def _key(words: list[str]) -> frozenset[str]:
    return frozenset(words)


def _plain(name: str) -> list[str]:
    return [word.removesuffix("s") if word in ("brows", "eyes", "cheeks") else word for word in name.split()]


_BY_KEY = {
    _key([w for w in _plain(phrase) if w not in _FILLERS]): name
    for phrase, name in (*_PHRASES.items(), *((name, name) for name in NAMES))
}
_WORDS = {word for key in _BY_KEY for word in key} | set(_SYNONYMS)
