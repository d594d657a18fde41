"""How somebody moves, whatever he says: scores of blinks, gaze, head and upper face that ask for no match of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from avatar.motion.eye_angles import gaze_degrees
from avatar.motion.eyes import blinks, head_degrees, head_share, onsets, speed
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from avatar.tracks import Motion


def manner(motions: Sequence[Motion], geometry: FaceGeometry) -> dict[str, float]:
    """A driver's own numbers: rates, sizes and speeds; compare them with the truth's row."""
    minutes = sum(len(m) / m.fps for m in motions) / 60
    every = [blinks(m) for m in motions]
    lengths = [(b.stop - b.start) / m.fps for m, runs in zip(motions, every, strict=True) for b in runs]
    turns = [head_degrees(m) for m in motions]
    speeds = [_head_speeds(m) for m in motions]
    saccades = sum(onsets(speed(gaze_degrees(m.expression)[:, :2], m)) for m in motions)
    sway = np.concatenate(turns).std(0)
    upper = [_moved(m, geometry, "upper") for m in motions]
    return {
        "blinks_per_minute": sum(map(len, every)) / minutes,
        "blink_seconds": float(np.median(lengths)) if lengths else np.nan,
        "saccades_per_minute": saccades / minutes,
        "gaze_gain": head_share(motions),
        "head_yaw_deg": float(sway[0]),
        "head_pitch_deg": float(sway[1]),
        "head_roll_deg": float(sway[2]),
        "head_speed_deg_s": float(np.concatenate(speeds).mean()),
        "upper_motion_mm": float(np.mean([u.std(0).mean() for u in upper])),
        "head_jerk": float(np.mean([_jerk(t) for t in turns])),
        "upper_jerk": float(np.mean([_jerk(u) for u in upper])),
    }


def distances(motions: Sequence[Motion], truth: Sequence[Motion]) -> dict[str, float]:
    """How far a driver's head speeds and times between blinks are distributed from the truth's (Wasserstein-1)."""
    speeds, gaps = ([_of_all(kind, side) for side in (motions, truth)] for kind in (_head_speeds, _blink_gaps))
    return {
        "head_speed_distance": float(wasserstein_distance(*speeds)),
        "blink_gap_distance_s": float(wasserstein_distance(*gaps)) if all(map(len, gaps)) else np.nan,
    }


def _of_all(kind, motions: Sequence[Motion]) -> np.ndarray:
    return np.concatenate([kind(m) for m in motions])


def _head_speeds(motion: Motion) -> np.ndarray:
    return speed(head_degrees(motion), motion)


def _blink_gaps(motion: Motion) -> np.ndarray:
    return np.diff([motion.timestamps_seconds[blink.start] for blink in blinks(motion)])


def _moved(motion: Motion, geometry: FaceGeometry, group: str) -> Float[np.ndarray, "t k"]:
    """A group's actions in millimetres of skin each moves by itself."""
    index = list(GROUPS[group])
    return 1e3 * motion.expression[:, index] * np.sqrt(np.diag(geometry.gram)[index])


def _jerk(track: Float[np.ndarray, "t k"]) -> float:
    """Third difference over first: how much of the movement is trembling."""
    moved = np.linalg.norm(np.diff(track, axis=0), axis=1).mean()
    return float(np.linalg.norm(np.diff(track, 3, axis=0), axis=1).mean() / moved) if moved > 0 else 0.0
