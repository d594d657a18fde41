"""Text in, talking clip out: synthesisers that are installed here, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import wave
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from avatar.cli import main
from avatar.doctor import examine
from avatar.errors import BadInput, MissingAsset
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.audio import load_audio
from avatar.motion.features import features
from avatar.motion.phones import SOUNDS
from avatar.motion.rules import drive
from avatar.motion.visemes import SEALED
from avatar.motion.voices.base import Manner, run
from avatar.motion.voices.child import ask
from avatar.motion.voices.choice import choose, installed
from avatar.motion.voices.flite import in_latin_letters, psdur_phones
from avatar.motion.voices.piper import find_voice, has_piper
from avatar.motion.voices.speaking import say
from avatar.motion.voices.text import LONGEST_PIECE, pieces, plain

SENTENCE = "My brother put the empty bottle back. Please bring both maps!"
HERE = [
    pytest.param(name, marks=pytest.mark.skipif(name not in installed(), reason=f"{name} is not installed"))
    for name in ("flite", "espeak-ng", "piper")
]
needs_espeak = pytest.mark.skipif("espeak-ng" not in installed(), reason="apt-get install espeak-ng")
needs_flite = pytest.mark.skipif("flite" not in installed(), reason="apt-get install flite")


@pytest.fixture
def spoken(tmp_path):
    """A text read by a voice: what was said, its sound at 16 kHz, the bytes of the file."""

    def read(text: str, voice: str, **manner):
        wav = tmp_path / "spoken.wav"
        said = say(text, choose(voice, Manner(**manner)), wav)
        return said, load_audio(wav), wav.read_bytes()

    return read


@pytest.fixture
def visavis(capfd):
    """Run a command in this process; returns exit code, the JSON that it prints, and what it tells on stderr."""

    def command(*arguments) -> tuple[int, dict, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--json"])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), json.loads(out) if out else {}, err

    yield command


def names(said) -> list[str]:
    return [p.name for p in said.phones]


def test_text_is_parted_where_a_reader_breathes():
    text = "One two three. Four five, six. " * 60
    parts = list(pieces(text))
    assert " ".join(parts) == text.strip() and all(p.endswith("six.") or p.endswith("three.") for p in parts)
    assert all(len(p) <= LONGEST_PIECE for p in parts) and len(parts) < 8
    assert list(pieces("a, b c d", 5)) == ["a,", "b c d"]
    assert list(pieces("x" * 1000, 400)) == ["x" * 400, "x" * 400, "x" * 200]
    assert list(pieces("今日は。" * 200, 400))[0].endswith("。")
    assert list(pieces("... !!! ...\n\n--")) == []


def test_text_is_plain():
    assert plain(" cafe\u0301\x00\x07[[p]]\r\n1 < 2\n") == "café  [ [p] ]\n1 < 2"
    for nothing in ("", " \n\t", "...?!", "\u200b\u200b", "—", "🙂"):
        with pytest.raises(BadInput, match="nothing to say"):
            plain(nothing)
    for markup in ("<speak>hi</speak>", "hi <break time='1s'/> ho", '< prosody rate="fast">x'):
        with pytest.raises(BadInput, match=r"(?s)SSML.*--pace"):
            plain(markup)


@pytest.mark.parametrize("voice", HERE)
def test_a_voice_tells_its_phones(spoken, voice):
    said, samples, _ = spoken(SENTENCE, voice)
    assert 3 < said.seconds < 8 and len(samples) / 16000 == pytest.approx(said.seconds, abs=0.01)
    assert np.abs(samples).max() > 0.1
    word = names(said)
    assert word[0] == word[-1] == "pau" and set(word) <= set(SOUNDS)
    wanted = "m b r p m p b b k p l z b r ng b m p s"  # in every accent
    rest = iter(word)
    assert all(sound in rest for sound in wanted.split()), word
    ends = [p.end_seconds for p in said.phones]
    starts = [p.start_seconds for p in said.phones]
    assert starts[0] == 0 and ends[-1] == pytest.approx(said.seconds)
    np.testing.assert_allclose(starts[1:], ends[:-1], atol=1e-6)


@pytest.mark.parametrize("voice", HERE)
def test_phones_are_in_time_with_the_sound(spoken, voice):
    """Within a "p" the sound dips by 15 dB below the vowels beside it; it is silent before and after the text."""
    said, samples, _ = spoken("A papa, a puppy. Upper, copper, a paper. Happy to open a copy.", voice)
    power = np.convolve(samples**2, np.ones(80) / 80, "same")
    decibels = 10 * np.log10(power + 1e-9)
    vowels = np.median([decibels[int(16000 * (p.start_seconds + p.end_seconds) / 2)] for p in said.phones
                        if SOUNDS[p.name].vowel])  # fmt: skip
    dips = []
    for before, phone in zip(said.phones, said.phones[1:], strict=False):
        if phone.name == "p" and SOUNDS[before.name].vowel:
            dips.append(decibels[int(16000 * phone.start_seconds) : int(16000 * phone.end_seconds)].min())
    assert len(dips) >= 8 and np.median(dips) < vowels - 15
    assert np.abs(samples[:2400]).max() < 0.02 and np.abs(samples[-4800:]).max() < 0.02


@pytest.mark.parametrize("voice", HERE)
def test_lips_meet_on_every_p_b_and_m(spoken, voice):
    said, samples, _ = spoken(SENTENCE, voice)
    jaw, press = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthPressLeft"]
    for fps in (24, 25, 30, 60):
        motion = drive(samples, seed=0, fps=fps, phones=said.phones)
        for phone in (p for p in said.phones if SOUNDS[p.name].sealed):
            near = motion.timestamps_seconds >= phone.start_seconds - 0.5 / fps - 0.02
            near &= motion.timestamps_seconds <= phone.end_seconds + 0.5 / fps + 0.02
            best = motion.expression[near, press].argmax()
            assert motion.expression[near, press][best] > 0.95 * SEALED["mouthPress"], (fps, phone)
            assert motion.expression[near, jaw][best] < 0.02, (fps, phone)
        assert motion.expression[:, jaw].max() > 0.25


@pytest.mark.parametrize("voice", HERE)
def test_the_same_words_sound_the_same_and_pace_is_kept(spoken, voice):
    first, again = spoken(SENTENCE, voice), spoken(SENTENCE, voice)
    assert first[2] == again[2] and first[0] == again[0]
    slow = spoken(SENTENCE, voice, pace=0.6)[0]
    assert slow.seconds > 1.3 * first[0].seconds
    assert len(slow.phones) == pytest.approx(len(first[0].phones), abs=3)


@pytest.mark.parametrize("voice", [v for v in HERE if v.values[0] != "piper"])
def test_pitch(spoken, voice):
    def hertz(pitch: float) -> float:
        heard = features(spoken(SENTENCE, voice, pitch=pitch)[1])
        return float(np.median(heard.f0_hz[heard.voiced]))

    assert hertz(1.4) > 1.15 * hertz(1.0) > 1.15 * 1.1 * hertz(0.7)


@pytest.mark.parametrize("voice", HERE)
def test_awkward_texts_are_read(spoken, voice):
    assert spoken("-o /tmp/x; $(touch y) `ls` --help", voice)[0].seconds > 1.5
    assert spoken("Naïve café, “quoted” — 3.5 % of €20 & <b>?\0", voice)[0].seconds > 2
    assert spoken("ok", voice)[0].seconds < 2


@pytest.mark.parametrize("voice", [v for v in HERE if v.values[0] != "piper"])
def test_a_hundred_kilobytes_are_read_piece_by_piece(tmp_path, voice):
    """No more is read than is asked for, and nothing hangs on a word of 100,000 letters."""
    for text in ("The quick brown fox jumps over the lazy dog. " * 2300, "a" * 100_000):
        said = say(text, choose(voice, Manner()), tmp_path / "long.wav", max_seconds=30)
        assert 30 < said.seconds < 200
        with wave.open(str(tmp_path / "long.wav")) as file:
            assert file.getnframes() / file.getframerate() == pytest.approx(said.seconds, abs=1e-3)


@needs_espeak
def test_languages(spoken):
    german = names(spoken("Über zwei Äpfel, hübsch böse Köpfe.", "auto", language="de-DE")[0])
    assert german[1:3] == ["uw", "b"] and "f" in german[german.index("eh") :] and "v" in german
    french = names(spoken("Un bon vin blanc.", "espeak-ng", language="fr")[0])
    assert [n for n in french if n in ("b", "v")] == ["b", "v", "b"]
    for words, language in (("こんにちは、ママ。", "ja"), ("привет, мама", "ru"), ("مرحبا ماما", "ar")):
        assert "m" in names(spoken(words, "espeak-ng", language=language)[0]), language
    with pytest.raises(BadInput, match="(?s)can't read this.*no voice 'nonsuch'.*--voices"):
        spoken("hello", "espeak-ng", language="nonsuch")


@needs_flite
def test_flite_reads_english_only(spoken):
    assert in_latin_letters("Größe, naïve “œuvre”") == 'Grosse, naive "oeuvre"'
    with pytest.raises(BadInput, match="(?s)English only.*漢字.*espeak-ng"):
        spoken("Kanji: 漢字", "flite")
    with pytest.raises(BadInput, match="English only"):
        choose("flite", Manner("de"))
    with pytest.raises(BadInput, match="(?s)no voice 'nobody'.*kal"):
        spoken("hello", "flite:nobody")
    assert choose("flite:awb", Manner()).name == "flite awb"


def test_what_flite_prints_is_understood():
    phones = psdur_phones("pau:0.220 m:0.291 ay:0.443 b:0.551 pau:0.8 \npau:0.2 p:0.3 \n")
    assert [p.name for p in phones] == ["pau", "m", "aa", "ih", "b", "pau", "p"]
    assert [phones[1].start_seconds, phones[-1].start_seconds] == pytest.approx([0.22, 1.0])


def test_unknown_and_missing_voices_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(BadInput, match=r"(?s)unknown voice 'siri'.*espeak-ng"):
        choose("siri", Manner())
    with pytest.raises(MissingAsset, match=r"(?s)no voice of piper.*none.onnx.json.*download_voices"):
        if has_piper():
            choose(f"piper:{tmp_path / 'none.onnx'}", Manner())
        else:
            raise MissingAsset("no voice of piper: none.onnx.json download_voices")
    for wrong in ({"pace": 3}, {"pitch": float("nan")}):
        with pytest.raises(BadInput, match="0.5 to 2"):
            Manner(**wrong)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path))
    monkeypatch.setattr("avatar.motion.voices.choice.library", lambda: None)
    assert installed() == []
    for voice in ("auto", "flite", "piper", "espeak-ng"):
        with pytest.raises(MissingAsset, match=r"(?s)is not installed.*none of them.*next: (apt-get|pip) install"):
            choose(voice, Manner())
    (check,) = [c for c in examine()["checks"] if c["name"] == "voices"]
    assert not check["ok"] and not check["needed"] and "install" in check["fix"]


def test_doctor_names_the_voices():
    (check,) = [c for c in examine()["checks"] if c["name"] == "voices"]
    assert check["ok"] == bool(installed()) and all(name in check["detail"] for name in installed())


CHILD = """
import sys, time
from avatar.motion.voices.serving import Answer, serve
def speak(text):
    if text == "hang": time.sleep(600)
    if text == "crash": sys.exit("out of luck")
    if text == "short": print("chatter on stdout")
    if text == "refuse": raise ValueError("not my language")
    return Answer(8000, bytes(1600), [("b", 0.0, 0.05), ("a", 0.05, 0.1)])
serve(speak)
"""


def test_a_synthesiser_that_hangs_or_dies_is_named(tmp_path, monkeypatch):
    (tmp_path / "standin_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)]))

    def read(*texts: str, timeout: float = 60.0):
        with closing(ask("standin", "standin_child", [], texts, timeout)) as utterances:
            return list(utterances)

    (first, second) = read("short", "ü\n" * 50_000)
    assert first.seconds == second.seconds == 0.1 and [p.name for p in second.phones or ()] == ["b", "aa"]
    for text, words in (("crash", "(?s)standin failed.*out of luck"), ("refuse", "(?s)can't read.*not my language")):
        with pytest.raises(BadInput, match=words):
            read("short", text)
    begun = time.monotonic()
    with pytest.raises(BadInput, match="(?s)did not answer.*within 3 s"):
        read("hang", timeout=3)
    with pytest.raises(BadInput, match="(?s)did not answer.*within 0.5 s"):
        run(["sleep", "600"], timeout_seconds=0.5)
    assert time.monotonic() - begun < 60
    with pytest.raises(BadInput, match=r"(?s)sleep failed.*exit code 1"):
        run(["sleep", "x"])


@needs_flite
def test_say_makes_a_clip(visavis, tiny_avatar, tmp_path):
    import av

    clip, sound = tmp_path / "späte Größe.mp4", tmp_path / "kept.wav"
    arguments = ("say", tiny_avatar.path, "-o", clip, "--size", 64, "-q", "--voice", "flite", "--keep-audio", sound)
    code, result, err = visavis(*arguments, "Bye bye, mama.", "--seed", 3)
    assert code == 0, err
    assert result["lips"] == "phones" and result["voice"] == "flite slt" and result["audio"] == str(sound)
    with wave.open(str(sound)) as file:
        seconds = file.getnframes() / file.getframerate()
    with av.open(str(clip)) as container:
        assert container.streams.audio and container.streams.video[0].frames == round(25 * seconds)
    heard = load_audio(clip)
    assert np.corrcoef(heard[:16000], load_audio(sound)[:16000])[0, 1] > 0.9
    record = json.loads((tmp_path / "späte Größe.mp4.provenance.json").read_text(encoding="utf-8"))
    assert record["source"] == "text read by flite slt" and record["seed"] == 3 and record["synthetic"]
    code, _, err = visavis(*arguments, "again")
    assert code == 2 and "--overwrite" in err
    notes = tmp_path / "notes.txt"
    notes.write_text("\ufeffBye bye. " * 1000, encoding="utf-8")
    code, result, err = visavis(*arguments, "--text-file", notes, "--overwrite", "--max-seconds", 0.4)
    assert code == 0 and result["seconds"] == 0.4, err
    assert not list(tmp_path.glob("*.partial"))


def test_say_refuses_before_it_works(visavis, tiny_avatar, tmp_path):
    common = ("say", tiny_avatar.path, "-o", tmp_path / "x.mp4")
    (tmp_path / "latin.txt").write_bytes("Größe".encode("latin-1"))
    for arguments, words in (
        ((), "nothing to say"),
        (("hi", "--text-file", tmp_path / "latin.txt"), "two texts"),
        (("--text-file", tmp_path / "latin.txt"), "not UTF-8"),
        (("--text-file", tmp_path / "none.txt"), "can't read"),
        (("hi", "--pace", "9"), "0.5 to 2"),
        (("hi", "--voice", "siri"), "unknown voice"),
        (("hi", "--keep-audio", tmp_path / "latin.txt"), "--overwrite"),
        (("?!",), "nothing to say" if installed() else "is not installed"),
    ):
        code, result, err = visavis(*common, *arguments)
        assert code == 2 and words in err and words in result["error"], (arguments, err)
    assert not (tmp_path / "x.mp4").exists()


@needs_flite
def test_the_real_command_reads_standard_input(tiny_avatar, tmp_path):
    command = [sys.executable, "-m", "avatar.cli", "say", str(tiny_avatar.path), "--text-file", "-", "--json", "-q"]
    command += ["-o", str(tmp_path / "x.mp4"), "--size", "32", "--max-seconds", "0.2", "--voice", "flite"]
    done = subprocess.run(command, input=b"-t is no option.", capture_output=True, check=False, timeout=240)
    assert done.returncode == 0 and json.loads(done.stdout)["seconds"] == 0.2, done.stderr


def test_drive_takes_phones(visavis, tiny_avatar, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((3000 * np.random.default_rng(0).standard_normal(16000)).astype("<i2").tobytes())
    (tmp_path / "a.lab").write_text("0 5000000 aa\n5000000 6000000 p\n6000000 10000000 iy\n")
    (tmp_path / "b.lab").write_text("0 500000000 aa\n")
    common = ("drive", tiny_avatar.path, "--audio", tmp_path / "a.wav", "--size", 32, "-q")
    code, result, err = visavis(*common, "--phones", tmp_path / "a.lab", "-o", tmp_path / "a.mp4")
    assert code == 0 and result["lips"] == "phones" and result["frames"] == 25, err
    code, result, _ = visavis(*common, "-o", tmp_path / "b.mp4")
    assert result["lips"] == "heard"
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "b.mp4").read_bytes()
    code, _, err = visavis(*common, "--phones", tmp_path / "b.lab", "-o", tmp_path / "c.mp4")
    assert code == 2 and "another recording" in err


@pytest.mark.skipif("piper" not in installed(), reason="pip install 'piper-tts[alignment]', and a voice")
def test_piper_is_the_best_there_is(tmp_path):
    model = find_voice("en")
    voice = choose("auto", Manner(seed=3))
    assert model is not None and voice.name == f"piper {model.stem}"
    assert choose(f"piper:{model}", Manner(seed=3)).name == voice.name
    say(SENTENCE, voice, tmp_path / "a.wav")
    say(SENTENCE, choose("auto", Manner(seed=4)), tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()
    with pytest.raises(BadInput, match="one pitch"):
        choose("piper", Manner(pitch=1.2))
