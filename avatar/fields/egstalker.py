"""EGSTalker: a hash tri-plane with KAN layers, and attention of space to sound.

Written from the paper's description (EGSTalker, 2025: static stage with multi-resolution hash tri-plane and KAN, then
spatial-audio attention fusing audio and space, and KAN layers that decode the deformation). It has no public code.
"""

from __future__ import annotations

import torch
from torch import nn

from avatar.fields.networks import FACE_LAYOUT, OFFSET_M, KanLayer, SpeechNet
from avatar.fields.protocol import Controls, Field, Offsets, Points, Sizes
from cuda_ext.encoders import triplane_encoder

WIDTH = 32


class EgsTalkerField(Field):
    """A point's features ask what of the sound, the upper face and the pose concerns them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.space, self.hear = triplane_encoder(FACE_LAYOUT), SpeechNet(sizes.speech, WIDTH)
        self.place = KanLayer(FACE_LAYOUT.out_features, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.see, self.turn = nn.Linear(sizes.expression, WIDTH), nn.Linear(6, WIDTH)
        self.nothing = nn.Parameter(torch.zeros(WIDTH))
        self.keys, self.values = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.fuse, self.decode = KanLayer(2 * WIDTH, WIDTH), KanLayer(WIDTH, 11)
        self.gain = nn.Parameter(torch.full((11,), 1e-2))

    def forward(self, points: Points, controls: Controls) -> Offsets:
        """See `Field.forward`."""
        place = torch.tanh(self.place(self.space(points.unit)))
        tokens = [self.hear(controls.speech), self.see(controls.expression), self.turn(controls.pose), self.nothing]
        tokens = torch.stack(tokens)
        attention = (self.query(place) @ self.keys(tokens).T / WIDTH**0.5).softmax(1)
        heard = torch.tanh(attention @ self.values(tokens))
        out = self.gain * self.decode(torch.tanh(self.fuse(torch.cat([place, heard], 1))))
        means, logits, log_scales, quats = out.split([3, 1, 3, 4], 1)
        return Offsets(OFFSET_M * means, logits[:, 0], log_scales, quats)
