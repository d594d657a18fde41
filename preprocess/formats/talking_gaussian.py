"""TalkingGaussian, ER-NeRF and their family: a camera that circles a still head, label pictures, action units, sound.

    transforms_{train,val}.json   focal_len, cx, cy; per frame img_id, aud_id, camera-to-head (OpenGL, metres)
    ori_imgs/0.jpg, 0.lms         pictures; iBUG's 68 landmarks        gt_imgs/0.jpg   with the clean plate behind
    parsing/0.png, teeth_mask/0.npy   labels        torso_imgs/0.png   neck and shoulders, RGBA
    bc.jpg                        clean plate
    au.csv                        action units as OpenFace writes them, estimated from the ARKit actions
    aud.wav                       16 kHz mono
    track_params.npz              ours, in place of their pickle track_params.pt: id, exp, euler, trans, focal ...

Their systems split 10 : 1, compute audio features (aud_ds.npy ...) by tools of their own, take 25 frames a second for
granted, and in-paint the neck behind the head; none of that is done here. Read from a foreign folder, the pictures are
tracked anew: Basel face parameters have no ARKit actions.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.errors import FormatMismatch
from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.landmarks import IBUG_68
from avatar.head.pickles import load_npz
from avatar.types import Camera
from preprocess.capture import CaptureFolder
from preprocess.capture.pictures import write_picture
from preprocess.formats.layout import (
    GL,
    Clip,
    ReadOptions,
    Track,
    each,
    head_poses,
    matrices,
    number,
    numbers,
    posed_motion,
    read_transforms,
    require_size,
    write_transforms,
)
from preprocess.formats.parsing import COLOURS, painted, parts

NAME, MARKER = "talking-gaussian", "ori_imgs"
LOST = "soft mask edges (labels are hard), shoulder motion, landmarks beyond iBUG's 68"
_VAL_SHARE = 1 / 11
_OWN_TRACK, _PICKLED_TRACK = "track_params.npz", "track_params.pt"

_BOTH = ("Left", "Right")
ACTION_UNITS = {
    1: ("browInnerUp",), 2: tuple(f"browOuterUp{s}" for s in _BOTH), 4: tuple(f"browDown{s}" for s in _BOTH),
    5: tuple(f"eyeWide{s}" for s in _BOTH), 6: tuple(f"cheekSquint{s}" for s in _BOTH),
    7: tuple(f"eyeSquint{s}" for s in _BOTH), 9: tuple(f"noseSneer{s}" for s in _BOTH),
    10: tuple(f"mouthUpperUp{s}" for s in _BOTH), 12: tuple(f"mouthSmile{s}" for s in _BOTH),
    14: tuple(f"mouthDimple{s}" for s in _BOTH), 15: tuple(f"mouthFrown{s}" for s in _BOTH), 17: ("mouthShrugLower",),
    20: tuple(f"mouthStretch{s}" for s in _BOTH), 23: tuple(f"mouthPress{s}" for s in _BOTH), 26: ("jawOpen",),
    45: tuple(f"eyeBlink{s}" for s in _BOTH),
}  # fmt: skip
"""The ARKit actions whose mean stands for an action unit (Ekman & Friesen's FACS); AU25 is worked out from the jaw."""
_FULL_INTENSITY = 5.0


def write(capture: CaptureFolder, folder: Path) -> None:
    """See `preprocess.formats.layout.Layout`."""
    for name in ("ori_imgs", "gt_imgs", "parsing", "teeth_mask", "torso_imgs"):
        (folder / name).mkdir()
    write_picture(folder / "bc.jpg", capture.background)
    landmarks = _landmarks(capture)
    for index in each(capture, "writing frames"):
        picture, found = capture.frame(index), parts(capture, index)
        write_picture(folder / f"ori_imgs/{index}.jpg", picture)
        np.savetxt(folder / f"ori_imgs/{index}.lms", landmarks[index], "%f")
        filled = np.where(found["background"][..., None], capture.background, picture)
        write_picture(folder / f"gt_imgs/{index}.jpg", filled)
        write_picture(folder / f"parsing/{index}.png", painted(found))
        np.save(folder / f"teeth_mask/{index}.npy", found["teeth"], allow_pickle=False)
        _write_torso(folder / f"torso_imgs/{index}.png", filled, found["neck"] | found["torso"])
    _write_cameras(capture, folder)
    _write_units(folder / "au.csv", capture)
    _write_track(folder / _OWN_TRACK, capture)
    if capture.audio_path:
        shutil.copyfile(capture.audio_path, folder / "aud.wav")


def _write_torso(path: Path, picture: np.ndarray, shown: np.ndarray) -> None:
    import cv2

    bgra = np.dstack([picture[..., ::-1] * shown[..., None], shown.astype(np.uint8) * 255])
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(bgra))[1].tobytes())


def _landmarks(capture: CaptureFolder) -> np.ndarray:
    """iBUG's 68 points per frame (t, 68, 2); where no face was found, those of the nearest frame with one."""
    seen = np.flatnonzero(capture.tracked)
    nearest = seen[np.abs(np.arange(len(capture))[:, None] - seen).argmin(1)]
    return capture.landmarks_px[nearest][:, list(IBUG_68)]


def _write_cameras(capture: CaptureFolder, folder: Path) -> None:
    camera_head = np.linalg.inv(GL @ head_poses(capture.motion))
    frames = [{"img_id": i, "aud_id": i, "transform_matrix": m.tolist()} for i, m in enumerate(camera_head)]
    camera = capture.camera
    facts = {"focal_len": camera.fx, "cx": camera.cx, "cy": camera.cy}
    split = len(frames) - round(len(frames) * _VAL_SHARE)
    for name, part in (("train", frames[:split]), ("val", frames[split:])):
        write_transforms(folder, name, facts | {"frames": part})


def action_units(expression: np.ndarray) -> dict[int, np.ndarray]:
    """OpenFace's intensities, 0 to 5, of expressions (t, 52)."""
    units = {unit: expression[:, [ARKIT_INDEX[name] for name in names]].mean(1) for unit, names in ACTION_UNITS.items()}
    apart = expression[:, ARKIT_INDEX["jawOpen"]] - expression[:, ARKIT_INDEX["mouthClose"]]
    lips = [f"mouth{what}{side}" for what in ("UpperUp", "LowerDown") for side in _BOTH]
    units[25] = apart + expression[:, [ARKIT_INDEX[name] for name in lips]].mean(1)
    return {unit: _FULL_INTENSITY * units[unit].clip(0, 1) for unit in sorted(units)}


def _write_units(path: Path, capture: CaptureFolder) -> None:
    units = action_units(capture.motion.expression)
    # OpenFace puts a blank after every comma, and its readers look for " AU45_r".
    header = ", ".join(["frame", "face_id", "timestamp", "confidence", "success", *(f"AU{u:02d}_r" for u in units)])
    rows = [header]
    for i, (time, tracked) in enumerate(zip(capture.motion.timestamps_seconds, capture.tracked, strict=True)):
        values = [f"{intensity[i]:.3f}" for intensity in units.values()]
        rows.append(
            ", ".join([str(i + 1), "0", f"{time:.3f}", f"{capture.confidence[i]:.2f}", str(int(tracked)), *values])
        )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_track(path: Path, capture: CaptureFolder) -> None:
    """The names of track_params.pt for what they name there, ours for the rest."""
    from scipy.spatial.transform import Rotation

    poses = GL @ head_poses(capture.motion)
    motion = capture.motion
    np.savez(
        path,
        id=capture.identity, exp=motion.expression, euler=Rotation.from_matrix(poses[:, :3, :3]).as_euler("XYZ"),
        trans=poses[:, :3, 3], focal=np.array([capture.camera.fx]), neutral=capture.neutral, joints=motion.joints,
        timestamps_seconds=motion.timestamps_seconds, tracked=capture.tracked, head_hash=np.array(capture.head_hash),
    )  # fmt: skip


def read(folder: Path, options: ReadOptions) -> Clip:
    """See `preprocess.formats.layout.Layout`. Pose and camera are those of the transforms files."""
    files = [folder / f"transforms_{split}.json" for split in ("train", "val")]
    contents = [read_transforms(file) for file in files if file.is_file()] or [read_transforms(files[0])]
    frames = sorted((f for c in contents for f in c["frames"]), key=lambda f: number(files[0], f, "img_id"))
    ids = [int(number(files[0], frame, "img_id")) for frame in frames]
    focal, cx, cy = (number(files[0], contents[0], key) for key in ("focal_len", "cx", "cy"))
    height, width = _decode(folder / f"ori_imgs/{ids[0]}.jpg").shape[:2]
    camera = Camera(width, height, focal, focal, cx, cy)
    poses = GL @ np.linalg.inv(matrices(files[0], frames))
    own = folder / _OWN_TRACK
    track = _own_track(own, ids, poses, options) if own.is_file() else None
    times = track.motion.timestamps_seconds if track else np.arange(len(ids)) / options.fps
    audio = folder / "aud.wav"
    return Clip(
        camera=camera,
        timestamps_seconds=times,
        picture=lambda i: _sized(folder / f"ori_imgs/{ids[i]}.jpg", camera),
        mask=lambda i: _person(_sized(folder / f"parsing/{ids[i]}.png", camera)),
        track=track,
        audio=audio if audio.is_file() else None,
        notes=() if track else (_foreign(folder / _PICKLED_TRACK),),
    )


def _own_track(file: Path, ids: list[int], poses: np.ndarray, options: ReadOptions) -> Track:
    arrays, head = load_npz(file), load_head(options.head)
    if str(arrays.get("head_hash")) != head.content_hash:
        fix = "name the head that it was made with: --head"
        raise FormatMismatch(f"{file} belongs to another head model than {options.head}", fix=fix)
    count = len(numbers(file, arrays, "timestamps_seconds"))
    if max(ids) >= count:
        raise FormatMismatch(f"{file} does not fit the transforms", expected=f"frame {max(ids)}", got=f"{count} frames")
    shapes = {"timestamps_seconds": (count,), "exp": (count, 52), "joints": (count, 4, 3), "tracked": (count,)}
    rows = {name: numbers(file, arrays, name, shape)[ids] for name, shape in shapes.items()}
    identity = numbers(file, arrays, "id", (len(head.identity_basis),))
    neutral = numbers(file, arrays, "neutral", tuple(head.template.shape))
    motion = posed_motion(rows["timestamps_seconds"], rows["exp"], rows["joints"], poses)
    return Track(identity, neutral, motion, rows["tracked"].astype(bool))


def _foreign(file: Path) -> str:
    """What to tell of somebody else's track, which is opened as plain tensors or not at all."""
    told = "tracked anew"
    if file.is_file():
        try:
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
            frames, focal = len(content["euler"]), float(content["focal"].flatten()[0])
        except Exception as error:  # torch raises what the stream makes it
            raise FormatMismatch(
                f"{file} holds more than tensors", got=str(error)[:200], fix=f"remove {file}"
            ) from error
        told += f"; their track had {frames} frames and a focal length of {focal:.0f} px"
    return f"Basel face parameters have no ARKit actions: {told}"


def _decode(path: Path) -> np.ndarray:
    import cv2

    data = np.frombuffer(path.read_bytes(), np.uint8) if path.is_file() else np.empty(0, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise FormatMismatch(f"{path} is no readable picture", expected="a picture for every frame of the transforms")
    return picture[..., ::-1]


def _sized(path: Path, camera: Camera) -> np.ndarray:
    picture = _decode(path)
    require_size(path, picture.shape, camera)
    return np.ascontiguousarray(picture)


def _person(labels: np.ndarray) -> np.ndarray:
    """Everything that is not painted as background."""
    return np.where((labels == COLOURS["background"]).all(-1), 0, 255).astype(np.uint8)
