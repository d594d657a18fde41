"""Rasterising on a GPU: which kernels run in what order, on which memory. Nothing here waits for the device.

All sizes of memory and grids follow from the arguments, none from the data, so that a CUDA graph can capture a call.
What depends on the data is the number of (tile, splat) entries: they go into lists of a fixed capacity, and
`Projected.needed` says how many there should have been.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cuda_ext.gpu.launch import Launcher, blocks

TILE = 16
GEOMETRY_SUMS = 7
CAMERA_FLOATS = 16
CHANNELS = (3, 8, 16, 40)
"""The numbers of channels that a raster kernel exists for; others take the next larger one."""
_SORT_KEYS = 2048
_CHUNK = 256


@dataclass(frozen=True)
class Scene:
    """Gaussians on the device: one set for all views, or one set per view (then with a leading axis)."""

    means: Float[Tensor, "*views n 3"]
    quats_wxyz: Float[Tensor, "*views n 4"]
    scales: Float[Tensor, "*views n 3"]
    opacities: Float[Tensor, "*views n"]

    @property
    def shared(self) -> bool:
        """One set for all views."""
        return self.means.ndim == 2

    @property
    def count(self) -> int:
        """Gaussians per view."""
        return self.means.shape[-2]

    def tensors(self) -> tuple[Tensor, ...]:
        """What the kernels take, in their order."""
        return self.means, self.quats_wxyz, self.scales, self.opacities


@dataclass(frozen=True)
class Views:
    """Cameras of one image size and one model."""

    table: Float[Tensor, "v 16"]
    """fx, fy, cx, cy, then the rows of [R | t], camera <- world."""
    width: int
    height: int
    model: int = 0
    """0 pinhole, 1 equidistant fisheye, 2 orthographic."""

    @property
    def count(self) -> int:
        """How many."""
        return self.table.shape[0]

    @property
    def tiles_x(self) -> int:
        """Tiles across."""
        return -(-self.width // TILE)

    @property
    def tiles_y(self) -> int:
        """Tiles down."""
        return -(-self.height // TILE)

    @property
    def tiles(self) -> int:
        """Tiles of one image."""
        return self.tiles_x * self.tiles_y


@dataclass(frozen=True)
class Projected:
    """What the raster kernels read: splats, and which of them each tile draws, nearest first."""

    splats: Float[Tensor, "v n 8"]
    rects: Int[Tensor, "v n 2"]
    lists: Int[Tensor, "v capacity"]
    offsets: Int[Tensor, "v tiles_and_1"]
    needed: Int[Tensor, " v"]
    """Entries that `lists` should hold; where it is more than the capacity, the image lacks splats."""
    bad: Int[Tensor, " v"]
    """Gaussians that hold a NaN or infinity; they are not drawn."""


def default_capacity(count: int) -> int:
    """List entries per view: a fitted head needs 2 to 4 per Gaussian at 512 x 512."""
    return max(1 << 16, 8 * count)


@dataclass(frozen=True)
class Counting:
    """What the projecting kernels write."""

    splats: Float[Tensor, "v n 8"]
    rects: Int[Tensor, "v n 2"]
    keys: Int[Tensor, "v n"]
    tile_counts: Int[Tensor, "v tiles"]
    bad: Int[Tensor, " v"]

    @staticmethod
    def of(launcher: Launcher, count: int, views: Views) -> Counting:
        """Memory for `count` Gaussians per view; the counters are 0."""
        v, device = views.count, launcher.device
        return Counting(
            torch.empty(v, count, 8, device=device),
            torch.empty(v, count, 2, dtype=torch.int32, device=device),
            torch.empty(v, count, dtype=torch.int32, device=device),
            torch.zeros(v, views.tiles, dtype=torch.int32, device=device),
            torch.zeros(v, dtype=torch.int32, device=device),
        )

    def outputs(self) -> tuple[Tensor, ...]:
        """What the kernels take, in their order."""
        return self.splats, self.rects, self.keys, self.tile_counts, self.bad


def project(launcher: Launcher, scene: Scene, views: Views, capacity: int) -> Projected:
    """Project all Gaussians into all views, sort them by depth (equal depths by index) and hand them to the tiles."""
    memory, n = Counting.of(launcher, scene.count, views), scene.count
    launcher.launch(
        "project_count", (blocks(n, 128), views.count), (128,), *scene.tensors(), views.table, n, int(scene.shared),
        views.width, views.height, views.model, *memory.outputs(),
    )  # fmt: skip
    return finish(launcher, memory, views, capacity)


def finish(launcher: Launcher, memory: Counting, views: Views, capacity: int) -> Projected:
    """Sort what was projected and hand it to the tiles."""
    order = sort_by_key(launcher, memory.keys)
    lists, offsets, needed = list_tiles(launcher, memory.rects, order, memory.tile_counts, views, capacity)
    return Projected(memory.splats, memory.rects, lists, offsets, needed, memory.bad)


def sort_by_key(launcher: Launcher, keys: Int[Tensor, "v n"]) -> Int[Tensor, "v n"]:
    """Indices that sort each row, taken as unsigned numbers; equal keys stay in order."""
    v, n = keys.shape
    grid = (blocks(n, _SORT_KEYS), v)
    histogram = torch.empty(v, 256 * grid[0], dtype=torch.int32, device=keys.device)
    spare = [torch.empty_like(keys) for _ in range(4)]
    values = None
    for index, shift in enumerate((0, 8, 16, 24)):
        keys_out, values_out = spare[2 * (index % 2) : 2 * (index % 2) + 2]
        launcher.launch("sort_count", grid, (256,), keys, n, shift, histogram)
        launcher.launch("scan_rows", (v,), (1024,), histogram, histogram.shape[1])
        launcher.launch("sort_scatter", grid, (256,), keys, values, n, shift, histogram, keys_out, values_out)
        keys, values = keys_out, values_out
    assert values is not None
    return values


def list_tiles(
    launcher: Launcher,
    rects: Int[Tensor, "v n 2"],
    order: Int[Tensor, "v n"],
    tile_counts: Int[Tensor, "v tiles"],
    views: Views,
    capacity: int,
) -> tuple[Int[Tensor, "v capacity"], Int[Tensor, "v tiles_and_1"], Int[Tensor, " v"]]:
    """The splats of each tile in the given order, where each tile's list starts, and how many entries it takes."""
    (v, n), tiles, device = order.shape, views.tiles, order.device
    offsets = torch.empty(v, tiles + 1, dtype=torch.int32, device=device)
    needed = torch.empty(v, dtype=torch.int32, device=device)
    launcher.launch("tile_offsets", (v,), (1024,), tile_counts, tiles, capacity, offsets, needed)
    chunks = blocks(n, _CHUNK)
    places = torch.zeros(v, chunks, tiles, dtype=torch.int32, device=device)
    launcher.launch("chunk_count", (chunks, v), (_CHUNK,), rects, order, n, views.tiles_x, tiles, places)
    launcher.launch("chunk_offsets", (blocks(tiles, 256), v), (256,), offsets, tiles, chunks, places)
    lists = torch.empty(v, capacity, dtype=torch.int32, device=device)
    launcher.launch(
        "tile_scatter", (chunks, v), (_CHUNK,), rects, order, n, views.tiles_x, tiles, capacity, places, lists
    )
    return lists, offsets, needed


@dataclass(frozen=True)
class Images:
    """What a raster pass gives for every view."""

    values: Float[Tensor, "v h w c"]
    alpha: Float[Tensor, "v h w"]
    depth: Float[Tensor, "v h w"]
    median_depth: Float[Tensor, "v h w"] | None = None
    labels: Int[Tensor, "v h w"] | None = None


def _raster_arguments(projected: Projected, values: Tensor, views: Views) -> tuple[int, tuple]:
    channels = values.shape[-1]
    width = next(c for c in CHANNELS if c >= channels)
    n, capacity = projected.splats.shape[1], projected.lists.shape[1]
    return width, (
        projected.splats, values, projected.lists, projected.offsets, n, int(values.ndim == 2), channels, capacity,
        views.width, views.height,
    )  # fmt: skip


def draw(
    launcher: Launcher,
    projected: Projected,
    values: Float[Tensor, "*views n c"],
    views: Views,
    *,
    labels: Int[Tensor, " n"] | None = None,
    median_depth: bool = False,
) -> Images:
    """Blend up to 40 values per Gaussian, premultiplied; depth is the expected camera z, 0 where alpha is 0."""
    width, arguments = _raster_arguments(projected, values, views)
    shape = (views.count, views.height, views.width)
    image = torch.empty(*shape, values.shape[-1], device=launcher.device)
    alpha, depth = torch.empty(shape, device=launcher.device), torch.empty(shape, device=launcher.device)
    grid = (views.tiles_x, views.tiles_y, views.count)
    median = torch.empty(shape, device=launcher.device) if median_depth else None
    label_image = None if labels is None else torch.empty(shape, dtype=torch.int32, device=launcher.device)
    picks = (labels, median, label_image)
    launcher.launch(f"raster_forward_{width}", grid, (TILE * TILE,), *arguments, image, alpha, depth, *picks)
    return Images(image, alpha, depth, median, label_image)


def draw_backward(
    launcher: Launcher,
    projected: Projected,
    values: Float[Tensor, "*views n c"],
    views: Views,
    images: Images,
    slopes: tuple[Float[Tensor, "v h w c"], Float[Tensor, "v h w"] | None, Float[Tensor, "v h w"] | None],
) -> Float[Tensor, "v n sums"]:
    """Sums over the pixels of each splat: 7 about its ellipse and depth, then the gradients of its values.

    Atomic sums: their rounding differs from run to run on a GPU.
    """
    width, arguments = _raster_arguments(projected, values, views)
    sums = torch.zeros(*projected.splats.shape[:2], GEOMETRY_SUMS + values.shape[-1], device=launcher.device)
    grid = (views.tiles_x, views.tiles_y, views.count)
    launcher.launch(
        f"raster_backward_{width}", grid, (TILE * TILE,), *arguments, images.values, images.alpha, images.depth,
        *slopes, sums,
    )  # fmt: skip
    return sums


def project_backward(
    launcher: Launcher, scene: Scene, views: Views, rects: Int[Tensor, "v n 2"], sums: Tensor, *, with_views: bool
) -> tuple[list[Tensor], Float[Tensor, "v 12"] | None]:
    """Gradients of the scene's tensors and, if asked for, of the rows of [R | t], entry by entry."""
    gradients = [torch.empty_like(t) for t in scene.tensors()]
    rows = torch.zeros(views.count, 12, device=launcher.device) if with_views else None
    launcher.launch(
        "project_backward", (blocks(scene.count, 128), 1 if scene.shared else views.count), (128,), *scene.tensors(),
        views.table, rects, sums, scene.count, views.count, int(scene.shared), views.width, views.height, views.model,
        sums.shape[-1] - GEOMETRY_SUMS, *gradients, rows,
    )  # fmt: skip
    return gradients, rows


def values_backward(launcher: Launcher, sums: Tensor, values: Float[Tensor, "*views n c"]) -> Tensor:
    """Gradients of the drawn values."""
    v, n, channels = sums.shape[0], sums.shape[1], values.shape[-1]
    gradient, shared = torch.empty_like(values), int(values.ndim == 2)
    grid = (blocks(n * channels, 256), 1 if shared else v)
    launcher.launch("channels_backward", grid, (256,), sums, n, v, shared, channels, gradient)
    return gradient
