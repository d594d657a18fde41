"""TalkingGaussian: hash tri-planes with region attention, a branch for the face and one for the inside of the mouth.

Written from the paper (Li et al., ECCV 2024) and from what its users report.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avatar.fields.networks import FACE_LAYOUT, OFFSET_M, Decoder, SpeechNet
from avatar.fields.protocol import Controls, Field, Offsets, Points, Sizes
from cuda_ext.encoders import triplane_encoder
from cuda_ext.triplane_layout import TriplaneLayout

CODES = 32
MOUTH_LAYOUT = TriplaneLayout(levels=12, features=1, log2_rows=14, coarsest=64, finest=384)
MOUTH_DAMPING = (0.2, 1.0, 0.2)
"""The inside of the mouth goes up and down with the jaw, hardly aside or forward."""


class Branch(nn.Module):
    """Where a point is gates how much of the speech's code and of the upper face reaches it (region attention)."""

    def __init__(self, sizes: Sizes, layout: TriplaneLayout, eyes: bool, outputs: int) -> None:
        super().__init__()
        self.space, self.hear = triplane_encoder(layout), SpeechNet(sizes.speech, CODES)
        seen = sizes.expression if eyes else 0
        self.gates = Decoder(layout.out_features, 1, CODES + seen, layers=2)
        self.decode = Decoder(layout.out_features + CODES + seen, 1, outputs)
        self.eyes = eyes

    def forward(self, unit: Float[Tensor, "n 3"], controls: Controls) -> Float[Tensor, "n outputs"]:
        """What the decoder says of each point."""
        space, one = self.space(unit), torch.ones(1)
        codes = self.hear(controls.speech)
        codes = torch.cat([codes, controls.expression]) if self.eyes else codes
        return self.decode(torch.cat([space, torch.sigmoid(self.gates(space, one)) * codes], 1), one)


class TalkingGaussianField(Field):
    """The face: place, turn, size and opacity; the inside of the mouth: place alone, damped."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.face = Branch(sizes, FACE_LAYOUT, eyes=True, outputs=11)
        self.mouth = Branch(sizes, MOUTH_LAYOUT, eyes=False, outputs=3)

    def forward(self, points: Points, controls: Controls) -> Offsets:
        """See `Field.forward`."""
        face, inside = self.face(points.unit, controls), points.in_mouth
        mouth = self.mouth(points.unit[inside], controls) * torch.tensor(MOUTH_DAMPING)
        outside = (~inside)[:, None]
        means = (face[:, :3] * outside).index_put((inside,), mouth)
        logits, log_scales, quats = (face[:, 3:] * outside).split([1, 3, 4], 1)
        return Offsets(OFFSET_M * means, logits[:, 0], log_scales, quats)
