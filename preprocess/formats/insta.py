"""INSTA (from metrical-tracker): pictures with alpha, a camera that circles a still head, one posed mesh per frame.

    transforms.json, transforms_{train,test,val}.json   intrinsics; per frame camera-to-head (OpenCV, metres) and files
    images/00000.png   RGBA       meshes/00000.obj   posed FLAME mesh       flame/exp/00000.txt   its expressions
    canonical.obj      the person at rest, the jaw opened by 12 degrees
    flame_model.npz, audio.wav    ours: the model that the meshes belong to unless it is the user's FLAME; the sound

Depth and part labels (optional there) are not written. metrical-tracker's own checkpoints (*.frame) are pickles and are
neither written nor read: what INSTA makes of them, this layout, is.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.errors import FormatMismatch
from avatar.head import load_head
from avatar.head.flame_file import export_flame
from avatar.head.flame_model import FlameModel
from avatar.head.flame_track import actions_of, to_flame
from avatar.head.linear import LinearHead
from avatar.split import training_span
from avatar.types import JOINTS, Camera
from preprocess.capture import CaptureFolder
from preprocess.formats.layout import (
    Clip,
    ReadOptions,
    Track,
    each,
    head_poses,
    inside,
    intrinsics,
    matrices,
    posed_motion,
    read_intrinsics,
    read_transforms,
    require_size,
    times_of,
    write_transforms,
)

NAME, MARKER = "insta", "canonical.obj"
LOST = "shoulder motion, landmarks; joints and identity come back as actions and a neutral mesh"
_JAW_RADIANS = math.radians(12)
_VAL_FRAMES = 20
_UNPOSE_STEPS = 20


def write(capture: CaptureFolder, folder: Path) -> None:
    """See `preprocess.formats.layout.Layout`."""
    for name in ("images", "meshes", "flame/exp"):
        (folder / name).mkdir(parents=True)
    head, model = load_head(capture.head_name), FlameModel.of(capture.head_name)
    identity, neutral = torch.from_numpy(capture.identity), torch.from_numpy(capture.neutral)
    params = to_flame(model, head, identity, neutral, capture.motion)
    if head.name != "flame":
        export_flame(capture.head_name, folder / "flame_model.npz")
    person = replace(model.native, template=neutral)
    native = torch.cat([params.expr, params.jaw_pose, params.eyes_pose], 1)
    # The world is the model's own: its file's origin, the head at rest.
    shift = np.eye(4)
    shift[:3, 3] = -model.centre.numpy()
    cameras = np.linalg.inv(head_poses(capture.motion) @ shift)
    tail = obj_faces(head.faces.numpy())
    frames = []
    for index in each(capture, "writing frames"):
        frame = _frame(capture, index, cameras[index])
        _write_rgba(folder / frame["file_path"], capture.frame(index), capture.mask(index))
        posed = person.vertices(native[index], neck=params.neck_pose[index]) + model.centre
        write_obj(folder / frame["mesh_path"], posed.numpy(), tail)
        np.savetxt(folder / frame["exp_path"], params.expr[index].numpy(), "%.8f")
        frames.append(frame)
    write_obj(folder / MARKER, (_opened(model, neutral) + model.centre).numpy(), tail)
    train = training_span(capture.motion.timestamps_seconds)
    rest = np.flatnonzero(~train)
    chosen = {"": range(len(frames)), "train": np.flatnonzero(train), "test": rest, "val": rest[-_VAL_FRAMES:]}
    for split, picked in chosen.items():
        write_transforms(folder, split, intrinsics(capture.camera) | {"frames": [frames[i] for i in picked]})
    if capture.audio_path:
        shutil.copyfile(capture.audio_path, folder / "audio.wav")


def _frame(capture: CaptureFolder, index: int, camera_to_head: np.ndarray) -> dict[str, Any]:
    return {
        "transform_matrix": camera_to_head.tolist(),
        "file_path": f"images/{index:05d}.png", "mesh_path": f"meshes/{index:05d}.obj",
        "exp_path": f"flame/exp/{index:05d}.txt",
        "timestamp_seconds": float(capture.motion.timestamps_seconds[index]),
        "tracked": bool(capture.tracked[index]),
    }  # fmt: skip


def _opened(model: FlameModel, neutral: torch.Tensor) -> torch.Tensor:
    """The person with the jaw as far open as metrical-tracker's canonical mesh has it."""
    native = torch.zeros(model.native.size)
    native[model.expressions] = _JAW_RADIANS
    return replace(model.native, template=neutral).vertices(native)


def _closed(model: FlameModel, opened: torch.Tensor) -> torch.Tensor:
    """The inverse of `_opened`: what is missing is added until nothing is (a contraction, since the turn is small)."""
    neutral = opened
    for _ in range(_UNPOSE_STEPS):
        neutral = neutral + opened - _opened(model, neutral)
    return neutral


def obj_faces(faces: np.ndarray) -> str:
    """The triangles of an .obj."""
    return "".join(f"f {a} {b} {c}\n" for a, b, c in faces + 1)


def write_obj(path: Path, vertices: np.ndarray, faces: str) -> None:
    """An .obj to the thousandth of a millimetre."""
    with path.open("w", encoding="ascii") as file:
        np.savetxt(file, vertices, "v %.6f %.6f %.6f")
        file.write(faces)


def read_obj(path: Path, count: int) -> np.ndarray:
    """The vertices of an .obj, which must be so many.

    Raises:
        FormatMismatch: it is unreadable or of another head model.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float32)
    except (OSError, ValueError) as error:
        raise FormatMismatch(f"{path} can't be read", expected="an .obj mesh", got=str(error)) from error
    if vertices.shape != (count, 3) or not np.isfinite(vertices).all():
        fix = "name the right one with --head flame:FILE"
        got = f"{len(vertices)} vertices"
        raise FormatMismatch(f"{path} belongs to another head model", expected=f"{count} vertices", got=got, fix=fix)
    return vertices


def read(folder: Path, options: ReadOptions) -> Clip:
    """See `preprocess.formats.layout.Layout`. The ARKit actions are fitted to the meshes."""
    file = folder / "transforms.json"
    content = read_transforms(file)
    frames = sorted(content["frames"], key=lambda frame: str(frame.get("mesh_path")))
    camera = read_intrinsics(file, content)
    times = times_of(frames, file, options.fps)
    head, model = load_head(options.head), FlameModel.of(options.head)
    count = len(head.template)
    neutral = _closed(model, torch.from_numpy(read_obj(folder / MARKER, count)) - model.centre)
    paths = [inside(folder, file, frame, "mesh_path") for frame in frames]
    wanted = torch.stack([torch.from_numpy(read_obj(path, count)) - model.centre - neutral for path in paths])
    expression, residual = actions_of(head, wanted)
    shift = np.eye(4)
    shift[:3, 3] = model.centre.numpy()
    poses = np.linalg.inv(matrices(file, frames)) @ shift
    motion = posed_motion(times, expression.numpy(), np.zeros((len(frames), len(JOINTS), 3)), poses)
    tracked = np.array([bool(frame.get("tracked", True)) for frame in frames])
    audio = folder / "audio.wav"
    return Clip(
        camera=camera,
        timestamps_seconds=times,
        picture=lambda i: _rgba(inside(folder, file, frames[i], "file_path"), camera)[..., :3],
        mask=lambda i: _rgba(inside(folder, file, frames[i], "file_path"), camera)[..., 3],
        track=Track(_identity(head, neutral), neutral.numpy(), motion, tracked),
        audio=audio if audio.is_file() else None,
        notes=(f"ARKit actions stay {residual:.2f} mm (RMS) from the meshes",),
    )


def _identity(head: LinearHead, neutral: torch.Tensor) -> np.ndarray:
    """Coefficients that come nearest to a neutral mesh."""
    system, wanted = head.identity_basis.flatten(1).T, (neutral - head.template).flatten()
    return torch.linalg.lstsq(system, wanted, driver="gelsd").solution.numpy()


def _write_rgba(path: Path, rgb: np.ndarray, alpha: np.ndarray) -> None:
    import cv2

    bgra = np.ascontiguousarray(np.dstack([rgb[..., ::-1], alpha]))
    path.write_bytes(cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes())


def _rgba(path: Path, camera: Camera) -> np.ndarray:
    import cv2

    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        raise FormatMismatch(f"{path} is wrong", expected="a picture with alpha (RGBA)")
    require_size(path, picture.shape, camera)
    return np.ascontiguousarray(picture[..., [2, 1, 0, 3]])
