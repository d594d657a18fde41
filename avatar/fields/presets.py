"""The field designs that a fit can choose from, by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import torch

from avatar.errors import BadInput
from avatar.fields.protocol import Field, Sizes


@dataclass(frozen=True)
class Preset:
    """What makes the Gaussians of a head move."""

    mesh_follows: bool = True
    """The mesh that they ride on follows the expression; otherwise only the head's pose, and fields see nothing of the
    expression but the upper face: the mouth then moves by speech alone."""
    maps: bool = False
    """Per-Gaussian linear maps of expression, pose and speech are learned."""
    held: bool = False
    """Maps of neighbours are pulled together, and all towards 0: skin moves as one, and mostly with the mesh."""
    speech_rank: int = 0
    """Components of speech that linear maps, learned or baked, take."""
    network: str | None = None
    """Where the field's class is: module:name."""
    needs_speech: bool = False
    apart: bool = False
    """Face and inside of the mouth are learned apart, then fused, see `avatar.fitting.mouth`."""

    def build(self, sizes: Sizes, seed: int = 0) -> Field | None:
        """The field, newly made; None if there is no network."""
        if self.network is None:
            return None
        module, name = self.network.split(":")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return getattr(import_module(module), name)(sizes)


PRESETS: dict[str, Preset] = {
    "visavis": Preset(maps=True, held=True),
    "visavis_speech": Preset(maps=True, held=True, speech_rank=8),
    "linear": Preset(maps=True),
    "gaussian_avatars": Preset(),
    "embedding": Preset(speech_rank=16, network="avatar.fields.embedding:EmbeddingField"),
    "hash_triplane": Preset(speech_rank=16, network="avatar.fields.hash_triplane:HashTriplaneField"),
    "talking_gaussian": Preset(
        mesh_follows=False, speech_rank=16, needs_speech=True, apart=True,
        network="avatar.fields.talking_gaussian:TalkingGaussianField",
    ),
    "egstalker": Preset(
        mesh_follows=False, speech_rank=16, needs_speech=True, network="avatar.fields.egstalker:EgsTalkerField"
    ),
}  # fmt: skip
"""`visavis`: triangles, linear maps of expression and pose, held together; `visavis_speech` adds maps of what is heard,
around the mouth. `linear`: the same maps, free (GPAvatar, CVPR 2025; 3D Gaussian Blendshapes, SIGGRAPH 2024).
`gaussian_avatars`: triangles alone (Qian et al., CVPR 2024). The others: see their modules."""


def preset_named(name: str) -> Preset:
    """Raises BadInput for a name that is not in `PRESETS`."""
    if name not in PRESETS:
        raise BadInput(f"no field is called {name!r}", expected=", ".join(PRESETS), fix="choose one with --field")
    return PRESETS[name]
