"""A learned code per Gaussian instead of its place, and a small network."""

from __future__ import annotations

import torch
from torch import nn

from avatar.fields.networks import OFFSET_M, Decoder, SpeechNet, shared_controls, shared_size
from avatar.fields.protocol import Controls, Field, Offsets, Points, Sizes

CODES = 16


class EmbeddingField(Field):
    """Position and opacity from a code per Gaussian and the controls.

    After EmbedTalk (per-Gaussian embeddings instead of tri-planes; position and opacity deform best in its ablation).
    """

    per_gaussian = ("codes",)

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.codes = nn.Parameter(0.1 * torch.randn(sizes.gaussians, CODES))
        self.hear = SpeechNet(sizes.speech) if sizes.speech else None
        self.decode = Decoder(CODES, shared_size(sizes), 4)

    def forward(self, points: Points, controls: Controls) -> Offsets:
        """See `Field.forward`."""
        out = self.decode(self.codes, shared_controls(controls, self.hear))
        return Offsets(OFFSET_M * out[:, :3], out[:, 3])
