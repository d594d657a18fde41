"""Distances between the distributions of how truth and driver move in windows of one and two seconds.

Fréchet distance of Gaussians (Dowson and Landau 1982), as FID takes it, on plain statistics of each window instead of
a network's. The truth's own halves lie a floor apart: nothing below it can be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.fft import dct

from avatar.evaluation.motion.bootstrap import Score, Sums, Tally
from avatar.evaluation.motion.material import Course, Heard, HeldOut, Pair
from avatar.motion.hearing import FPS

WINDOWS_SECONDS = (1.0, 2.0)
KINDS = ("expression", "pose", "speed", "sound")
DIMENSIONS = 16
_COSINES = 3
_SPLITS = 8
_LEAST_WINDOWS = 8
_WHY = "there are too few windows"


@dataclass(frozen=True)
class WindowBasis:
    """Principal components of the training windows' statistics, each statistic over its deviation in training."""

    mean: Float[np.ndarray, " f"]
    axes: Float[np.ndarray, "f k"]

    @staticmethod
    def of(rows: Float[np.ndarray, "n f"]) -> WindowBasis:
        """As many as `DIMENSIONS`, or half as many as there are windows."""
        scale = np.maximum(rows.std(0), 1e-2 * max(float(rows.std(0).max()), 1e-9))
        _, _, axes = np.linalg.svd((rows - rows.mean(0)) / scale, full_matrices=False)
        kept = axes[: max(1, min(DIMENSIONS, len(rows) // 2))]
        return WindowBasis(rows.mean(0), kept.T / scale[:, None])


def bases(training: HeldOut) -> dict[str, WindowBasis]:
    """Of every kind and length of windows (`score_name`)."""
    out = {}
    for seconds in WINDOWS_SECONDS:
        for kind in KINDS:
            rows = [
                windows(c, h, k, seconds, kind)[0]
                for c, h, k in zip(training.courses, training.heard, training.known, strict=True)
            ]
            if len(every := np.concatenate(rows)) >= _LEAST_WINDOWS:
                out[score_name(kind, seconds)] = WindowBasis.of(every)
    return out


def score_name(kind: str, seconds: float) -> str:
    return f"frechet_{kind}_{seconds:g}s"


def windows(
    course: Course, heard: Heard, known: np.ndarray, seconds: float, kind: str
) -> tuple[Float[np.ndarray, "n f"], np.ndarray]:
    """Statistics of windows that overlap by half, and the frame at which each begins; tracked throughout."""
    size = round(seconds * FPS)
    starts = np.array([s for s in range(0, len(course) - size + 1, size // 2) if known[s : s + size].all()], int)
    rows = course.x[:, -6:] if kind == "pose" else course.x if kind == "speed" else course.x[:, :-9]
    index = starts[:, None] + np.arange(size)
    cut = rows[index]
    speed = np.diff(cut, axis=1)
    if kind == "speed":
        parts = [speed.std(1), np.abs(speed).mean(1)]
    else:
        cosines = np.asarray(dct(cut, axis=1, norm="ortho"))[:, 1 : 1 + _COSINES] / np.sqrt(size)
        parts = [cut.mean(1), cut.std(1), speed.std(1), cosines.reshape(len(cut), cosines.shape[1] * cosines.shape[2])]
    if kind == "sound":
        tracks = np.stack([heard.level_db, heard.pitch], 1)[index]
        parts += [tracks.mean(1), tracks.std(1)]
    return np.concatenate(parts, 1), starts


def frechet_scores(pair: Pair, known: Mapping[str, WindowBasis]) -> dict[str, Tally | Score]:
    """Distances by kind and length: face, head, speeds of all, and face together with the sound."""
    found: dict[str, Tally | Score] = {}
    for seconds in WINDOWS_SECONDS:
        for kind in KINDS:
            name = score_name(kind, seconds)
            if name not in known:
                found[name] = Score.unknown(_WHY)
                continue
            sides = {"t": pair.true, "m": pair.made}
            sums = dict[str, np.ndarray]()
            for side, courses in sides.items():
                moments = _moments(pair.held, courses, known[name], kind, seconds)
                sums |= {side + key: rows for key, rows in moments.items()}
            found[name] = Tally(sums, _distance, _WHY, centred=True)
    return found


def floors(held: HeldOut, known: Mapping[str, WindowBasis]) -> dict[str, float | None]:
    """Distance of the truth's own halves, mean over some ways to halve its segments; None with too few windows."""
    rng, out = np.random.default_rng(53), dict[str, float | None]()
    for seconds in WINDOWS_SECONDS:
        for kind in KINDS:
            name = score_name(kind, seconds)
            if name not in known:
                continue
            moments = _moments(held, held.courses, known[name], kind, seconds)
            halves = []
            for _ in range(_SPLITS):
                order = rng.permutation(held.segments.count)
                parts = {"t": order[::2], "m": order[1::2]}
                sums = {s + key: rows[part].sum(0)[None] for s, part in parts.items() for key, rows in moments.items()}
                halves.append(float(_distance(sums)[0]))
            out[name] = float(np.mean(halves)) if np.isfinite(halves).all() else None
    return out


def _moments(held: HeldOut, courses: Sequence[Course], basis: WindowBasis, kind: str, seconds: float) -> Sums:
    count, dimensions = held.segments.count, basis.axes.shape[1]
    sums = {"n": np.zeros(count), "x": np.zeros((count, dimensions)), "xx": np.zeros((count, dimensions, dimensions))}
    for course, heard, known, segment in zip(courses, held.heard, held.known, held.segments.of_frame, strict=True):
        rows, starts = windows(course, heard, known, seconds, kind)
        placed = (rows - basis.mean) @ basis.axes
        where = segment[starts]
        np.add.at(sums["n"], where, 1.0)
        np.add.at(sums["x"], where, placed)
        np.add.at(sums["xx"], where, placed[:, :, None] * placed[:, None])
    return sums


def _distance(sums: Sums) -> Float[np.ndarray, " b"]:
    enough = np.minimum(sums["tn"], sums["mn"]) >= _LEAST_WINDOWS
    (mean_a, a), (mean_b, b) = (_gaussian(sums, side) for side in "tm")
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))[:, None]) @ vectors.transpose(0, 2, 1)
    shared = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum(1)
    apart = ((mean_a - mean_b) ** 2).sum(1) + np.trace(a, axis1=1, axis2=2) + np.trace(b, axis1=1, axis2=2) - 2 * shared
    return np.where(enough, apart.clip(0), np.nan)


def _gaussian(sums: Sums, side: str) -> tuple[Float[np.ndarray, "b k"], Float[np.ndarray, "b k k"]]:
    """Mean and covariance, shrunk towards a ball the more the fewer windows there are."""
    n = np.maximum(sums[side + "n"], 1)[:, None]
    mean = sums[side + "x"] / n
    covariance = sums[side + "xx"] / n[:, :, None] - mean[:, :, None] * mean[:, None]
    size = mean.shape[1]
    share = (size / (size + n))[:, :, None]
    ball = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / size * np.eye(size)
    return mean, (1 - share) * covariance + share * ball
