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
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quat, mean_rotation, quat_to_matrix
from avatar.types import HeadParams, Motion

TORSO_SMOOTHING_SECONDS = (0.08, 0.33)
"""Shoulders follow the head late and softly: the torso map sees the head pose at two temporal scales."""
CLAMP_MARGIN = 0.15
"""How far beyond the training range a driving feature may softly go, as a share of the range."""

RIDGE = 0.1
EXPRESSION_RANGE = (-0.15, 1.15)
"""ARKit actions of a foreign driver: a tracker's rest lies a little below 0 where a person's neutral differs."""


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
        space = replace(space, pose_scale=space._pose(R, t).std(0, correction=0).maximum(floor))
        features = space.raw_features(motion)
        space = replace(space, low=features.quantile(0.01, dim=0), high=features.quantile(0.99, dim=0))
        x = space.prepare(motion).torso_features
        ridge = RIDGE * len(x) * torch.eye(x.shape[1])
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (torch.as_tensor(motion.torso) - space.mean_torso))
        return replace(space, torso_weights=weights)

    def _pose(self, R: Tensor, t: Tensor) -> Float[Tensor, "t 6"]:
        rotation = matrix_to_axis_angle(self.mean_rotation.T @ R)
        return torch.cat([rotation, t - self.mean_translation], -1) / self.pose_scale

    def raw_features(self, motion: Motion) -> Float[Tensor, "t k"]:
        """Expression coefficients and standardised pose, not clamped."""
        coefficients = (torch.as_tensor(motion.expression) - self.mean_expression) @ self.basis
        pose = self._pose(quat_to_matrix(torch.as_tensor(motion.quats_wxyz)), torch.as_tensor(motion.translation))
        return torch.cat([coefficients, pose], -1)

    def retarget(self, motion: Motion, *, expression_is_relative: bool = True) -> Motion:
        """Another head's motion as this person would do it: its deviations from its own mean, around our mean.

        Args:
            expression_is_relative: also move the expression; False for drivers that already start from
                `rest_expression` and only their pose is foreign.
        """
        R, t = quat_to_matrix(torch.as_tensor(motion.quats_wxyz)), torch.as_tensor(motion.translation)
        expression = torch.as_tensor(motion.expression)
        if expression_is_relative and len(motion) > 1:
            expression = expression - expression.mean(0) + self.mean_expression
        moved = self.mean_rotation @ (mean_rotation(R).T @ R)
        return replace(
            motion,
            expression=expression.clamp(*EXPRESSION_RANGE).numpy(),
            quats_wxyz=matrix_to_quat(moved).numpy(),
            translation=(t - t.mean(0) + self.mean_translation).numpy(),
            torso=motion.torso - motion.torso.mean(0) + self.mean_torso.numpy() if motion.torso.any() else motion.torso,
        )

    def prepare(self, motion: Motion) -> PreparedMotion:
        """Everything a frame of the avatar needs, for each frame of a motion in this person's terms."""
        raw = self.raw_features(motion)
        fps = motion.fps
        pose = raw[:, -6:].numpy()
        smooth = [gaussian_filter1d(pose, s * fps, axis=0, mode="nearest") for s in TORSO_SMOOTHING_SECONDS]
        low, high = self.low[-6:].repeat(len(smooth)), self.high[-6:].repeat(len(smooth))
        torso_features = soft_clamp(torch.from_numpy(np.concatenate(smooth, 1)), low, high)
        torso = torch.as_tensor(motion.torso)
        if not torso.any():
            torso = self.mean_torso + torso_features @ self.torso_weights
        return PreparedMotion(motion, soft_clamp(raw, self.low, self.high), torso_features, torso)

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
class PreparedMotion:
    """A motion with its clamped driving features, ready for rendering."""

    motion: Motion
    features: Float[Tensor, "t k"]
    torso_features: Float[Tensor, "t kt"]
    torso: Float[Tensor, "t 3"]

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def fps(self) -> float:
        return self.motion.fps

    @property
    def timestamps_seconds(self) -> Float[np.ndarray, " t"]:
        return self.motion.timestamps_seconds

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


def soft_clamp(x: Float[Tensor, "*b k"], low: Float[Tensor, " k"], high: Float[Tensor, " k"]) -> Float[Tensor, "*b k"]:
    """Identity inside [low, high]; outside it approaches `CLAMP_MARGIN` of the range smoothly (slope 1 at the edge)."""
    margin = CLAMP_MARGIN * (high - low).clamp(min=1e-6)
    inside = x.clamp(low, high)
    return inside + margin * torch.tanh((x - inside) / margin)


def perturb(params: HeadParams, delta: Float[Tensor, " d"]) -> HeadParams:
    """Move a head by (rotation vector 3, translation 3[, expression 52]); the rotation acts in the world's axes."""
    expression = params.expression + delta[6:] if len(delta) > 6 else params.expression
    rotation = axis_angle_to_matrix(delta[:3]) @ params.rotation
    return HeadParams(expression, params.joints, rotation, params.translation + delta[3:6])
