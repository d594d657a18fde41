"""Gaussians and cameras in, images out, on whichever backend this machine has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import BackendUnavailable, BadInput
from avatar.types import Camera, Gaussians, RenderOutput
from cuda_ext import backends
from cuda_ext.types import Cameras


def render(
    gaussians: Gaussians,
    cameras: Camera | Sequence[Camera],
    *,
    background: Float[Tensor, "3"] | Float[Tensor, "h w 3"] | None = None,
    backend: str = "auto",
    with_depth: bool = False,
) -> RenderOutput:
    """Render Gaussians from one camera, or from several of one image size and model (stacked along a leading axis).

    Gradients reach every tensor of `gaussians` and `background` through rgb and alpha.

    Args:
        background: a colour or an image to composite under the Gaussians; without one, rgb stays premultiplied.
        backend: "cpu", "cuda", "gsplat", "reference", or "auto" for the fast one of the Gaussians' device.
        with_depth: let gradients flow through the depth too; its values are always there.

    Raises:
        BackendUnavailable: no such backend, or it can't run here.
        BadInput: no camera, cameras of several sizes or models, or a background that doesn't fit.
        ValueError: the Gaussians hold a NaN or infinity, or have wrong shapes.
    """
    rasterize = _backend(backend, gaussians.means.device.type).rasterize
    views = [cameras] if isinstance(cameras, Camera) else list(cameras)
    _check_views(views, background)
    g = gaussians
    images = rasterize(g.means, g.quats_wxyz, g.scales, g.opacities, g.colors, camera_batch(views))
    rgb = images.rgb
    if background is not None:
        rgb = torch.addcmul(rgb, 1 - images.alpha[..., None], background)
    depth = images.depth if with_depth else images.depth.detach()
    if isinstance(cameras, Camera):
        return RenderOutput(rgb[0], images.alpha[0], depth[0])
    return RenderOutput(rgb, images.alpha, depth)


def camera_batch(cameras: Sequence[Camera]) -> Cameras:
    """Cameras of one size and model as the rasteriser takes them."""
    first = cameras[0]
    intrinsics = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float32)
    pose = torch.from_numpy(np.stack([c.T_camera_world for c in cameras])).float()
    return Cameras(first.width, first.height, intrinsics, pose, first.model)


def _backend(name: str, device_type: str):
    try:
        return backends.get(name, device_type)
    except backends.BackendMissing as error:
        raise BackendUnavailable(str(error)) from error


def _check_views(views: list[Camera], background: Tensor | None) -> None:
    kinds = {(c.height, c.width, c.model) for c in views}
    if len(kinds) != 1:
        got = ", ".join(f"{model} {w} x {h}" for h, w, model in sorted(kinds)) or "none"
        raise BadInput("Can't stack these views", expected="at least one camera, all of one size and model", got=got)
    ((*size, _),) = kinds
    if background is not None and tuple(background.shape) not in {(3,), (*size, 3)}:
        raise BadInput(
            "The background doesn't fit the image",
            expected=f"shape (3,) or {(*size, 3)}",
            got=str(tuple(background.shape)),
        )
