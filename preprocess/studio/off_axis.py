"""How an avatar looks from the side, beside the studio's picture from there: what no real clip can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from avatar.evaluation.metrics import psnr
from avatar.export.cameras import turned
from avatar.model import Avatar
from preprocess.studio.atlas import LABELS
from preprocess.studio.folder import StudioFolder

YAWS = (-45.0, -30.0, 0.0, 30.0, 45.0)
NOT_HEAD = [LABELS.index("background"), LABELS.index("torso")]
HEAD_MARGIN = 4 / 256
"""Of the picture's long side: around the head, so that hair that stands off it counts."""
Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]


@dataclass(frozen=True)
class Side:
    """What one camera saw."""

    psnr: float
    """Mean over the frames, whole picture."""
    head_psnr: float
    """The same over the true head, hair and neck, and a margin around them. A shirt that is only ever seen from the
    front says little about its shape, and a patterned one decides the whole picture's score."""
    pairs: list[Pair]
    """Truth and render."""


def off_axis(
    avatar: Avatar, studio: StudioFolder, frames: Sequence[int], yaws: Sequence[float] = YAWS, long_side: int = 256
) -> dict[float, Side]:
    """Scores against the truth before the studio's grey backdrop, per yaw in degrees.

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
        pairs, heads = [], []
        for index in frames:
            picture = studio.render(index, there)
            backdrop = tuple((picture.rgb[0, 0] / 255).tolist())
            pairs.append((picture.rgb, avatar.frame(avatar.own, index, here, backdrop)))
            heads.append(_around_head(picture.labels))
        whole, head = [], []
        for pair, mask in zip(pairs, heads, strict=True):
            truth, image = (torch.from_numpy(picture).float() / 255 for picture in pair)
            whole.append(psnr(image, truth))
            head.append(psnr(image, truth, torch.from_numpy(mask)))
        seen[yaw] = Side(float(np.mean(whole)), float(np.mean(head)), pairs)
    return seen


def _around_head(labels: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    import cv2

    size = 2 * round(HEAD_MARGIN * max(labels.shape)) + 1
    return cv2.dilate((~np.isin(labels, NOT_HEAD)).astype(np.uint8), np.ones((size, size), np.uint8)) > 0
