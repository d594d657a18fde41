"""Sound around each video frame in the layout that audio-driven fields were published with.

AD-NeRF (Guo et al., ICCV 2021), ER-NeRF and TalkingGaussian read, per video frame, a window of 16 rows of DeepSpeech at
50 Hz (0.32 s), and smooth by attention over the windows of the eight frames around it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar.motion.encoders.base import Encoding
from avatar.motion.features import HOP_SECONDS, features

STEPS, STEP_HZ, WINDOWS = 16, 50.0, 8


def cepstra(samples: Float[np.ndarray, " n"]) -> Encoding:
    """Speech as MFCC in tens, around their mean where there is a voice: another microphone shifts all rows alike.

    Args:
        samples: 16 kHz mono in [-1, 1].
    """
    heard = features(samples)
    mean = heard.mfcc[heard.voiced].mean(0) if heard.voiced.any() else heard.mfcc.mean(0)
    return Encoding("mfcc", 1 / HOP_SECONDS, float(heard.timestamps_seconds[0]), (heard.mfcc - mean) / 10)


def audio_windows(encoding: Encoding, seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 16 d"]:
    """Sixteen rows around each frame of a clip: row j of window i is the sound at `seconds[i] + (j - 8) / 50`.

    Interpolated between the encoder's rows, whatever its rate; zero before and after the sound. At 25 frames per second
    and 50 rows per second this is the published slicing: rows 2 i - 8 to 2 i + 7.

    Args:
        seconds: of the video frames, any rate.
    """
    times = np.asarray(seconds, np.float64)[:, None] + (np.arange(STEPS) - STEPS // 2) / STEP_HZ
    known = encoding.timestamps_seconds
    outside = (times < known[0] - 0.5 / STEP_HZ) | (times > known[-1] + 0.5 / STEP_HZ)
    windows = encoding.at(times.ravel()).reshape(*times.shape, -1)
    windows[outside] = 0.0
    return windows


def attention_windows(windows: Float[np.ndarray, "t 16 d"]) -> Float[np.ndarray, "t 8 16 d"]:
    """For each frame i the windows of frames i - 4 to i + 3, zero beyond the ends; a view, nothing is repeated."""
    padded = np.pad(windows, ((WINDOWS // 2, WINDOWS // 2 - 1), (0, 0), (0, 0)))
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(padded, WINDOWS, axis=0), -1, 1)
