"""The sound of a clip, aligned to its pictures: audio.wav (16 kHz mono) and its features."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.files import save_arrays
from avatar.motion.audio import RATE, audio_blocks
from avatar.motion.features import AudioFeatures, features
from preprocess.capture.pictures import AGAIN

_FIELDS = [field.name for field in fields(AudioFeatures)]


def extract_audio(video: Path, wav: Path, start_seconds: float, duration_seconds: float) -> bool:
    """Write the part of a video's sound that belongs to `duration_seconds` of pictures, streamed.

    Args:
        start_seconds: of the first picture on the file's own clock. Sound that begins later is preceded by silence,
            sound that begins earlier is cut, so that sample 0 and frame 0 are the same moment.

    Returns:
        False if the video has no sound track; nothing is written then.
    """
    if not has_audio(video):
        return False
    with wave.open(str(wav), "wb") as out:
        out.setparams((1, 2, RATE, round(duration_seconds * RATE), "NONE", ""))
        for block in _aligned(video, start_seconds, duration_seconds):
            write_samples(out, block)
    return True


def clip_samples(video: Path, start_seconds: float, duration_seconds: float) -> Float[np.ndarray, " n"]:
    """What `extract_audio` would write, as samples in [-1, 1]; silence for a video without a sound track.

    Raises:
        BadInput: the sound can't be decoded.
    """
    if not has_audio(video):
        return np.zeros(round(duration_seconds * RATE), np.float32)
    return np.concatenate(list(_aligned(video, start_seconds, duration_seconds)))


def _aligned(video: Path, start_seconds: float, duration_seconds: float) -> Iterator[Float[np.ndarray, " n"]]:
    """Blocks of exactly that much sound; where the file has none there is silence."""
    total, given = round(duration_seconds * RATE), 0
    for begin, samples in audio_blocks(video):
        first = round((begin - start_seconds) * RATE)
        if not given and first > 0:
            given = min(first, total)
            yield np.zeros(given, np.float32)
        part = samples[max(0, given - first) : max(0, total - first)]
        given += len(part)
        yield part
        if given >= total:
            break
    yield np.zeros(total - given, np.float32)


def has_audio(video: Path) -> bool:
    """Whether a file has a sound track with a known codec."""
    import av

    with av.open(str(video), metadata_errors="replace") as container:
        return bool(container.streams.audio)


def save_features(wav: Path, npz: Path) -> AudioFeatures:
    """Compute the features of a wav that `extract_audio` wrote and store them beside it."""
    got = features(read_wav(wav))
    save_arrays(npz, {name: getattr(got, name) for name in _FIELDS})
    return got


def load_features(npz: Path) -> AudioFeatures:
    """Read what `save_features` wrote.

    Raises:
        BadInput: the file is not that.
    """
    try:
        with np.load(npz, allow_pickle=False) as z:
            return AudioFeatures(*(z[name] for name in _FIELDS))
    except Exception as error:  # zip, zlib, header and pickle refusals all come as different types
        raise BadInput(f"{npz} can't be read", got=str(error), fix="visavis features CAPTURE") from error


def read_wav(wav: Path) -> np.ndarray:
    """16-bit mono samples in [-1, 1] of a capture's wav.

    Raises:
        BadInput: the file is not that.
    """
    try:
        with wave.open(str(wav), "rb") as file:
            got = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError, RuntimeError) as error:  # the last from a chunk that runs out
        raise BadInput(f"{wav} can't be read", got=str(error) or "half a header", fix=AGAIN) from error
    if got != (1, 2, RATE):
        raise BadInput(f"{wav} has another format", expected=f"16-bit mono at {RATE} Hz", got=str(got), fix=AGAIN)
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32767


def write_samples(out: wave.Wave_write, samples: Float[np.ndarray, " n"]) -> None:
    """Append samples in [-1, 1] to a 16-bit wav."""
    out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def is_silent(wav: Path) -> bool:
    """Whether nothing in a wav is louder than -50 dB of full scale."""
    samples = read_wav(wav)
    return not len(samples) or float(np.abs(samples).max()) < 10 ** (-50 / 20)
