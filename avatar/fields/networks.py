"""Parts that the fields are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avatar.fields.protocol import Controls, Sizes
from avatar.motion.audio_windows import STEPS
from cuda_ext import ops
from cuda_ext.triplane_layout import TriplaneLayout

SLOPE = 0.02
"""Of leaky rectifiers below 0."""
OFFSET_M = 0.01
"""Metres per unit of a network's output."""
FACE_LAYOUT = TriplaneLayout(levels=12, features=1, log2_rows=14, coarsest=16, finest=256)
GRID_CELLS = 5
"""Of a KAN edge's spline, as in efficient-KAN; with cubic splines 8 basis functions."""


class SpeechNet(nn.Module):
    """A code of what is heard: strided convolutions over each window's 16 steps, then attention over 8 windows.

    AD-NeRF (Guo et al., ICCV 2021), kept by ER-NeRF and TalkingGaussian.
    """

    def __init__(self, inputs: int, codes: int = 32, width: int = 32) -> None:
        super().__init__()
        sizes = [inputs, width, width, 2 * width, 2 * width]
        self.steps = nn.ModuleList(
            nn.Conv1d(a, b, 3, stride=2, padding=1) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.out = nn.Linear(2 * width * (STEPS // 2 ** len(self.steps)), codes)
        wide, narrow = nn.Conv1d(codes, 8, 3, padding=1), nn.Conv1d(8, 1, 3, padding=1)
        self.attention = nn.Sequential(wide, nn.LeakyReLU(SLOPE), narrow)
        for name, weights in self.named_parameters():
            if name.startswith(("steps", "out")) and weights.ndim > 1:
                # torch's own start lets the speech fade from layer to layer
                nn.init.kaiming_normal_(weights, a=SLOPE)

    def forward(self, speech: Float[Tensor, "8 16 d"]) -> Float[Tensor, " codes"]:
        """The code of one moment."""
        x = speech.transpose(1, 2)
        for step in self.steps:
            x = F.leaky_relu(step(x), SLOPE)
        codes = self.out(x.flatten(1))
        weights = self.attention(codes.T[None])[0, 0].softmax(0)
        return weights @ codes


class Decoder(nn.Module):
    """An MLP over (what is known of each point, what is the same for all points): the latter enters as a bias."""

    def __init__(self, per_point: int, shared: int, outputs: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.of_point, self.of_all = nn.Linear(per_point, width), nn.Linear(shared, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 2))
        self.out = still(nn.Linear(width, outputs))

    def forward(self, points: Float[Tensor, "n p"], shared: Float[Tensor, " s"]) -> Float[Tensor, "n outputs"]:
        """Outputs of each point."""
        x = F.relu(self.of_point(points) + self.of_all(shared))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.out(x)


class KanLayer(nn.Module):
    """A learned function on every edge, see `cuda_ext.ops.kan_layer`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.spline_weight = nn.Parameter(torch.empty(outputs, inputs, GRID_CELLS + 3).normal_(std=0.1 / inputs**0.5))
        self.base_weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) / inputs**0.5)

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """Outputs of each row."""
        return ops.kan_layer(x, self.spline_weight, self.base_weight)


def still(layer: nn.Linear) -> nn.Linear:
    """The layer with small weights: a field starts as hardly any deformation."""
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer


def shared_size(sizes: Sizes, codes: int = 32) -> int:
    """Length of `shared_controls`."""
    return sizes.expression + 6 + (codes if sizes.speech else 0)


def shared_controls(controls: Controls, hear: SpeechNet | None) -> Float[Tensor, " s"]:
    """Everything that is the same for all points, side by side."""
    heard = [hear(controls.speech)] if hear else []
    return torch.cat([controls.expression, controls.pose, *heard])
