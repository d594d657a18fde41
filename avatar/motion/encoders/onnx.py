"""A user's own encoder as an ONNX file: HuBERT or wav2vec2 (sound in), or DeepSpeech 0.1 (cepstra with context in)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar.assets import sha256_file
from avatar.errors import BadInput
from avatar.motion.audio import RATE
from avatar.motion.encoders.base import in_pieces, require

_CEPSTRA, _CONTEXT = 26, 9
_STEPS = 2 * _CONTEXT + 1
_SHAPES = f"(1, samples), (1, t, {_STEPS * _CEPSTRA}) or (1, t, {_STEPS}, {_CEPSTRA})"


class OnnxEncoder:
    """What goes in is told from the shape of the model's first input; its first output is taken.

    A model of sound gets the whole clip with zero mean and unit variance, as wav2vec2 and HuBERT were trained.

    Raises:
        BadInput: not an ONNX file, or one with other inputs or outputs.
        MissingAsset: onnxruntime is not installed.
    """

    name = "onnx"
    labels = ()

    def __init__(self, file: Path) -> None:
        runtime = require("onnxruntime", "runs ONNX files", "onnx")
        if not file.is_file():
            raise BadInput(f"{file} does not exist", expected="an ONNX file", fix="check --model")
        self._file = file
        try:
            self._session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base class of their own
            raise BadInput(f"{file} can't be loaded", expected="an ONNX model", got=str(error)[:300]) from error
        self._shape = self._session.get_inputs()[0].shape
        self.key = f"onnx 1 {sha256_file(file)}"
        self._prepare = self._preparation()
        self.rate_hz, self.first_seconds, self.dims = self._measured()

    def encode(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t d"]:
        """The model's first output over time."""
        if self._prepare is deepspeech_input:  # normalised over the clip and recurrent: in one piece
            return self._run(samples)
        if len(samples):
            samples = (samples - samples.mean()) / (samples.std() + 1e-7)
        return in_pieces(samples, self._run, self.rate_hz)

    def _preparation(self) -> Callable[[np.ndarray], np.ndarray]:
        inner = self._shape[2:]
        if len(self._shape) == 2:
            return lambda samples: np.pad(samples, (0, max(0, RATE // 10 - len(samples))))[None]
        if inner in ([_STEPS * _CEPSTRA], [_STEPS, _CEPSTRA]):
            return deepspeech_input
        raise BadInput(
            f"{self._file} is no speech encoder that is known here", expected=f"an input of shape {_SHAPES}",
            got=str(self._shape), fix="export the model with such an input",
        )  # fmt: skip

    def _run(self, samples: np.ndarray) -> np.ndarray:
        prepared = self._prepare(samples)
        if len(self._shape) > 2:
            prepared = prepared.reshape(1, len(prepared), *self._shape[2:])
        first, *others = self._session.get_inputs()
        feeds: dict[str, Any] = {first.name: prepared.astype(np.float32)}
        for other in others:  # DeepSpeech and others want the length again
            if "int" not in other.type:
                raise BadInput(f"{self._file} has an input that is not known here", got=f"{other.name}: {other.type}")
            feeds[other.name] = np.array([prepared.shape[1]], np.int32 if "int32" in other.type else np.int64)
        try:
            rows = np.asarray(self._session.run(None, feeds)[0])
        except Exception as error:  # as above
            raise BadInput(f"{self._file} does not run", expected=_SHAPES, got=str(error)[:300]) from error
        if rows.ndim == 3 and 1 in rows.shape[:2]:  # batch first, or time first as DeepSpeech has it
            rows = rows[0] if rows.shape[0] == 1 else rows[:, 0]
        if rows.ndim != 2:
            raise BadInput(
                f"{self._file} has an unknown output", expected="(1, t, d) or (t, 1, d)", got=str(rows.shape)
            )
        return rows.astype(np.float32)

    def _measured(self) -> tuple[float, float, int]:
        """Rate, time of the first row and dimensions, from the rows of two and of four seconds."""
        short, long = (self._run(np.zeros(seconds * RATE, np.float32)) for seconds in (2, 4))
        rate = (len(long) - len(short)) / 2
        if rate <= 0 or RATE % rate:
            raise BadInput(
                f"{self._file} has an odd rate", expected="rows that divide 16000 per second", got=f"{rate:g}"
            )
        if self._prepare is deepspeech_input:
            return rate, 0.0, short.shape[1]
        # Convolutions without padding: the rows lie in the middle of what they see.
        return rate, (2 - (len(short) - 1) / rate) / 2, short.shape[1]


def deepspeech_input(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t 494"]:
    """What DeepSpeech 0.1 reads, 50 times per second: 26 cepstra with nine steps either side, normalised by clip."""
    from python_speech_features import mfcc

    scaled = np.clip(samples, -1, 1) * 32767.0
    cepstra = mfcc(scaled if len(scaled) else np.zeros(1), RATE, numcep=_CEPSTRA)[::2]
    padded = np.pad(cepstra, ((_CONTEXT, _CONTEXT), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(padded, _STEPS, axis=0).transpose(0, 2, 1)
    rows = around.reshape(len(cepstra), -1)
    return ((rows - rows.mean()) / max(float(rows.std()), 1e-7)).astype(np.float32)
