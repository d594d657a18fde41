"""The command that turns speech into numbers: features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.cli.common import Computing, Input
from avatar.errors import BadInput


@dataclass(frozen=True)
class Features(Computing):
    """Compute features of speech, built-in or by an encoder, of a capture (where they are kept) or of any sound file.

    Example: visavis features me.capture --encoder hama
    Example: visavis features speech.wav -o speech.npz
    Example: visavis features me.capture --encoder onnx --model hubert.onnx --layout windows -o me_hubert.npz
    """

    source: Input = field(kw_only=True)
    """A capture, or a sound or video file."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File (.npz), and nothing else is written; a capture keeps its features itself if not given."""
    overwrite: bool = False
    """Replace an existing file."""
    encoder: Literal["builtin", "hama", "whisper", "onnx"] = "builtin"
    """builtin: log-mel, MFCC, pitch, voicing, energy, speech and prosody; hama: phoneme probabilities; whisper: its
    encoder; onnx: your own DeepSpeech, HuBERT or wav2vec2."""
    model: Path | None = None
    """ONNX file, or a folder with another Whisper in CTranslate2's format."""
    layout: Literal["rows", "frames", "windows"] = "rows"
    """Of an encoder's result: its own rows, one row per video frame, or 16 rows around each video frame as fields
    driven by DeepSpeech read them."""
    fps: float = 25.0
    """Video frames per second of a sound file; a capture has its own frame times."""

    def start(self) -> None:
        super().start()
        if self.output is None and (not self._is_capture or self.layout != "rows"):
            raise BadInput("there is no place for the result", expected="-o FILE.npz", got="none")
        if self.output is not None and (self.output.exists() and not self.overwrite):
            raise BadInput(f"{self.output} exists", fix="add --overwrite to replace it, or choose another -o/--output")
        if self.encoder == "builtin" and (self.layout != "rows" or self.model is not None):
            raise BadInput("--layout and --model belong to an encoder", fix="add --encoder hama, whisper or onnx")
        if not 1 <= self.fps <= 240:
            raise BadInput("--fps is out of range", expected="1 to 240", got=f"{self.fps:g}")

    @property
    def _is_capture(self) -> bool:
        return self.source.is_dir()

    def run(self) -> dict:
        samples, seconds = self._sound()
        return self._builtin(samples) if self.encoder == "builtin" else self._encoded(samples, seconds)

    def _sound(self):
        """Samples and the times of video frames."""
        import numpy as np

        from avatar.motion.audio import RATE, load_audio
        from preprocess.capture import CaptureFolder
        from preprocess.sound.audio import read_wav

        if not self._is_capture:
            samples = load_audio(self.source)
            return samples, np.arange(max(1, round(len(samples) / RATE * self.fps))) / self.fps
        capture = CaptureFolder.load(self.source)
        if capture.audio_path is None:
            raise BadInput(f"{self.source} has no sound", expected="a capture of a video with speech")
        return read_wav(capture.audio_path), capture.motion.timestamps_seconds

    def _builtin(self, samples) -> dict:
        from dataclasses import asdict

        from avatar.files import save_arrays
        from avatar.motion.features import HOP_SECONDS, features
        from avatar.motion.prosody import prosody

        found = features(samples)
        told = prosody(found)
        file = self.output or self.source / "audio_features.npz"
        save_arrays(file, asdict(found) if self.output is None else asdict(told) | asdict(found))
        spoken = float(told.speaking.sum() * HOP_SECONDS)
        pitch = found.f0_hz[found.voiced & told.speaking]
        return {
            "features": str(file), "frames": len(found), "rate_hz": 1 / HOP_SECONDS,
            "speech_seconds": round(spoken, 2), "pauses": len(told.pauses_seconds),
            "syllables_per_second": round(len(told.syllables_seconds) / spoken, 2) if spoken else 0.0,
            "median_pitch_hz": round(float(sorted(pitch)[len(pitch) // 2]), 1) if len(pitch) else 0.0,
        }  # fmt: skip

    def _encoded(self, samples, seconds) -> dict:
        from avatar.files import save_arrays
        from avatar.motion.audio_windows import audio_windows
        from avatar.motion.encoders import Encoding, load_encoder
        from preprocess.sound.encodings import encode_cached, save_encoding

        encoder = load_encoder(self.encoder, self.model)
        if self._is_capture:
            encoding, file = encode_cached(encoder, samples, self.source, keep=self.output is None)
        else:
            encoding, file = Encoding.of(encoder, samples), self.output
        shape = encoding.rows.shape
        if self.output is not None:
            file = self.output
            if self.layout == "rows":
                save_encoding(file, encoding)
            else:
                rows = encoding.at(seconds) if self.layout == "frames" else audio_windows(encoding, seconds)
                save_arrays(file, {"rows": rows, "timestamps_seconds": seconds})
                shape = rows.shape
        return {
            "features": str(file), "encoder": encoder.name, "shape": list(shape),
            "rate_hz": encoder.rate_hz, "first_seconds": round(encoder.first_seconds, 4),
        }  # fmt: skip
