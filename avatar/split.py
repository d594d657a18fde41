"""The one rule by which a clip is held out: by time, at its end, with a gap before."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

TEST_SHARE, GAP_SECONDS = 0.15, 1.0


def training_span(
    timestamps_seconds: Float[np.ndarray, " t"], test_share: float = TEST_SHARE, gap_seconds: float = GAP_SECONDS
) -> Bool[np.ndarray, " t"]:
    """Frames that anything may be learned from: all but the last share of the clip and the gap before it.

    Fitting, the tracker's identity, the clean plate and the shoulders' reference frame all keep to it.
    """
    seconds = timestamps_seconds - timestamps_seconds[0]
    return np.asarray(seconds < seconds[-1] * (1 - test_share) - gap_seconds)
