"""The whole fitting step of a linear avatar as one native call."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from cuda_ext.backends import native
from cuda_ext.camera_models import MAX_SIDE
from cuda_ext.ops.adam import AdamRates
from cuda_ext.ops.checks import checked
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, addresses, counts, shapes

HEAD_LEARNED = ("means", "quats", "log_scales", "opacity_logits", "colors", "map_means", "map_opacities")
"""Of a head; then `map_colors` where it has one."""
TORSO_LEARNED = RigTorso._fields
POSE_DELTA = 6
"""Rotation vector (radians, in the world's axes) and translation (metres), before the expression."""


def _learned(head: RigHead) -> list[Tensor]:
    maps = [] if head.map_colors is None else [head.map_colors]
    return [getattr(head, name) for name in HEAD_LEARNED] + maps


@dataclass(frozen=True)
class AdamMoments:
    """Memory of the optimiser, per learned tensor: `HEAD_LEARNED` and `TORSO_LEARNED`, in their order."""

    head_first: tuple[Tensor, ...]
    head_second: tuple[Tensor, ...]
    torso_first: tuple[Tensor, ...]
    torso_second: tuple[Tensor, ...]

    @staticmethod
    def zeros(head: RigHead, torso: RigTorso) -> AdamMoments:
        """Of an optimiser that has not seen anything."""
        parts = [_learned(head)] * 2 + [list(torso)] * 2
        return AdamMoments(*(tuple(torch.zeros_like(t) for t in part) for part in parts))


@dataclass(frozen=True)
class FitTarget:
    """The training frame that a step compares with, and how."""

    rgba: UInt8[np.ndarray, "h w 4"]
    """The picture and its person mask."""
    covered: Bool[np.ndarray, "h w"] | None
    """Pixels that do not count."""
    behind: Float[Tensor, "h w 3"] | Float[Tensor, "3"]
    """The clean plate, or a colour that also replaces what is behind the person of the picture."""
    ssim_weight: float
    mask_weight: float
    """Of the mean difference between alpha and mask."""


@dataclass(frozen=True)
class FitOutcome:
    """What a step found before it moved anything."""

    loss: float
    mean_squared_error: float
    """Over the pixels that count, in [0, 1] units."""
    delta_gradient: Float[Tensor, " d"] | None


class FitStep:
    """Steps of one fit: motion row -> rig -> rasterise -> (1 - w) L1 + w (1 - SSIM) + mask L1 -> gradients -> Adam.

    The same sums as `ops.rig`, `ops.rasterize`, `ops.photometric_loss` and torch.optim.Adam one after the other, but
    nothing is copied between them, linear maps move while their gradient is still in the cache, and every part runs on
    all threads. Not to be used by two threads at once.
    """

    def __init__(
        self, mesh: RigMesh, poses: RigPose, *, width: int, height: int, fx: float, fy: float, cx: float, cy: float,
        T_camera_world: Float[np.ndarray, "4 4"], betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-15,
    ) -> None:  # fmt: skip
        """`poses` holds all rows of motion: each of its arrays has a leading axis over them.

        Raises:
            ValueError: an empty or too large picture, or a camera that is not finite.
            TypeError: not tensors.
        """
        view = np.asarray(T_camera_world, np.float64)
        numbers = [fx, fy, cx, cy, *view.ravel().tolist()]
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(f"image size: expected 1..{MAX_SIDE} pixels a side, got {width} x {height}")
        if view.shape != (4, 4) or not np.isfinite(numbers).all():
            raise ValueError(f"camera: expected finite fx, fy, cx, cy and a (4, 4) T_camera_world, got {numbers}")
        for name, tensor in {**mesh._asdict(), **poses._asdict()}.items():
            if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
                raise TypeError(f"{name}: expected a dense torch.Tensor, got {type(tensor).__name__}")
        self._mesh = RigMesh(
            *(t.int().contiguous() if name == "faces" else t.contiguous() for name, t in mesh._asdict().items())
        )
        self._poses = RigPose(*(t.float().contiguous() for t in poses))
        self._camera = ([width, height], [fx, fy, cx, cy], view[:3].ravel().tolist())
        self._adam = (*betas, eps)
        self._native = native().FitStep()
        self._known: tuple[Any, ...] | None = None
        """The tensors that were checked last: a fit passes the same ones again and again."""

    def run(
        self,
        row: int,
        head: RigHead,
        torso: RigTorso,
        moments: AdamMoments,
        rates: list[float],
        count: int,
        target: FitTarget,
        delta: Float[Tensor, " d"],
        gradient_norms: Float[Tensor, " n"],
        *,
        want_delta_gradient: bool,
    ) -> FitOutcome:
        """Compare one row of motion with its frame, and move head, torso, moments and `gradient_norms` in place.

        Args:
            rates: one per learned tensor of the head (`HEAD_LEARNED`), then of the torso (`TORSO_LEARNED`).
            count: number of this step, from 1.
            delta: correction of the row's pose: rotation vector, translation, expression.
            gradient_norms: the length of dL/d(world mean) of each head Gaussian is added.

        Raises:
            ValueError: wrong shapes or memory order, an index outside the mesh, a NaN or infinity in a Gaussian or in
                the loss. Nothing has moved then.
            TypeError: wrong dtype or device.
        """
        rows = min(len(t) for t in self._poses)
        if not 0 <= index(row) < rows:
            raise ValueError(f"row: expected 0..{rows - 1}, got {row}")
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        parts = (head, torso, moments, gradient_norms)
        if self._known is None or any(a is not b for a, b in zip(parts, self._known, strict=True)):
            self._check(*parts)
            self._known = parts
        self._check_target(target)
        delta = checked(delta, "delta", (POSE_DELTA + self._mesh.expression_basis.shape[0],)).detach()
        gradient = torch.empty_like(delta) if want_delta_gradient else None
        mesh_counts, head_counts, torso_counts = counts(self._mesh, head, torso)
        absent, most = [None] * (head.map_colors is None), len(HEAD_LEARNED)
        rates = [*rates[:most], *(0.0 for _ in absent), *rates[most:]]
        numbers = [AdamRates(rate, *self._adam).factors(count) for rate in rates]
        plate = target.behind.ndim == 3
        images = [
            target.rgba.ctypes.data, 0 if target.covered is None else target.covered.ctypes.data,
            target.behind.data_ptr() if plate else 0,
        ]  # fmt: skip
        try:
            loss, squared, pixels = self._native.run(
                addresses(self._mesh), mesh_counts, addresses(tuple(t[row] for t in self._poses)), addresses(head),
                head_counts, addresses(torso), torso_counts, addresses((*moments.head_first, *absent)),
                addresses((*moments.head_second, *absent)), addresses(moments.torso_first),
                addresses(moments.torso_second), numbers, *self._camera, images,
                [0.0] * 3 if plate else target.behind.tolist(), [target.ssim_weight, target.mask_weight],
                [delta.data_ptr(), 0 if gradient is None else gradient.data_ptr()], gradient_norms.data_ptr(),
            )  # fmt: skip
        except IndexError as error:
            raise ValueError(f"{error}: an index lies outside the mesh") from error
        return FitOutcome(loss, squared / max(3 * pixels, 1), gradient)

    def _check(self, head: RigHead, torso: RigTorso, moments: AdamMoments, gradient_norms: Tensor) -> None:
        """Everything is changed in place: a copy, as for tensors that are not contiguous, would be lost."""
        pose = RigPose(*(t[0] for t in self._poses))
        for name, (array, want) in shapes(self._mesh, head, torso, pose).items():
            _in_place(array, name, want, torch.int32 if name in ("mesh.faces", "head.triangles") else torch.float32)
        learned = _learned(head)
        for values, like in (
            (moments.head_first, learned), (moments.head_second, learned),
            (moments.torso_first, torso), (moments.torso_second, torso),
        ):  # fmt: skip
            for moment, tensor in zip(values, like, strict=True):
                _in_place(moment, "moments", tuple(tensor.shape))
        _in_place(gradient_norms, "gradient_norms", (len(head.means),))

    def _check_target(self, target: FitTarget) -> None:
        (width, height), behind = self._camera[0], target.behind
        _in_place(behind, "behind", (height, width, 3) if getattr(behind, "ndim", 0) == 3 else (3,))
        pictures = {"rgba": (target.rgba, (height, width, 4)), "covered": (target.covered, (height, width))}
        for name, (image, shape) in pictures.items():
            if image is None and name == "covered":
                continue
            if not isinstance(image, np.ndarray):
                raise TypeError(f"{name}: expected a numpy array, got {type(image).__name__}")
            if image.shape != shape or image.itemsize != 1 or not image.flags.c_contiguous:
                raise ValueError(f"{name}: expected bytes of shape {shape}, got {image.dtype} {image.shape}")


def _in_place(tensor: Tensor, name: str, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32) -> None:
    if checked(tensor, name, shape, dtype).data_ptr() != tensor.data_ptr() or not tensor.is_contiguous():
        raise ValueError(f"{name}: expected a contiguous tensor, got strides {tensor.stride()}")
