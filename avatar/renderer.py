"""Gaussians and cameras in, images out, on whichever backend this machine has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.errors import BackendUnavailable, BadInput
from avatar.types import Camera, Gaussians, RenderOutput
from cuda_ext import backends


def render(
    gaussians: Gaussians,
    cameras: Camera | Sequence[Camera],
    *,
    background: Float[Tensor, "3"] | Float[Tensor, "h w 3"] | None = None,
    backend: str = "auto",
    with_depth: bool = False,
) -> RenderOutput:
    """Render Gaussians from one camera, or from several of one image size (then stacked along a leading axis).

    Gradients reach every tensor of `gaussians` and `background` through rgb and alpha.

    Args:
        background: a colour or an image to composite under the Gaussians; without one, rgb stays premultiplied.
        backend: "cpu", "cuda", "gsplat", "reference", or "auto" for the fast one of the Gaussians' device.
        with_depth: let gradients flow through the depth too; its values are always there.

    Raises:
        BackendUnavailable: no such backend, or it can't run here.
        BadInput: no camera, cameras of several sizes, or a background that doesn't fit.
        ValueError: the Gaussians hold a NaN or infinity, or have wrong shapes.
    """
    rasterize = _backend(backend, gaussians.means.device.type).rasterize
    single = isinstance(cameras, Camera)
    views = [cameras] if single else list(cameras)
    _check_views(views, background)
    outputs = [_render_one(rasterize, gaussians, c, background, with_depth) for c in views]
    if single:
        return outputs[0]
    return RenderOutput(*(torch.stack([getattr(o, f) for o in outputs]) for f in ("rgb", "alpha", "depth")))


def _backend(name: str, device_type: str):
    try:
        return backends.get(name, device_type)
    except backends.BackendMissing as error:
        raise BackendUnavailable(str(error)) from error


def _check_views(views: list[Camera], background: Tensor | None) -> None:
    sizes = {(c.height, c.width) for c in views}
    if len(sizes) != 1:
        got = ", ".join(f"{w} x {h}" for h, w in sorted(sizes)) or "none"
        raise BadInput("Can't stack these views", expected="at least one camera, all of one size", got=got)
    (size,) = sizes
    if background is not None and tuple(background.shape) not in {(3,), (*size, 3)}:
        raise BadInput(
            "The background doesn't fit the image",
            expected=f"shape (3,) or {(*size, 3)}",
            got=str(tuple(background.shape)),
        )


def _render_one(
    rasterize, gaussians: Gaussians, camera: Camera, background: Tensor | None, with_depth: bool
) -> RenderOutput:
    rgb, alpha, depth = rasterize(
        gaussians.means,
        gaussians.quats_wxyz,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        width=camera.width,
        height=camera.height,
        fx=camera.fx,
        fy=camera.fy,
        cx=camera.cx,
        cy=camera.cy,
        T_camera_world=camera.T_camera_world,
    )
    if background is not None:
        rgb = torch.addcmul(rgb, 1 - alpha[..., None], background)
    return RenderOutput(rgb, alpha, depth if with_depth else depth.detach())
