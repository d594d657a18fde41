"""How different two pictures look: ST-LPIPS (Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022).

LPIPS (Zhang et al., CVPR 2018) compares what the layers of a trained AlexNet see. This variant was trained again with
blurred downsampling (Zhang, ICML 2019) after every stride, so that a pixel of shift hardly counts while blur does: just
what PSNR gets wrong on faces. Its numbers are its own; they must not stand beside those of LPIPS.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from avatar.assets import find_asset
from avatar.errors import FormatMismatch, MissingAsset
from avatar.progress import note
from avatar.threads import one_torch_thread

WEIGHTS = "stlpips_alex.pth"
LEAST_SIDE = 32
"""Of a picture that can be judged, pixels: the last layers see one sixteenth of it."""
_LAYERS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
_PADDING = (2, 2, 1, 1, 1)


class ShiftTolerantLpips:
    """The AlexNet variant, with the published weights."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            FormatMismatch: the file does not hold these weights.
        """
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            self._convolutions = [(stored[f"net.{n}.weight"], stored[f"net.{n}.bias"]) for n in _LAYERS]
            self._heads = [stored[f"lin{i}.model.1.weight"].flatten() for i in range(len(_LAYERS))]
            self._shift, self._scale = (stored[f"scaling_layer.{name}"] for name in ("shift", "scale"))
        except (KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
            raise FormatMismatch(f"{path} does not hold the weights of ST-LPIPS: {e}", fix=f"rm {path}") from e

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> float:
        """Distance of two sRGB pictures in [0, 1]; 0 for equal ones, NaN where a side is below `LEAST_SIDE`."""
        if min(image.shape[:2]) < LEAST_SIDE:
            return float("nan")
        pair = (2 * torch.stack([image, target]).permute(0, 3, 1, 2) - 1 - self._shift) / self._scale
        total = 0.0
        with one_torch_thread():  # of these small convolutions two threads make six times the work
            for seen, weights in zip(self._features(pair), self._heads, strict=True):
                unit = seen / (seen.norm(dim=1, keepdim=True) + 1e-10)
                total += float((weights[:, None, None] * (unit[0] - unit[1]).square()).sum(0).mean())
        return total

    def _features(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """What each convolution sees. The first is blurred before it is rectified, the next two blur what comes in."""
        seen = []
        for index, ((weight, bias), padding) in enumerate(zip(self._convolutions, _PADDING, strict=True)):
            if index in (1, 2):
                x = _halved(F.max_pool2d(x, 3, 1))
            x = F.conv2d(x, weight, bias, padding=padding)
            x = F.relu(_halved(x) if index == 0 else x)
            seen.append(x)
        return seen


def perceptual_metric() -> ShiftTolerantLpips | None:
    """The metric; None, and a note that says what to do, where its weights can't be had."""
    try:
        return ShiftTolerantLpips(find_asset(WEIGHTS))
    except MissingAsset as error:
        note(f"the perceptual score is left out: {error}")
        return None


def _halved(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _h _w"]:
    """Every other pixel after a binomial blur, one row more than half on every side."""
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])
