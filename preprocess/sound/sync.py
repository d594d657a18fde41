"""A sync meter without weights: do the lips move to this sound, and how late is the sound?

A ridge regression from the sound's mel bands to three lip distances is fitted on four fifths of the clip and judged on
the last fifth, in turn, once for every shift of the lips against the sound. The correlation of what it predicts with
what the lips did peaks where both belong together, and nowhere for music, noise and other people's speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.head.landmarks import eye_distance
from avatar.motion.audio import RATE
from avatar.motion.features import HOP_SECONDS, WINDOW_SECONDS, log_mel
from avatar.threads import one_torch_thread

MIN_SYNC_SECONDS = 10.0
"""Of a tracked face with sound; less than this measures chance."""
TOLERANCE_SECONDS = 0.12
"""Offsets up to this are called in sync: the meter resolves 0.08 s, and lips lead the voice by up to 0.04 s."""
SEARCH_SECONDS = 1.0
_STEP_SECONDS = 0.04
_BANDS, _CONTEXT, _FOLDS, _RIDGE = 26, 3, 5, 1.0
_LIPS = ((13, 14), (61, 291), (0, 17))
"""MediaPipe's inner lips, corners of the mouth, outer lips."""
_FLOOR = 12.0
"""Sound this many nepers of power under the loudest counts as silence."""
_LEAST_CHANGE = 1.5
"""Nepers of power between the loud and the quiet tenths of the clip: speech has far more, steady noise far less."""
_SLOW_SECONDS = 1.0
_PLATEAU = 0.7
_LEAST_R, _LEAST_CONFIDENCE = 0.27, 0.15
_MARGIN_STEPS = 7
_CHANCE_SHIFTS = 100


@dataclass(frozen=True)
class Sync:
    """How the sound of a clip fits its lips."""

    verdict: str
    """'in sync', 'off by', 'no speech' (nothing that these lips say) or 'too short'."""
    offset_seconds: float
    """How late the sound is (negative: early); 0 unless the verdict is 'in sync' or 'off by'."""
    offset_frames: float
    """The same in frames of the clip."""
    confidence: float
    """0 (no better than chance) to 1: one minus what chance reaches over what was reached."""
    peak_r: float
    """Correlation of predicted and true lips at that offset, on parts of the clip that the prediction never saw."""

    @property
    def is_off(self) -> bool:
        """Whether the sound should be shifted."""
        return self.verdict == "off by"

    def text(self) -> str:
        """The verdict for human eyes."""
        if not self.is_off:
            return self.verdict
        return f"off by {self.offset_frames:+.0f} frames (the sound is {self.lag_text()})"

    def lag_text(self) -> str:
        """Such as '0.24 s late'."""
        return f"{abs(self.offset_seconds):.2f} s {'late' if self.offset_seconds > 0 else 'early'}"


def measure_sync(
    samples: Float[np.ndarray, " n"],
    seconds: Float[np.ndarray, " t"],
    landmarks_px: Float[np.ndarray, "t 478 2"],
) -> Sync:
    """Measure how late the sound is, up to one second either way.

    Args:
        samples: 16 kHz mono in [-1, 1]; sample 0 is at time 0 of `seconds`.
        seconds: of the frames, rising; any frame rate.
        landmarks_px: NaN where no face was found.
    """
    lips, known = _lip_track(seconds, landmarks_px)
    heard = len(samples) / RATE
    if min(known.sum() * _STEP_SECONDS, heard - seconds[0] if len(seconds) else 0.0) < MIN_SYNC_SECONDS:
        return Sync("too short", 0.0, 0.0, 0.0, 0.0)
    sound = _sound_track(samples, seconds[0] + _STEP_SECONDS * np.arange(len(lips)))
    if sound is None:
        return Sync("no speech", 0.0, 0.0, 0.0, 0.0)
    reach = round(SEARCH_SECONDS / _STEP_SECONDS)
    shifts = np.arange(-reach - _MARGIN_STEPS, reach + _MARGIN_STEPS + 1)
    r = _smoothed(_scan(sound, lips, shifts))
    # Lips that run backwards have the same spectrum and nothing to do with the sound: what they reach is chance.
    chance_shifts = np.unique(np.linspace(0, len(lips) - 1, _CHANCE_SHIFTS).astype(int))
    chance = float(np.percentile(_scan(sound, lips[::-1], chance_shifts), 95))
    peak = _MARGIN_STEPS + int(np.argmax(r[_MARGIN_STEPS:-_MARGIN_STEPS]))
    offset = _STEP_SECONDS * _plateau_centre(r, shifts, peak)
    peak_r = float(r[peak])
    confidence = float(np.clip(1 - max(chance, 0.0) / max(peak_r, 1e-6), 0, 1))
    if peak_r < _LEAST_R or confidence < _LEAST_CONFIDENCE:
        return Sync("no speech", 0.0, 0.0, round(confidence, 3), round(peak_r, 3))
    verdict = "off by" if abs(offset) > TOLERANCE_SECONDS else "in sync"
    fps = (len(seconds) - 1) / float(seconds[-1] - seconds[0])
    return Sync(verdict, round(offset, 3), round(offset * fps, 2), round(confidence, 3), round(peak_r, 3))


def _lip_track(seconds: np.ndarray, landmarks_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lip distances over eye distance on an even grid without their slow changes, and where they are known."""
    from scipy.ndimage import gaussian_filter1d

    seen = np.isfinite(landmarks_px[:, 0, 0]) if len(landmarks_px) else np.zeros(0, bool)
    if seen.sum() < 2:
        return np.zeros((0, len(_LIPS))), np.zeros(0, bool)
    points, times = landmarks_px[seen].astype(np.float64), seconds[seen]
    eyes = eye_distance(points)
    grid = np.arange(seconds[0], seconds[-1] + 1e-9, _STEP_SECONDS)
    tracks = [np.linalg.norm(points[:, a] - points[:, b], axis=-1) / np.maximum(eyes, 1.0) for a, b in _LIPS]
    lips = np.stack([np.interp(grid, times, track) for track in tracks], 1)
    lips -= gaussian_filter1d(lips, _SLOW_SECONDS / (2 * _STEP_SECONDS), axis=0, mode="nearest")
    after = np.searchsorted(times, grid).clip(1, len(times) - 1)
    gap = np.minimum(np.abs(grid - times[after - 1]), np.abs(times[after] - grid))
    known = gap < 0.15
    lips[~known] = 0.0
    return lips, known


def _sound_track(samples: np.ndarray, grid_seconds: np.ndarray) -> np.ndarray | None:
    """Mel bands around every grid step, standardised; None for silence and steady noise."""
    from scipy.ndimage import uniform_filter1d

    bands = log_mel(samples, bands=_BANDS)
    top = float(np.percentile(bands, 95))
    if top < -18:  # nepers of power: what is left of digital silence
        return None
    bands = uniform_filter1d(np.maximum(bands, top - _FLOOR), round(_STEP_SECONDS / HOP_SECONDS), axis=0)
    if np.ptp(np.percentile(bands.mean(1), (10, 90))) < _LEAST_CHANGE:
        return None
    times = WINDOW_SECONDS / 2 + HOP_SECONDS * np.arange(len(bands))
    around = [
        np.stack([np.interp(grid_seconds + k * _STEP_SECONDS, times, band) for band in bands.T], 1)
        for k in range(-_CONTEXT, _CONTEXT + 1)
    ]
    sound = np.concatenate(around, 1)
    return (sound - sound.mean(0)) / (sound.std(0) + 1e-6)


def _scan(sound: np.ndarray, lips: np.ndarray, shifts: np.ndarray) -> Float[np.ndarray, " shifts"]:
    """Cross-validated correlation for lips that come `shifts` steps later, mean of the three distances.

    The lips are shifted and not the sound, cyclically: then one solve per fold serves all shifts.
    """
    import torch

    lips = (lips - lips.mean(0)) / (lips.std(0) + 1e-9)
    rolled = np.stack([np.roll(lips, shift, axis=0) for shift in shifts], 1)
    predicted = np.empty_like(rolled)
    with one_torch_thread():  # two threads of numpy's BLAS wait for each other five times as long as one computes
        heard, targets = torch.from_numpy(sound), torch.from_numpy(rolled).flatten(1)
        gram, cross = heard.T @ heard, heard.T @ targets
        ridge = _RIDGE * len(lips) * torch.eye(len(gram), dtype=gram.dtype)
        for part in np.array_split(np.arange(len(lips)), _FOLDS):
            held = heard[part]
            weights = torch.linalg.solve(gram - held.T @ held + ridge, cross - held.T @ targets[part])
            predicted[part] = (held @ weights).unflatten(1, rolled.shape[1:]).numpy()
    covariance = (predicted * rolled).mean(0) - predicted.mean(0) * rolled.mean(0)
    return (covariance / (predicted.std(0) * rolled.std(0) + 1e-9)).mean(1)


def _smoothed(r: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(r, 1.0)


def _plateau_centre(r: np.ndarray, shifts: np.ndarray, peak: int) -> float:
    """Centre of mass of the peak: sound of 0.28 s goes into each prediction, so that its top is flat."""
    first = last = peak
    while first > 0 and r[first - 1] > _PLATEAU * r[peak]:
        first -= 1
    while last + 1 < len(r) and r[last + 1] > _PLATEAU * r[peak]:
        last += 1
    weights = r[first : last + 1] - _PLATEAU * r[peak] + 1e-9
    return float((shifts[first : last + 1] * weights).sum() / weights.sum())
