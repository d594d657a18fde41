"""Lips that were closed stay closed: what any control on the mouth ends with."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.blinks import smoothstep
from avatar.motion.controls.rest import Rest
from avatar.motion.groups import GROUPS

_CONTACT_METRES = 0.5e-3
"""Lips this near touch: an edge of two soft bodies, seen through landmarks."""
_SOFT_METRES = 1e-3
_SPEAKING_METRES = 2e-3
_CLOSED_QUANTILE = 0.08
"""Of the opening of somebody who speaks, below which the lips count as closed if they never touch (a tracker that reads
every mouth a little ajar)."""
_REACH_SECONDS = 0.3
_LEAST_METRES = 2e-4


def closed(aperture: Float[np.ndarray, " t"], fps: float, *, in_speech_only: bool = False) -> Float[np.ndarray, " t"]:
    """How surely the lips are closed, 0 to 1.

    Args:
        aperture: metres.
        in_speech_only: count only closures within 0.3 s of open lips (p, b, m), not a mouth that rests.
    """
    low, usual, high = np.quantile(aperture, (0.05, _CLOSED_QUANTILE, 0.95))
    level = max(_CONTACT_METRES, usual if high - low > 1.5 * _SPEAKING_METRES else -np.inf)
    share = 1 - smoothstep((aperture - level) / _SOFT_METRES)
    if not in_speech_only:
        return share
    open_lips = smoothstep((aperture - level - _SOFT_METRES) / _SPEAKING_METRES)
    reach = 2 * round(_REACH_SECONDS * fps) + 1
    near = maximum_filter1d(open_lips, reach, mode="nearest")
    return share * uniform_filter1d(near, reach // 3 | 1, mode="nearest")


def keep_closures(
    before: Float[np.ndarray, "t 52"],
    after: Float[np.ndarray, "t 52"],
    rest: Rest,
    fps: float,
    *,
    in_speech_only: bool = False,
) -> Float[np.ndarray, "t 52"]:
    """`after`, but where the lips were closed in `before` they are no further open.

    First what opens the lips is taken back and what closes them kept, then `mouthClose` does the rest.
    """
    share = closed(rest.aperture(before), fps, in_speech_only=in_speech_only)
    basis, out = rest.aperture_basis, after.astype(np.float64)
    for column in GROUPS["lips"]:
        if abs(basis[column]) > _LEAST_METRES:
            opening = np.sign(basis[column]) * (out[:, column] - before[:, column])
            out[:, column] -= share * np.sign(basis[column]) * np.maximum(opening, 0)
    excess = share * np.maximum(rest.aperture(out) - rest.aperture(before), 0)
    seal = ARKIT_INDEX["mouthClose"]
    if basis[seal] < 0:
        out[:, seal] = np.minimum(out[:, seal] - excess / basis[seal], np.maximum(1, out[:, seal]))
    return np.where(share[:, None] > 0, out, after).astype(after.dtype)


def speaking(aperture: Float[np.ndarray, " t"], fps: float) -> Float[np.ndarray, " t"]:
    """How much the lips move around each frame, 0 (still) to 1 (running speech), smooth over half a second."""
    window = max(3, round(0.5 * fps) | 1)
    mean = uniform_filter1d(aperture, window, mode="nearest")
    spread = np.sqrt(uniform_filter1d((aperture - mean) ** 2, window, mode="nearest"))
    return uniform_filter1d(smoothstep(spread / _SPEAKING_METRES), window, mode="nearest")
