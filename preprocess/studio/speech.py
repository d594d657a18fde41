"""Where a subject's speech comes from: a recording, an installed program, or our own small voice."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.motion.audio import RATE, load_audio
from avatar.motion.phones import Phone
from avatar.motion.voices.base import Manner
from avatar.motion.voices.choice import choose
from avatar.motion.voices.flite import Flite
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
    from scipy.signal import resample_poly

    flite = choose("flite:kal", Manner())
    assert isinstance(flite, Flite)
    order = np.random.default_rng([seed, 23]).permutation(len(_SENTENCES))
    rng = np.random.default_rng([seed, 26])
    flite, faster = replace(flite, settings=_flite_settings(delivery, rng)), delivery.formants
    parts: list[np.ndarray] = []
    phones: list[Phone] = []
    now = 0.0
    with closing(flite.read(_SENTENCES[k] for k in cycle(order))) as spoken:
        while now < seconds:
            utterance = next(spoken)
            assert utterance.phones is not None  # flite always tells them
            rest = np.zeros(round(rest_after_phrase(delivery, rng) * RATE), np.float32)
            samples = resample_poly(utterance.samples / np.float32(32768), RATE, utterance.rate)
            parts += [_played_faster(samples, faster), rest]
            phones += [
                Phone(p.name, now + p.start_seconds / faster, now + p.end_seconds / faster) for p in utterance.phones
            ]
            now += (len(parts[-2]) + len(rest)) / RATE
    heard = [phone for phone in phones if phone.start_seconds < seconds]
    return Speech(_fitted(np.concatenate(parts), seconds), heard, "flite")


def _flite_settings(delivery: Delivery, rng: np.random.Generator) -> tuple[str, ...]:
    """Options for another voice than flite's own; pitch and length make up for what `_played_faster` does to them."""
    if delivery == ANYBODY:
        return ()
    stretch, hz = rng.uniform(*delivery.pace) * delivery.formants, rng.uniform(*delivery.pitch_hz) / delivery.formants
    return "--setf", f"duration_stretch={stretch:.4f}", "--setf", f"int_f0_target_mean={hz:.2f}"


def _played_faster(samples: Float[np.ndarray, " n"], factor: float) -> Float[np.ndarray, " m"]:
    """All frequencies, those of the formants with them, times `factor`."""
    from scipy.signal import resample

    if factor == 1:
        return samples
    return np.asarray(resample(samples, max(1, round(len(samples) / factor))), np.float32)
