"""A hash tri-plane that says where a Gaussian is, and a network that moves it."""

from __future__ import annotations

from avatar.fields.networks import FACE_LAYOUT, OFFSET_M, Decoder, SpeechNet, shared_controls, shared_size
from avatar.fields.protocol import Controls, Field, Offsets, Points, Sizes
from cuda_ext.encoders import triplane_encoder


class HashTriplaneField(Field):
    """Hash tri-plane (ER-NeRF, Li et al., ICCV 2023) and one network over expression, pose and speech."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.space = triplane_encoder(FACE_LAYOUT)
        self.hear = SpeechNet(sizes.speech) if sizes.speech else None
        self.decode = Decoder(FACE_LAYOUT.out_features, shared_size(sizes), 4)

    def forward(self, points: Points, controls: Controls) -> Offsets:
        """See `Field.forward`."""
        out = self.decode(self.space(points.unit), shared_controls(controls, self.hear))
        return Offsets(OFFSET_M * out[:, :3], out[:, 3])
