"""The sound of a clip, aligned to its pictures: audio.wav (16 kHz mono) and its features."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.motion.audio import RATE, AudioFeatures, audio_blocks, features
from preprocess.pictures import AGAIN


def extract_audio(video: Path, wav: Path, start_seconds: float, duration_seconds: float) -> bool:
    """Write the part of a video's sound that belongs to `duration_seconds` of pictures, streamed.

    Args:
        start_seconds: of the first picture on the file's own clock. Sound that begins later is preceded by silence,
            sound that begins earlier is cut, so that sample 0 and frame 0 are the same moment.

    Returns:
        False if the video has no sound track; nothing is written then.
    """
    total, written = round(duration_seconds * RATE), 0
    if not has_audio(video):
        return False
    with wave.open(str(wav), "wb") as out:
        out.setparams((1, 2, RATE, total, "NONE", ""))
        for begin, samples in audio_blocks(video):
            first = round((begin - start_seconds) * RATE)
            if not written and first > 0:
                written = min(first, total)
                _write(out, np.zeros(written, np.float32))
            part = samples[max(0, written - first) : max(0, total - first)]
            _write(out, part)
            written += len(part)
            if written >= total:
                break
        _write(out, np.zeros(total - written, np.float32))
    return True


def has_audio(video: Path) -> bool:
    """Whether a file has a sound track with a known codec."""
    import av

    with av.open(str(video)) as container:
        return bool(container.streams.audio)


def save_features(wav: Path, npz: Path) -> AudioFeatures:
    """Compute the features of a wav that `extract_audio` wrote and store them beside it."""
    got = features(read_wav(wav))
    np.savez(npz, timestamps_seconds=got.timestamps_seconds, log_mel=got.log_mel, mfcc=got.mfcc)
    return got


def load_features(npz: Path) -> AudioFeatures:
    """Read what `save_features` wrote.

    Raises:
        BadInput: the file is not that.
    """
    try:
        with np.load(npz, allow_pickle=False) as z:
            return AudioFeatures(z["timestamps_seconds"], z["log_mel"], z["mfcc"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{npz} can't be read", got=str(error), fix=AGAIN) from error


def read_wav(wav: Path) -> np.ndarray:
    """16-bit mono samples in [-1, 1]."""
    with wave.open(str(wav), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32767


def _write(out: wave.Wave_write, samples: np.ndarray) -> None:
    out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def is_silent(wav: Path) -> bool:
    """Whether nothing in a wav is louder than -50 dB of full scale."""
    samples = read_wav(wav)
    return not len(samples) or float(np.abs(samples).max()) < 10 ** (-50 / 20)
