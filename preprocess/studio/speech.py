"""Where a subject's speech comes from: a recording, an installed program, or our own small voice."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput, MissingAsset
from avatar.motion.audio import RATE, load_audio
from avatar.motion.phones import SOUNDS, Phone
from preprocess.studio.config import StudioConfig, Voice
from preprocess.studio.voice import ANYBODY, Delivery, Speech, nonsense, rest_after_phrase, synthesise

_SENTENCES = (
    "My brother put the empty bottle back on the table by the window.",
    "People who move abroad often miss small things most of all.",
    "We saw five ships far off, and a boat with a broken mast.",
    "Please bring me both maps before the meeting in May.",
    "The baker opens at seven, but the bread is better after nine.",
    "You should have heard the choir when the whole church went silent.",
    "A warm summer night smells of rain, dust and pepper.",
    "How much of that would you really believe yourself?",
)
_FLITE_NAMES = {
    "ax": "ah", "aw": "aa", "ay": "aa", "ey": "eh", "ow": "ao", "oy": "ao", "ch": "sh", "jh": "sh", "zh": "sh",
    "dh": "th", "el": "l", "em": "m", "en": "n", "dx": "d", "axr": "er",
}  # fmt: skip


def make_speech(config: StudioConfig) -> Speech:
    """Speech of the configured length.

    Raises:
        BadInput: the recording can't be read.
        MissingAsset: the program of `--voice` is not installed.
    """
    if config.audio is not None:
        samples = load_audio(config.audio)
        return Speech(_fitted(samples, config.seconds), None, f"recording {Path(config.audio).name}")
    return speak(config.seconds, config.seed, config.voice)


def speak(seconds: float, seed: int, voice: Voice, delivery: Delivery = ANYBODY) -> Speech:
    """Speech of one of our voices: what is said follows from the seed.

    Raises:
        BadInput: flite failed.
        MissingAsset: flite is not installed.
    """
    if voice == "flite":
        return _flite(seconds, seed, delivery)
    phones = nonsense(seconds, seed, delivery)
    return Speech(synthesise(phones, seconds, seed, delivery), phones, "formant voice")


def _fitted(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Cut, or followed by silence."""
    count = round(seconds * RATE)
    return np.pad(samples[:count], (0, max(0, count - len(samples)))).astype(np.float32)


def _flite(seconds: float, seed: int, delivery: Delivery) -> Speech:
    """Sentences in random order, read by flite, with its phone times."""
    program = shutil.which("flite")
    if program is None:
        raise MissingAsset(
            "--voice flite needs the program flite", expected="flite on the PATH", got="no such program",
            fix="apt-get install flite, or leave --voice out",
        )  # fmt: skip
    order = np.random.default_rng([seed, 23]).permutation(len(_SENTENCES))
    rng = np.random.default_rng([seed, 26])
    settings, scale = _flite_settings(delivery, rng), delivery.formants
    parts, phones, now, turn = [], [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        while now < seconds:
            command = [program, *settings, "-psdur", "-t", _SENTENCES[order[turn % len(order)]], "-o", str(wav)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BadInput("flite failed", got=done.stderr.strip()[-200:], fix="leave --voice out")
            rest = np.zeros(round(rest_after_phrase(delivery, rng) * RATE), np.float32)
            parts += [_played_faster(load_audio(wav), scale), rest]
            phones += _flite_phones(done.stdout, now, seconds, scale)
            now += (len(parts[-2]) + len(rest)) / RATE
            turn += 1
    return Speech(_fitted(np.concatenate(parts), seconds), phones, "flite")


def _flite_settings(delivery: Delivery, rng: np.random.Generator) -> list[str]:
    """Options for another voice than flite's own; pitch and length make up for what `_played_faster` does to them."""
    if delivery == ANYBODY:
        return []
    stretch, hz = rng.uniform(*delivery.pace) * delivery.formants, rng.uniform(*delivery.pitch_hz) / delivery.formants
    return ["--setf", f"duration_stretch={stretch:.4f}", "--setf", f"int_f0_target_mean={hz:.2f}"]


def _played_faster(samples: Float[np.ndarray, " n"], factor: float) -> Float[np.ndarray, " m"]:
    """All frequencies, those of the formants with them, times `factor`."""
    from scipy.signal import resample

    if factor == 1:
        return samples
    return np.asarray(resample(samples, max(1, round(len(samples) / factor))), np.float32)


def _flite_phones(printed: str, start_seconds: float, limit_seconds: float, faster: float = 1.0) -> list[Phone]:
    """What `flite -psdur` prints: `phone:end` words, the ends in seconds since the sentence began, if it is not played
    faster."""
    words = printed.replace(":", " ").split()
    phones, begin = [], 0.0
    for name, end in zip(words[::2], words[1::2], strict=False):
        stop = float(end) / faster
        known = _FLITE_NAMES.get(name, name)
        if start_seconds + begin < limit_seconds and stop > begin:
            phones.append(Phone(known if known in SOUNDS else "pau", start_seconds + begin, start_seconds + stop))
        begin = stop
    return phones
