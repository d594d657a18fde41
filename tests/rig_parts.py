"""A crumpled mesh with Gaussians on it, for tests of the rig kernels."""

from __future__ import annotations

import torch

from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso


def rig_parts(n: int = 1500, n_torso: int = 300, k: int = 16, kt: int = 12, seed: int = 0, *, color_map: bool = False):
    """(mesh, pose, head, torso) with every part in use: joints turn, hair hangs, maps act (that of colours if asked
    for), the torso moves."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    v, f, m = 300, 500, 7
    weights = torch.rand(v, 4, generator=generator)
    mesh = RigMesh(
        neutral=normal(v, 3),
        expression_basis=normal(m, v, 3, scale=0.1),
        faces=torch.stack([torch.randperm(v, generator=generator)[:3] for _ in range(f)]).int(),
        joint_regressor=torch.rand(4, v, generator=generator) / v,
        skin_weights=weights / weights.sum(1, keepdim=True) * 0.8,
    )
    pose = RigPose(
        expression=torch.rand(m, generator=generator),
        joints=normal(4, 3, scale=0.4),
        rotation=torch.linalg.matrix_exp(torch.tensor([[0, -0.5, 0.2], [0.5, 0, 0.3], [-0.2, -0.3, 0]])),
        translation=normal(3),
        features=normal(k),
        torso_features=normal(kt),
        torso=normal(3, scale=0.3),
    )
    corners = torch.rand(n, 3, generator=generator)
    head = RigHead(
        triangles=torch.randint(0, f, (n,), generator=generator, dtype=torch.int32),
        barycentrics=corners / corners.sum(1, keepdim=True),
        means=normal(n, 3, scale=0.3),
        quats=normal(n, 4),
        log_scales=normal(n, 3) - 3,
        opacity_logits=normal(n),
        colors=torch.rand(n, 3, generator=generator),
        map_means=normal(n, 3, k, scale=0.1),
        map_opacities=normal(n, k, scale=0.3),
        hang=(torch.rand(n, generator=generator) * 2 - 1).clamp(min=0),
        hang_axes=torch.linalg.qr(normal(n, 3, 3))[0].contiguous(),
    )
    torso = RigTorso(
        means=normal(n_torso, 3),
        quats=normal(n_torso, 4),
        log_scales=normal(n_torso, 3) - 3,
        opacity_logits=normal(n_torso),
        colors=torch.rand(n_torso, 3, generator=generator),
        map_means=normal(n_torso, 3, kt, scale=0.1),
    )
    if color_map:
        head = head._replace(map_colors=normal(n, 3, k, scale=0.1))
    return mesh, pose, head, torso
