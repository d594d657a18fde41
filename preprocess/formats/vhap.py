"""VHAP and GaussianAvatars: images on white, masks, one camera in the world, FLAME parameters per frame.

    transforms.json, transforms_{train,val,test}.json   per frame: timestep, camera-to-world (OpenGL), files
    images/00000_00.png      RGB on white        fg_masks/00000_00.png   person, 0 to 255
    flame_param/00000.npz    shape, expr, rotation, neck_pose, jaw_pose, eyes_pose, translation, static_offset
    canonical_flame_param.npz   the same at rest with the mouth open
    flame_model.npz, audio.wav  ours: the model that the parameters belong to unless it is the user's FLAME; the sound

`train` is what fitting learns from (`avatar.split`), `test` and `val` the rest. VHAP's static offset also covers its
added teeth: what lies beyond the head model's vertices is left out on reading.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.errors import FormatMismatch
from avatar.head import load_head
from avatar.head.flame_file import export_flame
from avatar.head.flame_model import FlameModel, FlameParams
from avatar.head.flame_track import from_flame, to_flame
from avatar.head.pickles import load_npz
from avatar.split import training_span
from preprocess.capture import CaptureFolder
from preprocess.capture.pictures import read_mask, read_picture, write_mask, write_picture
from preprocess.formats.layout import (
    GL,
    Clip,
    ReadOptions,
    Track,
    each,
    head_poses,
    inside,
    intrinsics,
    matrices,
    numbers,
    posed_motion,
    read_intrinsics,
    read_transforms,
    times_of,
    write_transforms,
)

NAME, MARKER = "vhap", "canonical_flame_param.npz"
LOST = "the room (pictures are on white), shoulder motion, landmarks"
_PER_FRAME = {"expr": None, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
_OPEN_JAW_RADIANS = 0.3
_ADDED_TEETH = 120
"""Vertices that VHAP adds to FLAME's."""


def write(capture: CaptureFolder, folder: Path) -> None:
    """See `preprocess.formats.layout.Layout`."""
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir()
    head, model = load_head(capture.head_name), FlameModel.of(capture.head_name)
    identity, neutral = torch.from_numpy(capture.identity), torch.from_numpy(capture.neutral)
    params = to_flame(model, head, identity, neutral, capture.motion)
    if head.name != "flame":
        export_flame(capture.head_name, folder / "flame_model.npz")
    constant, moving = _arrays(params)
    frames = []
    for index in each(capture, "writing frames"):
        frame = _frame(capture, index)
        alpha = capture.mask(index)
        share = alpha[..., None] / np.float32(255)
        on_white = capture.frame(index) * share + 255 * (1 - share)
        write_picture(folder / frame["file_path"], np.rint(on_white).astype(np.uint8))
        write_mask(folder / frame["fg_mask_path"], alpha)
        _save(folder / frame["flame_param_path"], constant | {k: v[index : index + 1] for k, v in moving.items()})
        frames.append(frame)
    rest = {k: np.zeros_like(v[:1]) for k, v in moving.items()}
    rest["jaw_pose"][0, 0] = _OPEN_JAW_RADIANS
    _save(folder / MARKER, constant | rest)
    train = training_span(capture.motion.timestamps_seconds)
    for split, chosen in (("", train | True), ("train", train), ("val", ~train), ("test", ~train)):
        picked = [frame for frame, keep in zip(frames, chosen, strict=True) if keep]
        steps = [frame["timestep_index"] for frame in picked]
        indices = {"timestep_indices": steps, "camera_indices": [0]}
        write_transforms(folder, split, {"frames": picked} | intrinsics(capture.camera) | indices)
    if capture.audio_path:
        shutil.copyfile(capture.audio_path, folder / "audio.wav")


def _frame(capture: CaptureFolder, index: int) -> dict[str, Any]:
    name = f"{index:05d}_00.png"
    return {
        "timestep_index": index, "timestep_index_original": index, "timestep_id": f"frame_{index:05d}",
        "camera_index": 0, "camera_id": "0", **intrinsics(capture.camera),
        "transform_matrix": np.eye(4).tolist(),
        "file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}",
        "flame_param_path": f"flame_param/{index:05d}.npz",
        "timestamp_seconds": float(capture.motion.timestamps_seconds[index]),
        "tracked": bool(capture.tracked[index]),
    }  # fmt: skip


def _arrays(params: FlameParams) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is the same in all frames, and what is not; padded to FLAME's 300 and 100."""
    shape, expr = np.zeros(300, np.float32), np.zeros((len(params), max(100, params.expr.shape[1])), np.float32)
    shape[: len(params.shape)] = params.shape.numpy()
    expr[:, : params.expr.shape[1]] = params.expr.numpy()
    constant = {"shape": shape, "static_offset": params.static_offset.numpy()[None]}
    return constant, {"expr": expr} | {name: getattr(params, name).numpy() for name in list(_PER_FRAME)[1:]}


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]  (its stub mixes up keywords)


def read(folder: Path, options: ReadOptions) -> Clip:
    """See `preprocess.formats.layout.Layout`. Of several cameras the first is read."""
    file = folder / "transforms.json"
    content = read_transforms(file)
    first = content["frames"][0].get("camera_index", 0)
    frames = [frame for frame in content["frames"] if frame.get("camera_index", 0) == first]
    frames.sort(key=lambda frame: frame.get("timestep_index", 0))
    camera = read_intrinsics(file, content | frames[0])
    times = times_of(frames, file, options.fps)
    head, model = load_head(options.head), FlameModel.of(options.head)
    params = _params(folder, file, frames, model)
    motion, residual = from_flame(model, head, params, times)
    world = head_poses(motion)
    # `from_flame` takes the world to be OpenCV's; theirs is OpenGL's, seen by a camera of its own.
    poses = GL @ np.linalg.inv(matrices(file, frames)) @ GL @ world
    motion = posed_motion(times, motion.expression, motion.joints, poses)
    neutral = (head.shape(params.shape) + params.static_offset).numpy()
    tracked = np.array([bool(frame.get("tracked", True)) for frame in frames])
    others = len(content["frames"]) - len(frames)
    notes = [f"{others} pictures of other cameras were left out"] if others else []
    notes += [f"ARKit actions stay {residual:.2f} mm (RMS) from the FLAME expressions"] if residual else []
    size = (camera.width, camera.height)
    audio = folder / "audio.wav"
    return Clip(
        camera=camera,
        timestamps_seconds=times,
        picture=lambda i: read_picture(inside(folder, file, frames[i], "file_path"), *size),
        mask=lambda i: read_mask(inside(folder, file, frames[i], "fg_mask_path"), *size),
        track=Track(params.shape.numpy(), neutral, motion, tracked),
        audio=audio if audio.is_file() else None,
        notes=tuple(notes),
    )


def _params(folder: Path, file: Path, frames: list[dict[str, Any]], model: FlameModel) -> FlameParams:
    """The parameters of all frames, cut to what the model has."""
    paths = [inside(folder, file, frame, "flame_param_path") for frame in frames]
    loaded = [load_npz(path) for path in paths]
    count, people = len(model.native.template), len(model.native.identity_basis)
    widths = _PER_FRAME | {"expr": model.expressions}
    rows = {
        name: torch.stack([_row(*pair, name, width) for pair in zip(paths, loaded, strict=True)])
        for name, width in widths.items()
    }
    given = "static_offset" in loaded[0]
    offset = numbers(paths[0], loaded[0], "static_offset") if given else np.zeros((count, 3))
    offset = offset.reshape(-1, offset.shape[-1] if offset.ndim else 1)
    if offset.shape not in ((count, 3), (count + _ADDED_TEETH, 3)):
        raise FormatMismatch(
            f"{folder} belongs to another head model",
            expected=f"static offsets of {count} vertices",
            got=str(offset.shape),
            fix="name the right one with --head flame:FILE",
        )
    shape = _row(paths[0], loaded[0], "shape", people)
    return FlameParams(shape=shape, static_offset=torch.from_numpy(offset[:count].astype(np.float32)), **rows)


def _row(file: Path, arrays: dict[str, np.ndarray], name: str, width: int | None) -> torch.Tensor:
    """One frame's values, cut or padded with zeros to `width`."""
    values = torch.from_numpy(numbers(file, arrays, name).astype(np.float32)).flatten()[:width]
    return torch.nn.functional.pad(values, (0, (width or 0) - len(values)))
