"""What the benchmark times of tracking: one look at 32 frames, each kernel beside its twin in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from avatar.evaluation.bench_raster import TWIN
from avatar.evaluation.bench_timing import Case
from avatar.types import N_EXPRESSIONS
from cuda_ext import ops, reference

FRAMES, POINTS, STRIDE = 32, 3000, 3
WIDTH, HEIGHT = 256, 144


def _normal_matrix(name: str) -> Case:
    generator, points = torch.Generator().manual_seed(6), POINTS // STRIDE
    shapes = ((points, 3, N_EXPRESSIONS), (FRAMES, points, 3), (FRAMES, points, 2, 3))
    given = [torch.randn(*shape, generator=generator) for shape in shapes]
    return Case(name, lambda: ops.normal_matrix(*given), {TWIN: lambda: reference.normal_matrix(*given)})


def _align(name: str) -> Case:
    generator = torch.Generator().manual_seed(7)
    pictures = torch.rand(FRAMES, HEIGHT, WIDTH, 9, generator=generator)
    towards = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(FRAMES, 3, 3)
    away = torch.tensor([0.0, 0.0, 0.6]).expand(FRAMES, 3)
    views = ops.Views(pictures, (2.2 * WIDTH, WIDTH / 2, HEIGHT / 2), towards, away)
    head = 0.05 * torch.randn(FRAMES, POINTS, 3, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(POINTS, 3, generator=generator), dim=1)
    colors, precision = torch.rand(POINTS, 3, generator=generator), torch.full((POINTS,), 400.0)
    surface = ops.ColoredSurface(normals, colors, precision, light_ridge=(0.0, 0.02, 0.02, 0.02), stride=STRIDE)
    given = (views, head, torch.ones(FRAMES, POINTS), surface)
    return Case(name, lambda: ops.align(*given), {TWIN: lambda: reference.align(*given)})


TRACKING_CASES: dict[str, Callable[[str], Case]] = {
    "normal_matrix 1k x 32": _normal_matrix,
    "align 3k x 32": _align,
}
"""How each case is made, by name: points x frames."""
