"""Speech as numbers: any audio file as 16 kHz mono, and the log-mel and MFCC features that drivers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput

RATE = 16_000
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
N_MELS, N_MFCC = 80, 13
_FLOOR = 1e-10
_LONGEST_GAP_SECONDS = 600.0
"""A longer one is a broken time stamp: filling it would fill the memory."""


@dataclass(frozen=True)
class AudioFeatures:
    """Features of one track every 10 ms; frame k looks at 25 ms around `timestamps_seconds[k]`."""

    timestamps_seconds: Float[np.ndarray, " n"]
    log_mel: Float[np.ndarray, "n bands"]
    """Natural logarithm of mel-band power; digital silence is ln 1e-10 = -23."""
    mfcc: Float[np.ndarray, "n 13"]

    def at(self, seconds: Float[np.ndarray, " t"]) -> AudioFeatures:
        """Features interpolated at a clip's own frame times (the reverse, resampling the clip, would blur motion)."""

        def sampled(rows: np.ndarray) -> np.ndarray:
            return np.stack([np.interp(seconds, self.timestamps_seconds, c) for c in rows.T], 1).astype(np.float32)

        return AudioFeatures(np.asarray(seconds, np.float32), sampled(self.log_mel), sampled(self.mfcc))


def load_audio(path: Path | str) -> Float[np.ndarray, " n"]:
    """The first audio track of any file as 16 kHz mono in [-1, 1].

    Raises:
        BadInput: no such file, no audio in it, or it can't be decoded.
    """
    blocks = [block for _, block in audio_blocks(path)]
    if not blocks:
        raise BadInput(f"{path} holds no sound", expected="a file with speech", got="an empty audio track")
    return np.concatenate(blocks)


def audio_blocks(path: Path | str) -> Iterator[tuple[float, Float[np.ndarray, " n"]]]:
    """Decode and resample in blocks: (start of the block on the file's own clock in seconds, samples).

    Blocks follow each other without gaps; only the first start matters. A gap or overlap in the file's time stamps of
    less than 0.1 s is jitter and is ignored, and one of ten minutes is a broken stamp; a gap between is filled with
    silence, so that later words stay in place.
    """
    import av
    from av.error import FFmpegError

    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist", expected="an audio or video file", fix="check the name")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise BadInput(
                    f"{path} has no audio track", expected="speech", fix="give a .wav, .mp3, .m4a or a video"
                )
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            clock = _Clock()
            for frame in container.decode(audio=0):
                silence = clock.gap(frame.time, frame.samples / frame.sample_rate)
                if silence:
                    yield clock.emit(np.zeros(silence, np.float32))
                frame.pts = None  # gaps are ours to fill: the resampler would refuse or stretch them
                for out in resampler.resample(frame):
                    yield clock.emit(out.to_ndarray()[0])
            for out in resampler.resample(None):
                yield clock.emit(out.to_ndarray()[0])
    except FFmpegError as error:
        raise BadInput(f"the sound of {path} can't be decoded", got=str(error), fix="convert it to .wav") from error


class _Clock:
    """Keeps the place of decoded sound on the file's time axis."""

    def __init__(self) -> None:
        self.start: float | None = None
        self.heard = 0.0
        self.given = 0

    def gap(self, time: float | None, seconds: float) -> int:
        """Samples of silence missing before a frame of `seconds` at `time`."""
        if self.start is None:
            self.start = time or 0.0
        missing = (time - self.start - self.heard) if time is not None else 0.0
        missing = missing if 0.1 < missing < _LONGEST_GAP_SECONDS else 0.0
        self.heard += missing + seconds
        return round(missing * RATE)

    def emit(self, samples: np.ndarray) -> tuple[float, np.ndarray]:
        begin = (self.start or 0.0) + self.given / RATE
        self.given += len(samples)
        return begin, samples.astype(np.float32)


def features(samples: Float[np.ndarray, " n"], rate: int = RATE, bands: int = N_MELS) -> AudioFeatures:
    """Log-mel and MFCC features of a mono track.

    Args:
        samples: in [-1, 1]; an empty track gives one frame of silence.
        rate: samples per second.
        bands: mel bands, 26 to 80.
    """
    samples = samples if len(samples) else np.zeros(1, np.float32)
    mel = log_mel(samples, rate, bands)
    times = WINDOW_SECONDS / 2 + HOP_SECONDS * np.arange(len(mel), dtype=np.float32)
    return AudioFeatures(times, mel, mfcc(samples, rate)[: len(mel)])


def log_mel(samples: Float[np.ndarray, " n"], rate: int = RATE, bands: int = N_MELS) -> Float[np.ndarray, "f bands"]:
    """Log power in `bands` triangular mel bands from 0 to half the rate, 25 ms Hann windows every 10 ms.

    The bands are those of O'Shaughnessy's mel scale, m = 2595 log10(1 + f / 700), as in HTK and python_speech_features,
    but with fractional edges: rounding them to spectrum bins leaves the lowest of 80 bands empty.
    """
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    count = 1 + max(0, -(-(len(samples) - window) // hop))
    n_fft = 1 << (2 * window - 1).bit_length()
    weights, hann = _mel_weights(bands, n_fft, rate), np.hanning(window).astype(np.float32)
    padded = np.pad(samples.astype(np.float32), (0, (count - 1) * hop + window - len(samples) + hop))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:count]
    out = np.empty((count, bands), np.float32)
    for begin in range(0, count, 4096):  # bounds the memory of long speech
        spectrum = np.fft.rfft(windows[begin : begin + 4096] * hann, n_fft)
        out[begin : begin + 4096] = np.log((np.abs(spectrum) ** 2 / n_fft) @ weights.T + _FLOOR)
    return out


@lru_cache(maxsize=4)
def _mel_weights(bands: int, n_fft: int, rate: int) -> Float[np.ndarray, "bands bins"]:
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def mfcc(samples: Float[np.ndarray, " n"], rate: int = RATE) -> Float[np.ndarray, "f 13"]:
    """13 mel-frequency cepstral coefficients every 10 ms, as python_speech_features has them for 16-bit samples."""
    from python_speech_features import mfcc as cepstra

    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    n_fft = 1 << (window - 1).bit_length()
    step, parts = 6000 * hop, []  # a minute at a time: the library builds all windows at once in float64
    for begin in range(0, max(1, len(samples) - window + hop), step):
        part = samples[begin : begin + step - hop + window] * 32767.0
        parts.append(cepstra(part, rate, WINDOW_SECONDS, HOP_SECONDS, N_MFCC, nfft=n_fft).astype(np.float32))
    return np.concatenate(parts)
