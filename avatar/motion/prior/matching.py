"""The L0 rung: lips by ridge regression on the sound, all else by matching moments of the person's own takes.

Learned in seconds, and the baseline that the flow network must beat. Motion matching after Clavet, Motion matching and
the road to next-gen animation (GDC 2016); jumps fade by inertialisation (Bollo, GDC 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from avatar.errors import FormatMismatch
from avatar.motion.hearing import BANDS, PER_ROW, ROWS
from avatar.motion.space import MotionSpace

REACH = 6
"""Frames of sound to each side that the ridge sees."""
RIDGE = 300.0
_LEAST_DEVIATION = 0.1
_HOLD_FRAMES = 30
"""Between two searches."""
_AHEAD_FRAMES = 20
_FADE_FRAMES = 8
_SOUND_WEIGHT, _NOVELTY = 2.0, 0.6


@dataclass(frozen=True)
class Matching:
    """Ridge weights for the lips and the person's own track to look things up in."""

    mean: Float[np.ndarray, " f"]
    deviation: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, "f1 r"]
    """From standardised windows of sound and a constant to the lips' numbers."""
    track: Float[np.ndarray, "t q"]
    """All other numbers of the training, frame by frame."""
    moods: Float[np.ndarray, "t a"]
    """How loud and voiced the second after each frame is; NaN-free, far away where a search must not land."""

    @staticmethod
    def of(
        motions: Sequence[Float[np.ndarray, "t d"]], sounds: Sequence[Float[np.ndarray, "t w"]], space: MotionSpace
    ) -> Matching:
        """Closed form, from numbers of motion and rows of sound, take by take."""
        seen = np.concatenate([_windows(s) for s in sounds])
        lips = np.concatenate(motions)[:, space.slices["lips"]]
        mean, deviation = seen.mean(0), seen.std(0) + _LEAST_DEVIATION
        design = np.c_[(seen - mean) / deviation, np.ones(len(seen))]
        weights = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ lips)
        others = [m[:, space.slices["lips"].stop :] for m in motions]
        moods = [_moods(s) for s in sounds]
        for mood in moods:
            mood[-_AHEAD_FRAMES:] = 1e3
        return Matching(mean, deviation, weights, np.concatenate(others), np.concatenate(moods))

    def motion(self, sound: Float[np.ndarray, "t w"], seed: int) -> Float[np.ndarray, "t d"]:
        """Numbers of motion for rows of sound; lips depend on the sound alone, the rest on the seed too."""
        design = np.c_[(_windows(sound) - self.mean) / self.deviation, np.ones(len(sound))]
        return np.concatenate([design @ self.weights, self._matched(_moods(sound), seed)], 1).astype(np.float32)

    def _matched(self, moods: Float[np.ndarray, "t a"], seed: int) -> Float[np.ndarray, "t q"]:
        rng = np.random.default_rng([seed, 41])
        velocity = np.diff(self.track, axis=0, append=self.track[-1:])
        out = np.empty((len(moods), self.track.shape[1]))
        offset, place, now = np.zeros(out.shape[1]), -1, None
        for k in range(len(out)):
            if now is None or k % _HOLD_FRAMES == 0 or place + 1 >= len(self.track) or self.moods[place + 1, 0] > 100:
                wanted = self._search(moods[k], now, rng)
                offset = np.zeros_like(offset) if now is None else now - self.track[wanted]
                place = wanted
            else:
                place += 1
                offset *= 1 - 1 / _FADE_FRAMES
            out[k] = self.track[place] + offset
            now = out[k] + velocity[place]
        return out

    def _search(self, mood: np.ndarray, now: np.ndarray | None, rng: np.random.Generator) -> int:
        cost = _SOUND_WEIGHT * np.abs(self.moods - mood).mean(1)
        if now is not None:
            cost = cost + np.abs(self.track - now).mean(1)
        return int(np.argmin(cost + _NOVELTY * rng.random(len(cost))))

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file, by name."""
        return {f"matching.{f.name}": getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Matching:
        """What `arrays` gave.

        Raises:
            FormatMismatch: something is missing.
        """
        found = {f.name: arrays.get(f"matching.{f.name}") for f in fields(Matching)}
        if lacking := [name for name, array in found.items() if array is None]:
            raise FormatMismatch("this prior has no L0 rung", got=f"no {', '.join(lacking)}", fix="train it again")
        return Matching(**found)  # pyright: ignore[reportArgumentType]


def _windows(sound: Float[np.ndarray, "t w"]) -> Float[np.ndarray, "t f"]:
    padded = np.pad(sound, ((REACH, REACH), (0, 0)), mode="edge")
    return np.concatenate([padded[k : k + len(sound)] for k in range(2 * REACH + 1)], 1).astype(np.float64)


def _moods(sound: Float[np.ndarray, "t w"]) -> Float[np.ndarray, "t a"]:
    """Loudness, voicing and pitch of the next frames, in fifths of `_AHEAD_FRAMES`."""
    rows = sound.reshape(len(sound), ROWS, PER_ROW)
    heard = np.stack([rows[..., :BANDS].mean((1, 2)) / 4, rows[..., BANDS + 1].mean(1), rows[..., BANDS].mean(1)], 1)
    padded = np.pad(heard, ((0, _AHEAD_FRAMES), (0, 0)), mode="edge")
    ahead = np.stack([padded[k : k + len(sound)] for k in range(_AHEAD_FRAMES)])
    return np.concatenate([part.mean(0) for part in np.split(ahead, 5)], 1)
