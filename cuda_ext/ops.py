"""The CPU kernels as torch operations with gradients. All tensors are float32 on the CPU; others are refused.

Tensors that are not contiguous are copied. Results do not depend on the number of threads, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native

MAX_SIDE = 16384


def _checked(tensor: Any, name: str, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """`tensor`, contiguous, after checking what can't be checked in C++; None in `shape` fits any length."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    fits = tensor.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        want = ", ".join("n" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected shape ({want}), got {tuple(tensor.shape)}")
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise TypeError(f"{name}: expected {dtype} on the CPU, got {tensor.dtype} on {tensor.device}")
    return tensor.contiguous()


def _view_rows(T_camera_world: Any) -> list[float]:
    matrix = np.asarray(T_camera_world, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"T_camera_world: expected a finite (4, 4) matrix, got shape {matrix.shape}")
    return matrix[:3].ravel().tolist()


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, camera):
        width, height, intrinsics, view_rows = camera
        images = (torch.empty(height, width, 3), torch.empty(height, width), torch.empty(height, width))
        inputs = (means, quats, scales, opacities, colors)
        frame = native().Frame()
        frame.forward(
            means.shape[0], [t.data_ptr() for t in inputs], [t.data_ptr() for t in images], width, height, intrinsics,
            view_rows,
        )  # fmt: skip
        ctx.frame = frame
        ctx.save_for_backward(*inputs, *images)
        ctx.set_materialize_grads(False)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_rgb, grad_alpha, grad_depth):
        saved = ctx.saved_tensors
        inputs, images = saved[:5], saved[5:]
        grad_rgb = torch.zeros_like(images[0]) if grad_rgb is None else grad_rgb.contiguous()
        optional = [None if g is None else g.contiguous() for g in (grad_alpha, grad_depth)]
        gradients = [torch.empty_like(t) for t in inputs]
        ctx.frame.backward(
            [t.data_ptr() for t in inputs], [t.data_ptr() for t in images],
            [grad_rgb.data_ptr(), *(0 if g is None else g.data_ptr() for g in optional)],
            [g.data_ptr() for g in gradients],
        )  # fmt: skip
        return *gradients, None


def rasterize(
    means: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    *,
    width: int,
    height: int,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    T_camera_world: Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Splat Gaussians into a pinhole camera: premultiplied colour, alpha, expected depth sum(w z) / sum(w).

    EWA projection (Zwicker et al. 2001) with 0.3 px^2 of blur; per pixel, front to back: alpha below 1/255 is skipped,
    alpha is capped at 0.999, and the splat that brings the transmittance below 1e-4 is the last. Equal depths go by
    index. Gaussians nearer than 0.01 m are dropped. Depth is 0 where alpha is 0. All three images pass gradients to the
    five tensors; the camera gets none.

    Args:
        means: centres in the world, metres.
        quats_wxyz: rotations, of any length.
        scales: standard deviations, metres.
        opacities: 0..1.
        colors: any values.
        width, height, fx, fy, cx, cy: pixels; pixel centres lie at +0.5.
        T_camera_world: OpenCV camera axes.

    Raises:
        ValueError: wrong shapes, an empty or too large image, a NaN or infinity in the input.
        TypeError: wrong dtype or device.
    """
    n = means.shape[0] if isinstance(means, Tensor) and means.ndim == 2 else None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"image size: expected 1..{MAX_SIDE} pixels a side, got {width} x {height}")
    intrinsics = [float(fx), float(fy), float(cx), float(cy)]
    if not np.isfinite(intrinsics).all():
        raise ValueError(f"fx, fy, cx, cy: expected finite numbers, got {intrinsics}")
    inputs = (
        _checked(means, "means", (n, 3)),
        _checked(quats_wxyz, "quats_wxyz", (n, 4)),
        _checked(scales, "scales", (n, 3)),
        _checked(opacities, "opacities", (n,)),
        _checked(colors, "colors", (n, 3)),
    )
    camera = (int(width), int(height), intrinsics, _view_rows(T_camera_world))
    return _Rasterize.apply(*inputs, camera)  # pyright: ignore[reportReturnType]


def _image_pair(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    image = _checked(image, "image", (None, None, None))
    if image.numel() == 0:
        raise ValueError(f"image: expected at least one value, got shape {tuple(image.shape)}")
    return image, _checked(target, "target", tuple(image.shape))


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, target, ssim_weight):
        gradient = torch.empty_like(image) if ctx.needs_input_grad[0] else None
        loss = native().photometric_loss(
            image.data_ptr(), target.data_ptr(), *image.shape, ssim_weight,
            0 if gradient is None else gradient.data_ptr(),
        )  # fmt: skip
        ctx.gradient = gradient
        return image.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        # A loss is nearly always the end of the graph: then the slope is 1 and the product a wasted pass over memory.
        return (ctx.gradient if grad_output.item() == 1.0 else ctx.gradient * grad_output), None, None


def photometric_loss(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], ssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """(1 - ssim_weight) mean|image - target| + ssim_weight (1 - SSIM), as in 3D Gaussian splatting (eq. 7).

    SSIM has an 11x11 Gaussian window (sigma 1.5), zero padding, data range 1. The gradient, of `image` only, comes with
    the value. Raises ValueError or TypeError for tensors of wrong shape, dtype or device.
    """
    image, target = _image_pair(image, target)
    if not 0.0 <= ssim_weight <= 1.0:
        raise ValueError(f"ssim_weight: expected 0..1, got {ssim_weight}")
    return _PhotometricLoss.apply(image, target.detach(), float(ssim_weight))  # pyright: ignore[reportReturnType]


def ssim(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """Mean SSIM (window and padding as in `photometric_loss`) over all pixels and channels."""
    image, target = _image_pair(image.detach(), target.detach())
    return native().ssim(image.data_ptr(), target.data_ptr(), *image.shape)


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
        _checked(vertices, "vertices", (None, 3)),
        _checked(faces, "faces", (None, 3), torch.int32),
        _checked(triangles, "triangles", (n,), torch.int32),
        _checked(barycentrics, "barycentrics", (n, 3)).detach(),
        _checked(local_means, "local_means", (n, 3)),
        _checked(local_quats, "local_quats", (n, 4)),
    )
    try:
        return _Bind.apply(*inputs)  # pyright: ignore[reportReturnType]
    except IndexError as error:
        raise ValueError(
            f"{error}: an index lies outside the mesh of {vertices.shape[0]} vertices and {faces.shape[0]} faces"
        ) from error


def set_threads(threads: int) -> None:
    """Number of threads that the kernels use, the caller's included; at first all processors this process may use."""
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    native().set_threads(threads)


def get_threads() -> int:
    """Number of threads that the kernels use."""
    return native().get_threads()
