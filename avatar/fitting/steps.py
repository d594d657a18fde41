"""One step of a fit: compare a training frame with the avatar in its pose, and move the avatar's layers.

`NativeStep` does it in one call of the CPU core. `TorchStep` is the same step made of differentiable operations, where
more than the linear avatar's own parameters is to be learned; a test compares both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avatar.driving import PreparedMotion, perturb
from avatar.geometry import quat_to_matrix
from avatar.head.model import HeadModel
from avatar.layers import Layers, rig_mesh
from avatar.renderer import render
from avatar.types import Camera
from cuda_ext import ops
from cuda_ext.ops.fit_step import HEAD_LEARNED, TORSO_LEARNED
from cuda_ext.rig_types import RigPose

BETAS, EPS = (0.9, 0.99), 1e-15
LEARNED = (*(f"head.{name}" for name in HEAD_LEARNED), *(f"torso.{name}" for name in TORSO_LEARNED))
"""Tensors of all `Layers` that a step moves."""

Moments = dict[str, tuple[Tensor, Tensor]]
"""Adam's first and second moments per learned tensor."""


class Step(Protocol):
    """Moves layers and moments, which it was given when it was made, in place."""

    def run(
        self,
        index: int,
        target: ops.FitTarget,
        delta: Float[Tensor, " d"],
        rates: dict[str, float],
        count: int,
        gradient_norms: Float[Tensor, " n"],
        *,
        want_delta_gradient: bool,
        shown: Bool[Tensor, " n"] | None = None,
    ) -> ops.FitOutcome:
        """See `cuda_ext.ops.FitStep.run`; `rates` by name of the tensor.

        Args:
            shown: Gaussians of the head that are there; None: all, as always in `NativeStep`.
        """
        ...


def learned(layers: Layers) -> list[str]:
    """Names of the tensors that a step moves: those above, and a field's parameters."""
    return [*LEARNED, *(name for name in layers.tensors() if name.startswith("field."))]


def no_moments(layers: Layers) -> Moments:
    """The memory of an optimiser that has not seen anything."""
    tensors = {name: t.detach() for name, t in layers.tensors().items()}
    return {name: (torch.zeros_like(tensors[name]), torch.zeros_like(tensors[name])) for name in learned(layers)}


class NativeStep:
    """The whole step in one native call."""

    def __init__(
        self, head: HeadModel, neutral: Float[Tensor, "v 3"], layers: Layers, moments: Moments,
        prepared: PreparedMotion, camera: Camera,
    ) -> None:  # fmt: skip
        motion = prepared.motion
        poses = RigPose(
            torch.as_tensor(motion.expression), torch.as_tensor(motion.joints),
            quat_to_matrix(torch.as_tensor(motion.quats_wxyz)), torch.as_tensor(motion.translation),
            prepared.features, prepared.torso_features, prepared.torso,
        )  # fmt: skip
        self._step = ops.FitStep(
            rig_mesh(head, neutral), poses, width=camera.width, height=camera.height, fx=camera.fx,
            fy=camera.fy, cx=camera.cx, cy=camera.cy, T_camera_world=camera.T_camera_world, betas=BETAS, eps=EPS,
        )  # fmt: skip
        self._head, self._torso = layers.rig_parts()
        pairs = [[moments[name] for name in LEARNED if name.startswith(part)] for part in ("head.", "torso.")]
        self._moments = ops.AdamMoments(*(tuple(pair[i] for pair in part) for part in pairs for i in range(2)))

    def run(
        self, index, target, delta, rates, count, gradient_norms, *, want_delta_gradient, shown=None
    ) -> ops.FitOutcome:
        """See `Step.run`."""
        assert shown is None, "the native step draws all Gaussians"
        return self._step.run(
            index, self._head, self._torso, self._moments, [rates[name] for name in LEARNED], count, target, delta,
            gradient_norms, want_delta_gradient=want_delta_gradient,
        )  # fmt: skip


class TorchStep:
    """The same step as a torch graph."""

    def __init__(
        self, head: HeadModel, neutral: Float[Tensor, "v 3"], layers: Layers, moments: Moments,
        prepared: PreparedMotion, camera: Camera,
    ) -> None:  # fmt: skip
        self._head, self._neutral = head, neutral
        self._layers, self._prepared, self._camera = layers, prepared, camera
        tensors = layers.tensors()
        self._names = learned(layers)
        groups = [{"params": [tensors[name].requires_grad_(True)], "lr": 0.0} for name in self._names]
        self._optimizer = torch.optim.Adam(groups, betas=BETAS, eps=EPS, fused=True)
        for name in self._names:
            first, second = moments[name]
            state = {"step": torch.tensor(0.0), "exp_avg": first, "exp_avg_sq": second}
            self._optimizer.state[tensors[name]] = state

    def run(
        self, index, target, delta, rates, count, gradient_norms, *, want_delta_gradient, shown=None
    ) -> ops.FitOutcome:
        """See `Step.run`."""
        delta = delta.clone().requires_grad_(want_delta_gradient)
        driven = self._prepared.frame(index)
        driven = replace(driven, params=perturb(driven.params, delta))
        gaussians = self._layers.gaussians(self._head, self._neutral, driven)
        gaussians.means.retain_grad()
        if shown is not None:
            torso = torch.ones(len(gaussians) - len(shown))
            gaussians = replace(gaussians, opacities=gaussians.opacities * torch.cat([shown.float(), torso]))
        loss, error = self._loss(gaussians, target)
        loss.backward()
        for group, name in zip(self._optimizer.param_groups, self._names, strict=True):
            group["lr"] = rates[name]
            self._optimizer.state[group["params"][0]]["step"].fill_(count - 1)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        gradient_norms += gaussians.means.grad[: len(gradient_norms)].norm(dim=1)  # type: ignore[index]
        return ops.FitOutcome(loss.item(), error, delta.grad)

    def _loss(self, gaussians, target: ops.FitTarget) -> tuple[Tensor, float]:
        """The objective, and the mean squared error."""
        pixels = torch.from_numpy(target.rgba).float().mul_(1 / 255)
        picture, mask, behind = pixels[..., :3].contiguous(), pixels[..., 3], target.behind
        if behind.ndim == 1:
            picture = mask[..., None] * picture + (1 - mask[..., None]) * behind
        output = render(gaussians, self._camera)
        image = output.rgb + (1 - output.alpha)[..., None] * behind
        off = (output.alpha - mask).abs()
        free = torch.ones_like(mask, dtype=torch.bool)
        if target.covered is not None:
            free = ~torch.from_numpy(target.covered)
            picture, off = torch.where(free[..., None], picture, image.detach()), off * free
        loss = ops.photometric_loss(image, picture, target.ssim_weight) + target.mask_weight * off.mean()
        counted = (image.detach() - picture)[free]
        return loss, float(counted.square().mean()) if len(counted) else 0.0
