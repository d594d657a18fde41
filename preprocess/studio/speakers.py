"""Synthetic speakers without a picture: takes to learn motion from, and to measure what was learned.

Voice and manner follow from the speaker's seed, words from the seed of the text; how he happens to move while he says
them follows from both. So one speaker can say other things, and two can say the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.motion.audio import RATE
from avatar.motion.takes import Take, about_pose
from avatar.types import Motion
from preprocess.studio.acting import act, frame_times
from preprocess.studio.config import Voice
from preprocess.studio.dialogue import dialogue, filled
from preprocess.studio.manner import Manner
from preprocess.studio.scene import FLIP
from preprocess.studio.speech import speak
from preprocess.studio.voice import Delivery, Speech, synthesise

_PIVOT_M = np.array([0.0, -0.06, -0.073])
"""What heads turn about, head frame: the mean of the studio's subjects."""


def recital(
    speaker_seed: int,
    seconds: float,
    *,
    text_seed: int,
    voice: Voice = "formant",
    fps: float = 25.0,
    noise_dbfs: float | None = None,
) -> Take:
    """Somebody speaks, and falls silent for some seconds now and then.

    Args:
        speaker_seed: who speaks.
        text_seed: what he says.
        voice: of the two of `StudioConfig.voice`.
        noise_dbfs: loudness of the noise in the recording, dB of full scale; none if not given.

    Raises:
        BadInput: a length or frame rate that makes no recording.
        MissingAsset: the program of the voice is not installed.
    """
    times = _times(seconds, fps)
    speech = speak(seconds, text_seed, voice, Delivery.of(speaker_seed))
    speech = replace(speech, phones=filled(speech.phones or [], seconds))  # flite's overlap where it trims its pauses
    motion = _acted(speaker_seed, text_seed, speech, times)
    samples = speech.samples_16k if noise_dbfs is None else _noisy(speech.samples_16k, noise_dbfs, text_seed)
    return _take(speaker_seed, motion, samples, speech)


def conversation(
    seed_a: int, seed_b: int, seconds: float, *, text_seed: int, fps: float = 25.0, draw: int = 0
) -> tuple[Take, Take]:
    """Two people talk with each other: each take has the other's sound as `partner_16k`.

    They speak in turns with short overlaps. While the other has the word, they look at him, nod at his pauses and on
    what he stresses, say "mm" and smile now and then.

    Args:
        draw: another number has them say the same, to the sample, and move as they happen to move another time.

    Raises:
        BadInput: a length or frame rate that makes no recording.
    """
    times, seeds = _times(seconds, fps), (seed_a, seed_b)
    rng = np.random.default_rng([text_seed, seed_a, seed_b, 44])
    deliveries = (Delivery.of(seed_a), Delivery.of(seed_b))
    speeches = []
    for phones, delivery in zip(dialogue(seconds, deliveries, rng), deliveries, strict=True):
        samples = synthesise(phones, seconds, int(rng.integers(2**31)), delivery)
        speeches.append(Speech(samples, phones, "formant voice"))
    takes = []
    for own, other in ((0, 1), (1, 0)):
        heard = speeches[other].samples_16k
        motion = _acted(seeds[own], int(rng.integers(2**31)) + draw, speeches[own], times, heard)
        takes.append(_take(seeds[own], motion, speeches[own].samples_16k, speeches[own], heard))
    return takes[0], takes[1]


def _times(seconds: float, fps: float) -> Float[np.ndarray, " t"]:
    if not (0.2 <= seconds <= 3600 and 1 <= fps <= 240):
        raise BadInput("nobody can speak so", expected="0.2 to 3600 s at 1 to 240 Hz", got=f"{seconds:g} s, {fps:g} Hz")
    return frame_times(seconds, fps)


def _acted(
    speaker_seed: int,
    text_seed: int,
    speech: Speech,
    times: Float[np.ndarray, " t"],
    partner_16k: Float[np.ndarray, " n"] | None = None,
) -> Motion:
    """What he does, about the identity pose at the origin."""
    rng = np.random.default_rng([text_seed, speaker_seed, 43])
    anchor = FLIP @ _PIVOT_M
    motion = act(
        speech, times, Manner.of(speaker_seed), rng, seed=int(rng.integers(2**31)), pivot=_PIVOT_M, anchor=anchor,
        partner_16k=partner_16k,
    )  # fmt: skip
    return about_pose(motion, FLIP, np.zeros(3))


def _take(
    speaker_seed: int,
    motion: Motion,
    samples: Float[np.ndarray, " n"],
    speech: Speech,
    partner_16k: Float[np.ndarray, " n"] | None = None,
) -> Take:
    """All of it true."""
    confidence = np.ones(len(motion), np.float32)
    return Take(motion, samples, confidence, f"studio speaker {speaker_seed}", partner_16k, speech.phones)


def _noisy(samples: Float[np.ndarray, " n"], dbfs: float, seed: int) -> Float[np.ndarray, " n"]:
    """With the noise of a room: white, falling by 6 dB per octave above 400 Hz."""
    from scipy.signal import lfilter

    decay = np.exp(-2 * np.pi * 400 / RATE)
    noise = np.asarray(lfilter([1], [1, -decay], np.random.default_rng([seed, 27]).normal(size=len(samples))))
    noise *= 10 ** (dbfs / 20) / max(float(np.sqrt((noise**2).mean())), 1e-9)
    return (samples + noise).clip(-1, 1).astype(np.float32)
