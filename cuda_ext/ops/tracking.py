"""What tracking spends its time on: Gauss-Newton matrices of points on a head, and their colours beside pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked

PICTURE_CHANNELS = 9
_LARGEST = 1e30  # NaN is not below it either


def normal_matrix(
    basis: Float[Tensor, "n 3 k"], head: Float[Tensor, "t n 3"], rows: Float[Tensor, "t n 2 3"]
) -> Float[Tensor, "t 6+k 6+k"]:
    """J^T J of every frame; J holds, for both measurements of each point, their slopes by the frame's unknowns.

    The unknowns are an increment of the rotation about the head's axes, one of the translation along them, and the k
    coefficients of the expression: a point at x moves with them by delta x x, by e, and by the columns of its basis.
    No gradients pass through.

    Args:
        basis: motion of each point by each expression, head frame.
        head: the points in the head frame.
        rows: derivatives of each point's two measurements by its place in the head frame, times the square roots of
            their weights.

    Raises:
        ValueError: wrong shapes, a NaN or infinity.
        TypeError: wrong dtype or device.
    """
    basis = checked(basis, "basis", (None, 3, None))
    points, _, actions = basis.shape
    head = checked(head, "head", (None, points, 3))
    frames = len(head)
    rows = checked(rows, "rows", (frames, points, 2, 3))
    out = torch.empty(frames, 6 + actions, 6 + actions)
    native().normal_matrix(frames, points, actions, [t.data_ptr() for t in (basis, head, rows)], out.data_ptr())
    return out


@dataclass(frozen=True)
class Views:
    """Pictures of t frames, and where the head is in each."""

    pictures: Float[Tensor, "t h w 9"]
    """Colours, their slopes along x, and along y, per pixel."""
    lens: tuple[float, float, float]
    """Focal length and principal point, pixels."""
    rotation: Float[Tensor, "t 3 3"]
    """From the head's frame to the camera's."""
    translation: Float[Tensor, "t 3"]

    def checked(self, frames: int) -> tuple[tuple[int, int], list[Tensor]]:
        """Height and width, and the tensors fit for a kernel."""
        pictures = checked(self.pictures, "pictures", (frames, None, None, PICTURE_CHANNELS))
        height, width = pictures.shape[1:3]
        if frames and not (height and width):
            raise ValueError(f"pictures: expected pixels, got shape {tuple(pictures.shape)}")
        if len(self.lens) != 3 or not all(abs(number) < _LARGEST for number in self.lens):
            raise ValueError(f"lens: expected three finite numbers of pixels, got {self.lens}")
        rotation = checked(self.rotation, "rotation", (frames, 3, 3))
        return (height, width), [pictures, rotation, checked(self.translation, "translation", (frames, 3))]


@dataclass(frozen=True)
class ColoredSurface:
    """What n points of a surface look like under even light."""

    normals: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    precision: Float[Tensor, " n"]
    """Inverse variance of a colour."""
    outlier: float = 3.0
    """Colours off by more than this many standard deviations count less and less (Geman and McClure)."""
    light_ridge: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Pull of a frame's light (constant, normal's x, y, z) back to even light, as a share of all the evidence."""
    stride: int = 1
    """Light and curvature need no precision: one of so many points speaks for all (beyond their number: one point)."""


@dataclass(frozen=True)
class Alignment:
    """t pictures beside a surface of n points; m = n / stride of them, rounded up."""

    lit: Float[Tensor, "t n 3"]
    """The surface's colours in each frame's light."""
    trust: Float[Tensor, "t n"]
    """Weight of each point's squared residual."""
    gradient: Float[Tensor, "t n 3"]
    """Derivative of the cost by the points in the head frame."""
    rows: Float[Tensor, "t m 2 3"]
    """Of the Gauss-Newton matrix; see `normal_matrix`."""
    value: Float[Tensor, " t"]
    """Half the weighted sum of squared residuals."""


def align(
    views: Views, head: Float[Tensor, "t n 3"], weights: Float[Tensor, "t n"], surface: ColoredSurface
) -> Alignment:
    """Direct image alignment (Lucas and Kanade 1981): how pictures differ from a coloured surface, made linear.

    Each frame has a light of its own: per channel a factor that is linear in the normal, as under distant lamps (the
    first order of Ramamoorthi and Hanrahan 2001), by weighted least squares. Pictures are read bilinearly, pixel
    centres at +0.5, the border repeated outside. No gradients pass through.

    Args:
        head: the points in the head frame.
        weights: of each point in each frame; 0 where it can't be seen.

    Raises:
        ValueError: wrong shapes, a stride below 1, a NaN or infinity (of a picture: where a point falls on it).
        TypeError: wrong dtype or device.
    """
    head = checked(head, "head", (None, None, 3))
    t, n, _ = head.shape
    if surface.stride < 1:
        raise ValueError(f"stride: expected at least 1, got {surface.stride}")
    size, (pictures, *pose) = views.checked(t)
    given = [
        checked(weights, "weights", (t, n)),
        checked(surface.normals, "normals", (n, 3)),
        checked(surface.colors, "colors", (n, 3)),
        checked(surface.precision, "precision", (n,)),
    ]
    few = -(-n // surface.stride)
    out = Alignment(*(torch.empty(s) for s in ((t, n, 3), (t, n), (t, n, 3), (t, few, 2, 3), (t,))))
    native().align(
        (t, n, *size), views.lens, [x.data_ptr() for x in (pictures, head, *pose)], [x.data_ptr() for x in given],
        surface.stride, surface.outlier, surface.light_ridge,
        [x.data_ptr() for x in (out.lit, out.trust, out.gradient, out.rows, out.value)],
    )  # fmt: skip
    return out


def alignment_cost(
    views: Views, head: Float[Tensor, "t n 3"], lit: Float[Tensor, "t n 3"], trust: Float[Tensor, "t n"]
) -> Float[Tensor, " t"]:
    """`Alignment.value` elsewhere, under the light and the trust of an alignment. Raises as `align` does."""
    head = checked(head, "head", (None, None, 3))
    t, n, _ = head.shape
    size, (pictures, *pose) = views.checked(t)
    model, value = [checked(lit, "lit", (t, n, 3)), checked(trust, "trust", (t, n))], torch.empty(t)
    native().alignment_cost(
        (t, n, *size), views.lens, [x.data_ptr() for x in (pictures, head, *pose)], [x.data_ptr() for x in model],
        value.data_ptr(),
    )  # fmt: skip
    return value
