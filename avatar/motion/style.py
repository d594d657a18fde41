"""The style of a motion as statistics: how far, how fast, how often, whoever moves and whatever is said. numpy only.

Two codes can be mixed and overdone like any numbers: that is interpolation and extrapolation of style.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar.motion.groups import GROUP_NAMES
from avatar.motion.space import MotionSpace

FPS_OF_STYLE = 25.0
STYLE_SECONDS = 12.0
"""Of the windows that priors are trained with; more of a motion is the mean over its windows."""
SHAPES = 3
"""Leading components of lips and of the upper face whose means count: a smile, raised brows."""
STYLE_NAMES = (
    *(f"{group} extent" for group in GROUP_NAMES), *(f"{group} speed" for group in GROUP_NAMES),
    *(f"{group} mean {k}" for group in ("lips", "upper") for k in range(SHAPES)),
    "lips wide", "lids mean", "lids closed", "head pitch", "head roll", "gaze yaw", "gaze pitch", "head sway",
)  # fmt: skip
STYLE_WIDTH = len(STYLE_NAMES)
_CLOSED = 2.0
"""Deviations over the mean at which lids count as closed."""


def style_of(x: Float[np.ndarray, "t d"], space: MotionSpace) -> Float[np.ndarray, " s"]:
    """The style of some seconds of motion (10 or more tell), as `STYLE_NAMES`.

    Args:
        x: numbers of the motion in `space`, at 25 frames per second.
    """
    columns = space.slices
    speed = np.diff(x, axis=0) if len(x) > 1 else np.zeros_like(x)
    lips, lids, head, gaze = (x[:, columns[name]] for name in ("lips", "lids", "head", "gaze"))
    extent = [np.sqrt(x[:, columns[name]].var(0).mean()) for name in GROUP_NAMES]
    fast = [np.sqrt((speed[:, columns[name]] ** 2).mean()) * 4 for name in GROUP_NAMES]
    means = [padded_mean(x[:, columns[name]]) for name in ("lips", "upper")]
    slow = np.abs(np.diff(head[:, :3][::25], axis=0)).mean() if len(x) > 50 else 0.0
    rest = (
        np.percentile(np.abs(lips[:, 0]), 90), lids.mean(), (lids.mean(1) > _CLOSED).mean() * 10, head[:, 0].std(),
        head[:, 2].std(), gaze[:, 0].std(), gaze[:, 1].std(), slow,
    )  # fmt: skip
    return np.concatenate([extent, fast, *means, rest]).astype(np.float32)


def style_windows(frames: int) -> list[slice]:
    """Windows of `STYLE_SECONDS`, one from every second of a motion on; all of a motion that is shorter."""
    length = min(frames, round(STYLE_SECONDS * FPS_OF_STYLE))
    return [slice(s, s + length) for s in range(0, max(1, frames - length + 1), round(FPS_OF_STYLE))]


def padded_mean(x: Float[np.ndarray, "t k"]) -> Float[np.ndarray, "3"]:
    """Means of the leading components, 0 where a space has fewer."""
    mean = x[:, :SHAPES].mean(0)
    return np.pad(mean, (0, SHAPES - len(mean)))
