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
from avatar.head.arkit import ARKIT_NAMES
from avatar.motion.at_rest import face_at_rest
from avatar.motion.audio_windows import WINDOWS, audio_windows
from avatar.motion.encoders.base import Encoding
from avatar.support import Support, support_of
from avatar.tracks import AlongMotion
from avatar.types import HeadParams, Motion

RIDGE = 0.1
UPPER_FACE = ("brow", "eye")
"""How the names of its actions begin."""


@dataclass(frozen=True)
class DrivingSpace:
    """Statistics of one person's training motion."""

    mean_expression: Float[Tensor, "52"]
    rest_expression: Float[Tensor, "52"]
    """Lips together, eyes open; where drivers start from (`avatar.motion.at_rest`)."""
    mesh_actions: Float[Tensor, "52"]
    """1 where the mesh follows the action, 0 where it stays at the mean."""
    basis: Float[Tensor, "52 r"]
    """Expression PCA, scaled so that the training coefficients have unit deviation."""
    mean_rotation: Float[Tensor, "3 3"]
    mean_translation: Float[Tensor, "3"]
    pose_scale: Float[Tensor, "6"]
    """Deviation of axis-angle (radians) and translation (metres) around the mean."""
    speech_mean: Float[Tensor, " w"]
    speech_basis: Float[Tensor, "w a"]
    """PCA of what is heard around the training frames, scaled like `basis`; a = 0 if the maps do not listen."""
    low: Float[Tensor, " k"]
    high: Float[Tensor, " k"]
    """Training range (1st and 99th percentile) of the k = r + a + 6 features."""
    mean_torso: Float[Tensor, "3"]
    torso_weights: Float[Tensor, "kt 3"]
    """Ridge regression of the shoulders' movement on the smoothed head pose, for drivers that have no shoulders."""

    @property
    def n_features(self) -> int:
        return len(self.low)

    @property
    def speech_columns(self) -> slice:
        """Which of the features are speech."""
        first = self.basis.shape[1]
        return slice(first, first + self.speech_basis.shape[1])

    @property
    def n_torso_features(self) -> int:
        return 6 * len(TORSO_SMOOTHING_SECONDS)

    @staticmethod
    def of(
        motion: Motion, rank: int = 10, speech: Encoding | None = None, speech_rank: int = 0, mesh_follows: bool = True
    ) -> DrivingSpace:
        """Statistics of a training motion.

        Args:
            rank: expression components kept.
            speech: of the whole clip; with it, `speech_rank` components of what is heard are kept.
            mesh_follows: the expression moves the mesh; otherwise it stays at the mean, and only the upper face's
                actions have components.
        """
        expression = torch.as_tensor(motion.expression)
        R, t = quat_to_matrix(torch.as_tensor(motion.quats_wxyz)), torch.as_tensor(motion.translation)
        mean = expression.mean(0)
        seen = torch.tensor([float(mesh_follows or name.startswith(UPPER_FACE)) for name in ARKIT_NAMES])
        basis = seen[:, None] * _principal(expression * seen, rank, least=0.02)[1]
        heard = torch.zeros(len(motion), 0)
        if speech is not None and speech_rank:
            heard = torch.from_numpy(audio_windows(speech, motion.timestamps_seconds)).flatten(1)
        speech_mean, speech_basis = _principal(heard, speech_rank, least=1e-3)
        count = basis.shape[1] + speech_basis.shape[1] + 6
        space = DrivingSpace(
            mean_expression=mean,
            rest_expression=torch.from_numpy(face_at_rest(motion.expression)),
            mesh_actions=torch.full((52,), float(mesh_follows)),
            basis=basis,
            mean_rotation=mean_rotation(R),
            mean_translation=t.mean(0),
            pose_scale=torch.ones(6),
            speech_mean=speech_mean,
            speech_basis=speech_basis,
            low=torch.full((count,), -torch.inf),
            high=torch.full((count,), torch.inf),
            mean_torso=torch.as_tensor(motion.torso).mean(0),
            torso_weights=torch.zeros(6 * len(TORSO_SMOOTHING_SECONDS), 3),
        )
        # Floors: a still head must not turn tracking noise into full-scale features (1 degree, 3 mm).
        floor = torch.tensor([0.017] * 3 + [0.003] * 3)
        pose = driving_maths.pose_features(space.statistics(), motion)
        space = replace(space, pose_scale=torch.from_numpy(pose).float().std(0, correction=0).maximum(floor))
        features = space.raw_features(motion, speech)
        space = replace(space, low=features.quantile(0.01, dim=0), high=features.quantile(0.99, dim=0))
        x = space.prepare(motion).torso_features
        ridge = RIDGE * len(x) * torch.eye(x.shape[1])
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (torch.as_tensor(motion.torso) - space.mean_torso))
        return replace(space, torso_weights=weights)

    def statistics(self) -> Statistics:
        """The same as numpy arrays."""
        return Statistics(*(getattr(self, name).numpy() for name in Statistics._fields))

    def raw_features(self, motion: Motion, speech: Encoding | None = None) -> Float[Tensor, "t k"]:
        """Expression coefficients, speech and standardised pose, not clamped."""
        return torch.from_numpy(driving_maths.raw_features(self.statistics(), motion, speech))

    def retarget(self, motion: Motion, *, expression_is_relative: bool = True) -> Motion:
        """Another head's motion as this person would do it: its deviations from its own mean, around our mean.

        Args:
            expression_is_relative: also move the expression; False for drivers that already start from
                `rest_expression` and only their pose is foreign.
        """
        return driving_maths.retarget(self.statistics(), motion, expression_is_relative=expression_is_relative)

    def prepare(self, motion: Motion, speech: Encoding | None = None) -> PreparedMotion:
        """Everything a frame of the avatar needs, for each frame of a motion in this person's terms.

        Args:
            speech: what is said meanwhile, on the motion's clock.
        """
        space = self.statistics()
        features, torso_features, torso = map(torch.from_numpy, driving_maths.prepare(space, motion, speech))
        windows = None if speech is None else torch.from_numpy(audio_windows(speech, motion.timestamps_seconds))
        mesh, support = driving_maths.mesh_motion(space, motion), support_of(space, motion)
        return PreparedMotion(mesh, features, torso_features, torso, support, windows)

    def params_at_rest(self) -> HeadParams:
        """Rest expression at the mean pose."""
        return HeadParams(self.rest_expression, torch.zeros(4, 3), self.mean_rotation, self.mean_translation)


def _principal(rows: Float[Tensor, "t d"], rank: int, least: float) -> tuple[Float[Tensor, " d"], Float[Tensor, "d r"]]:
    """Mean of rows, and their first components, scaled so that coefficients have unit deviation."""
    mean = rows.mean(0)
    _, sigma, vt = torch.linalg.svd(rows - mean, full_matrices=False)
    rank = min(rank, len(sigma))
    deviation = (sigma[:rank] / max(len(rows) - 1, 1) ** 0.5).clamp(min=least)
    return mean, vt[:rank].T / deviation


@dataclass(frozen=True)
class DrivenFrame:
    """One frame of a prepared motion."""

    params: HeadParams
    features: Float[Tensor, " k"]
    torso_features: Float[Tensor, " kt"]
    torso: Float[Tensor, "3"]
    """As in `Motion.torso`."""
    speech: Float[Tensor, "8 16 d"] | None = None
    """What is heard around this moment (see `avatar.motion.audio_windows`); None: nothing is known."""


@dataclass(frozen=True)
class PreparedMotion(AlongMotion):
    """A motion with its clamped driving features, ready for rendering."""

    motion: Motion
    features: Float[Tensor, "t k"]
    torso_features: Float[Tensor, "t kt"]
    torso: Float[Tensor, "t 3"]
    support: Support
    speech: Float[Tensor, "t 16 d"] | None = None
    """Windows of what is heard; None: nothing is known."""

    def frame(self, index: int) -> DrivenFrame:
        """What the layers of an avatar need to take one pose."""
        params = motion_params(self.motion, index)
        heard = None if self.speech is None else windows_around(self.speech, index)
        return DrivenFrame(params, self.features[index], self.torso_features[index], self.torso[index], heard)


def windows_around(windows: Float[Tensor, "t 16 d"], index: int) -> Float[Tensor, "8 16 d"]:
    """Those of frames index - 4 to index + 3, zero beyond the ends: one row of `attention_windows`."""
    first, last = index - WINDOWS // 2, index + WINDOWS // 2
    known = windows[max(first, 0) : max(last, 0)]
    before, after = max(-first, 0), max(last - len(windows), 0)
    return torch.nn.functional.pad(known, (0, 0, 0, 0, before, after))


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
