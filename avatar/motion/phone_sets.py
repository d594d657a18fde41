"""Everybody's names for speech sounds, mapped onto the sounds of `avatar.motion.phones`.

ARPAbet after the CMU Pronouncing Dictionary, with the reductions of TIMIT and flite. Everything else is read letter by
letter as the International Phonetic Alphabet (IPA chart, 2020), with X-SAMPA (Wells 1995) and the mnemonics of espeak,
which agree with it in small letters, for the capitals and signs. What matters here is what a sound looks like.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from avatar.motion.phones import SOUNDS, Phone

SHORTEST_PAUSE_SECONDS = 0.15
"""Shorter silences are gaps between words or stops being held: the mouth does not come to rest in them."""
UNKNOWN = "t"
"""What nobody knows is spoken with the tongue: the lips pass from one neighbour's shape to the other's."""

_SILENCES = set("sil sp pau ssil h# # _ epi br brth breath <eps> <p:> <sil> ( ... silence pause noise nsn".split())
_ARPABET = {name: (name,) for name in SOUNDS if name != "pau"} | {
    name: tuple(sounds.split())
    for name, sounds in {
        "aw": "aa uh", "ay": "aa ih", "ey": "eh ih", "ow": "ao uh", "oy": "ao ih", "ax": "ah", "ax-h": "ah",
        "axr": "er", "ix": "ih", "ux": "uw", "ch": "t sh", "jh": "d sh", "zh": "sh", "dh": "th", "el": "l", "em": "m",
        "en": "n", "eng": "ng", "dx": "d", "nx": "n", "q": "hh", "hv": "hh", "wh": "w", "spn": "ah",
        "bcl": "b", "pcl": "p", "dcl": "d", "tcl": "t", "gcl": "g", "kcl": "k",
    }.items()
}  # fmt: skip
_LETTERS = {
    letter: sound
    for sound, letters in {
        # Vowels by height, depth and rounding; rounded ones look alike whether the tongue is in front or not.
        "iy": "i", "ih": "ɪ ɨ ɘ ɯ ᵻ I 1 M", "eh": "e ɛ ε E", "ae": "æ { &", "aa": "a ɑ ɶ A",
        "ah": "ə ɐ ʌ ɤ @ V 6 7", "er": "ɜ ɝ ɚ ɞ 3", "ao": "ɔ ɒ œ O Q 9", "uh": "o ʊ ø ʏ ɵ ᵿ U Y 2 8", "uw": "u y ʉ }",
        # Lips.
        "p": "p ʘ", "b": "b ɓ ʙ", "m": "m", "f": "f", "v": "v ɱ ʋ ⱱ β B F P", "w": "w ʍ ɥ ɸ W H",
        # Teeth and ridge.
        "th": "θ ð T D", "s": "s ɬ K", "z": "z ɮ", "sh": "ʃ ʒ ɕ ʑ ʂ ʐ ɧ S Z", "t": "t ʈ ǀ ǁ ǂ ǃ ʇ",
        "d": "d ɖ ɗ ɾ ɽ ɺ r 4", "n": "n ɲ ɳ J", "l": "l ɫ ɭ ʎ ʟ L", "r": "ɹ ɻ",
        # Behind.
        "y": "j ç ʝ C", "k": "k c q", "g": "g ɡ ɟ ɠ ʄ ɢ ʛ ɰ G", "ng": "ŋ ɴ N",
        "hh": "h ɦ x χ ɣ ʁ ʀ ħ ʕ ʜ ʢ ʔ ʡ X R ?",
    }.items()
    for letter in letters.split()
}  # fmt: skip
_STRESS = ("ˈ", "ˌ", "'", '"', ",", "%")
_SPELLINGS = {"sh": "ʃ", "zh": "ʒ", "ch": "tʃ", "jh": "dʒ", "th": "θ", "dh": "ð", "ng": "ŋ", "hh": "h", "ny": "nj"}
"""Two letters for one sound, in sets that are otherwise like the IPA."""


def to_phones(labelled: Iterable[tuple[str, float, float]]) -> list[Phone]:
    """Sounds as we know them, from (name, start, end in seconds) in rising order, in any of the phone sets above.

    A diphthong or affricate becomes its two parts in equal shares. Silences of less than `SHORTEST_PAUSE_SECONDS`, and
    marks without a sound of their own (stress, length, word boundaries), are shared by their neighbours.
    """
    rows = _without_gaps(_without_marks([row for row in labelled if row[2] > row[1]]))
    arpabet = all(_bare(name) in _ARPABET or is_silence(name) for name, _, _ in rows)
    phones = []
    for name, start, end in rows:
        sounds = sounds_of(name, arpabet) or ("pau",)
        width = (end - start) / len(sounds)
        phones += [Phone(sound, start + k * width, start + (k + 1) * width) for k, sound in enumerate(sounds)]
    return phones


def sounds_of(name: str, arpabet: bool = False) -> tuple[str, ...]:
    """Names of `SOUNDS` that a phone consists of; none for silence and marks.

    Args:
        arpabet: whether `y` is the sound of "yes" and `r` that of "red", rather than IPA's.
    """
    if is_silence(name):
        return ()
    if arpabet and _bare(name) in _ARPABET:
        return _ARPABET[_bare(name)]
    plain = unicodedata.normalize("NFD", _SPELLINGS.get(name, name))
    found: list[str] = []
    for place, letter in enumerate(plain):
        # Behind a letter, digits tell tones and variants; in front, X-SAMPA's vowels.
        if letter in _LETTERS and not (place and letter.isdigit()):
            found.append(_LETTERS[letter])
    if not found and any(unicodedata.category(letter) in ("Ll", "Lu", "Lo") for letter in plain):
        found.append(_LETTERS.get(plain[0].lower(), UNKNOWN))
    # A long or doubled sound is one.
    return tuple(sound for place, sound in enumerate(found) if place == 0 or sound != found[place - 1])


def is_silence(name: str) -> bool:
    """Whether a label stands for no sound; so do espeak's marks of another language such as (en)."""
    bare = name.strip().lower()
    return not bare.strip("_:()") or bare in _SILENCES or (bare.startswith("(") and bare.endswith(")"))


def _bare(name: str) -> str:
    """ARPAbet without its stress digit."""
    return name.strip().lower().rstrip("0123456789")


def _without_marks(rows: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Rows without marks that an aligner gave time to: a stress mark's is the next sound's, others' that before."""
    whole: list[tuple[str, float, float]] = []
    waiting = None
    for name, start, end in rows:
        if is_silence(name) or sounds_of(name):
            whole.append((name, start if waiting is None else waiting, end))
            waiting = None
        elif name in _STRESS or not whole:
            waiting = start if waiting is None else waiting
        else:
            whole[-1] = (*whole[-1][:2], end)
    return whole


def _without_gaps(rows: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Rows that follow each other: what is short and silent is given to its neighbours in halves."""
    whole: list[tuple[str, float, float]] = []
    for name, start, end in rows:
        before = whole[-1][2] if whole else 0.0
        if start > before:
            _append(whole, "", before, start)
        _append(whole, name, max(start, before), end)
    return [row for row in whole if row[2] > row[1]]


def _append(whole: list[tuple[str, float, float]], name: str, start: float, end: float) -> None:
    before = whole[-1] if whole else ("-", 0.0, 0.0)
    if not is_silence(before[0]):
        pass
    elif is_silence(name):  # silences in a row are one
        start = whole.pop()[1]
    elif before[2] - before[1] < SHORTEST_PAUSE_SECONDS:
        whole.pop()
        start = before[1]
        if whole:
            start = (before[1] + before[2]) / 2
            whole[-1] = (*whole[-1][:2], start)
    whole.append((name, start, end))
