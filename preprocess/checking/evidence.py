"""What is known about a clip when its quality is judged, from a capture or from a look at the video itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from preprocess.capture import CaptureFolder
from preprocess.sound.audio import read_wav

STILLS = 48
"""Pictures that are looked at closely, spread over the clip."""


@dataclass(frozen=True)
class Evidence:
    """A clip of t frames, s of which are at hand as pictures."""

    name: str
    seconds: Float[np.ndarray, " t"]
    """Of the frames; sample 0 of the sound is at 0."""
    landmarks_px: Float[np.ndarray, "t 478 2"]
    """NaN where no face was found, in the stills' pixels."""
    scores: Float[np.ndarray, "t 52"]
    forward: Float[np.ndarray, "t 3"]
    """Unit vector out of the face: right in the picture, up, towards the camera."""
    dense: Bool[np.ndarray, " t"]
    """Where every frame was looked at; elsewhere values are interpolated."""
    stills: UInt8[np.ndarray, "s h w 3"]
    still_index: Int[np.ndarray, " s"]
    samples: Float[np.ndarray, " n"] | None
    """16 kHz mono; None for a mute clip."""

    @property
    def has_face(self) -> Bool[np.ndarray, " t"]:
        return np.isfinite(self.landmarks_px[:, 0, 0])


def of_capture(capture: CaptureFolder) -> Evidence:
    """What a capture stores; no detector runs.

    Raises:
        FormatMismatch: a picture is damaged.
        BadInput: the sound is.
    """
    motion = capture.motion
    index = np.unique(np.linspace(0, len(capture) - 1, STILLS).round().astype(int))
    return Evidence(
        name=capture.path.name,
        seconds=np.asarray(motion.timestamps_seconds, np.float64),
        landmarks_px=capture.landmarks_px,
        scores=capture.scores,
        forward=_forward(motion.quats_wxyz),
        dense=np.ones(len(capture), bool),
        stills=np.stack([capture.frame(int(i)) for i in index]),
        still_index=index,
        samples=None if capture.audio_path is None else read_wav(capture.audio_path),
    )


def _forward(quats_wxyz: np.ndarray) -> np.ndarray:
    """Third column of the head's rotation, from OpenCV's axes (y down, z away) to up and towards the camera."""
    w, x, y, z = np.asarray(quats_wxyz, np.float64).T
    return np.stack([2 * (x * z + w * y), -2 * (y * z - w * x), -(1 - 2 * (x * x + y * y))], 1)
