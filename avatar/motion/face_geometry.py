"""What a head's expressions do to its lips and skin, as linear maps: the yardstick of motions, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from avatar.head.landmarks import LIP_MIDDLES

if TYPE_CHECKING:
    from avatar.head.model import HeadModel

_WEIGHTS = {"skin": 1.0, "face": 1.0, "lips": 4.0}
"""How much a vertex counts in `gram`; lids lie in the face and move far, what lies inside does not count."""


@dataclass(frozen=True)
class FaceGeometry:
    """One person's face as linear functions of the 52 ARKit actions; metres, head frame."""

    lip_rest: Float[np.ndarray, "n 3"]
    """Outer and inner lips of the neutral face."""
    lip_basis: Float[np.ndarray, "52 n 3"]
    gram: Float[np.ndarray, "52 52"]
    """e @ gram @ e is the weighted mean of squared displacements over the skin, square metres."""
    aperture_rest: float
    aperture_basis: Float[np.ndarray, "52"]

    @staticmethod
    def of(head: HeadModel, neutral: Float[np.ndarray, "v 3"] | None = None) -> FaceGeometry:
        """Of one person's neutral vertices; the template's if not given."""
        from avatar.head.calibration import calibrate
        from avatar.head.linear import LinearHead
        from avatar.head.model import REGIONS

        assert isinstance(head, LinearHead)
        table, faces = calibrate(head), head.faces.numpy()
        rest = head.template.numpy() if neutral is None else np.asarray(neutral, np.float32)
        basis, regions = head.expression_basis.numpy(), head.regions.numpy()
        lips = regions == REGIONS.index("lips")
        weights = sum(weight * (regions == REGIONS.index(name)) for name, weight in _WEIGHTS.items())
        weighted = (basis * np.sqrt(weights / np.sum(weights))[:, None]).reshape(len(basis), -1)
        triangles, shares = table.triangles.numpy(), table.barycentrics.numpy()

        def height(field: np.ndarray, landmark: int) -> np.ndarray:
            return field[:, faces[triangles[landmark]], 1] @ shares[landmark]

        upper, lower = LIP_MIDDLES
        return FaceGeometry(
            lip_rest=rest[lips],
            lip_basis=basis[:, lips],
            gram=weighted @ weighted.T,
            aperture_rest=float((height(rest[None], upper) - height(rest[None], lower))[0]),
            aperture_basis=(height(basis, upper) - height(basis, lower)).astype(np.float32),
        )

    def aperture(self, expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, " t"]:
        """Height between the middles of the inner lips, metres; below 0 where they press into each other."""
        return self.aperture_rest + expression @ self.aperture_basis

    def lips(self, expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t n 3"]:
        """Where the lips are, metres."""
        return self.lip_rest + np.tensordot(expression, self.lip_basis, axes=1)
