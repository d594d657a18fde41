"""What a motion prior hears: one row per frame of motion, the same bits for sound at once and sound in pieces.

Each frame sees four rows of features, 10 ms apart, around its moment. Levels are relative to a running mean of what
sounded in the last seconds, seeded from the training: gains, microphones and voices cancel, and nothing looks ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from avatar.motion.audio import RATE
from avatar.motion.features import HOP_SECONDS, REACH_SECONDS, AudioFeatures, FeatureStream, features

FPS = 25.0
"""Frames per second of the motion that priors make; other rates are interpolated from it."""
BANDS = 40
ROWS = 4
"""Rows of features that each frame sees."""
PER_ROW = BANDS + 4
WIDTH = ROWS * PER_ROW
_MEMORY_SECONDS = 3.0
_SOUND_DB = -55.0
"""Only what is louder moves the running mean: pauses would pull it down."""
_FLOOR, _CEILING = -8.0, 4.0
"""Of log-mel over the running mean, nats."""


@dataclass(frozen=True)
class Level:
    """The running mean of log-mel and of log pitch over what sounds."""

    mel: Float[np.ndarray, " bands"]
    log_f0: float

    @staticmethod
    def typical() -> Level:
        """Before anything is known: speech at a usual level, with the tilt of voices."""
        return Level(np.linspace(-4.0, -9.0, BANDS), np.log(150.0))

    @staticmethod
    def of(sound: AudioFeatures) -> Level:
        """The mean of a whole track."""
        loud, voiced = sound.energy_db > _SOUND_DB, sound.voiced
        start = Level.typical()
        mel = sound.log_mel[loud].mean(0).astype(np.float64) if loud.any() else start.mel
        return Level(mel, float(np.log(sound.f0_hz[voiced]).mean()) if voiced.any() else start.log_f0)

    def heard(self, row_mel: np.ndarray, energy_db: float, f0_hz: float) -> Level:
        """After one more row of features."""
        if energy_db <= _SOUND_DB:
            return self
        share = HOP_SECONDS / _MEMORY_SECONDS
        log_f0 = self.log_f0 + share * (np.log(f0_hz) - self.log_f0) if f0_hz > 0 else self.log_f0
        return Level(self.mel + share * (row_mel - self.mel), float(log_f0))


class Hearing:
    """Sound in pieces to rows per frame: feed all samples in any pieces, then finish."""

    def __init__(self, level: Level | None = None) -> None:
        self._start = level or Level.typical()
        self._restart()

    def _restart(self) -> None:
        self._stream, self._level = FeatureStream(BANDS), self._start
        self._rows = np.zeros((0, PER_ROW), np.float32)
        self._dropped = self._given = self._samples = 0

    @property
    def level(self) -> Level:
        """The running mean as it is now."""
        return self._level

    def feed(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t w"]:
        """The frames that these samples (16 kHz mono in [-1, 1]) complete; possibly none."""
        self._samples += len(samples)
        self._hear(self._stream.feed(samples))
        return self._take((self._dropped + len(self._rows) - _last_row(0) - 1) // _ROWS_PER_FRAME + 1)

    def finish(self) -> Float[np.ndarray, "t w"]:
        """The last frames, behind whose end there is silence. Then starts anew."""
        self._hear(self._stream.flush())
        count = frames_of(self._samples)
        missing = _last_row(count - 1) + 1 - self._dropped - len(self._rows)
        if missing > 0:
            self._rows = np.concatenate([self._rows, np.repeat(self._rows[-1:], missing, axis=0)])
        last = self._take(count)
        self._restart()
        return last

    def _hear(self, sound: AudioFeatures) -> None:
        if not len(sound):
            return
        relative = np.empty((len(sound), BANDS))
        pitch = np.zeros(len(sound))
        for k in range(len(sound)):
            energy, f0 = float(sound.energy_db[k]), float(sound.f0_hz[k])
            self._level = self._level.heard(sound.log_mel[k], energy, f0)
            relative[k] = sound.log_mel[k] - self._level.mel
            pitch[k] = np.log(f0) - self._level.log_f0 if f0 > 0 else 0.0
        columns = (relative.clip(_FLOOR, _CEILING), pitch[:, None], sound.voicing[:, None])
        loudness = np.stack([sound.energy_db > _SOUND_DB, (sound.energy_db + 60) / 30], 1)
        rows = np.concatenate([*columns, loudness], 1).astype(np.float32)
        self._rows = np.concatenate([self._rows, rows])

    def _take(self, until: int) -> Float[np.ndarray, "t w"]:
        if until <= self._given:
            return np.zeros((0, WIDTH), np.float32)
        firsts = np.arange(self._given, until) * _ROWS_PER_FRAME + _FIRST_ROW - self._dropped
        index = (firsts[:, None] + np.arange(ROWS)).clip(0)
        taken = self._rows[index].reshape(len(index), WIDTH)
        self._given = until
        spare = max(0, int(firsts[-1]) + 1)
        self._rows, self._dropped = self._rows[spare:], self._dropped + spare
        return taken


_ROWS_PER_FRAME = round(1 / FPS / HOP_SECONDS)
_FIRST_ROW = -3
"""The first row that frame 0 sees; row k has its middle at 12.5 ms + k * 10 ms: -17.5 to +12.5 ms around the frame."""


def _last_row(frame: int) -> int:
    return frame * _ROWS_PER_FRAME + _FIRST_ROW + ROWS - 1


SEEN_SECONDS = _last_row(0) * HOP_SECONDS + REACH_SECONDS
"""How much sound after a frame's moment its row needs."""


def sounding(rows: Float[np.ndarray, "t w"]) -> Bool[np.ndarray, " t"]:
    """Whether there is a sound in any part of each row."""
    return rows.reshape(-1, ROWS, PER_ROW)[:, :, BANDS + 2].max(1) > 0


def frames_of(samples: int) -> int:
    """Frames of motion that a track of so many samples at 16 kHz has; at least one."""
    return max(1, round(samples / RATE * FPS))


def hear(samples: Float[np.ndarray, " n"], level: Level | None = None) -> Float[np.ndarray, "t w"]:
    """Rows for all frames of a whole track, bit for bit those of `Hearing`."""
    hearing = Hearing(level)
    return np.concatenate([hearing.feed(samples), hearing.finish()])


def level_of(tracks: list[Float[np.ndarray, " n"]]) -> Level:
    """The mean level of several tracks."""
    levels = [Level.of(features(track, BANDS)) for track in tracks]
    mel = np.mean([level.mel for level in levels], 0)
    return replace(levels[0], mel=mel, log_f0=float(np.mean([level.log_f0 for level in levels])))
