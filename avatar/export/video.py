"""MP4 clips: H.264 pictures with AAC sound, written atomically."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8

from avatar.errors import BadInput
from avatar.files import cannot_write, partial_file, publish_file
from cuda_ext.backends import BackendMissing, native

AUDIO_RATE = 48_000
_AVX512_LANES = 16
_BT709 = 1  # ITU-T H.273 code point of the primaries, transfer and matrix


class VideoWriter:
    """Context manager that encodes RGB frames into one .mp4 (H.264, yuv420p, BT.709), with sound if asked.

    The clip grows in a partial file and takes its name only when the block ends without an error; otherwise nothing
    is left behind. H.264 needs even sides: an odd picture is padded by repeating its last column or row.

        with VideoWriter("clip.mp4", 512, 512, fps=25, audio_path="speech.wav") as clip:
            clip.add(rgb)

    Args:
        path: the clip; its folder must exist or be creatable.
        width, height: of the pictures given to `add`, pixels.
        fps: frames per second; kept as a fraction, so that 29.97 and 23.976 stay exact over hours.
        audio_path: any file with an audio track; its sound is cut to the length of the pictures.
        audio_start_seconds: where in that file the first frame lies.
        crf: x264 quality, 0 (lossless) to 51; 18 is visually transparent.
        preset: x264's trade of size for time: "superfast" takes a quarter of the time of "fast" and half more space.
        comment: text of the file's `comment` tag (the provenance mark of synthetic clips).
        threads: of the encoder; 0 lets it take what it likes.

    Raises:
        BadInput: the sound can't be read, the folder can't be written, the disk is full, or no frame was added.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float,
        *,
        audio_path: str | Path | None = None,
        audio_start_seconds: float = 0.0,
        crf: int = 18,
        preset: str = "fast",
        comment: str = "",
        threads: int = 0,
    ) -> None:
        self.path, self.width, self.height, self.frames = Path(path), width, height, 0
        self._rate = Fraction(fps).limit_denominator(1001)
        if min(width, height) < 1 or self._rate <= 0:
            raise BadInput(f"cannot make a clip of {width}x{height} at {fps} frames per second")
        if self.path.is_dir():
            raise BadInput(f"{path} is a folder", expected="the name of a clip", fix="add a file name such as clip.mp4")
        self._partial = partial_file(self.path)
        self._sound = _Sound(Path(audio_path), audio_start_seconds) if audio_path is not None else None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if comment:
            self._container.metadata["comment"] = comment
        self._reformatter = VideoReformatter()
        self._video = self._add_video_stream(crf, preset, threads)
        self._audio = self._add_audio_stream() if self._sound else None

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append one frame.

        Raises:
            ValueError: the picture has another size or type than announced.
            BadInput: the disk is full.
        """
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"expected uint8 {(self.height, self.width, 3)}, got {rgb.dtype} {rgb.shape}")
        even = np.pad(rgb, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        self._guarded(lambda: self._container.mux(self._video.encode(frame)))
        self.frames += 1
        self._guarded(self._pump_sound)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        if not self.frames:
            self._discard()
            raise BadInput(f"{self.path} would be an empty clip", expected="at least one frame", got="none")
        self._guarded(self._finish)
        publish_file(self.path)

    def _add_video_stream(self, crf: int, preset: str, threads: int) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=_x264_options(crf, preset))
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / self._rate
        codec = stream.codec_context
        codec.thread_count = threads
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = ColorRange.MPEG
        return stream

    def _add_audio_stream(self) -> AudioStream:
        stream = self._container.add_stream("aac", rate=AUDIO_RATE)
        stream.layout = "stereo"
        stream.bit_rate = 160_000
        return stream

    def _pump_sound(self) -> None:
        """Encode the sound that belongs to the frames so far, so that the file stays interleaved."""
        if self._sound is None or self._audio is None:
            return
        for chunk, start in self._sound.until(int(self.frames / self._rate * AUDIO_RATE)):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
            self._container.mux(self._audio.encode(frame))

    def _finish(self) -> None:
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))
        self._container.close()
        if self._sound is not None:
            self._sound.close()

    def _guarded(self, step) -> None:
        try:
            step()
        except OSError as error:  # FFmpegError with an errno is one too
            self._discard()
            raise cannot_write(self.path, error) from error

    def _discard(self) -> None:
        try:
            self._container.close()
        except OSError:
            # The trailer can't be written to a full disk; the file goes away in the next line anyhow.
            pass
        if self._sound is not None:
            self._sound.close()
        self._partial.unlink(missing_ok=True)


class _Sound:
    """Any audio file as a stream of 48 kHz stereo chunks."""

    def __init__(self, path: Path, start_seconds: float) -> None:
        self.path, self.position = path, 0
        self._skip = round(max(start_seconds, 0.0) * AUDIO_RATE)
        try:
            self._container = av.open(str(path), metadata_errors="replace")
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if not self._container.streams.audio:
            self._container.close()
            raise BadInput(f"{path} has no audio track", expected="a file with sound", fix="give a .wav, .mp3 or .mp4")
        self._chunks = self._after_start()
        self._rest: Float[np.ndarray, "2 n"] = np.zeros((2, 0), np.float32)

    def until(self, sample: int) -> Iterator[tuple[Float[np.ndarray, "2 n"], int]]:
        """Chunks with their start positions, up to exactly `sample` or to the end of the file."""
        while self.position < sample:
            if not self._rest.shape[1]:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = chunk
                continue
            take = self._rest[:, : sample - self.position]
            self._rest = self._rest[:, take.shape[1] :]
            yield take, self.position
            self.position += take.shape[1]

    def close(self) -> None:
        self._container.close()

    def _after_start(self) -> Iterator[Float[np.ndarray, "2 n"]]:
        skip = self._skip
        for chunk in self._decode():
            yield chunk[:, skip:]
            skip = max(0, skip - chunk.shape[1])

    def _decode(self) -> Iterator[Float[np.ndarray, "2 n"]]:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=AUDIO_RATE)
        try:
            for frame in self._container.decode(audio=0):
                frame.pts = None  # broken time stamps of concatenated files would make the resampler insert gaps
                for out in resampler.resample(frame):
                    yield out.to_ndarray()
            for out in resampler.resample(None):
                yield out.to_ndarray()
        except FFmpegError as error:
            raise _unreadable(self.path, error) from error


def _x264_options(crf: int, preset: str) -> dict[str, str]:
    """Settings of the encoder.

    x264 (core 165) with AVX-512 gave other bytes for the same small clip in 58 of 4,145 runs on a busy processor, on
    one thread; with AVX2 in none of 8,070. Only where there is AVX-512 may AVX2 be asked for by name: x264 does
    not look whether the processor has it.
    """
    options = {"crf": str(crf), "preset": preset}
    try:
        widest = native().available_lanes()[-1]
    except BackendMissing:
        return options
    return options | {"x264-params": "asm=avx2"} if widest == _AVX512_LANES else options


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(f"cannot read sound from {path}", got=str(error), fix="give a .wav, .mp3 or .mp4")
