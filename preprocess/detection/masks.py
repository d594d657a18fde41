"""Person masks: a confidence per pixel from MediaPipe's selfie segmentation, sharp in space and steady in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from avatar.assets import find_asset

_RADIUS_SHARE, _EDGE, _SUBSAMPLE = 1 / 64, 3e-4 * 255**2, 4
"""Guided filter: radius as a share of the longer side, squared contrast that counts as an edge, coarseness."""
_STEEPER = 2.0
"""By how much the edge is made harder: the network's is soft over some 5 of its pixels."""
_SAME_LEVELS = 5.0
"""Pixels whose surroundings differ by this much (root mean square, 8-bit levels) between frames count 0.6 as much."""


class PersonSegmenter:
    """Context manager around one ImageSegmenter; not thread-safe."""

    def __init__(self) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(find_asset("selfie_segmentation.tflite"))),
            output_confidence_masks=True,
            output_category_mask=False,
        )
        self._segmenter = vision.ImageSegmenter.create_from_options(options)

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self._segmenter.close()

    def mask(self, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """How sure the network is that a pixel shows a person: 0 to 255."""
        import cv2
        import mediapipe as mp

        result = self._segmenter.segment(mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(rgb)))
        # The mask's memory belongs to the result: it is rounded into our own before that goes away.
        confidence = result.confidence_masks[-1].numpy_view().reshape(rgb.shape[:2])
        return snapped(rgb, cv2.convertScaleAbs(confidence, alpha=255))


def snapped(rgb: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The mask with its soft edge moved to the picture's: the network works on 256 x 256 pixels.

    Fast guided filter (He, Sun, "Guided image filtering", PAMI 2013, and "Fast guided filter", 2015).
    """
    import cv2

    # The library's radius is one of the coarse picture.
    radius = max(1, round(max(mask.shape) * _RADIUS_SHARE / _SUBSAMPLE))
    soft = cv2.ximgproc.guidedFilter(rgb, mask, radius, _EDGE, scale=1 / _SUBSAMPLE)
    return np.asarray(cv2.addWeighted(soft, _STEEPER, soft, 0, (1 - _STEEPER) * 127.5), np.uint8)


class SteadyMasks:
    """Takes the flicker out of the masks of successive frames.

    Each mask becomes the mean of its own, the one before and the one after, the latter two by how much the picture
    stayed the same there: where something moves, nothing is smeared (bilateral filter in time).
    """

    def __init__(self) -> None:
        self._recent: list[_Masked] = []

    def add(
        self, index: int, rgb: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
    ) -> list[tuple[int, UInt8[np.ndarray, "h w"]]]:
        """Take the next frame; give the frames that are finished by it, with their masks."""
        import cv2

        coarse = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        alike = _alike(self._recent[-1].coarse, coarse, mask.shape[1::-1]) if self._recent else None
        self._recent = [*self._recent[-2:], _Masked(index, coarse, mask, alike)]
        return [self._steady(len(self._recent) - 2)] if len(self._recent) > 1 else []

    def finish(self) -> list[tuple[int, UInt8[np.ndarray, "h w"]]]:
        """The last frame; what comes after it has nothing to do with it."""
        last = [self._steady(len(self._recent) - 1)] if self._recent else []
        self._recent = []
        return last

    def _steady(self, place: int) -> tuple[int, UInt8[np.ndarray, "h w"]]:
        import cv2

        own = self._recent[place]
        total, weights = own.mask.astype(np.float32), np.ones(own.mask.shape, np.float32)
        neighbours = [(own.alike, self._recent[place - 1].mask)] if place else []
        neighbours += [(after.alike, after.mask) for after in self._recent[place + 1 : place + 2]]
        for alike, mask in neighbours:
            assert alike is not None
            cv2.accumulateProduct(alike, mask.astype(np.float32), total)
            weights += alike
        return own.index, cv2.divide(total, weights, dtype=cv2.CV_8U)


@dataclass(frozen=True)
class _Masked:
    """A frame's mask, and its picture at half size."""

    index: int
    coarse: UInt8[np.ndarray, "h2 w2 3"]
    mask: UInt8[np.ndarray, "h w"]
    alike: Float[np.ndarray, "h w"] | None
    """How much the picture stayed the same since the frame before, 0 to 1."""


def _alike(
    one: UInt8[np.ndarray, "h2 w2 3"], other: UInt8[np.ndarray, "h2 w2 3"], size: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    import cv2

    change = cv2.absdiff(one, other)
    exponent = cv2.transform(
        cv2.multiply(change, change, dtype=cv2.CV_32F), np.full((1, 3), 1 / (-6 * _SAME_LEVELS**2))
    )
    return cv2.resize(cv2.exp(cv2.blur(exponent, (3, 3))), size)
