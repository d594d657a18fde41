"""Encoders by name."""

from __future__ import annotations

from pathlib import Path

from avatar.errors import BadInput
from avatar.motion.encoders.base import SpeechEncoder

NAMES = ("hama", "whisper", "onnx")


def load_encoder(name: str, model: Path | None = None) -> SpeechEncoder:
    """An encoder, ready to run.

    Args:
        model: for `onnx` the file of a DeepSpeech, HuBERT or wav2vec2 model; for `whisper` a folder in CTranslate2's
            format instead of the installed tiny English one.

    Raises:
        BadInput: no such encoder, or a model that can't be used.
        MissingAsset: its package is not installed.
    """
    if name == "hama":
        from avatar.motion.encoders.hama import HamaEncoder

        if model is not None:
            raise BadInput("hama brings its own model", got=str(model), fix="leave --model out")
        return HamaEncoder()
    if name == "whisper":
        from avatar.motion.encoders.whisper import WhisperEncoder

        return WhisperEncoder(model)
    if name == "onnx":
        from avatar.motion.encoders.onnx import OnnxEncoder

        if model is None:
            raise BadInput("the onnx encoder needs a model", expected="--model FILE.onnx", got="none")
        return OnnxEncoder(model)
    raise BadInput(f"no encoder is called {name!r}", expected=" or ".join(NAMES))
