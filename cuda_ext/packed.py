"""Baked per-Gaussian linear maps in int8 or half, and their product with a feature vector. numpy only.

A map (n, c, k) takes k driving features to c numbers per Gaussian, a map (n, k) to one. Each of its rows keeps a scale
of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from cuda_ext.backends import native

Storage = Literal["int8", "half"]
BLOCK_ROWS = 16
"""Rows side by side in memory, see include/fields.h."""
_DTYPES = {"int8": np.dtype(np.int8), "half": np.dtype(np.float16)}
_INT8_STEPS = 127
_MAX_FEATURES = 1 << 16
_LARGEST, _SMALLEST = 1e30, 1e-30
"""Beyond, scales would overflow or lose digits; rows that stay below the smaller one become 0."""


def _checked(array: Any, name: str, shape: tuple[int | None, ...], dtype: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}: expected a numpy array of {np.dtype(dtype).name}, got {got}")
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        want = ", ".join("n" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected shape ({want}), got {array.shape}")
    return array


@dataclass(frozen=True)
class PackedMap:
    """A map in reduced precision; make one with `pack_map`."""

    data: np.ndarray
    """(blocks, k, 16) int8 or float16: rows of the map in blocks of 16, feature by feature."""
    scales: Float[np.ndarray, "n *c"]
    """What the stored numbers of a row are multiplied with, float32."""

    def __post_init__(self):
        axes = 1 if getattr(self.scales, "ndim", 2) == 1 else 2
        rows = _checked(self.scales, "scales", (None,) * axes, np.float32).size
        if not isinstance(self.data, np.ndarray) or self.data.dtype not in _DTYPES.values():
            raise TypeError("data: expected a numpy array of int8 or float16")
        _checked(self.data, "data", (-(-rows // BLOCK_ROWS), None, BLOCK_ROWS), self.data.dtype)
        if not 1 <= self.features <= _MAX_FEATURES:
            raise ValueError(f"data: expected 1..{_MAX_FEATURES} features, got {self.features}")
        if not (self.data.flags.c_contiguous and self.scales.flags.c_contiguous):
            raise ValueError("data, scales: expected contiguous arrays")

    @property
    def features(self) -> int:
        """k, the length of the vectors that the map takes."""
        return self.data.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c, k) or (n, k), as of the map that was packed."""
        return (*self.scales.shape, self.features)

    @property
    def storage(self) -> Storage:
        """How the numbers are kept."""
        return "int8" if self.data.dtype == np.int8 else "half"

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.data.nbytes + self.scales.nbytes

    def first(self, count: int) -> PackedMap:
        """The map of the first Gaussians alone."""
        scales = np.ascontiguousarray(self.scales[:count])
        return PackedMap(np.ascontiguousarray(self.data[: -(-scales.size // BLOCK_ROWS)]), scales)

    def apply(self, features: Float[np.ndarray, " k"], out: Float[np.ndarray, "n *c"] | None = None) -> np.ndarray:
        """`map @ features` straight from the packed numbers, (n, c) or (n,) float32, into `out` where given.

        See `error_bound` for how far this may lie from the product with the unpacked map.

        Raises:
            ValueError: wrong shape, a NaN or infinity in `features`, an `out` that is not contiguous.
            TypeError: not a numpy array of float32.
        """
        features = np.ascontiguousarray(_checked(features, "features", (self.features,), np.float32))
        if out is None:
            out = np.empty(self.scales.shape, np.float32)
        elif not _checked(out, "out", self.scales.shape, np.float32).flags.c_contiguous:
            raise ValueError("out: expected a contiguous array")
        pointers = (self.data, self.scales, features, out)
        native().packed(
            self.scales.size,
            self.features,
            self.storage == "half",
            *(a.__array_interface__["data"][0] for a in pointers),
        )
        return out

    def unpack(self) -> Float[np.ndarray, "n *c k"]:
        """The map as float32, rounded as it is stored."""
        rows = self.data.astype(np.float32).transpose(0, 2, 1).reshape(-1, self.features)[: self.scales.size]
        return (rows * self.scales.reshape(-1, 1)).reshape(self.shape)

    def error_bound(self, features: Float[np.ndarray, " k"]) -> Float[np.ndarray, "n *c"]:
        """Largest distance of `apply` from the product with the map that was packed, in exact arithmetic.

        With m the largest magnitude in a row, an entry is off by at most m / 254 in int8 and m / 2^11 in half; the rest
        is float32 rounding of the sum of k products.
        """
        share = 0.5 / _INT8_STEPS if self.storage == "int8" else 2.0**-11
        peak = self.scales.astype(np.float64) * (_INT8_STEPS if self.storage == "int8" else 1.0)
        rounding = (self.features + 3) * 2.0**-24
        return peak * float(np.abs(features).sum()) * (share + (1 + share) * rounding)


def pack_map(values: Float[np.ndarray, "n *c k"], storage: Storage = "int8") -> PackedMap:
    """Pack a linear map, rounding to nearest: to a quarter (int8) or half of its float32 size, plus a scale per row.

    Raises:
        ValueError: not two or three axes, no features, a NaN or infinity, an unknown storage.
        TypeError: not a numpy array of float32.
    """
    if storage not in _DTYPES:
        raise ValueError(f"storage: expected one of {', '.join(_DTYPES)}, got {storage!r}")
    axes = 2 if getattr(values, "ndim", 3) == 2 else 3
    values = _checked(values, "map", (None,) * axes, np.float32)
    if not bool((np.abs(values) <= _LARGEST).all()):
        raise ValueError(f"map: expected finite numbers up to {_LARGEST:g}, got a NaN, infinity or larger one")
    *gaussians, features = values.shape
    if not 1 <= features <= _MAX_FEATURES:
        raise ValueError(f"map: expected 1..{_MAX_FEATURES} features, got {features}")
    rows = values.reshape(math.prod(gaussians), features)
    peaks = np.abs(rows).max(axis=1, initial=0.0)
    if storage == "int8":
        scales = (peaks / _INT8_STEPS).astype(np.float32)
    else:
        # The power of two above the largest: entries then use the best of half's range, and scaling rounds nothing.
        scales = np.ldexp(np.float32(1), np.frexp(peaks)[1]).astype(np.float32)
    scales[peaks < _SMALLEST] = 0
    blocks = -(-len(rows) // BLOCK_ROWS)
    stored = np.zeros((blocks * BLOCK_ROWS, features), np.float32)
    np.divide(rows, scales[:, None], out=stored[: len(rows)], where=scales[:, None] > 0)
    if storage == "int8":
        np.clip(np.rint(stored, out=stored), -_INT8_STEPS, _INT8_STEPS, out=stored)
    data = stored.astype(_DTYPES[storage]).reshape(blocks, BLOCK_ROWS, features).transpose(0, 2, 1)
    return PackedMap(np.ascontiguousarray(data), scales.reshape(gaussians))
