"""Other people's names for sounds, and the files that they come in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from praatio import textgrid

from avatar.errors import BadInput, FormatMismatch
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.phone_files import read_phones
from avatar.motion.phone_sets import sounds_of, to_phones
from avatar.motion.phones import SOUNDS, Phone
from avatar.motion.rules import drive
from avatar.motion.visemes import SEALED

JAW, PRESS, PUCKER = (ARKIT_INDEX[n] for n in ("jawOpen", "mouthPressLeft", "mouthPucker"))
ROWS = [("sil", 0.0, 0.2), ("m", 0.2, 0.3), ("aa1", 0.3, 0.5), ("sp", 0.5, 0.56), ("p", 0.56, 0.6), ("iy0", 0.6, 0.9)]


def names(*labels: str) -> list[str]:
    """What labels of a tenth of a second each become."""
    return [p.name for p in to_phones([(label, 0.1 * k, 0.1 * (k + 1)) for k, label in enumerate(labels)])]


def test_phone_sets_say_the_same_word():
    """ "Mama, say pie church", as the CMU dictionary, flite, the IPA, X-SAMPA and espeak's mnemonics write it."""
    want = "m aa m ah s eh ih p aa ih t sh er t sh".split()
    assert names(*"M AA1 M AH0 S EY1 P AY1 CH ER1 CH".split()) == want
    assert names(*"m aa m ax s ey p ay ch er ch".split()) == want
    assert names(*"m ɑː m ə s eɪ p aɪ tʃ ɝ t͡ʃ".split()) == want
    assert names(*"m A: m @ s eI p aI tS 3: tS".split()) == want
    assert names(*"m A: m @2 s eI p aI2 tS 3: tS".split()) == want


def test_letters_mean_what_their_set_says():
    assert names("y", "eh", "s") == ["y", "eh", "s"]  # yes
    assert names("y", "ː", "b", "ɐ") == ["uw", "b", "ah"]  # über
    assert names("r", "eh", "d")[0] == "r" and names("r", "o", "x", "o")[0] == "d"  # rounded; rolled
    assert names("pf", "ɛː", "ɐ̯", "t") == ["p", "f", "eh", "ah", "t"]
    assert names("œ̃", "ø", "y", "ɥ") == ["ao", "uh", "uw", "w"]  # round, though in front
    assert names("ts", "u", "N", "sh", "i")[-2:] == ["sh", "iy"]  # Japanese label files


def test_every_letter_of_the_phonetic_alphabet_has_a_look():
    letters = "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒpbtdʈɖcɟkɡqɢʔmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟʍwɥʜʢʡɕʑɺɧʘɓɗʄɠʛ"
    for letter in letters:
        (sound,) = sounds_of(letter)
        assert SOUNDS[sound].vowel == (letters.index(letter) < letters.index("p")), letter
    assert all(SOUNDS[sounds_of(letter)[0]].sealed for letter in "pbmʙɓʘ")
    assert not any(SOUNDS[sounds_of(letter)[0]].sealed for letter in letters if letter not in "pbmʙɓʘ")


def test_unknown_sounds_are_spoken_and_only_silences_rest():
    for label in ("ж", "क", "Ж", "glottal"):
        assert sounds_of(label) and "pau" not in names("a", label, "a")
    for label in ("", " ", "sil", "SP", "<eps>", "_:", "(en)", "h#", "..."):
        assert not sounds_of(label), label
        assert [p.name for p in to_phones([("a", 0, 1), (label, 1, 2), ("o", 2, 3)])] == ["aa", "pau", "uh"]


def test_short_silences_and_marks_are_shared():
    phones = to_phones(ROWS)
    assert [p.name for p in phones] == ["pau", "m", "aa", "p", "iy"]
    assert phones[2].end_seconds == phones[3].start_seconds == pytest.approx(0.53)
    stressed = to_phones([("b", 0, 0.1), ("ˈ", 0.1, 0.3), ("a", 0.3, 0.4), ("ː", 0.4, 0.5), ("k", 0.7, 0.8)])
    assert [(p.name, p.start_seconds, p.end_seconds) for p in stressed] == [
        ("b", 0, 0.1), ("aa", 0.1, 0.5), ("pau", 0.5, 0.7), ("k", 0.7, 0.8),
    ]  # fmt: skip


def saved_grid(path, form: str):
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("words", [(0.2, 0.5, "ma"), (0.56, 0.9, "pie")], 0, 1))
    grid.addTier(textgrid.IntervalTier("phones", [(start, end, name) for name, start, end in ROWS], 0, 1))
    grid.addTier(textgrid.PointTier("clicks", [(0.4, "x")], 0, 1))
    grid.save(str(path), form, includeBlankSpaces=True)
    return path


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid", "textgrid_json"])
def test_textgrids_of_every_format(tmp_path, form):
    path = saved_grid(tmp_path / "späte Aufnahme.TextGrid", form)
    assert read_phones(path) == to_phones([*ROWS, ("", 0.9, 1.0)])
    if form == "long_textgrid":  # as Praat itself writes what is not ASCII
        path.write_text(path.read_text(encoding="utf-8").replace("aa1", "ɑ"), encoding="utf-16")
        assert [p.name for p in read_phones(path)][2] == "aa"


def test_label_files_of_every_kind(tmp_path):
    want = to_phones(ROWS)
    lines = {
        "hts.lab": [f"{round(a * 1e7)} {round(b * 1e7)} {n}" for n, a, b in ROWS],
        "full.lab": [f"{round(a * 1e7)} {round(b * 1e7)} x^x-{n.rstrip('01')}+p=o@1_2/A:0-0" for n, a, b in ROWS],
        "audacity.txt": [f"{a:.6f}\t{b:.6f}\t{n}" for n, a, b in ROWS],
        "festival.lab": ["signal x", "nfields 1", "#", *(f"{b:.5f} 125 {n}" for n, _, b in ROWS)],
        "timit.phn": [f"{round(a * 16000)} {round(b * 16000)} {n}" for n, a, b in ROWS],
    }
    for name, content in lines.items():
        (tmp_path / name).write_text("\n".join(content) + "\n")
        got = read_phones(tmp_path / name)
        assert [p.name for p in got] == [p.name for p in want], name
        np.testing.assert_allclose([p.end_seconds for p in got], [p.end_seconds for p in want], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.lab", b"", "holds no phones"),
        ("a.lab", b"hello world\n", "no list of phones"),
        ("a.lab", b"\xff\xfe\x00\x01\x80", "no text"),
        ("a.lab", b"0 5000000 a\n1000000 2000000 b\n", "go backwards"),
        ("a.lab", b"nan 0.5 a\n0.5 inf b\n", "holds no phones"),
        ("a.TextGrid", b"", "no TextGrid"),
        ("a.TextGrid", b"RIFF....WAVE", "no TextGrid"),
        ("a.TextGrid", b"\x80\x81\x82", "no TextGrid"),
        ("a.json", b"{}", "no TextGrid"),
    ],
)
def test_what_is_no_label_file_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatMismatch, match=words):
        read_phones(tmp_path / name)


def test_a_grid_without_phones_says_what_it_has(tmp_path):
    grid = textgrid.Textgrid()
    for name in ("words", "notes"):
        grid.addTier(textgrid.IntervalTier(name, [(0.2, 0.5, "ma")], 0, 1))
    grid.save(str(tmp_path / "a.TextGrid"), "short_textgrid", includeBlankSpaces=True)
    with pytest.raises(BadInput, match="(?s)named phones.*words, notes"):
        read_phones(tmp_path / "a.TextGrid")
    with pytest.raises(BadInput, match="does not exist"):
        read_phones(tmp_path / "b.TextGrid")


def babbled(closures, seconds):
    """Phones with short closures between open vowels, and a sound as long."""
    phones, now = [], 0.0
    for start in closures:
        phones += [Phone("aa", now, start), Phone("p", start, start + 0.03)]
        now = start + 0.03
    sound = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000)).astype(np.float32)
    return [*phones, Phone("aa", now, seconds)], sound


@pytest.mark.parametrize("fps", [10, 24, 25, 30000 / 1001, 30, 60, 120])
def test_lips_meet_at_every_frame_rate(fps):
    """Closures of 30 ms fall between the frames of video at most times."""
    closures = np.arange(0.3, 5.5, 0.257)
    phones, sound = babbled(closures, 6.0)
    motion = drive(sound, seed=0, fps=fps, phones=phones)
    assert motion.expression[:, JAW].max() > 0.3
    for start in closures:
        near = np.abs(motion.timestamps_seconds - start - 0.015) <= 0.5 / fps + 0.01
        best = motion.expression[near, PRESS].argmax()
        assert motion.expression[near, PRESS][best] > 0.97 * SEALED["mouthPress"], start
        assert motion.expression[near, JAW][best] < 0.02, start
    opened = motion.expression[np.abs(motion.timestamps_seconds - 0.44) <= 0.51 / fps, JAW]
    assert fps < 20 or opened.max() > 0.25


def test_known_phones_rule_the_lips_and_nothing_else():
    sound = 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    phones = [Phone("pau", 0, 0.5), Phone("uw", 0.5, 1.0), Phone("aa", 1.0, 1.5)]
    known, heard = drive(sound, seed=4, phones=phones), drive(sound, seed=4)
    at = [round(25 * t) for t in (0.2, 0.75, 1.3, 1.9)]
    assert known.expression[at[1], PUCKER] > 3 * known.expression[at[2], PUCKER]
    assert known.expression[at[2], JAW] > 0.3 and known.expression[at[1], JAW] < 0.2
    for rest in (at[0], at[3]):  # behind the last phone, too
        assert known.expression[rest, JAW] < 0.01
    eyes = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeLookOutLeft"]]
    np.testing.assert_array_equal(known.expression[:, eyes], heard.expression[:, eyes])
    np.testing.assert_array_equal(known.quats_wxyz, heard.quats_wxyz)


def test_no_phones_at_all_is_a_resting_mouth():
    assert drive(np.ones(16000) * 0.1, seed=0, phones=[]).expression[:, JAW].max() == 0


def test_json_that_is_a_list_is_no_grid(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1, 2]))
    with pytest.raises(FormatMismatch, match="no TextGrid"):
        read_phones(tmp_path / "a.json")
