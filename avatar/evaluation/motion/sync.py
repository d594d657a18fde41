"""Whether lips move when the sound does: lags, and the distance of sound and lips at every offset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avatar.evaluation.motion.bootstrap import Score, Sums, Tally, pearson
from avatar.evaluation.motion.material import Pair
from avatar.evaluation.motion.probe import SyncProbe

MOST_LAG, MOST_OFFSET = 12, 15
"""Frames."""
_CHANCE = 3.0
"""A correlation below so many deviations of chance shows no lag."""
_LEAST_CORRELATION = 0.1
_APART = 2
"""Changes that many frames apart are taken as independent."""
_LEAST_CONFIDENCE = 0.05
"""A curve of distances that flat has its least by chance."""
SYNC_SCORES = ("sync_distance", "sync_confidence", "sync_offset_frames")


def sync_scores(pair: Pair, probe: SyncProbe) -> dict[str, Tally | Score]:
    """Of lips with the true lips and with the sound; what comes late is positive."""
    true, made = ([c.aperture_mm for c in courses] for courses in (pair.true, pair.made))
    lips = _lagged(pair, true, made, pair.held.known)
    energy = [np.diff(heard.level_db) for heard in pair.held.heard]
    speed = _lagged(pair, energy, [np.diff(aperture) for aperture in made], pair.known(1))
    return {
        "lag_frames": Tally(lips, best_lag, "the mouth does not move with the true one"),
        "sound_lag_frames": Tally(speed, best_lag, "the mouth does not move with the sound"),
    } | _probed(pair, probe)


def _lagged(pair: Pair, first: Sequence[np.ndarray], second: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> Sums:
    """Sums for the correlations of a course with another that comes 0 to `MOST_LAG` frames later or earlier."""
    lags = range(-MOST_LAG, MOST_LAG + 1)
    later = [np.stack([shifted(b, lag) for lag in lags], 1) for b in second]
    where = [np.stack([shifted(k.astype(float), lag, 0.0) for lag in lags], 1) * k[:, None] for k in known]
    a = [np.repeat(rows[:, None], len(lags), 1) * w for rows, w in zip(first, where, strict=True)]
    b = [rows * w for rows, w in zip(later, where, strict=True)]
    rows = {"n": where, "a": a, "b": b}
    for name, one, other in (("aa", a, a), ("bb", b, b), ("ab", a, b)):
        rows[name] = [p * q for p, q in zip(one, other, strict=True)]
    return {name: pair.held.segments.sums(r) for name, r in rows.items()}


def shifted(rows: Float[np.ndarray, "t *k"], frames: int, beyond: float = 0.0) -> Float[np.ndarray, "t *k"]:
    """Row i is what row i + `frames` was."""
    out = np.full_like(rows, beyond)
    size = max(0, len(rows) - abs(frames))
    if frames >= 0:
        out[:size] = rows[frames : frames + size]
    else:
        out[-frames : -frames + size] = rows[:size]
    return out


def best_lag(sums: Sums) -> Float[np.ndarray, " b"]:
    """Lag of the highest correlation, in frames; of equal ones the shortest. NaN where that is chance."""
    found = np.nan_to_num(pearson(sums), nan=-1.0)
    lags = np.arange(-MOST_LAG, MOST_LAG + 1)
    best = (found.round(6) - 1e-9 * np.abs(lags)).argmax(1)
    rows = np.arange(len(found))
    chance = np.maximum(_CHANCE / np.sqrt(np.maximum(sums["n"][rows, best] / _APART, 1)), _LEAST_CORRELATION)
    return np.where(found[rows, best] > chance, lags[best], np.nan)


def _probed(pair: Pair, probe: SyncProbe) -> dict[str, Tally | Score]:
    if not len(probe.correlations):
        why = "on the training takes no linear view of the sound tells what the lips do"
        return dict.fromkeys(SYNC_SCORES, Score.unknown(why))
    sums = distances(pair, probe)
    why = "no frame was tracked"
    return {
        "sync_distance": Tally(sums, lambda s: curve(s).min(1), why),
        "sync_confidence": Tally(sums, confidence, why),
        "sync_offset_frames": Tally(sums, _offset, "the lips fit no sound better than another"),
    }


def confidence(sums: Sums) -> Float[np.ndarray, " b"]:
    """How far the least distance lies under the median."""
    found = curve(sums)
    return np.median(found, 1) - found.min(1)


def _offset(sums: Sums) -> Float[np.ndarray, " b"]:
    found = curve(sums)
    return np.where(confidence(sums) > _LEAST_CONFIDENCE, found.argmin(1) - float(MOST_OFFSET), np.nan)


def distances(pair: Pair, probe: SyncProbe) -> Sums:
    """Sums for the mean distance of lips to the sound of 0 to `MOST_OFFSET` frames before or after them.

    Column j compares lips with the sound `MOST_OFFSET` - j frames later: where it is least, lips come j -
    `MOST_OFFSET` frames late. A distance of 1 is that of lips and sound that know nothing of each other.
    """
    weights = probe.correlations**2 / (2 * (probe.correlations**2).sum())
    top, bottom = [], []
    for course, heard, known in zip(pair.made, pair.held.heard, pair.held.known, strict=True):
        seen, sound = probe.seen(course), probe.heard(heard.samples_16k, len(course))
        offsets = range(MOST_OFFSET, -MOST_OFFSET - 1, -1)
        moved = np.stack([shifted(sound, o, np.nan) for o in offsets], 1)
        off = np.sqrt((weights * (moved - seen[:, None]) ** 2).sum(-1))
        # Only frames that all offsets can be told at, and that are spoken at: all the same in silence.
        whole = np.isfinite(off).all(1) & known & ~heard.quiet
        top.append(np.where(whole[:, None], off, 0))
        bottom.append(whole.astype(float))
    return {"top": pair.held.segments.sums(top), "bottom": pair.held.segments.sums(bottom)}


def curve(sums: Sums) -> Float[np.ndarray, "b o"]:
    """Mean distance at each offset."""
    bottom = sums["bottom"][:, None]
    return np.where(bottom > 0, sums["top"] / np.maximum(bottom, 1), np.nan)
