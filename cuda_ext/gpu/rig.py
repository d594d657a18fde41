"""Posing a head for a batch of frames on a GPU, and drawing it without writing its Gaussians to memory.

Nothing here waits for the device. What has a frame in it has a leading axis b; frames and cameras go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.gpu import raster
from cuda_ext.gpu.launch import Launcher, blocks
from cuda_ext.rig_types import RigHead, RigMesh, RigTorso

_THREADS = 128
_POSE_ROW = 64
LEARNED = ("means", "quats", "log_scales", "opacity_logits", "map_means", "map_opacities")
"""What a set's gradients are written to, in the kernels' order; a torso has no map_opacities."""


def rotations(axis_angles: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rodrigues' formula, smooth at 0. (A matrix exponential branches on its input, hence waits for the device.)"""
    x, y, z = axis_angles.unbind(-1)
    angle = (axis_angles**2).sum(-1).clamp(min=1e-12).sqrt()[..., None, None]
    o = torch.zeros_like(x)
    K = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    half = torch.sinc(angle / (2 * torch.pi))
    return torch.eye(3, device=K.device, dtype=K.dtype) + torch.sinc(angle / torch.pi) * K + 0.5 * half**2 * (K @ K)


def joint_moves(joints: Float[Tensor, "b 4 3"], rest: Float[Tensor, "4 3"]) -> Float[Tensor, "b 4 12"]:
    """Each joint's affine map of the head's vertices, neck -> {jaw, eyes}: linear part minus 1 by rows, then offset."""
    own = rotations(joints)
    neck = own[:, :1]
    linear = torch.cat([neck, neck @ own[:, 1:]], 1)
    neck_at = rest[0] - (neck @ rest[0][:, None])[..., 0]
    children_at = (neck @ rest[1:, :, None])[..., 0] + neck_at - (linear[:, 1:] @ rest[1:, :, None])[..., 0]
    offsets = torch.cat([neck_at, children_at], 1)
    return torch.cat([(linear - torch.eye(3, device=rest.device)).flatten(2), offsets], -1)


class PoseMesh(torch.autograd.Function):
    """(launcher, mesh, expression (b, m), moves (b, 4, 12), rotation (b, 3, 3), translation (b, 3)) -> (b, v, 3)."""

    @staticmethod
    def forward(ctx, launcher: Launcher, mesh: RigMesh, expression, moves, rotation, translation):
        b, v, m = expression.shape[0], mesh.neutral.shape[0], mesh.expression_basis.shape[0]
        blended, local, vertices = (torch.empty(b, v, 3, device=launcher.device) for _ in range(3))
        launcher.launch(
            "mesh_vertices", (blocks(v, _THREADS), b), (_THREADS,), mesh.neutral, mesh.expression_basis,
            mesh.skin_weights, expression, moves, rotation, translation, v, m, blended, local, vertices,
        )  # fmt: skip
        ctx.save_for_backward(moves, rotation, blended, local)
        ctx.launcher, ctx.mesh = launcher, mesh
        return vertices

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_vertices):
        moves, rotation, blended, local = ctx.saved_tensors
        launcher, mesh, (b, v, _) = ctx.launcher, ctx.mesh, blended.shape
        grad_blended, sums = torch.empty_like(blended), torch.zeros(b, _POSE_ROW, device=launcher.device)
        launcher.launch(
            "mesh_vertices_backward", (blocks(v, _THREADS), b), (_THREADS,), mesh.skin_weights, moves, rotation,
            blended, local, grad_vertices.contiguous(), v, grad_blended, sums,
        )  # fmt: skip
        m = mesh.expression_basis.shape[0]
        grad_expression = torch.empty(b, m, device=launcher.device)
        if m:
            launcher.launch(
                "mesh_expression_backward", (m, b), (_THREADS,), mesh.expression_basis, grad_blended, v, m,
                grad_expression,
            )  # fmt: skip
        grad_moves = sums[:, 12:60].reshape(b, 4, 12)
        return None, None, grad_expression, grad_moves, sums[:, :9].reshape(b, 3, 3), sums[:, 9:12]


@dataclass(frozen=True)
class Riders:
    """A head's and a torso's Gaussians with what moves them; the head comes first in every frame."""

    head: RigHead
    torso: RigTorso
    faces: Tensor
    vertices: Float[Tensor, "b v 3"]
    features: Float[Tensor, "b k"]
    torso_features: Float[Tensor, "b kt"]
    torso_moves: Float[Tensor, "b 3"]

    @property
    def frames(self) -> int:
        """How many."""
        return self.vertices.shape[0]

    @property
    def total(self) -> int:
        """Gaussians per frame."""
        return self.head.means.shape[0] + self.torso.means.shape[0]

    def sets(self) -> list[tuple]:
        """The leading arguments of the rig kernels, for the head and for the torso."""
        h, t, n, nt = self.head, self.torso, self.head.means.shape[0], self.torso.means.shape[0]
        mesh = (self.vertices, self.faces, self.torso_moves)
        return [
            (
                h.triangles, h.barycentrics, h.hang, h.hang_axes, h.means, h.quats, h.log_scales, h.opacity_logits,
                h.map_means, h.map_opacities, self.features, *mesh, n, h.map_means.shape[2], 0, self.total,
                self.vertices.shape[1],
            ),
            (
                None, None, None, None, t.means, t.quats, t.log_scales, t.opacity_logits, t.map_means, None,
                self.torso_features, *mesh, nt, t.map_means.shape[2], n, self.total, self.vertices.shape[1],
            ),
        ]  # fmt: skip

    def color_sets(self) -> list[tuple]:
        """The arguments of the colour kernels between the map and what they write, for the head and for the torso."""
        n, nt = self.counts()
        return [
            (self.features, n, self.features.shape[1], 0, self.total),
            (self.torso_features, nt, self.torso_features.shape[1], n, self.total),
        ]

    def counts(self) -> tuple[int, int]:
        """Gaussians of the head and of the torso."""
        return self.head.means.shape[0], self.torso.means.shape[0]


def place(launcher: Launcher, riders: Riders) -> tuple[Tensor, ...]:
    """Means (b, n, 3), quaternions (b, n, 4), scales (b, n, 3) and opacities (b, n) in the world."""
    world = tuple(
        torch.empty(riders.frames, riders.total, *rest, device=launcher.device) for rest in ((3,), (4,), (3,), ())
    )
    for arguments, n in zip(riders.sets(), riders.counts(), strict=True):
        launcher.launch("rig_gaussians", (blocks(n, _THREADS), riders.frames), (_THREADS,), *arguments, *world)
    return world


def colors_of(launcher: Launcher, riders: Riders) -> Float[Tensor, "*b n 3"]:
    """What the Gaussians show: (n, 3) in all frames, or (b, n, 3) where a map moves colours."""
    sets = (riders.head.colors, riders.torso.colors)
    if riders.head.map_colors is None:
        return torch.cat(sets)
    world = torch.empty(riders.frames, riders.total, 3, device=launcher.device)
    for colors, color_map, rest in zip(sets, (riders.head.map_colors, None), riders.color_sets(), strict=True):
        grid = (blocks(len(colors), _THREADS), riders.frames)
        launcher.launch("rig_colors", grid, (_THREADS,), colors, color_map, *rest, world)
    return world


class RiderGradients:
    """Memory for the gradients of a set of riders, and its way back into the order of their tensors."""

    def __init__(self, riders: Riders) -> None:
        self.head = {name: torch.empty_like(getattr(riders.head, name)) for name in LEARNED}
        self.torso = {name: torch.empty_like(getattr(riders.torso, name)) for name in LEARNED[:-1]}
        self.features, self.torso_features, self.vertices, self.torso_moves = (
            torch.zeros_like(t) for t in (riders.features, riders.torso_features, riders.vertices, riders.torso_moves)
        )

    def sets(self) -> list[tuple]:
        """The last arguments of the backward kernels, for the head and for the torso."""
        moving = self.vertices, self.torso_moves
        return [
            (*(self.head[name] for name in LEARNED), self.features, *moving),
            (*(self.torso[name] for name in LEARNED[:-1]), None, self.torso_features, *moving),
        ]

    def add_colors(self, launcher: Launcher, riders: Riders, by_colors: Float[Tensor, "*b n 3"]) -> None:
        """Take the gradient of what `colors_of` gives to colours, their map and the features."""
        if riders.head.map_colors is None:
            parts = by_colors.split(riders.counts())
            self.head["colors"], self.torso["colors"] = (part.contiguous() for part in parts)
            return
        sets = (
            (self.head, riders.head.map_colors, torch.empty_like(riders.head.map_colors), self.features),
            (self.torso, None, None, self.torso_features),
        )
        for (known, color_map, by_map, by_features), rest in zip(sets, riders.color_sets(), strict=True):
            known["colors"] = torch.empty_like(known["means"])
            launcher.launch(
                "rig_colors_backward", (blocks(rest[1], _THREADS),), (_THREADS,), color_map, *rest, riders.frames,
                by_colors.contiguous(), known["colors"], by_map, by_features,
            )  # fmt: skip
            if by_map is not None:
                known["map_colors"] = by_map

    def in_order(self) -> tuple:
        """Gradients of `inputs_of`'s tensors."""
        known = {"head": self.head, "torso": self.torso}
        of_sets = (known[part].get(name) for part, kind in _SETS for name in kind._fields)
        return self.vertices, self.features, self.torso_features, self.torso_moves, *of_sets


_SETS = (("head", RigHead), ("torso", RigTorso))


def inputs_of(riders: Riders) -> tuple[Tensor | None, ...]:
    """All tensors that may want gradients (and some that never do), as autograd takes them."""
    moving = riders.vertices, riders.features, riders.torso_features, riders.torso_moves
    return *moving, *riders.head, *riders.torso


def riders_of(faces: Tensor, inputs: tuple[Tensor | None, ...]) -> Riders:
    """The inverse of `inputs_of`."""
    vertices, features, torso_features, torso_moves, *parts = inputs
    head, torso = RigHead(*parts[: len(RigHead._fields)]), RigTorso(*parts[len(RigHead._fields) :])
    return Riders(head, torso, faces, vertices, features, torso_features, torso_moves)  # pyright: ignore[reportArgumentType]


class PlaceRiders(torch.autograd.Function):
    """(launcher, faces, *inputs_of(riders)) -> what `place` gives, then what `colors_of` gives."""

    @staticmethod
    def forward(ctx, launcher, faces, *inputs):
        riders = riders_of(faces, inputs)
        ctx.save_for_backward(faces, *inputs)
        ctx.launcher = launcher
        return *place(launcher, riders), colors_of(launcher, riders)

    @staticmethod
    @once_differentiable
    def backward(ctx, *slopes):
        faces, *inputs = ctx.saved_tensors
        riders = riders_of(faces, tuple(inputs))
        gradients = RiderGradients(riders)
        slopes = [s.contiguous() for s in slopes]
        for arguments, n, out in zip(riders.sets(), riders.counts(), gradients.sets(), strict=True):
            ctx.launcher.launch(
                "rig_gaussians_backward", (blocks(n, _THREADS),), (_THREADS,), *arguments, riders.frames,
                *slopes[:4], *out,
            )  # fmt: skip
        gradients.add_colors(ctx.launcher, riders, slopes[4])
        return None, None, *gradients.in_order()


class DrawRiders(torch.autograd.Function):
    """(launcher, views, capacity, camera table, faces, *inputs_of(riders)) -> rgb (b, h, w, 3), alpha, depth, flags.

    `flags` (2, b) tells per frame how many tile list entries it needs, of `capacity` (past that, splats are missing),
    and how many Gaussians hold a NaN or infinity. The table's gradient is that of [R | t], in its last 12 columns.
    """

    @staticmethod
    def forward(ctx, launcher, views: raster.Views, capacity: int, table, faces, *inputs):
        riders = riders_of(faces, inputs)
        memory = raster.Counting.of(launcher, riders.total, views)
        for arguments, n in zip(riders.sets(), riders.counts(), strict=True):
            launcher.launch(
                "rig_project_count", (blocks(n, _THREADS), riders.frames), (_THREADS,), *arguments, views.table,
                views.width, views.height, views.model, *memory.outputs(),
            )  # fmt: skip
        projected = raster.finish(launcher, memory, views, capacity)
        colors = colors_of(launcher, riders)
        images = raster.draw(launcher, projected, colors, views)
        outputs = images.values, images.alpha, images.depth
        ctx.save_for_backward(faces, *inputs, colors, *outputs)
        ctx.launcher, ctx.views, ctx.projected = launcher, views, projected
        flags = torch.stack([projected.needed, projected.bad])
        ctx.mark_non_differentiable(flags)
        ctx.set_materialize_grads(False)
        return *outputs, flags

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_values, grad_alpha, grad_depth, _):
        faces, *inputs, colors, values, alpha, depth = ctx.saved_tensors
        launcher, views, projected = ctx.launcher, ctx.views, ctx.projected
        riders = riders_of(faces, tuple(inputs))
        grad_values = torch.zeros_like(values) if grad_values is None else grad_values.contiguous()
        alpha_slope, depth_slope = (None if g is None else g.contiguous() for g in (grad_alpha, grad_depth))
        images = raster.Images(values, alpha, depth)
        slopes = (grad_values, alpha_slope, depth_slope)
        sums = raster.draw_backward(launcher, projected, colors, views, images, slopes)
        gradients = RiderGradients(riders)
        rows = torch.zeros(views.count, 12, device=launcher.device) if ctx.needs_input_grad[3] else None
        for arguments, n, out in zip(riders.sets(), riders.counts(), gradients.sets(), strict=True):
            launcher.launch(
                "rig_project_backward", (blocks(n, _THREADS),), (_THREADS,), *arguments, riders.frames, views.table,
                views.width, views.height, views.model, projected.rects, sums, colors.shape[-1], *out, rows,
            )  # fmt: skip
        grad_table = None if rows is None else torch.nn.functional.pad(rows, (4, 0))
        gradients.add_colors(launcher, riders, raster.values_backward(launcher, sums, colors))
        return None, None, None, grad_table, None, *gradients.in_order()
