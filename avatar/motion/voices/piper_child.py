"""The process that holds a voice of Piper."""

from __future__ import annotations

import sys

from avatar.motion.voices.serving import Answer, serve

_PUNCTUATION = set(" .,;:!?^$¿¡—…\"'()")
"""Also the marks of beginning and end."""


def main(model: str, length_scale: str, seed: str) -> None:
    """Load the voice and answer.

    Phones have times if the voice's network gives them, or if the package onnx is here, which piper needs to add that.
    """
    import onnxruntime
    from piper.config import SynthesisConfig
    from piper.voice import PiperVoice

    onnxruntime.set_seed(int(seed))
    voice = PiperVoice.load(model, include_alignments=True)
    config = SynthesisConfig(length_scale=voice.config.length_scale * float(length_scale))

    def speak(text: str) -> Answer:
        samples, rate = bytearray(), voice.config.sample_rate
        labels: list[tuple[str, float, float]] | None = []
        for sentence in voice.synthesize(text, config, include_alignments=True):
            start, rate = len(samples) // 2, sentence.sample_rate
            samples += sentence.audio_int16_bytes
            if not sentence.phoneme_alignments:
                labels = None
            if labels is not None:
                labels += timed(sentence.phoneme_alignments, start, rate)
        return Answer(rate, bytes(samples), labels)

    serve(speak)


def timed(alignments, start: int, rate: int) -> list[tuple[str, float, float]]:
    """Phones of a sentence that begins at sample `start`, from piper's list of phonemes and their samples."""
    rows = []
    for row in alignments:
        end = start + int(row.num_samples)
        rows.append(("" if row.phoneme in _PUNCTUATION else row.phoneme, start / rate, end / rate))
        start = end
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
