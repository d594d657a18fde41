"""The sound of any audio or video file as 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput

RATE = 16_000
_LONGEST_GAP_SECONDS = 600.0
"""A longer one is a broken time stamp: filling it would fill the memory."""


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
            clock, resampler, kind = _Clock(), None, None
            for frame in container.decode(audio=0):
                before, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
                if resampler is None or kind != before:  # broadcasts change from stereo to surround and back
                    for out in resampler.resample(None) if resampler else ():
                        yield clock.emit(out.to_ndarray()[0])
                    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
                silence = clock.gap(frame.time, frame.samples / frame.sample_rate)
                if silence:
                    yield clock.emit(np.zeros(silence, np.float32))
                frame.pts = None  # gaps are ours to fill: the resampler would refuse or stretch them
                for out in resampler.resample(frame):
                    yield clock.emit(out.to_ndarray()[0])
            for out in resampler.resample(None) if resampler else ():
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
