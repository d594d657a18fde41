"""What a rig is made of, as plain tuples of arrays: torch tensors for `cuda_ext.ops.rig`, numpy arrays for playback.

The order of the fields is the order in which the native code takes their addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Array = Any
"""A contiguous numpy array or torch tensor on the CPU."""


class RigMesh(NamedTuple):
    """One person's head: v vertices, f triangles, m blendshapes."""

    neutral: Array
    """(v, 3) metres, head frame."""
    expression_basis: Array
    """(m, v, 3)"""
    faces: Array
    """(f, 3) int32"""
    joint_regressor: Array
    """(4, v): positions of neck, jaw, left eye, right eye = joint_regressor @ neutral."""
    skin_weights: Array
    """(v, 4): share of each joint; what a row lacks to 1 follows the head."""


class RigPose(NamedTuple):
    """What changes from frame to frame."""

    expression: Array
    """(m,) weights of the blendshapes."""
    joints: Array
    """(4, 3) axis-angle rotations, radians, on top of the expression; the jaw and the eyes turn with the neck."""
    rotation: Array
    """(3, 3) world <- head."""
    translation: Array
    """(3,) metres, of the head's origin in the world."""
    features: Array
    """(k,) factors of the head's linear maps."""
    torso_features: Array
    """(kt,) factors of the torso's linear map."""
    torso: Array
    """(3,) how the torso moves: x, y in metres, then roll about the world's z axis in radians."""


class RigHead(NamedTuple):
    """n Gaussians in the frames of triangles (x along the first edge, z along the normal)."""

    triangles: Array
    """(n,) int32"""
    barycentrics: Array
    """(n, 3)"""
    means: Array
    """(n, 3) offsets from the barycentric points, metres."""
    quats: Array
    """(n, 4) wxyz"""
    log_scales: Array
    """(n, 3)"""
    opacity_logits: Array
    """(n,)"""
    colors: Array
    """(n, 3)"""
    map_means: Array
    """(n, 3, k) added to `means` per unit of a feature."""
    map_opacities: Array
    """(n, k) added to `opacity_logits` per unit of a feature."""
    hang: Array
    """(n,) share of the offset that keeps its direction in the world; no gradient."""
    hang_axes: Array
    """(n, 3, 3) local to world axes of that share; no gradient."""
    map_colors: Array | None = None
    """(n, 3, k) added to `colors` per unit of a feature; None: colours stay as they are."""


class RigTorso(NamedTuple):
    """n Gaussians that move as one, but for their linear map."""

    means: Array
    quats: Array
    log_scales: Array
    opacity_logits: Array
    colors: Array
    map_means: Array
    """(n, 3, kt)"""


Part = TypeVar("Part", RigMesh, RigPose, RigHead, RigTorso)


def each_array(part: Part, change: Callable[[Array], Array]) -> Part:
    """The part (one of the tuples above) made of its changed arrays; what is None stays None."""
    return type(part)(*(None if array is None else change(array) for array in part))


def addresses(arrays: tuple[Array | None, ...]) -> list[int]:
    """Where the arrays lie; 0 for those that are None."""
    return [0 if a is None else a.data_ptr() if hasattr(a, "data_ptr") else a.ctypes.data for a in arrays]


def counts(mesh: RigMesh, head: RigHead, torso: RigTorso) -> tuple[list[int], list[int], list[int]]:
    """(vertices, triangles, blendshapes), (head Gaussians, features), (torso Gaussians, features)."""
    return (
        [mesh.neutral.shape[0], mesh.faces.shape[0], mesh.expression_basis.shape[0]],
        [head.map_means.shape[0], head.map_means.shape[2]],
        [torso.map_means.shape[0], torso.map_means.shape[2]],
    )


def shapes(mesh: RigMesh, head: RigHead, torso: RigTorso, pose: RigPose) -> dict[str, tuple[Array, tuple]]:
    """Every array by name with the shape that it must have; none for an optional one that is None."""
    v, f, m = (_length(mesh.neutral), _length(mesh.faces), _length(mesh.expression_basis))
    n, nt = _length(head.triangles), _length(torso.means)
    k, kt = _length(pose.features), _length(pose.torso_features)
    gaussians = {"means": (3,), "quats": (4,), "log_scales": (3,), "opacity_logits": (), "colors": (3,)}
    want = {
        "mesh": dict(
            neutral=(v, 3), expression_basis=(m, v, 3), faces=(f, 3), joint_regressor=(4, v), skin_weights=(v, 4)
        ),
        "head": dict(triangles=(n,), barycentrics=(n, 3), map_means=(n, 3, k), map_opacities=(n, k), hang=(n,))
        | {"hang_axes": (n, 3, 3), "map_colors": (n, 3, k)}
        | {name: (n, *rest) for name, rest in gaussians.items()},
        "torso": {"map_means": (nt, 3, kt)} | {name: (nt, *rest) for name, rest in gaussians.items()},
        "pose": dict(
            expression=(m,), joints=(4, 3), rotation=(3, 3), translation=(3,), features=(k,), torso_features=(kt,),
            torso=(3,),
        ),
    }  # fmt: skip
    parts = {"mesh": mesh, "head": head, "torso": torso, "pose": pose}
    return {
        f"{part}.{name}": (array, want[part][name])
        for part, values in parts.items()
        for name, array in values._asdict().items()
        if array is not None or name not in values._field_defaults
    }


def _length(array: Array) -> int | None:
    return array.shape[0] if getattr(array, "ndim", 0) else None
