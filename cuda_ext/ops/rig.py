"""Gaussians that ride on a mesh."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked


class _Bind(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, faces, triangles, barycentrics, local_means, local_quats):
        means, quats = torch.empty_like(local_means), torch.empty_like(local_quats)
        frames = torch.empty(faces.shape[0], native().frame_floats())
        counts, n = [vertices.shape[0], faces.shape[0]], triangles.shape[0]
        binding = [triangles.data_ptr(), barycentrics.data_ptr()]
        native().bind(
            [vertices.data_ptr(), faces.data_ptr()], counts, binding, n,
            [local_means.data_ptr(), local_quats.data_ptr()], frames.data_ptr(), [means.data_ptr(), quats.data_ptr()],
        )  # fmt: skip
        ctx.save_for_backward(faces, triangles, barycentrics, frames)
        ctx.counts = counts
        return means, quats

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_means, grad_quats):
        faces, triangles, barycentrics, frames = ctx.saved_tensors
        grad_means, grad_quats = grad_means.contiguous(), grad_quats.contiguous()
        grads = (torch.empty(ctx.counts[0], 3), torch.empty_like(grad_means), torch.empty_like(grad_quats))
        native().bind_backward(
            faces.data_ptr(), ctx.counts, [triangles.data_ptr(), barycentrics.data_ptr()], triangles.shape[0],
            frames.data_ptr(), [grad_means.data_ptr(), grad_quats.data_ptr()], [g.data_ptr() for g in grads],
        )  # fmt: skip
        return grads[0], None, None, None, grads[1], grads[2]


def bind(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    triangles: Int[Tensor, " n"],
    barycentrics: Float[Tensor, "n 3"],
    local_means: Float[Tensor, "n 3"],
    local_quats: Float[Tensor, "n 4"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """Carry Gaussians from the frames of their mesh triangles to the world: means and quaternions (wxyz).

    A triangle's frame has x along its first edge and z along its normal. mean = barycentric point + R local_mean,
    quat = q_triangle * local_quat. Gradients reach `local_means`, `local_quats` and `vertices`, the latter through
    the barycentric point only: the frame counts as constant. Metres.

    Raises:
        ValueError: wrong shapes, or an index outside the mesh.
        TypeError: wrong dtype or device (`faces` and `triangles` are int32).
    """
    n = triangles.shape[0] if isinstance(triangles, Tensor) and triangles.ndim == 1 else None
    inputs = (
        checked(vertices, "vertices", (None, 3)),
        checked(faces, "faces", (None, 3), torch.int32),
        checked(triangles, "triangles", (n,), torch.int32),
        checked(barycentrics, "barycentrics", (n, 3)).detach(),
        checked(local_means, "local_means", (n, 3)),
        checked(local_quats, "local_quats", (n, 4)),
    )
    try:
        return _Bind.apply(*inputs)  # pyright: ignore[reportReturnType]
    except IndexError as error:
        raise ValueError(
            f"{error}: an index lies outside the mesh of {vertices.shape[0]} vertices and {faces.shape[0]} faces"
        ) from error
