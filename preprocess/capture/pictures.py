"""Pictures and masks of a capture on disk, RGB and uint8."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from avatar.errors import FormatMismatch
from avatar.threads import workers

_JPEG_QUALITY = 97
_AHEAD = 4
AGAIN = "make the capture (again): visavis preprocess VIDEO -o CAPTURE"

_Read = TypeVar("_Read")


def write_picture(path: Path, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
    """Encode by the suffix; JPEG with full-resolution colour, since fitting learns from it."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    if path.suffix == ".jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    # Encoded in memory: cv2.imwrite would hide a full disk behind a False.
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1].tobytes())


def write_mask(path: Path, mask: UInt8[np.ndarray, "h w"]) -> None:
    """One 8-bit channel as PNG."""
    import cv2

    # With one filter for all rows masks are written in a third of the time, and read in half: none is looked for.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    path.write_bytes(cv2.imencode(".png", mask, options)[1].tobytes())


def read_picture(path: Path, width: int, height: int, long_side: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of a picture file that must have the given size.

    Args:
        long_side: for those who make the picture smaller anyhow, to this many pixels: it may come at a half, a quarter
            or an eighth of its size, but not below this one. JPEG does that in half the time.
    """
    import cv2

    reduced = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    shrink = next((s for s in reduced if long_side and max(width, height) >= s * long_side), 1)
    mode = reduced.get(shrink, cv2.IMREAD_COLOR)
    return cv2.cvtColor(_decode(path, mode, width, height, shrink), cv2.COLOR_BGR2RGB)


def read_mask(path: Path, width: int, height: int) -> UInt8[np.ndarray, "h w"]:
    """One channel of a picture file that must have the given size."""
    import cv2

    return _decode(path, cv2.IMREAD_GRAYSCALE, width, height)


def read_ahead(read: Callable[[int], _Read], indices: Iterable[int], jobs: int) -> Iterator[_Read]:
    """`read` of each index in order, a few of them ahead in a thread: decoding leaves the other core to the caller.

    With one job there is no other core, and no thread.
    """
    waiting: deque[Future[_Read]] = deque()
    with workers(1, jobs) as reading:
        for index in indices:
            waiting.append(reading.submit(read, index))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode(path: Path, mode: int, width: int, height: int, shrink: int = 1) -> np.ndarray:
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise FormatMismatch(f"{path} is missing", fix=AGAIN) from error
    picture = cv2.imdecode(data, mode) if data.size else None
    if picture is None:
        raise FormatMismatch(f"{path} is no readable picture", fix=AGAIN)
    rows, columns = picture.shape[:2]
    # Sides that can't be divided are rounded up for JPEG, and down for the rest.
    if rows not in (height // shrink, -(-height // shrink)) or columns not in (width // shrink, -(-width // shrink)):
        got = f"{columns * shrink}x{rows * shrink}"
        raise FormatMismatch(f"{path} has another size", expected=f"{width}x{height}", got=got, fix=AGAIN)
    return picture
