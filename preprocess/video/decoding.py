"""Reading video files of any kind: upright, square-pixel RGB frames with true timestamps, streamed.

What players do and plain decoders don't: rotation and square pixels (`orientation`), variable frame rates, edit lists,
10-bit and full-range pixels, colour matrices that the file does not state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from avatar.errors import BadInput
from preprocess.video.container import MIN_SECONDS, cut_off, no_frames, opened, picture_stream, require_whole
from preprocess.video.orientation import display_matrix, fit_size, swaps, turn_degrees, turned, upright_size

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_HDR_TRANSFERS = (16, 18)  # SMPTE 2084 (PQ) and ARIB B67 (HLG), ITU-T H.273 table 3
_UNSPECIFIED = 2  # ITU-T H.273 table 4
_BT709 = 1


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself; sizes are those of the upright picture with square pixels."""

    width: int
    height: int
    fps: float
    """Mean frame rate."""
    duration_seconds: float
    frame_count: int
    """Estimate: containers count frames that an edit list hides."""
    start_seconds: float
    """Stamp of the first picture on the file's own clock, which its sound shares."""
    has_audio: bool
    rotation_degrees: int
    """Clockwise turn that the display matrix asks for; already applied to width and height."""
    pixel_format: str
    hdr: bool
    """PQ or HLG transfer: colours are not sRGB."""


def probe(path: Path | str) -> VideoInfo:
    """Facts of a video file, from its header and first frame.

    Raises:
        BadInput: it is no readable video, holds no picture, or is cut off.
    """
    path = Path(path)
    with opened(path) as container:
        stream = picture_stream(container, path)
        require_whole(container, stream, path)
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise no_frames(path)
        start, (seconds, count) = first.time or 0.0, _length(stream, container, fps)
        has_audio, matrix = bool(container.streams.audio), display_matrix(first)
        width, height = upright_size(first, stream, matrix)
        info = (first.format.name, int(first.color_trc) in _HDR_TRANSFERS)
    if not seconds:  # a browser's recorder writes no duration
        seconds, count = _length_by_reading(path)
    return VideoInfo(width, height, fps, seconds, count, start, has_audio, turn_degrees(matrix), *info)


def require_length(path: Path | str, seconds: float) -> None:
    """Refuse what is too short to learn a person from.

    Raises:
        BadInput: `seconds` is under `MIN_SECONDS`.
    """
    if seconds < MIN_SECONDS:
        raise BadInput(
            f"{path} is too short",
            expected=f"at least {MIN_SECONDS:g} s of video; 20 s to 5 min make a good avatar",
            got=f"{seconds:.2f} s",
            fix="record the person for longer",
        )


def frames(
    path: Path | str,
    long_side: int | None = None,
    *,
    start_seconds: float = 0.0,
    max_seconds: float | None = None,
    skip: int = 0,
    threads: int = 0,
) -> Iterator[tuple[int, float, UInt8[np.ndarray, "h w 3"]]]:
    """Decode a file frame by frame as (index, seconds since the file's first frame, RGB picture).

    Args:
        long_side: pictures are scaled down to this long side (never up).
        start_seconds: frames before this time are left out; the next one has index 0.
        max_seconds: stop this long after `start_seconds`.
        skip: decode but do not convert the first `skip` frames (resuming); the first index given is `skip`.
        threads: of the decoder; 0 lets it take what it likes.

    Raises:
        BadInput: not a video, no frames, damaged, or it ends before its header says.
    """
    path = Path(path)
    with opened(path) as container:
        stream = picture_stream(container, path)
        stream.thread_count = threads
        if max_seconds is None:
            require_whole(container, stream, path)
        index, last = 0, -1.0
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        upright: _Upright | None = None
        for time, frame in _timed(container, stream, path, step, whole=max_seconds is None):
            if time < start_seconds:
                continue
            if max_seconds is not None and time >= start_seconds + max_seconds:
                break
            if time <= last:  # duplicated or disordered stamps: a track needs time to go forward
                continue
            last = time
            if index >= skip:
                upright = upright or _Upright(frame, stream, long_side)
                yield index, time, upright.rgb(frame)
            index += 1
        if index == 0:
            raise no_frames(path) if not start_seconds else _starts_late(path, start_seconds)


class _Upright:
    """Makes RGB pictures of one size of a stream's frames, rotation and mirroring applied.

    Args:
        first: the rotation is taken from it. A frame whose side data was looked at is in a cycle of references (PyAV),
            which would leave each frame's memory to the garbage collector.
    """

    def __init__(self, first: VideoFrame, stream: VideoStream, long_side: int | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._matrix = display_matrix(first)
        self._size = fit_size(*upright_size(first, stream, self._matrix), long_side)
        self._reformatter = VideoReformatter()

    def rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        from av.video.reformatter import Interpolation

        width, height = self._size[::-1] if swaps(self._matrix) else self._size
        # Two fields of another moment each would show as a comb: one of them is enough for the sizes that we work at.
        woven = bool(frame.interlaced_frame)
        shrinks = not woven and width * height < frame.width * frame.height
        # FFmpeg takes BT.601 when nothing is stated; what is broadcast and recorded at HD size is BT.709.
        unstated_hd = int(frame.colorspace) == _UNSPECIFIED and min(frame.width, frame.height) >= 720
        picture = self._reformatter.reformat(
            frame,
            frame.width if woven else width,
            frame.height if woven else height,
            "rgb24",
            src_colorspace=_BT709 if unstated_hd else None,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
        ).to_ndarray()
        if woven:
            import cv2

            picture = cv2.resize(picture[::2], (width, height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(turned(picture, self._matrix))


def _starts_late(path: Path, start_seconds: float) -> BadInput:
    return BadInput(
        f"{path} has no frame after {start_seconds:g} s",
        expected="a start inside the clip",
        fix="use a smaller --start-seconds",
    )


def _decoded(container: InputContainer, stream: VideoStream, path: Path, whole: bool = False) -> Iterator[VideoFrame]:
    """Frames in order; broken packets are passed over while they are few.

    With `whole`, an end of data that comes before the header's duration is an error (every track is followed: the
    container's duration is that of the longest).
    """
    import av
    from av.error import FFmpegError, InvalidDataError

    good, bad, end = 0, 0, 0.0
    before_zero = min(0, container.start_time or 0) / av.time_base
    tracks = [s for s in container.streams if s.type in ("video", "audio")] if whole else [stream]
    try:
        for packet in container.demux(tracks):
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - before_zero)
            if packet.stream.index != stream.index:
                continue
            try:
                decoded = stream.decode(packet)
            except InvalidDataError:
                bad += 1
                if bad > 10 and bad > good / 10:
                    raise
                continue
            good += len(decoded)
            yield from decoded
    except FFmpegError as error:
        raise cut_off(path, "data that decodes to its end", f"{error} after {good} frames", end - 0.5) from error
    total = (container.duration or 0) / av.time_base
    if whole and total - end > max(1.0, 0.05 * total):
        raise cut_off(path, f"{total:.1f} s, as its header says", f"{end:.1f} s of data", end - 0.5)


def _timed(
    container: InputContainer, stream: VideoStream, path: Path, step: float, whole: bool
) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with seconds since the first; a frame without a stamp follows the one before by `step`."""
    first, last = None, -step
    for frame in _decoded(container, stream, path, whole):
        time = frame.time if frame.time is not None else last + step + (first or 0.0)
        first = time if first is None else first
        last = time - first
        yield last, frame


def _length(stream: VideoStream, container: InputContainer, fps: float) -> tuple[float, int]:
    import av

    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / av.time_base
    return seconds, stream.frames or round(seconds * fps)


def _length_by_reading(path: Path) -> tuple[float, int]:
    """Duration and number of packets by walking through the file without decoding."""
    with opened(path) as container:
        stream = picture_stream(container, path)
        times = [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None and p.time_base]
    return (max(times) - min(times), len(times)) if times else (0.0, 0)
