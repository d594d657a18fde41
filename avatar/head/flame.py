"""FLAME (Li et al. 2017) from the user's own file: 2020, 2023 or 2023 Open, converted into a `LinearHead`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.assets import sha256_file
from avatar.errors import FormatMismatch
from avatar.head.linear import LinearHead
from avatar.head.pickles import load_arrays, load_npz
from avatar.head.retarget import NativeHead, converted, projected_uvs

CONVERSION_VERSION = 1
N_SHAPE = 300
"""FLAME's shape components come first in `shapedirs`, its expressions after them."""

_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_PARENTS = [0, 1, 1, 1]
"""Of neck, jaw, left eye, right eye, in FLAME's joint numbers (0 is the root)."""


def source_hash(path: Path) -> str:
    """Hash of the user's file and everything else that decides the converted numbers."""
    from avatar.head.anny import source_hash as reference_hash

    return hashlib.sha256(f"flame {CONVERSION_VERSION} {sha256_file(path)} {reference_hash()}".encode()).hexdigest()


def convert(path: Path) -> LinearHead:
    """Read a FLAME file and give it the ARKit actions; `avatar.head.load_head` caches the result.

    Raises:
        BadInput: the file holds something else than arrays, or the detector sees no face on the model.
        FormatMismatch: arrays are missing or have other shapes than FLAME's.
    """
    return converted(read(path))


def read(path: Path) -> NativeHead:
    """A FLAME file (.pkl or .npz) as it is, centred. Raises like `convert`."""
    return read_with_root(path)[0]


def read_with_root(path: Path) -> tuple[NativeHead, torch.Tensor, torch.Tensor]:
    """A FLAME file, the regressor of its root joint (v), and the mean of its template's vertices (3).

    Raises like `convert`.
    """
    data = load_npz(path) if path.suffix == ".npz" else load_arrays(path)
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise FormatMismatch(
            f"{path} is not a FLAME model: no {', '.join(missing)}", expected=", ".join(_KEYS), got=", ".join(data)
        )
    _check(path, data)
    template = _tensor(data["v_template"])
    directions = _tensor(np.moveaxis(np.asarray(data["shapedirs"]), 2, 0))
    faces = torch.from_numpy(np.asarray(data["f"]).astype(np.int64))
    centre = template.mean(0)
    centred = template - centre
    regressor = _tensor(data["J_regressor"])
    native = NativeHead(
        name="flame",
        content_hash=source_hash(path),
        template=centred,
        identity_basis=directions[:N_SHAPE],
        expression_dirs=directions[N_SHAPE:],
        faces=faces,
        uvs=projected_uvs(centred, faces),
        joint_regressor=regressor[1:],
        skin_weights=_tensor(np.asarray(data["weights"])[:, 1:]),
        correctives=_tensor(np.moveaxis(np.asarray(data["posedirs"]), 2, 0)),
        metadata={
            "source": f"{path.name} (user's own file)",
            "native_names": [f"expression_{i}" for i in range(len(directions) - N_SHAPE)]
            + [f"{joint}_{axis}" for joint in ("jaw", "left_eye", "right_eye") for axis in "xyz"],
        },
    )
    return native, regressor[0], centre


def _check(path: Path, data: dict[str, Any]) -> None:
    """Raise FormatMismatch unless all shapes and the joint chain are FLAME's."""
    count = len(data["v_template"])
    got = {key: np.shape(data[key]) for key in _KEYS}
    parents = np.asarray(data["kintree_table"])[0, 1:].astype(np.int64).tolist()
    good = (
        got["v_template"] == (count, 3)
        and got["shapedirs"][:2] == (count, 3)
        and got["shapedirs"][2] > N_SHAPE
        and got["posedirs"] == (count, 3, 36)
        and got["J_regressor"] == (5, count)
        and got["weights"] == (count, 5)
        and got["f"][1:] == (3,)
        and parents == _PARENTS
    )
    if not good:
        raise FormatMismatch(
            f"{path} has other shapes than a FLAME model",
            expected=f"v vertices, shapedirs (v, 3, >{N_SHAPE}), posedirs (v, 3, 36), 5 joints with parents {_PARENTS}",
            got=f"{got}, parents {parents}",
            fix="use FLAME's generic_model.pkl (2020, 2023 or 2023 Open), or one that `visavis head export` wrote",
        )


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
