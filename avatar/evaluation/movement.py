"""How the face in the render moves beside the face in the video: opening of the mouth, trembling, lag, silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from avatar.evaluation.metrics import correlation, jitter, lag_frames, rounded, slope
from avatar.head.landmarks import eye_distance, lip_opening
from avatar.motion.audio import load_audio
from avatar.motion.features import features
from avatar.motion.prosody import prosody

Detect = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "478 2"] | None]
"""Landmarks of the face in a picture, in its pixels."""
DETECT_SCALE = 2
"""Pictures are enlarged alike before detection: the detector wants faces of 100 px and more."""
NO_FACE = np.full((478, 2), np.nan)
LEAST_SILENT_FRAMES = 10
"""Of silence and of speech: with fewer, the energies of lip motion in both are not compared."""


@dataclass(frozen=True)
class Movement:
    """Landmarks found in each picture of a clip."""

    seconds: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 478 2"]
    """Pixels; NaN where no face was found."""

    @property
    def aperture(self) -> Float[np.ndarray, " n"]:
        """Opening of the inner lips over the distance of the outer eye corners; NaN without a face."""
        return lip_opening(self.points) / np.maximum(eye_distance(self.points), 1e-6)


def find_landmarks(picture: UInt8[np.ndarray, "h w 3"], detect: Detect) -> Float[np.ndarray, "478 2"] | None:
    """Landmarks of the face in a picture that may be small, in its pixels; None without a face."""
    import cv2

    big = cv2.resize(picture, None, fx=DETECT_SCALE, fy=DETECT_SCALE, interpolation=cv2.INTER_CUBIC)
    found = detect(big)
    return None if found is None else found / DETECT_SCALE


def compare(true: Movement, shown: Movement, audio: Path | None) -> dict[str, Any]:
    """Scores of a render's movement; None where there is nothing to tell one from, such as a mouth that never moves.

    `aperture_r`, `aperture_slope` and `lag_frames` compare the opening of the mouth over all pairs of pictures in which
    a face was found (`faces_found`, a share). `jitter_ratio` is the third difference of all landmarks along time over
    the video's: 1 trembles as much. `silence_motion` is the energy of the render's mouth opening from frame to frame
    where nobody speaks over that where somebody does; left out without sound or with less than ten frames of either.

    Args:
        audio: of the clip; its sample 0 is at time 0 of the movements.
    """
    both = np.isfinite(true.aperture) & np.isfinite(shown.aperture)
    pair = true.aperture[both], shown.aperture[both]
    scores: dict[str, Any] = {
        "aperture_r": rounded(correlation(*pair)),
        "aperture_slope": rounded(slope(*pair)),
        "faces_found": rounded(both.mean()),
        "lag_frames": lag_frames(*pair),
        "jitter_ratio": rounded(jitter(shown.points) / max(jitter(true.points), 1e-9)),
    }
    silence = None if audio is None else _silence_motion(shown, audio)
    return scores if silence is None else scores | {"silence_motion": silence}


def _silence_motion(shown: Movement, audio: Path) -> float | None:
    voice = prosody(features(load_audio(audio)))
    speaking = np.interp(shown.seconds, voice.timestamps_seconds, voice.speaking.astype(float))[1:]
    motion = np.square(np.diff(shown.aperture))
    quiet, loud = (motion[where & np.isfinite(motion)] for where in (speaking == 0, speaking == 1))
    if min(len(quiet), len(loud)) < LEAST_SILENT_FRAMES:
        return None
    return rounded(quiet.mean() / max(loud.mean(), 1e-12))
