"""An avatar's layers as they lie on the disk: small, and in order of importance. numpy only.

Linear maps are packed as playback takes them (see `cuda_ext.packed`), most of the rest is half floats. The Gaussians
of a layer that show most stand first (see `avatar.fitting.importance`): the first ones are an avatar by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from avatar.driving_maths import Statistics
from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_arrays, read_json
from cuda_ext.packed import PackedMap, Storage, pack_map
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, each_array, shapes

AVATAR_SCHEMA = "visavis.avatar/3"
LAYERS_FILE = "avatar.safetensors"
Precision = Literal["float32"] | Storage
"""How numbers are kept: "half" and "int8" say what linear maps are packed to, the rest is half floats in both."""
FLOATS = ("head.barycentrics", "torso.means")
"""Never half: what is measured from the middle of the head or from the camera would move by tenths of a millimetre."""
GROWTH = 0.1
"""When one Gaussian of x stays, it is x ** GROWTH times as large."""
_SCALES = "_scales"


@dataclass(frozen=True)
class StoredLayers:
    """What an avatar's tensor file holds. Arrays are float32; linear maps that are packed there stay so."""

    mesh: RigMesh
    head: RigHead
    torso: RigTorso
    space: Statistics
    plate: UInt8[np.ndarray, "h w 3"]


def pack_layers(head: RigHead, torso: RigTorso, precision: Precision) -> dict[str, np.ndarray]:
    """Arrays by name, as `unpack_layers` takes them. `head` and `torso` are float32 arrays.

    Raises:
        ValueError: an unknown precision, or a map to be packed holds a NaN or infinity.
    """
    packed = {}
    for part, values in (("head", head), ("torso", torso)):
        for name, array in values._asdict().items():
            if array is not None:
                packed |= _pack(f"{part}.{name}", array, precision)
    packed["head.hang_axes"] = packed["head.hang_axes"][packed["head.hang"] != 0]  # others have no say
    return packed


def _pack(name: str, array: np.ndarray, precision: Precision) -> dict[str, np.ndarray]:
    if precision == "float32" or name in FLOATS or array.dtype.kind != "f":
        return {name: array}
    if ".map_" not in name or not array.shape[-1]:
        return {name: array.astype(np.float16)}
    packed = pack_map(np.ascontiguousarray(array), precision)
    return {name: packed.data, name + _SCALES: packed.scales}


def unpack_layers(arrays: dict[str, np.ndarray]) -> tuple[RigHead, RigTorso]:
    """Layers of float32 arrays, but for packed maps, which stay `PackedMap`.

    Raises:
        KeyError: an array is missing.
        TypeError, ValueError: a packed map's arrays do not fit each other.
    """
    head, torso = (_unpack(kind, arrays, part) for kind, part in ((RigHead, "head"), (RigTorso, "torso")))
    axes = np.tile(np.eye(3, dtype=np.float32), (len(head.hang), 1, 1))
    axes[head.hang != 0] = head.hang_axes
    return head._replace(hang_axes=axes), torso


def _unpack(kind: Any, arrays: dict[str, np.ndarray], part: str) -> Any:
    def read(name: str) -> np.ndarray | PackedMap:
        array = arrays[f"{part}.{name}"]
        if f"{part}.{name}{_SCALES}" in arrays:
            return PackedMap(array, arrays[f"{part}.{name}{_SCALES}"])
        return array if array.dtype.kind == "i" else array.astype(np.float32)

    optional = {name for name in kind._field_defaults if f"{part}.{name}" not in arrays}
    return kind(**{name: read(name) for name in kind._fields if name not in optional})


def first_of(head: RigHead, torso: RigTorso, gaussians: int, of_head: list[int]) -> tuple[RigHead, RigTorso]:
    """The most important Gaussians alone, a little larger to close the gaps.

    Args:
        of_head: see `head_among_first`; head and torso in the shares that they have if empty.

    Raises:
        BadInput: `gaussians` is not above 0.
    """
    if gaussians < 1:
        raise BadInput("an avatar needs Gaussians", expected="a number above 0", got=str(gaussians))
    n, total = len(head.means), len(head.means) + len(torso.means)
    table = of_head or [0, n]
    count = min(gaussians, total)
    kept = round(float(np.interp(count / total, np.linspace(0, 1, len(table)), table)))
    kept = min(max(kept, 1, count - len(torso.means)), n, count)
    grown = np.float32(GROWTH * np.log(total / count))
    parts = _first(head, kept), _first(torso, count - kept)
    first_head, first_torso = (part._replace(log_scales=part.log_scales + grown) for part in parts)
    return first_head, first_torso


def head_among_first(importance_head: np.ndarray, importance_torso: np.ndarray) -> list[int]:
    """How many of the most important 0, 5, ... 100 % of all Gaussians are the head's."""
    order = np.argsort(-np.concatenate([importance_head, importance_torso]), kind="stable")
    passed = np.concatenate([[0], np.cumsum(order < len(importance_head))])
    return [int(passed[round(share * len(order))]) for share in np.linspace(0, 1, 21)]


def _first(part: Any, count: int) -> Any:
    return each_array(part, lambda array: array.first(count) if isinstance(array, PackedMap) else array[:count])


def in_floats(part: Any) -> Any:
    """A layer whose maps are no longer packed."""
    return each_array(part, lambda array: array.unpack() if isinstance(array, PackedMap) else array)


def read_content(path: Path) -> dict:
    """What an avatar's folder says about it.

    Raises:
        BadInput: no such folder, or not an avatar.
        FormatMismatch: another schema, or no JSON.
    """
    return read_json(path / "avatar.json", AVATAR_SCHEMA, "an avatar", again=fit_again(path))


def read_layers(
    path: Path, content: dict, mesh: Callable[[np.ndarray], RigMesh], gaussians: int | None = None
) -> StoredLayers:
    """Everything in an avatar's tensor file, checked.

    Args:
        content: of its avatar.json.
        mesh: from the person's neutral vertices to the head.
        gaussians: take no more than so many, the most important ones.

    Raises:
        BadInput: `gaussians` is not above 0.
        FormatMismatch: the file is missing, cut off, or holds other things than an avatar should.
    """
    arrays, _ = read_arrays(path / LAYERS_FILE, fix=fit_again(path))
    try:
        space = Statistics(*(arrays[f"driving.{name}"] for name in Statistics._fields))
        head, torso = unpack_layers(arrays)
        layers = StoredLayers(mesh(arrays["neutral"]), head, torso, space, arrays["background"])
        _check(layers)
    except (KeyError, TypeError, ValueError) as e:
        problem = f"no array {e}" if isinstance(e, KeyError) else str(e)
        expected = "the arrays of a whole avatar"
        raise FormatMismatch(
            f"{path / LAYERS_FILE} is damaged", expected=expected, got=problem, fix=fit_again(path)
        ) from e
    if gaussians is None:
        return layers
    head, torso = first_of(head, torso, gaussians, content.get("storage", {}).get("head_among_first", []))
    return replace(layers, head=head, torso=torso)


def _check(layers: StoredLayers) -> None:
    """That layers fit each other, the head model and the driving space; a ValueError says what does not."""
    sizes = len(layers.mesh.expression_basis), len(layers.space.low), len(layers.space.torso_weights)
    pose = RigPose(*map(np.zeros, pose_shapes(*sizes)))
    for name, (array, want) in shapes(layers.mesh, layers.head, layers.torso, pose).items():
        if array.shape != want:
            raise ValueError(f"{name} of shape {array.shape}, not {want}")
        numbers = (array.data, array.scales) if isinstance(array, PackedMap) else (array,)
        if not all(np.isfinite(a).all() for a in numbers):
            raise ValueError(f"{name} with a NaN or infinity")
    triangles, count = layers.head.triangles, len(layers.mesh.faces)
    if not ((triangles >= 0) & (triangles < count)).all():
        raise ValueError(f"head.triangles with numbers that are not in 0..{count - 1}")


def pose_shapes(expressions: int, features: int, torso_features: int) -> list[tuple[int, ...]]:
    """Of the arrays of a `RigPose`."""
    return [(expressions,), (4, 3), (3, 3), (3,), (features,), (torso_features,), (3,)]


def fit_again(path: Path) -> str:
    """The command that makes an avatar anew."""
    return f"fit it again: visavis fit CAPTURE -o {path} --overwrite"
