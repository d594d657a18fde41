"""Opening media files, and refusing those that are missing, no video or cut off, with what to do about it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.errors import BadInput

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MIN_SECONDS = 2.0
"""A person can't be learned from less."""
ANY_FORMAT = "a video file that FFmpeg reads (mp4, mov, mkv, webm, avi, ...)"


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container of a file, closed afterwards.

    Raises:
        BadInput: it is no media file that can be read, or is cut off so that it can't be opened.
    """
    import av
    from av.error import FFmpegError

    if not path.exists():
        raise BadInput(f"{path} does not exist", expected=ANY_FORMAT, fix="check the name and the folder")
    if path.is_dir():
        raise BadInput(f"{path} is a folder", expected=ANY_FORMAT, fix="name the video file inside it")
    if path.stat().st_size == 0:
        raise BadInput(f"{path} is empty", expected=ANY_FORMAT, got="0 bytes", fix="copy or record the file again")
    try:
        _require_index(path)
        container = av.open(str(path), metadata_errors="replace")
    except PermissionError as error:
        raise BadInput(f"{path} can't be read", got="no permission", fix=f"chmod +r '{path}'") from error
    except FFmpegError as error:
        raise _unreadable(path, error) from error
    with container:
        yield container


def _unreadable(path: Path, error: Exception) -> BadInput:
    with path.open("rb") as file:
        head = file.read(4096)
    text = all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte > 127 for byte in head)
    got = "a text file" if text else str(error)
    return BadInput(f"{path} is not a video", expected=ANY_FORMAT, got=got, fix="name the video file itself")


def _require_index(path: Path) -> None:
    """Refuse an mp4/mov whose 'moov' box is missing or cut (ISO 14496-12, 4.2), and an AVI shorter than it says."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            said = int.from_bytes(head[4:8], "little") + 8
            if size < said < 2**32:  # the largest value is written by recorders that never came back to fill it in
                raise cut_off(path, f"{said} bytes, as its header says", f"{size} bytes", 0.0)
            return
        while position + 8 <= size:
            file.seek(position)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0]
            if (position == 0 and kind != b"ftyp") or (kind == b"moov" and position + length <= size):
                return
            position += length if length >= 8 else size
    raise BadInput(
        f"{path} is cut off: its index (the 'moov' part) is missing",
        expected="a complete mp4 or mov file",
        got=f"{size} bytes without an index",
        fix="copy the file again, or stop the recording properly; the tool 'untrunc' can mend some of them",
    )


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first track of moving pictures.

    Raises:
        BadInput: there is none.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # cover art of a song
            stream.thread_type = "AUTO"
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise BadInput(
        f"{path} holds no video",
        expected="a file with a picture track",
        got=f"only {', '.join(kinds)}" if kinds else "no track at all",
        fix="name the video; a speech file goes to `visavis drive AVATAR --audio FILE`",
    )


def no_frames(path: Path) -> BadInput:
    """The error for a file without pictures."""
    return BadInput(f"{path} holds 0 frames", expected="a video with pictures", fix="copy or record the file again")


def cut_off(path: Path, expected: str, got: str, good_seconds: float) -> BadInput:
    """The error for a file that ends before it should; `good_seconds` of it can be used."""
    keep = f"; or use what is there with --max-seconds {good_seconds:.0f}" if good_seconds >= MIN_SECONDS else ""
    return BadInput(f"{path} is cut off", expected=expected, got=got, fix=f"copy or record the file again{keep}")


def require_whole(container: InputContainer, stream: VideoStream, path: Path) -> None:
    """An index whose samples lie beyond the end of the file shows a truncated copy before anything is decoded.

    Raises:
        BadInput: it does.
    """
    size, entries = path.stat().st_size, stream.index_entries
    beyond = next((i for i in range(len(entries)) if entries[i].pos + entries[i].size > size), None)
    if beyond is not None:
        last = entries[len(entries) - 1]
        good = float((entries[beyond].timestamp - entries[0].timestamp) * (stream.time_base or 0))
        raise cut_off(path, f"{last.pos + last.size} bytes or more, as its index says", f"{size} bytes", good - 0.5)
