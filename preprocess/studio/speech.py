"""Where a subject's speech comes from: a recording, an installed program, or our own small voice."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from avatar.errors import BadInput, MissingAsset
from avatar.motion.audio import RATE, load_audio
from avatar.motion.phones import SOUNDS, Phone
from preprocess.studio.config import StudioConfig
from preprocess.studio.voice import Speech, nonsense, synthesise

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
    if config.voice == "flite":
        return _flite(config)
    phones = nonsense(config.seconds, config.seed)
    return Speech(synthesise(phones, config.seconds, config.seed), phones, "formant voice")


def _fitted(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Cut, or followed by silence."""
    count = round(seconds * RATE)
    return np.pad(samples[:count], (0, max(0, count - len(samples)))).astype(np.float32)


def _flite(config: StudioConfig) -> Speech:
    """Sentences in random order, read by flite, with its phone times."""
    program = shutil.which("flite")
    if program is None:
        raise MissingAsset(
            "--voice flite needs the program flite", expected="flite on the PATH", got="no such program",
            fix="apt-get install flite, or leave --voice out",
        )  # fmt: skip
    order = np.random.default_rng([config.seed, 23]).permutation(len(_SENTENCES))
    parts, phones, now, turn = [], [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        while now < config.seconds:
            command = [program, "-psdur", "-t", _SENTENCES[order[turn % len(order)]], "-o", str(wav)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BadInput("flite failed", got=done.stderr.strip()[-200:], fix="leave --voice out")
            parts.append(load_audio(wav))
            phones += _flite_phones(done.stdout, now, config.seconds)
            now += len(parts[-1]) / RATE
            turn += 1
    return Speech(_fitted(np.concatenate(parts), config.seconds), phones, "flite")


def _flite_phones(printed: str, start_seconds: float, limit_seconds: float) -> list[Phone]:
    """What `flite -psdur` prints: `phone:end` words, the ends in seconds since the sentence began."""
    words = printed.replace(":", " ").split()
    phones, begin = [], 0.0
    for name, end in zip(words[::2], words[1::2], strict=False):
        stop = float(end)
        known = _FLITE_NAMES.get(name, name)
        if start_seconds + begin < limit_seconds and stop > begin:
            phones.append(Phone(known if known in SOUNDS else "pau", start_seconds + begin, start_seconds + stop))
        begin = stop
    return phones
