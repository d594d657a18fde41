"""Whether controls do what they say, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.tracks import Motion


def dial_order(settings: Sequence[float], responses: Sequence[float]) -> float | None:
    """Spearman's rank correlation of a dial and what it moves: 1 if more is always more; None if nothing moves."""
    from scipy.stats import spearmanr

    if np.ptp(settings) == 0 or np.ptp(responses) == 0:
        return None
    return float(spearmanr(settings, responses)[0])  # pyright: ignore[reportArgumentType]


def key_error_mm(motion: Motion, keys: Mapping[int, Float[np.ndarray, "52"]], geometry: FaceGeometry) -> float:
    """How far the skin lies from the keyframes, root mean square over it, the worst of them; 0 if they are held.

    Args:
        keys: expression by frame.
    """
    off = np.stack([motion.expression[frame] - key for frame, key in keys.items()]).astype(np.float64)
    return float(1e3 * np.sqrt(np.maximum(((off @ geometry.gram) * off).sum(1), 0)).max(initial=0))


@dataclass(frozen=True)
class Leakage:
    """What an edit changed where it should have changed nothing."""

    action: float
    """The most that an action changed."""
    head_degrees: float
    exact: bool
    """All the same to the bit."""


def leakage(
    before: Motion, after: Motion, groups: Collection[str], span_seconds: tuple[float, float] | None = None
) -> Leakage:
    """Change outside of an edit.

    Args:
        groups: that were edited (`avatar.motion.groups`).
        span_seconds: when; all the time if not given.
    """
    seconds = before.timestamps_seconds
    inside = np.ones(len(seconds), bool)
    if span_seconds is not None:
        inside = (seconds >= span_seconds[0]) & (seconds < span_seconds[1])
    action, exact = 0.0, True
    for name in GROUP_NAMES:
        kept = ~inside if name in groups else np.ones(len(seconds), bool)
        index = np.ix_(kept, np.array(GROUPS[name], int))
        old, new = before.expression[index], after.expression[index]
        action = max(action, float(np.abs(new - old).max(initial=0)))
        exact &= np.array_equal(old, new)
    kept = ~inside if "head" in groups else np.ones(len(seconds), bool)
    turns = [Rotation.from_quat(m.quats_wxyz[kept], scalar_first=True) for m in (before, after)] if kept.any() else []
    apart = float(np.degrees((turns[0].inv() * turns[1]).magnitude()).max()) if turns else 0.0
    same = all(np.array_equal(getattr(before, f)[kept], getattr(after, f)[kept]) for f in ("quats_wxyz", "translation"))
    return Leakage(action, apart, bool(exact and same))


def retrieval_auc(
    codes: Float[np.ndarray, "n s"], references: Float[np.ndarray, "k s"], whose: Int[np.ndarray, " n"]
) -> float:
    """Whether codes lie nearer to their own reference than to others'.

    The chance that the distance of a code from its own reference is less than that of any code from another's: the
    area under the ROC curve, 0.5 by chance, 1 at best.

    Args:
        whose: index of each code's own reference.
    """
    from scipy.stats import mannwhitneyu

    apart = np.linalg.norm(codes[:, None] - references[None], axis=-1)
    own = whose[:, None] == np.arange(len(references))
    result = mannwhitneyu(apart[~own], apart[own])
    return float(result.statistic / ((~own).sum() * own.sum()))
