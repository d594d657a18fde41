"""From the parameters of a head to Gaussians in the world, in one step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, addresses, counts, shapes

_INTEGERS = ("mesh.faces", "head.triangles")
_LEARNED = (*range(2, 9), 11)
"""Of a head's tensors: neither triangles and barycentrics nor hang and hang_axes."""


class _Rig(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *tensors):
        mesh, pose, head, torso = _parts(tensors)
        mesh_counts, head_counts, torso_counts = counts(mesh, head, torso)
        n = head_counts[0] + torso_counts[0]
        world = tuple(torch.empty(n, *rest) for rest in ((3,), (4,), (3,), (), (3,)))
        ctx.rig = native().Rig()
        ctx.rig.forward(
            addresses(mesh), mesh_counts, addresses(pose), addresses(head), head_counts, addresses(torso),
            torso_counts, addresses(world),
        )  # fmt: skip
        ctx.save_for_backward(*tensors, *world)  # the rig keeps addresses only
        ctx.set_materialize_grads(False)
        return world

    @staticmethod
    @once_differentiable
    def backward(ctx, *slopes):
        tensors = ctx.saved_tensors
        _, pose, head, torso = _parts(tensors[:-5])
        filled = tuple(
            torch.zeros_like(w) if g is None else g.contiguous() for w, g in zip(tensors[-5:], slopes, strict=True)
        )
        learned = [head[i] for i in _LEARNED]
        gradients = [[None if t is None else torch.empty_like(t) for t in part] for part in (pose, learned, torso)]
        first = len(RigMesh._fields)
        wanted = ctx.needs_input_grad[first : first + len(pose)]
        places = addresses(tuple(gradients[0]))
        places = [*(places[:4] if any(wanted[:4]) else [0] * 4), *(places[4:] if any(wanted[4:]) else [0] * 3)]
        ctx.rig.backward(addresses(filled), addresses(tuple(gradients[1])), addresses(tuple(gradients[2])), places)
        of_pose = [g if want else None for g, want in zip(gradients[0], wanted, strict=True)]
        *of_head, of_map_colors = gradients[1]
        return *[None] * first, *of_pose, None, None, *of_head, None, None, of_map_colors, *gradients[2]


def _parts(tensors: tuple[Tensor | None, ...]) -> tuple[RigMesh, RigPose, RigHead, RigTorso]:
    rest = iter(tensors)
    mesh, pose, head, torso = (
        kind(*(next(rest) for _ in kind._fields)) for kind in (RigMesh, RigPose, RigHead, RigTorso)
    )
    return mesh, pose, head, torso  # pyright: ignore[reportReturnType]


def rig(
    mesh: RigMesh, pose: RigPose, head: RigHead, torso: RigTorso
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"], Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Pose a head and its torso: means, quaternions (wxyz), scales, opacities and colours in the world, head first.

    Blendshapes and linear blend skinning act on the mesh; a Gaussian of the head lies at its barycentric point plus its
    offset (means + map_means @ features) in its triangle's frame, of which the share `hang` keeps its direction in the
    world; its opacity is sigmoid(opacity_logits + map_opacities @ features), its colour colors + map_colors @ features
    (colors alone where `map_colors` is None). Shapes: `cuda_ext.rig_types`.

    Gradients reach all tensors of head and torso (but for triangles, barycentrics, hang and hang_axes) and all of the
    pose, exactly: also through the frames of the triangles, which turn when the mesh bends. The mesh gets none.

    Raises:
        ValueError: wrong shapes, an index outside the mesh, or a Gaussian that comes out with a NaN or infinity.
        TypeError: wrong dtype or device (`faces` and `triangles` are int32).
    """
    arrays = {
        name: checked(array, name, want, torch.int32 if name in _INTEGERS else torch.float32)
        for name, (array, want) in shapes(mesh, head, torso, pose).items()
    }
    ordered = [
        arrays.get(f"{part}.{name}")
        for part, kind in (("mesh", RigMesh), ("pose", RigPose), ("head", RigHead), ("torso", RigTorso))
        for name in kind._fields
    ]
    try:
        return _Rig.apply(*ordered)  # pyright: ignore[reportReturnType]
    except IndexError as error:
        v, f = len(mesh.neutral), len(mesh.faces)
        raise ValueError(f"{error}: an index lies outside the mesh of {v} vertices and {f} faces") from error
