"""The driving-space contract: convert -> de-mean -> project -> soft-clamp, the same for every driver.

An avatar was fitted on a limited set of expressions and poses, and its per-Gaussian linear maps are only valid there.
Whatever drives it (its own track, another person's capture, rules, a motion prior, sliders) is therefore expressed
relative to this person's mean, projected on the expression PCA of the training frames, and held inside their range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar import driving_maths
from avatar.driving_maths import TORSO_SMOOTHING_SECONDS, Statistics
from avatar.geometry import axis_angle_to_matrix, matrix_to_quat, mean_rotation, quat_to_matrix
from avatar.tracks import AlongMotion
from avatar.types import HeadParams, Motion

RIDGE = 0.1


@dataclass(frozen=True)
class DrivingSpace:
    """Statistics of one person's training motion."""

    mean_expression: Float[Tensor, "52"]
    rest_expression: Float[Tensor, "52"]
    """A low quantile per action: mouth closed, eyes open; where drivers start from."""
    basis: Float[Tensor, "52 r"]
    """Expression PCA, scaled so that the training coefficients have unit deviation."""
    mean_rotation: Float[Tensor, "3 3"]
    mean_translation: Float[Tensor, "3"]
    pose_scale: Float[Tensor, "6"]
    """Deviation of axis-angle (radians) and translation (metres) around the mean."""
    low: Float[Tensor, " k"]
    high: Float[Tensor, " k"]
    """Training range (1st and 99th percentile) of the k = r + 6 features."""
    mean_torso: Float[Tensor, "3"]
    torso_weights: Float[Tensor, "kt 3"]
    """Ridge regression of the shoulders' movement on the smoothed head pose, for drivers that have no shoulders."""

    @property
    def n_features(self) -> int:
        return len(self.low)

    @property
    def n_torso_features(self) -> int:
        return 6 * len(TORSO_SMOOTHING_SECONDS)

    @staticmethod
    def of(motion: Motion, rank: int = 10) -> DrivingSpace:
        """Statistics of a training motion; `rank` is the number of expression components kept."""
        expression = torch.as_tensor(motion.expression)
        R, t = quat_to_matrix(torch.as_tensor(motion.quats_wxyz)), torch.as_tensor(motion.translation)
        mean = expression.mean(0)
        _, sigma, vt = torch.linalg.svd(expression - mean, full_matrices=False)
        rank = min(rank, len(sigma))
        deviation = (sigma[:rank] / max(len(motion) - 1, 1) ** 0.5).clamp(min=0.02)
        space = DrivingSpace(
            mean_expression=mean,
            rest_expression=expression.quantile(0.2, dim=0),
            basis=vt[:rank].T / deviation,
            mean_rotation=mean_rotation(R),
            mean_translation=t.mean(0),
            pose_scale=torch.ones(6),
            low=torch.full((rank + 6,), -torch.inf),
            high=torch.full((rank + 6,), torch.inf),
            mean_torso=torch.as_tensor(motion.torso).mean(0),
            torso_weights=torch.zeros(6 * len(TORSO_SMOOTHING_SECONDS), 3),
        )
        # Floors: a still head must not turn tracking noise into full-scale features (1 degree, 3 mm).
        floor = torch.tensor([0.017] * 3 + [0.003] * 3)
        pose = driving_maths.pose_features(space.statistics(), motion)
        space = replace(space, pose_scale=torch.from_numpy(pose).float().std(0, correction=0).maximum(floor))
        features = space.raw_features(motion)
        space = replace(space, low=features.quantile(0.01, dim=0), high=features.quantile(0.99, dim=0))
        x = space.prepare(motion).torso_features
        ridge = RIDGE * len(x) * torch.eye(x.shape[1])
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (torch.as_tensor(motion.torso) - space.mean_torso))
        return replace(space, torso_weights=weights)

    def statistics(self) -> Statistics:
        """The same as numpy arrays."""
        return Statistics(*(getattr(self, name).numpy() for name in Statistics._fields))

    def raw_features(self, motion: Motion) -> Float[Tensor, "t k"]:
        """Expression coefficients and standardised pose, not clamped."""
        return torch.from_numpy(driving_maths.raw_features(self.statistics(), motion))

    def retarget(self, motion: Motion, *, expression_is_relative: bool = True) -> Motion:
        """Another head's motion as this person would do it: its deviations from its own mean, around our mean.

        Args:
            expression_is_relative: also move the expression; False for drivers that already start from
                `rest_expression` and only their pose is foreign.
        """
        return driving_maths.retarget(self.statistics(), motion, expression_is_relative=expression_is_relative)

    def prepare(self, motion: Motion) -> PreparedMotion:
        """Everything a frame of the avatar needs, for each frame of a motion in this person's terms."""
        return PreparedMotion(motion, *map(torch.from_numpy, driving_maths.prepare(self.statistics(), motion)))

    def params_at_rest(self) -> HeadParams:
        """Rest expression at the mean pose."""
        return HeadParams(self.rest_expression, torch.zeros(4, 3), self.mean_rotation, self.mean_translation)


@dataclass(frozen=True)
class DrivenFrame:
    """One frame of a prepared motion."""

    params: HeadParams
    features: Float[Tensor, " k"]
    torso_features: Float[Tensor, " kt"]
    torso: Float[Tensor, "3"]
    """As in `Motion.torso`."""


@dataclass(frozen=True)
class PreparedMotion(AlongMotion):
    """A motion with its clamped driving features, ready for rendering."""

    motion: Motion
    features: Float[Tensor, "t k"]
    torso_features: Float[Tensor, "t kt"]
    torso: Float[Tensor, "t 3"]

    def frame(self, index: int) -> DrivenFrame:
        """What the layers of an avatar need to take one pose."""
        params = motion_params(self.motion, index)
        return DrivenFrame(params, self.features[index], self.torso_features[index], self.torso[index])


def motion_params(motion: Motion, index: int) -> HeadParams:
    """Frame `index` of a motion as torch head parameters."""
    return HeadParams(
        torch.as_tensor(motion.expression[index]),
        torch.as_tensor(motion.joints[index]),
        quat_to_matrix(torch.as_tensor(motion.quats_wxyz[index])),
        torch.as_tensor(motion.translation[index]),
    )


def still_motion(params: HeadParams) -> Motion:
    """A motion of one frame."""
    return Motion(
        np.zeros(1, np.float32),
        params.expression[None].numpy(),
        params.joints[None].numpy(),
        matrix_to_quat(params.rotation)[None].numpy(),
        params.translation[None].numpy(),
    )


def perturb(params: HeadParams, delta: Float[Tensor, " d"]) -> HeadParams:
    """Move a head by (rotation vector 3, translation 3[, expression 52]); the rotation acts in the world's axes."""
    expression = params.expression + delta[6:] if len(delta) > 6 else params.expression
    rotation = axis_angle_to_matrix(delta[:3]) @ params.rotation
    return HeadParams(expression, params.joints, rotation, params.translation + delta[3:6])
