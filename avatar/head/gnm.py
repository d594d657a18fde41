"""GNM Head (Google, Apache-2.0) from the user's own .npz, converted into a `LinearHead`.

The archive's key names are not documented, so each array is looked for under the names in `ALIASES`; bases may have the
components first or last, faces may be triangles or quads, lengths may be metres, centimetres or millimetres.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from avatar.assets import sha256_file
from avatar.errors import FormatMismatch
from avatar.head.linear import LinearHead
from avatar.head.pickles import load_npz
from avatar.head.retarget import NativeHead, converted, projected_uvs
from avatar.head.rigging import triangulate

CONVERSION_VERSION = 1

ALIASES: dict[str, tuple[str, ...]] = {
    "template": ("template", "v_template", "template_vertices", "mean_vertices", "vertices", "mean", "neutral"),
    "faces": ("faces", "triangles", "f", "quads"),
    "identity": ("identity_basis", "identity", "shapedirs", "identity_blendshapes", "id_basis"),
    "expression": ("expression_basis", "expression", "exprdirs", "expression_blendshapes", "expr_basis"),
    "joint_regressor": ("joint_regressor", "J_regressor", "joints_regressor"),
    "skin_weights": ("skin_weights", "skinning_weights", "lbs_weights", "weights"),
}
"""Accepted key names per array. Joints are neck, [head,] left eye, right eye; the expressions open the mouth."""


def source_hash(path: Path) -> str:
    """Hash of the user's file and everything else that decides the converted numbers."""
    from avatar.head.anny import source_hash as reference_hash

    return hashlib.sha256(f"gnm {CONVERSION_VERSION} {sha256_file(path)} {reference_hash()}".encode()).hexdigest()


def convert(path: Path) -> LinearHead:
    """Read a GNM archive and give it the ARKit actions; `avatar.head.load_head` caches the result.

    Raises:
        BadInput: the file is no .npz of plain arrays, or the detector sees no face on the model.
        FormatMismatch: arrays are missing or do not fit together.
    """
    return converted(read(path))


def read(path: Path) -> NativeHead:
    """A GNM archive as it is, in metres and centred. Raises like `convert`."""
    arrays = _arrays(path)
    template, metres = _in_metres(arrays["template"])
    count = len(template)
    faces = arrays["faces"].astype(np.int64)
    if faces.shape[1] == 4:
        faces, _ = triangulate(faces, template)
    regressor, weights = _four_joints(path, arrays["joint_regressor"], arrays["skin_weights"], count)
    centred = _tensor(template - template.mean(axis=0))
    triangles = torch.from_numpy(faces)
    expression = _components_first(path, "expression", arrays["expression"], count) * metres
    return NativeHead(
        name="gnm",
        content_hash=source_hash(path),
        template=centred,
        identity_basis=_tensor(_components_first(path, "identity", arrays["identity"], count) * metres),
        expression_dirs=_tensor(expression),
        faces=triangles,
        uvs=projected_uvs(centred, triangles),
        joint_regressor=_tensor(regressor),
        skin_weights=_tensor(weights),
        correctives=None,
        metadata={
            "source": f"{path.name} (user's own file)",
            "native_names": [f"expression_{i}" for i in range(len(expression))]
            + [f"{joint}_{axis}" for joint in ("jaw", "left_eye", "right_eye") for axis in "xyz"],
        },
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    found = load_npz(path)
    names = {array: next((n for n in aliases if n in found), None) for array, aliases in ALIASES.items()}
    missing = [array for array, name in names.items() if name is None]
    if missing:
        raise FormatMismatch(
            f"{path} lacks {', '.join(missing)}",
            expected="; ".join(f"{array}: one of {', '.join(ALIASES[array])}" for array in missing),
            got=", ".join(f"{key} {value.shape}" for key, value in found.items()),
            fix="rename the arrays in a copy of the file (np.load, np.savez)",
        )
    return {array: found[name] for array, name in names.items() if name is not None}


def _in_metres(template: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale by a power of ten that makes the head's longest side 0.1 to 1 m."""
    longest = float(np.ptp(template, axis=0).max())
    metres = 10.0 ** -np.floor(np.log10(longest) + 1)
    return template.astype(np.float64) * metres, float(metres)


def _components_first(path: Path, array: str, basis: np.ndarray, count: int) -> np.ndarray:
    if basis.ndim == 3 and basis.shape[1:] == (count, 3):
        return basis
    if basis.ndim == 3 and basis.shape[:2] == (count, 3):
        return np.moveaxis(basis, 2, 0)
    raise FormatMismatch(
        f"{path}: {array} does not fit the template",
        expected=f"(k, {count}, 3) or ({count}, 3, k)",
        got=f"{basis.shape}",
    )


def _four_joints(path: Path, regressor: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Our four joints out of neck, [head,] left eye, right eye; a head joint is merged into the neck."""
    regressor, weights = (a.T if a.shape[0] == count else a for a in (regressor, weights))
    if regressor.shape != weights.shape or regressor.shape[0] not in (3, 4) or regressor.shape[1] != count:
        raise FormatMismatch(
            f"{path}: joints do not fit the template",
            expected=f"regressor and weights of 3 or 4 joints (neck, [head,] eyes) by {count} vertices",
            got=f"{regressor.shape} and {weights.shape}",
        )
    eyes, neck_weights = weights[-2:], weights[:-2].sum(axis=0)
    still = np.zeros(count)
    # A jaw joint that holds no vertex keeps the four-joint contract; it sits at the neck.
    rows = [regressor[-3], regressor[-3], *regressor[-2:]]
    return np.stack(rows), np.stack([neck_weights, still, *eyes], axis=1)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
