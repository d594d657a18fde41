"""What counts as rest: the face and the pose about which controls scale, turn and look."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from avatar.motion.at_rest import OPENING_MM, face_at_rest
from avatar.motion.controls.options import Point
from avatar.tracks import JOINTS, Motion

_TEMPLATE_APERTURE = 3.9e-3


def _metres(*rows) -> Float[np.ndarray, "..."]:
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class Rest:
    """A person at rest. The defaults are those of a driver's motion, about the identity pose at the origin.

    The *rest frame* is that of the head at rest: X to the subject's left, Y up, Z out of the face, metres.
    """

    expression: Float[np.ndarray, "52"] = field(default_factory=lambda: np.zeros(52))
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    """World <- head of the mean pose."""
    translation: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    """Mean position of the head in the world, metres."""
    aperture_rest: float = _TEMPLATE_APERTURE
    """Opening of the lips where no action moves them, metres (see `FaceGeometry`)."""
    aperture_basis: Float[np.ndarray, "52"] = field(default_factory=lambda: 1e-3 * OPENING_MM)
    eyes: Float[np.ndarray, "2 3"] = field(
        default_factory=lambda: _metres([0.0312, 0.0297, 0.0187], [-0.0312, 0.0297, 0.0187])
    )
    """Centres of the left and right eye, head frame, metres."""
    pivot: Float[np.ndarray, "3"] = field(default_factory=lambda: _metres(0.0, -0.0123, -0.0654))
    """Where the skull sits on the neck, head frame, metres: what stays in place when a control turns the head."""

    @staticmethod
    def of(motion: Motion, **known) -> Rest:
        """Rest by the statistics of a motion itself: its face at rest, its mean pose."""
        turns = Rotation.from_quat(motion.quats_wxyz, scalar_first=True)
        rest = Rest(
            expression=face_at_rest(motion.expression).astype(np.float64),
            rotation=turns.mean().as_matrix(),
            translation=motion.translation.mean(0).astype(np.float64),
        )
        return replace(rest, **known)

    @staticmethod
    def of_avatar(avatar) -> Rest:
        """The person of an avatar (`avatar.load`); its world is that of the capture's camera."""
        from avatar.motion.face_geometry import FaceGeometry

        geometry = FaceGeometry.of(avatar.head, np.asarray(avatar.neutral))
        joints = avatar.head.joint_positions(avatar.neutral).numpy().astype(np.float64)
        return Rest(
            expression=avatar.driving.rest_expression.numpy().astype(np.float64),
            rotation=avatar.driving.mean_rotation.numpy().astype(np.float64),
            translation=avatar.driving.mean_translation.numpy().astype(np.float64),
            aperture_rest=geometry.aperture_rest,
            aperture_basis=np.asarray(geometry.aperture_basis, np.float64),
            eyes=joints[[JOINTS.index("left_eye"), JOINTS.index("right_eye")]],
            pivot=joints[JOINTS.index("neck")],
        )

    def aperture(self, expression: Float[np.ndarray, "*t 52"]) -> Float[np.ndarray, "*t"]:
        """Height between the middles of the inner lips, metres; below 0 where they press into each other."""
        return self.aperture_rest + expression @ self.aperture_basis

    def camera_at(self, T_camera_world: Float[np.ndarray, "4 4"]) -> Point:
        """Where a camera is, in the rest frame, metres."""
        x, y, z = self.from_world(-T_camera_world[:3, :3].T @ T_camera_world[:3, 3])
        return float(x), float(y), float(z)

    def from_world(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        """A point of the world in the rest frame, metres."""
        return self.rotation.T @ (np.asarray(point, np.float64) - self.translation)
