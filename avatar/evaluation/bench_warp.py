# type: ignore  (the kernels are in a dialect that only looks like Python)
"""A rasteriser in NVIDIA Warp's dialect, for its CPU backend: what the benchmark compares with where Warp is there.

The same algorithm as ours, so that the languages are compared: tight boxes by opacity, 16 x 16 tiles, one sort by tile
and depth, per pixel front to back with the same two thresholds. Forward only. Needs `warp-lang`; import it lazily.
"""

from __future__ import annotations

from collections.abc import Callable

import warp as wp
from torch import Tensor

from avatar.types import Gaussians
from cuda_ext.types import Cameras

TILE = 16
_TILE = wp.constant(TILE)


@wp.kernel
def project(
    means: wp.array(dtype=wp.vec3), quats: wp.array(dtype=wp.vec4), scales: wp.array(dtype=wp.vec3),
    opacities: wp.array(dtype=float), view: wp.mat44, intrinsics: wp.vec4, width: int, height: int,
    centres: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), depths: wp.array(dtype=float),
    boxes: wp.array(dtype=wp.vec4i), counts: wp.array(dtype=int),
):  # fmt: skip
    i = wp.tid()
    counts[i] = 0
    p = wp.transform_point(view, means[i])
    if p[2] < 0.01 or opacities[i] < 1.0 / 255.0:
        return
    q = wp.normalize(wp.quat(quats[i][1], quats[i][2], quats[i][3], quats[i][0]))
    turn = wp.mat33(view[0, 0], view[0, 1], view[0, 2], view[1, 0], view[1, 1], view[1, 2], view[2, 0], view[2, 1],
                    view[2, 2])  # fmt: skip
    M = turn * wp.quat_to_matrix(q) * wp.diag(scales[i])
    fx = intrinsics[0] / p[2]
    fy = intrinsics[1] / p[2]
    row_x = wp.vec3(fx, 0.0, -fx * p[0] / p[2])
    row_y = wp.vec3(0.0, fy, -fy * p[1] / p[2])
    across = wp.transpose(M) * row_x
    down = wp.transpose(M) * row_y
    xx = wp.dot(across, across) + 0.3
    xy = wp.dot(across, down)
    yy = wp.dot(down, down) + 0.3
    det = xx * yy - xy * xy
    centre = wp.vec2(fx * p[0] + intrinsics[2], fy * p[1] + intrinsics[3])
    reach = 2.0 * wp.log(255.0 * opacities[i])
    rx = wp.sqrt(reach * xx)
    ry = wp.sqrt(reach * yy)
    x0 = wp.max(int(wp.floor((centre[0] - rx) / float(_TILE))), 0)
    x1 = wp.min(int(wp.floor((centre[0] + rx) / float(_TILE))), (width - 1) / _TILE)
    y0 = wp.max(int(wp.floor((centre[1] - ry) / float(_TILE))), 0)
    y1 = wp.min(int(wp.floor((centre[1] + ry) / float(_TILE))), (height - 1) / _TILE)
    if x1 < x0 or y1 < y0:
        return
    centres[i] = centre
    conics[i] = wp.vec3(yy / det, -xy / det, xx / det)
    depths[i] = p[2]
    boxes[i] = wp.vec4i(x0, x1, y0, y1)
    counts[i] = (x1 - x0 + 1) * (y1 - y0 + 1)


@wp.kernel
def emit(
    depths: wp.array(dtype=float), boxes: wp.array(dtype=wp.vec4i), counts: wp.array(dtype=int),
    ends: wp.array(dtype=int), tiles_x: int, keys: wp.array(dtype=wp.int64), splats: wp.array(dtype=int),
):  # fmt: skip
    i = wp.tid()
    if counts[i] == 0:
        return
    at = ends[i] - counts[i]
    micrometres = wp.int64(depths[i] * 1.0e6)
    for y in range(boxes[i][2], boxes[i][3] + 1):
        for x in range(boxes[i][0], boxes[i][1] + 1):
            keys[at] = (wp.int64(y * tiles_x + x) << wp.int64(32)) + micrometres
            splats[at] = i
            at += 1


@wp.kernel
def find_ranges(keys: wp.array(dtype=wp.int64), count: int, starts: wp.array(dtype=int), ends: wp.array(dtype=int)):
    i = wp.tid()
    tile = int(keys[i] >> wp.int64(32))
    if i == 0 or int(keys[i - 1] >> wp.int64(32)) != tile:
        starts[tile] = i
    if i == count - 1 or int(keys[i + 1] >> wp.int64(32)) != tile:
        ends[tile] = i + 1


@wp.kernel
def blend(
    splats: wp.array(dtype=int), starts: wp.array(dtype=int), ends: wp.array(dtype=int), tiles_x: int,
    centres: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), opacities: wp.array(dtype=float),
    colors: wp.array(dtype=wp.vec3), rgb: wp.array2d(dtype=wp.vec3),
):  # fmt: skip
    y, x = wp.tid()
    tile = (y / _TILE) * tiles_x + x / _TILE
    through = float(1.0)  # noqa: UP018 (in Warp only this makes a variable that loops may change)
    color = wp.vec3(0.0, 0.0, 0.0)
    for k in range(starts[tile], ends[tile]):
        i = splats[k]
        dx = centres[i][0] - float(x) - 0.5
        dy = centres[i][1] - float(y) - 0.5
        power = 0.5 * (conics[i][0] * dx * dx + conics[i][2] * dy * dy) + conics[i][1] * dx * dy
        alpha = wp.min(opacities[i] * wp.exp(-power), 0.999)
        if alpha >= 1.0 / 255.0:
            color += through * alpha * colors[i]
            through *= 1.0 - alpha
            if through < 1.0e-4:
                break
    rgb[y, x] = color


def forward(gaussians: Gaussians, cameras: Cameras) -> Callable[[], Tensor]:
    """Draws the Gaussians in the first camera, on one thread: Warp's CPU backend has no more."""
    wp.config.quiet = True
    wp.init()
    g, n, width, height = gaussians, len(gaussians.means), cameras.width, cameras.height
    means, scales, colors = (wp.from_torch(t, dtype=wp.vec3) for t in (g.means, g.scales, g.colors))
    quats, opacities = wp.from_torch(g.quats_wxyz, dtype=wp.vec4), wp.from_torch(g.opacities)
    view, intrinsics = wp.mat44(*cameras.T_camera_world[0].flatten().tolist()), wp.vec4(*cameras.intrinsics[0].tolist())
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)

    def launch(kernel, dim, *arguments) -> None:
        wp.launch(kernel, dim=dim, inputs=list(arguments), device="cpu")

    def run() -> Tensor:
        centres, conics, depths = (wp.empty(n, dtype=t, device="cpu") for t in (wp.vec2, wp.vec3, float))
        boxes, counts, offsets = (wp.empty(n, dtype=t, device="cpu") for t in (wp.vec4i, int, int))
        launch(project, n, means, quats, scales, opacities, view, intrinsics, width, height, centres, conics, depths,
               boxes, counts)  # fmt: skip
        wp.utils.array_scan(counts, offsets, inclusive=True)
        pairs = int(offsets.numpy()[-1])
        keys, splats = (wp.empty(2 * pairs, dtype=t, device="cpu") for t in (wp.int64, int))
        launch(emit, n, depths, boxes, counts, offsets, tiles_x, keys, splats)
        wp.utils.radix_sort_pairs(keys, splats, pairs)
        starts, ends = (wp.zeros(tiles_x * tiles_y, dtype=int, device="cpu") for _ in range(2))
        launch(find_ranges, pairs, keys, pairs, starts, ends)
        rgb = wp.empty((height, width), dtype=wp.vec3, device="cpu")
        launch(blend, (height, width), splats, starts, ends, tiles_x, centres, conics, opacities, colors, rgb)
        return wp.to_torch(rgb)

    return run
