"""An avatar's linear maps in int8 or half while it plays. numpy only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from cuda_ext.packed import PackedMap, Storage, pack_map
from cuda_ext.rig_types import RigHead, RigTorso


class PackedLayers:
    """Head and torso whose maps are packed: `head` and `torso` have none, but stand where `move` puts them."""

    def __init__(self, head: RigHead, torso: RigTorso, storage: Storage) -> None:
        """`head` and `torso` are contiguous float32 arrays; maps may be packed already, and then are taken as they are
        if `storage` is theirs.

        Raises:
            ValueError: an unknown storage, or a map that holds a NaN or infinity.
        """
        self.head = head._replace(
            means=head.means.copy(), opacity_logits=head.opacity_logits.copy(),
            map_means=_without(head.map_means), map_opacities=_without(head.map_opacities),
        )  # fmt: skip
        self.torso = torso._replace(means=torso.means.copy(), map_means=_without(torso.map_means))
        self._of_head = [
            (_packed(head.map_means, storage), head.means, self.head.means),
            (_packed(head.map_opacities, storage), head.opacity_logits, self.head.opacity_logits),
        ]
        if head.map_colors is not None:
            self.head = self.head._replace(colors=head.colors.copy(), map_colors=_without(head.map_colors))
            self._of_head.append((_packed(head.map_colors, storage), head.colors, self.head.colors))
        self._of_torso = [(_packed(torso.map_means, storage), torso.means, self.torso.means)]

    @property
    def nbytes(self) -> int:
        """Memory of the packed maps, bytes."""
        return sum(packed.nbytes for packed, _, _ in self._of_head + self._of_torso if packed)

    def move(self, features: Float[np.ndarray, " k"], torso_features: Float[np.ndarray, " kt"]) -> None:
        """Put means, opacities and colours where these features want them.

        Raises:
            ValueError: a NaN or infinity in the features.
        """
        for maps, row in ((self._of_head, features), (self._of_torso, torso_features)):
            for packed, at_rest, moved in maps:
                if packed:
                    packed.apply(row, moved)
                    np.add(moved, at_rest, out=moved)


def _packed(values: np.ndarray | PackedMap, storage: Storage) -> PackedMap | None:
    if isinstance(values, PackedMap):
        return values if values.storage == storage else pack_map(values.unpack(), storage)
    return pack_map(values, storage) if values.shape[-1] else None


def _without(values: np.ndarray | PackedMap) -> np.ndarray:
    """The map of no features."""
    return np.zeros((*values.shape[:-1], 0), np.float32)
