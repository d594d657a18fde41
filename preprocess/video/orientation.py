"""Upright pictures: the rotation or mirror of a phone's display matrix, non-square pixels, target sizes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream


def fit_size(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """Width and height scaled down to a long side, never up."""
    scale = min(1.0, long_side / max(width, height)) if long_side else 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def upright_size(frame: VideoFrame, stream: VideoStream, matrix: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the upright picture with square pixels."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    ratio = ratio if Fraction(1, 5) < ratio < 5 else Fraction(1)  # some files carry nonsense such as 0/1
    # The coarser axis grows, so that no detail is lost.
    width, height = round(frame.width * max(ratio, 1)), round(frame.height / min(ratio, 1))
    return (height, width) if swaps(matrix) else (width, height)


def display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """Signs (a, b, c, d) of the display matrix: x' = a x + c y, y' = b x + d y, with y down (ISO 14496-12, 8.2.2)."""
    from av.sidedata.sidedata import Type

    data: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # pyright: ignore  (av's stub types the mapping by name)
    if data is None:
        return 1, 0, 0, 1
    m = np.frombuffer(bytes(data), np.int32).astype(np.float64)
    a, b, c, d = m[0], m[1], m[3], m[4]
    if abs(b) > abs(a):  # only quarter turns are shown upright; odd angles go to the nearest
        return 0, int(np.sign(b)), int(np.sign(c)), 0
    return int(np.sign(a)) or 1, 0, 0, int(np.sign(d)) or 1


def swaps(matrix: tuple[int, ...]) -> bool:
    """Whether the matrix exchanges width and height."""
    return matrix[0] == 0


def turned(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """A view of the picture with the matrix applied."""
    a, b, c, d = matrix
    if swaps(matrix):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def turn_degrees(matrix: tuple[int, ...]) -> int:
    """Clockwise turn of the matrix, 0 to 359."""
    return int(np.round(np.degrees(np.arctan2(matrix[1], matrix[0])))) % 360
