"""Writes a head in FLAME's own file layout, so that tools made for FLAME load it.

The model file holds `v_template`, `shapedirs` (300 shape columns, then 100 expressions, the missing ones zero),
`posedirs`, `J_regressor`, `weights`, `kintree_table` and `f`. Two landmark files lie beside it, named as those that
come with FLAME: `mediapipe_landmark_embedding` (`lmk_face_idx`, `lmk_b_coords`, `landmark_indices` of the detector's
steady landmarks) and `flame_static_embedding` (iBUG's 51 inner points). `avatar.head.flame` and `smplx` read them.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.files import atomic_path
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.flame import N_SHAPE
from avatar.head.flame_model import FlameModel
from avatar.head.landmarks import IBUG_INNER
from avatar.head.model import LandmarkTable
from avatar.head.retarget import confidence

N_EXPRESSION = 100
Arrays = dict[str, np.ndarray]


def export_flame(name_or_path: str, output: Path) -> dict[str, str]:
    """Write a head as FLAME's files: `.npz` without pickle, or `.pkl` for tools that read nothing else.

    Args:
        name_or_path: as in `avatar.head.load_head`.
        output: the model file; its suffix says which kind.

    Returns:
        The files written, by what they hold.

    Raises:
        BadInput: another suffix, or the head is a FLAME file already.
    """
    writers: dict[str, Callable[[Path, Arrays], None]] = {".npz": _write_npz, ".pkl": _write_pickle}
    if output.suffix not in writers:
        raise BadInput(f"{output} has no FLAME file's name", expected="a name that ends in .npz or .pkl")
    head = load_head(name_or_path)
    if head.name == "flame":
        raise BadInput(f"{name_or_path} is a FLAME file already", fix="use it as it is")
    table = calibrate(head)
    files = files_of(output)
    write = writers[output.suffix]
    write(files["model"], flame_arrays(FlameModel.of(name_or_path)))
    _write_npz(files["landmarks"], _embedding(table, np.flatnonzero(confidence(table).numpy() > 0), numbered=True))
    write(files["ibug_landmarks"], _embedding(table, np.array(IBUG_INNER)))
    return {what: str(path) for what, path in files.items()}


def files_of(output: Path) -> dict[str, Path]:
    """What `export_flame` writes, by what it holds; landmark files have the names that FLAME's readers look for."""
    return {
        "model": output,
        "landmarks": output.with_name("mediapipe_landmark_embedding.npz"),
        "ibug_landmarks": output.with_name(f"flame_static_embedding{output.suffix}"),
    }


def flame_arrays(model: FlameModel) -> Arrays:
    """The arrays of a FLAME file, under FLAME's names and in its order of axes."""
    native = model.native
    count = len(native.template)
    directions = np.zeros((count, 3, N_SHAPE + N_EXPRESSION), np.float32)
    directions[..., : len(native.identity_basis)] = native.identity_basis.permute(1, 2, 0).numpy()
    directions[..., N_SHAPE : N_SHAPE + model.expressions] = native.expression_dirs.permute(1, 2, 0).numpy()
    weights = native.skin_weights.numpy().astype(np.float64)
    return {
        "v_template": (native.template + model.centre).numpy().astype(np.float64),
        "f": native.faces.numpy().astype(np.uint32),
        "shapedirs": directions,
        "posedirs": np.zeros((count, 3, 36), np.float32),
        "J_regressor": np.concatenate([model.root[None].numpy(), native.joint_regressor.numpy()]).astype(np.float64),
        "weights": np.concatenate([1 - weights.sum(1, keepdims=True), weights], 1),
        # The root's parent is "none", which FLAME writes as an unsigned -1.
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
    }


def _embedding(table: LandmarkTable, landmarks: np.ndarray, numbered: bool = False) -> Arrays:
    arrays = {
        "lmk_face_idx": table.triangles.numpy()[landmarks],
        "lmk_b_coords": table.barycentrics.numpy()[landmarks].astype(np.float64),
    }
    return arrays | {"landmark_indices": landmarks} if numbered else arrays


def _write_npz(path: Path, arrays: Arrays) -> None:
    # np.savez_compressed takes ten times as long: most of the columns are zeros, which any effort packs well.
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_pickle(path: Path, arrays: Arrays) -> None:
    # Protocol 2 is what FLAME itself comes in: every reader takes it, ours through its restricted unpickler.
    with atomic_path(path) as partial, partial.open("wb") as file:
        pickle.dump(arrays, file, protocol=2)
