"""What colours skin, hair and clothes have in a clip: histograms in CIE L*a*b*."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

CLASSES = ("skin", "hair", "clothes")
_BITS = 15
_UNKNOWN = 0.02
"""Share of every class that may have any colour at all: shadows, jewellery, the rims of glasses."""
_ENOUGH = 2000
"""Pixels from which on a histogram counts fully; below, it is mixed with the even one."""


class Colours:
    """Counts colours per class, then tells how badly a colour fits each class.

    Bins are 8 wide in lightness and 4 in a* and b*, in OpenCV's 8-bit scaling; a* and b* are cut off at 64 and 192.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((len(CLASSES), 1 << _BITS))

    def add(self, bins: UInt16[np.ndarray, "h w"], name: str, pixels: Bool[np.ndarray, "h w"]) -> None:
        """Count pixels that show a class."""
        self._counts[CLASSES.index(name)] += np.bincount(bins[pixels], minlength=1 << _BITS)

    def costs(self) -> Float[np.ndarray, "32768 3"]:
        """Negative log likelihood per bin and class, nats, relative to the best class of the bin."""
        from scipy.ndimage import gaussian_filter

        totals = self._counts.sum(1, keepdims=True)
        sure = np.minimum(totals / _ENOUGH, 1)
        known = sure * self._counts / np.maximum(totals, 1) + (1 - sure) / (1 << _BITS)
        smooth = np.stack([gaussian_filter(row.reshape(32, 32, 32), 1.0, mode="nearest").ravel() for row in known])
        likelihood = (1 - _UNKNOWN) * smooth + _UNKNOWN / (1 << _BITS)
        cost = -np.log(likelihood)
        return np.ascontiguousarray((cost - cost.min(0)).T, np.float32)


def colour_bins(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt16[np.ndarray, "h w"]:
    """The histogram bin of every pixel, 15 bits."""
    import cv2

    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)
    lightness = (lab[..., 0] >> 3).astype(np.uint16) << 10
    a, b = ((np.clip(lab[..., k], 64, 191) - 64) >> 2 for k in (1, 2))
    return lightness | (a.astype(np.uint16) << 5) | b
