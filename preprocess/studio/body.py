"""What a head model lacks: hair over the scalp, and a neck and shoulders to stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, on_outside
from preprocess.studio.atlas import TILES
from preprocess.studio.person import Person


@dataclass(frozen=True)
class Shell:
    """A rigid surface in the head frame's axes and origin, metres."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    texels: Float[np.ndarray, "f 3 2"]


def make_hair(head: LinearHead, person: Person, seed: int) -> Shell:
    """A cap over the scalp, thicker away from its edge; a bob falls on behind the ears. Moves with the skull."""
    import trimesh
    from scipy.spatial import KDTree

    rng = np.random.default_rng([seed, 13])
    corners = head.regions.numpy()[head.faces.numpy()]
    scalp = head.faces.numpy()[(corners == REGIONS.index("scalp")).all(axis=1)]
    used, faces = np.unique(scalp, return_inverse=True)
    cap = trimesh.Trimesh(person.neutral[used], faces.reshape(-1, 3), process=False)
    cap = trimesh.Trimesh(*trimesh.remesh.subdivide_loop(cap.vertices, cap.faces, iterations=2), process=False)
    points, normals = np.asarray(cap.vertices), np.asarray(cap.vertex_normals)
    edge = _outline(np.asarray(cap.faces))
    inwards = KDTree(points[edge]).query(points)[0]
    thickness = rng.uniform(0.010, 0.020) if person.hair_style == "short" else rng.uniform(0.014, 0.022)
    tousle = 0.0012 * np.sin(points @ rng.normal(0, 260, (3, 4)) + rng.uniform(0, 6, 4)).sum(1)
    height = 0.001 + (thickness + tousle) * (1 - np.exp(-inwards / 0.018))
    vertices, faces = points + normals * height[:, None], np.asarray(cap.faces)
    if person.hair_style == "bob":
        vertices, faces = _with_bob(vertices, faces, edge, rng.uniform(0.02, 0.07))
    around = np.arctan2(vertices[:, 0], vertices[:, 2] + 0.05) / (2 * np.pi) + 0.5
    down = (vertices[:, 1].max() - vertices[:, 1]) / max(float(np.ptp(vertices[:, 1])), 1e-6)
    turn = around[faces]
    across = np.ptp(turn, axis=1) > 0.5
    turn[across] = np.where(turn[across] < 0.5, 1.0, turn[across])
    return Shell(vertices, faces, TILES["hair"].place(turn, down[faces]))


def _with_bob(vertices: np.ndarray, faces: np.ndarray, edge: np.ndarray, length: float) -> tuple[np.ndarray, ...]:
    """Extrude the outline's lower part behind the ears downwards, seen from both sides."""
    behind = vertices[edge][:, 2] < -0.045
    start = int(np.argmax(behind & ~np.roll(behind, 1)))
    chain = np.roll(edge, -start)[np.roll(behind, -start)]
    steps, rings, count = 8, [chain], len(vertices)
    top = vertices[chain]
    bottom = top[:, 1].min() - length
    outwards = top * (1, 0, 1) - (0, 0, -0.06)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-6)
    added = []
    for step in range(1, steps + 1):
        share = step / steps
        ring = top.copy()
        ring[:, 1] += share * (bottom - top[:, 1])
        ring += outwards * (0.016 * np.sin(np.pi * min(0.85 * share, 1)))
        rings.append(count + len(chain) * (step - 1) + np.arange(len(chain)))
        added.append(ring)
    strips = [_strip(a, b) for a, b in zip(rings[:-1], rings[1:], strict=True)]
    sheet = np.concatenate(strips)
    return np.concatenate([vertices, *added]), np.concatenate([faces, sheet, sheet[:, ::-1]])


def _outline(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " n"]:
    """The longest closed boundary of a mesh, in order."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, index, count = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    follow = dict(edges[index[count == 1]].tolist())
    best: list[int] = []
    while follow:
        loop = [next(iter(follow))]
        while (after := follow.pop(loop[-1], None)) is not None and after != loop[0]:
            loop.append(after)
        best = max(best, loop, key=len)
    return np.array(best)


def neck_base(head: LinearHead, person: Person) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "2"], float]:
    """Middle of the cut that ends the head's neck, its half width and half depth (metres), and its rise to the front.

    Head frame; the rise is the change of height over that of z.
    """
    outside = on_outside(head.regions).numpy()
    faces = head.faces.numpy()
    rim = person.neutral[_outline(faces[outside[faces].all(axis=1)])].astype(np.float64)
    low, high = rim.min(0), rim.max(0)
    rise = np.polyfit(rim[:, 2], rim[:, 1], 1)[0]
    return (low + high) / 2, np.array([high[0] - low[0], high[2] - low[2]]) / 2, float(rise)


def make_torso(head: LinearHead, person: Person, seed: int) -> tuple[Shell, Shell]:
    """Shirt and throat, standing still while the head turns; head frame's axes, origin at the resting head's."""
    rng = np.random.default_rng([seed, 14])
    centre, half, rise = neck_base(head, person)
    wide, deep = rng.uniform(0.17, 0.22), rng.uniform(0.085, 0.115)
    # Each ring: height over the middle of the neck's end, half width, half depth, rise to the front.
    profile = np.array([
        [0.020, half[0] * 1.06, half[1] * 1.06, rise], [0.000, half[0] * 1.14, half[1] * 1.12, rise],
        [-0.020, half[0] * 1.32, half[1] * 1.24, 0.9 * rise], [-0.045, wide * 0.62, deep * 0.80, 0.6 * rise],
        [-0.070, wide * 0.84, deep * 0.90, 0.3 * rise], [-0.105, wide * 0.98, deep, 0.1 * rise],
        [-0.160, wide * 1.06, deep * 1.08, 0.0], [-0.260, wide * 1.08, deep * 1.15, 0.0],
        [-0.420, wide * 1.05, deep * 1.15, 0.0],
    ])  # fmt: skip
    collar = rng.uniform(-0.006, 0.014)
    profile[:3, 0] += collar
    shirt = _lofted(profile, centre, "shirt")
    tube = np.array([[0.025, 0.90, 0.90, rise], [0.01, 0.94, 0.94, rise], [-0.05, 0.97, 0.97, rise]])
    tube[:, 1:3] *= half
    return shirt, _lofted(tube, centre, "throat")


def _lofted(profile: Float[np.ndarray, "r 4"], centre: np.ndarray, tile: str, sides: int = 48) -> Shell:
    """Rings of superellipses, tilted by their rise, joined to a surface."""
    heights = np.linspace(0, 1, 4 * len(profile))
    dense = np.stack([np.interp(heights, np.linspace(0, 1, len(profile)), column) for column in profile.T], axis=1)
    angle = np.linspace(-np.pi, np.pi, sides + 1)  # the texture's seam lies at the back
    round_x, round_z = (np.sign(f) * np.abs(f) ** 0.85 for f in (np.sin(angle), np.cos(angle)))
    forward = dense[:, 2, None] * round_z
    upward = dense[:, :1] + dense[:, 3:] * forward
    points = centre + np.stack([dense[:, 1, None] * round_x, upward, forward], axis=-1)
    grid = np.arange(points.shape[0] * (sides + 1)).reshape(-1, sides + 1)
    faces = np.concatenate([_strip(a, b) for a, b in zip(grid[:-1], grid[1:], strict=True)])
    around, down = np.meshgrid(np.linspace(0, 1, sides + 1), heights)
    texels = TILES[tile].place(around.ravel(), down.ravel())
    return Shell(points.reshape(-1, 3), faces, texels[faces])


def _strip(upper: Int[np.ndarray, " n"], lower: Int[np.ndarray, " n"]) -> Int[np.ndarray, "m 3"]:
    """Two triangles between each pair of neighbours of two rings; counter-clockwise where they run to the right."""
    a, b, c, d = upper[:-1], upper[1:], lower[:-1], lower[1:]
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
