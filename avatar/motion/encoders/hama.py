"""Phoneme posteriors by hama (Apache-2.0), whose package brings engine and weights: 50 times per second, IPA, CTC."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from jaxtyping import Float

from avatar.errors import MissingAsset
from avatar.motion.encoders.base import in_pieces, require

_INSTALL = "speech"


class HamaEncoder:
    """Probabilities of IPA symbols, of a word boundary and of `<blank>`; CTC says each sound in one or two rows."""

    name = "hama"
    rate_hz, first_seconds = 50.0, 0.0

    def __init__(self) -> None:
        hama = require("hama", "tells phonemes from sound", _INSTALL)
        try:
            self._model = hama.ASRModel()
        except RuntimeError as error:
            raise MissingAsset(
                "hama does not run on this machine", expected="Linux or macOS on x86-64 or ARM", got=str(error)
            ) from error
        self.labels = tuple(self._model.decoder_tokens)
        self.dims = len(self.labels)
        self.key = f"hama {version('hama')}"

    def encode(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t d"]:
        """Rows that sum to one."""
        return in_pieces(samples, self._run, self.rate_hz)

    def _run(self, samples: np.ndarray) -> np.ndarray:
        feeds = {"waveform": np.clip(samples, -1, 1)[None], "waveform_lengths": np.array([len(samples)])}
        (log_probabilities,) = self._model.session.run(["log_probs"], feeds)
        return np.exp(log_probabilities[0])
