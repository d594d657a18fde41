"""How an avatar looks from the side, beside the studio's picture from there: what no real clip can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from avatar.evaluation.metrics import psnr
from avatar.export.cameras import turned
from avatar.model import Avatar
from preprocess.studio.folder import StudioFolder

YAWS = (-45.0, -30.0, 0.0, 30.0, 45.0)
Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]


def off_axis(
    avatar: Avatar, studio: StudioFolder, frames: Sequence[int], yaws: Sequence[float] = YAWS, long_side: int = 256
) -> dict[float, tuple[float, list[Pair]]]:
    """Mean PSNR against the truth before the studio's grey backdrop, and pairs (truth, render), per yaw in degrees.

    Both cameras turn about the same place of the picture, the foot of the neck: the avatar's at the depth at which it
    was tracked, with the focal length that was tracked. Nothing is aligned afterwards.

    Args:
        avatar: fitted on a capture of this recording, whole frames.
        frames: of the recording.
    """
    lens = studio.camera(0)
    foot = studio.tracks["T_world_torso"][0][:3, 3].astype(np.float64)
    depth = float(avatar.driving.mean_translation[2]) / float(studio.motion.translation[:, 2].mean())
    tracked, true = avatar.camera.with_long_side(long_side), lens.with_long_side(long_side)
    aside = depth * true.fx / tracked.fx
    seen = {}
    for yaw in yaws:
        here, there = turned(tracked, foot * (aside, aside, depth), yaw), turned(true, foot, yaw)
        pairs = []
        for index in frames:
            truth = studio.render(index, there).rgb
            backdrop = tuple((truth[0, 0] / 255).tolist())
            pairs.append((truth, avatar.frame(avatar.own, index, here, backdrop)))
        scores = [psnr(*(torch.from_numpy(p).float() / 255 for p in pair)) for pair in pairs]
        seen[yaw] = (float(np.mean(scores)), pairs)
    return seen
