"""The operations of `cuda_ext.ops` on a GPU: the same functions, the same conventions, on CUDA tensors.

`GpuOps` is written against `Launcher`, so that tests run all of it without a GPU. It has never run on one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.gpu import photometric, raster
from cuda_ext.gpu import rig as rigs
from cuda_ext.gpu.fields import FieldOps
from cuda_ext.gpu.launch import Launcher
from cuda_ext.gpu.rasterize import rasterize
from cuda_ext.ops.checks import checked, require_finite_gaussians
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, shapes
from cuda_ext.types import Cameras, Raster


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, target, ssim_weight, launcher):
        batch = image[None], target[None]
        same = photometric.compare(launcher, *batch, with_maps=ctx.needs_input_grad[0])
        ctx.save_for_backward(image, target, same.maps)
        ctx.ssim_weight, ctx.launcher = ssim_weight, launcher
        return ((1 - ssim_weight) * same.l1 + ssim_weight * (1 - same.ssim))[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        image, target, maps = ctx.saved_tensors
        gradient = photometric.compare_backward(
            ctx.launcher, image[None], target[None], maps, slope.reshape(1), ctx.ssim_weight
        )
        return gradient[0], None, None, None


class GpuOps(FieldOps):
    """The backend "cuda"; `launcher_of` finds who launches on a tensor's device."""

    def __init__(self, launcher_of: Callable[[torch.device], Launcher]) -> None:
        self._launcher_of = launcher_of

    def _launcher(self, tensor: Any, name: str) -> Launcher:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        return self._launcher_of(tensor.device)

    def rasterize(
        self,
        means: Float[Tensor, "n 3"],
        quats_wxyz: Float[Tensor, "n 4"],
        scales: Float[Tensor, "n 3"],
        opacities: Float[Tensor, " n"],
        colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"] | None,
        cameras: Cameras,
        *,
        features: Float[Tensor, "n f"] | None = None,
        labels: Int[Tensor, " n"] | None = None,
        median_depth: bool = False,
        normals: bool = False,
    ) -> Raster:
        """See `cuda_ext.ops.rasterize`. Waits for the device, to look at the outcome.

        Raises:
            ValueError: wrong shapes, an empty or too large image, a NaN or infinity, too many tile entries.
            TypeError: wrong dtype or device.
        """
        launcher = self._launcher(means, "means")
        gaussians = (means, quats_wxyz, scales, opacities, colors)
        return rasterize(
            launcher, gaussians, cameras, features=features, labels=labels, median_depth=median_depth, normals=normals
        )

    def photometric_loss(
        self, image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], ssim_weight: float = 0.2
    ) -> Float[Tensor, ""]:
        """See `cuda_ext.ops.photometric_loss`."""
        launcher, image, target = self._image_pair(image, target)
        if not 0.0 <= ssim_weight <= 1.0:
            raise ValueError(f"ssim_weight: expected 0..1, got {ssim_weight}")
        loss = _PhotometricLoss.apply(image, target.detach(), float(ssim_weight), launcher)
        return loss  # pyright: ignore[reportReturnType]

    def ssim(self, image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
        """See `cuda_ext.ops.ssim`. Waits for the device."""
        launcher, image, target = self._image_pair(image.detach(), target.detach())
        return float(photometric.compare(launcher, image[None], target[None], with_maps=False).ssim)

    def _image_pair(self, image: Tensor, target: Tensor) -> tuple[Launcher, Tensor, Tensor]:
        launcher = self._launcher(image, "image")
        image = checked(image, "image", (None, None, None), device=launcher.device)
        if image.numel() == 0:
            raise ValueError(f"image: expected at least one value, got shape {tuple(image.shape)}")
        return launcher, image, checked(target, "target", tuple(image.shape), device=launcher.device)

    def rig(
        self, mesh: RigMesh, pose: RigPose, head: RigHead, torso: RigTorso
    ) -> tuple[
        Float[Tensor, "n 3"], Float[Tensor, "n 4"], Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, "n 3"]
    ]:
        """See `cuda_ext.ops.rig`. Waits for the device, to look at the indices and at what comes out."""
        launcher = self._launcher(mesh.neutral, "mesh.neutral")
        mesh, pose, head, torso = _checked_rig(mesh, pose, head, torso, launcher.device)
        batch = RigPose(*(t[None] for t in pose))
        *world, colors = rigs.PlaceRiders.apply(  # pyright: ignore[reportGeneralTypeIssues]
            launcher, mesh.faces, *rigs.inputs_of(_riders(launcher, mesh, batch, head, torso))
        )
        placed = *(t[0] for t in world), colors.view(-1, 3)  # the one frame's
        require_finite_gaussians(*placed)
        return placed  # pyright: ignore[reportReturnType]

    def draw_rig(
        self,
        mesh: RigMesh,
        poses: RigPose,
        head: RigHead,
        torso: RigTorso,
        cameras: Float[Tensor, "b 16"],
        *,
        width: int,
        height: int,
        model: int = 0,
        capacity: int | None = None,
    ) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w"], Float[Tensor, "b h w"], Tensor]:
        """Pose and draw several frames, each with its own camera, in one pass that never waits for the device.

        Gradients reach the poses, the Gaussians and the cameras' [R | t]. Inputs are not looked at: indices must lie
        inside the mesh (`rig` checks that).

        Args:
            poses: as for `rig`, each with a leading axis of frames.
            cameras: fx, fy, cx, cy, then the rows of [R | t], camera <- world.
            capacity: tile list entries per frame.

        Returns:
            rgb (premultiplied), alpha, depth, and flags (2, b): entries that each frame needs (more than `capacity`:
            its image lacks splats), and how many of its Gaussians hold a NaN or infinity.
        """
        launcher = self._launcher(mesh.neutral, "mesh.neutral")
        riders = _riders(launcher, mesh, poses, head, torso)
        views = raster.Views(cameras.detach(), width, height, model)
        capacity = capacity or raster.default_capacity(riders.total)
        drawn = rigs.DrawRiders.apply(launcher, views, capacity, cameras, mesh.faces, *rigs.inputs_of(riders))
        return drawn  # pyright: ignore[reportReturnType]


def _riders(launcher: Launcher, mesh: RigMesh, poses: RigPose, head: RigHead, torso: RigTorso) -> rigs.Riders:
    moves = rigs.joint_moves(poses.joints, mesh.joint_regressor @ mesh.neutral)
    vertices = rigs.PoseMesh.apply(launcher, mesh, poses.expression, moves, poses.rotation, poses.translation)
    moving = (vertices, poses.features, poses.torso_features, poses.torso)
    return rigs.Riders(head, torso, mesh.faces, *moving)  # pyright: ignore[reportArgumentType]


def _checked_rig(
    mesh: RigMesh, pose: RigPose, head: RigHead, torso: RigTorso, device: torch.device
) -> tuple[RigMesh, RigPose, RigHead, RigTorso]:
    integers = ("mesh.faces", "head.triangles")
    arrays = {
        name: checked(array, name, want, torch.int32 if name in integers else torch.float32, device)
        for name, (array, want) in shapes(mesh, head, torso, pose).items()
    }
    v, f = len(mesh.neutral), len(mesh.faces)
    for name, count in zip(integers, (v, f), strict=True):
        indices = arrays[name]
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < count:
            where = f"an index lies outside the mesh of {v} vertices and {f} faces"
            raise ValueError(f"{name.split('.')[1]}: {where}")
    parts = (("mesh", RigMesh), ("pose", RigPose), ("head", RigHead), ("torso", RigTorso))
    checked_parts = [kind(*(arrays.get(f"{part}.{name}") for name in kind._fields)) for part, kind in parts]
    return tuple(checked_parts)  # pyright: ignore[reportReturnType]
