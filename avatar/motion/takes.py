"""Takes: somebody's motion together with the sound that went with it, which priors learn from and are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.motion.phones import Phone
from avatar.tracks import Motion


@dataclass(frozen=True)
class Take:
    """Motion about the identity pose at the origin (head axes; no camera), from second 0 on, with its sound."""

    motion: Motion
    samples_16k: Float[np.ndarray, " n"]
    """Mono in [-1, 1]; sample 0 is at the motion's first frame."""
    confidence: Float[np.ndarray, " t"]
    """How far each frame of the motion is to be believed, 0 to 1."""
    speaker: str
    partner_16k: Float[np.ndarray, " n"] | None = None
    """What the other one says meanwhile, on the same clock."""
    phones: list[Phone] | None = None
    """What is said, if it is known."""
