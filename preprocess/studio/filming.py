"""`record`: a seed in, a synthetic clip with its truth out."""

from __future__ import annotations

import shutil
import wave
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar import __version__
from avatar.driving import motion_params
from avatar.export.cameras import camera_to_json, turned
from avatar.export.provenance import Provenance, write_sidecar
from avatar.export.video import VideoWriter
from avatar.files import check_output_folder, disk_errors, partial_folder, publish_folder, write_json
from avatar.geometry import quat_to_matrix
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.landmarks import lip_opening
from avatar.head.model import landmarks_on
from avatar.motion.audio import RATE
from avatar.motion.motion_io import save_motion
from avatar.progress import note, progress
from avatar.threads import one_torch_thread
from avatar.types import Camera
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.studio.acting import Performance, perform
from preprocess.studio.atlas import LABELS
from preprocess.studio.body import neck_base
from preprocess.studio.config import EDITION, StudioConfig
from preprocess.studio.folder import DEPTH_UNIT_M, MARKER, SCHEMA, StudioFolder, moved_camera, view_path
from preprocess.studio.measures import gaze_directions, lid_closure
from preprocess.studio.scene import Picture, Pose, Scene
from preprocess.studio.speech import make_speech
from preprocess.studio.voice import Speech

HEAD = "anny"
PIVOT_ABOVE_M = 0.03
"""The head turns about a point so far above the neck's lower end, which therefore stays in the collar."""
_WORKERS = 2
_CRF, _VIEW_CRF = 14, 14


def record(output: Path | str, config: StudioConfig | None = None, *, overwrite: bool = False) -> StudioFolder:
    """Film a synthetic talking subject and write the studio folder `output` (see `preprocess.studio.folder`).

    Streams: memory does not grow with the length. `output` appears only when it is complete.

    Raises:
        BadInput: the recording to speak can't be read, or the output can't be written.
        MissingAsset: the wanted voice is not installed.
    """
    output, config = Path(output), config or StudioConfig()
    check_output_folder(output, MARKER, SCHEMA, overwrite)
    speech = make_speech(config)
    head = load_head(HEAD)
    note(f"building subject {config.seed} ...")
    scene = Scene(head, calibrate(head), config.seed)
    pivot = neck_base(head, scene.person)[0] + (0.0, PIVOT_ABOVE_M, 0.0)
    performance = perform(
        speech, pivot, seed=config.seed, seconds=config.seconds, fps=config.fps, size=config.long_side,
        wobble_mm=config.wobble_mm,
    )  # fmt: skip
    work = partial_folder(output)
    with disk_errors(output):
        shutil.rmtree(work, ignore_errors=True)
        try:
            for name in ("labels", "depth"):
                (work / name).mkdir(parents=True)
            _write(work, scene, speech, performance, config)
            publish_folder(output)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return StudioFolder.load(output)


def _write(work: Path, scene: Scene, speech: Speech, performance: Performance, config: StudioConfig) -> None:
    _write_wav(work / "speech.wav", speech.samples_16k)
    save_motion(work / "motion.npz", performance.motion)
    write_picture(work / "background.png", scene.room.seen_by(performance.camera))
    center = performance.torso_rest[:3, 3]
    views = {float(yaw): turned(performance.camera, center, yaw) for yaw in config.views}
    moved = _film(work, scene, performance, views, config)
    _write_truth(work, scene, performance, moved)
    provenance = _provenance(config, speech)
    for clip in (work / "video.mp4", *(view_path(work, yaw) for yaw in views)):
        write_sidecar(clip, provenance)
    write_json(work / MARKER, _manifest(scene, speech, performance, views, config))


@dataclass(frozen=True)
class _Moved:
    """Where things were, frame by frame, in the world."""

    landmarks: Float[np.ndarray, "t 478 3"]
    T_world_torso: Float[np.ndarray, "t 4 4"]


def _film(
    work: Path, scene: Scene, performance: Performance, views: dict[float, Camera], config: StudioConfig
) -> _Moved:
    """Render every frame from every camera."""
    motion, size = performance.motion, config.long_side
    mark = Provenance(source=f"studio seed {config.seed}").mark
    shape = (len(motion), len(scene.person.neutral), 3)
    moved = _Moved(np.empty((len(motion), 478, 3), np.float32), np.empty((len(motion), 4, 4)))
    with ExitStack() as stack:
        stack.enter_context(one_torch_thread())
        clips = [(work / "video.mp4", _CRF), *((view_path(work, yaw), _VIEW_CRF) for yaw in views)]
        writers = [
            stack.enter_context(
                VideoWriter(path, size, size, config.fps, audio_path=work / "speech.wav", crf=crf, comment=mark)
            )
            for path, crf in clips
        ]
        # Appended rather than mapped: pages of a mapped file would count as this process's memory.
        vertices = stack.enter_context((work / "vertices.npy").open("wb"))
        np.lib.format.write_array_header_1_0(vertices, {"descr": "<f4", "fortran_order": False, "shape": shape})
        bar = stack.enter_context(progress("filming", len(motion)))
        shots = _shots(scene, performance, list(views.values()), config.supersample)
        for index, (pose, pictures) in enumerate(shots):
            for writer, picture in zip(writers, pictures, strict=True):
                writer.add(picture.rgb)
            vertices.write(pose.vertices.astype("<f4").tobytes())
            moved.landmarks[index] = landmarks_on(pose.vertices, scene.head, scene.table)
            moved.T_world_torso[index] = pose.T_world_torso
            _write_maps(work, index, pictures[0])
            bar.update(index + 1)
    return moved


def _shots(
    scene: Scene, performance: Performance, views: list[Camera], supersample: int
) -> Iterator[tuple[Pose, list[Picture]]]:
    """Pose and pictures of every frame in order, the next frames being rendered meanwhile."""
    motion = performance.motion

    def shoot(index: int) -> tuple[Pose, list[Picture]]:
        pose = scene.pose(motion_params(motion, index), motion.torso[index], performance.torso_rest)
        camera = moved_camera(performance.camera, performance.T_camera_world[index])
        pictures = [scene.render(pose, camera, supersample)]
        return pose, pictures + [scene.render(pose, view, supersample, room=False) for view in views]

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        waiting: deque[Future] = deque()
        for index in range(len(motion)):
            waiting.append(pool.submit(shoot, index))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_maps(work: Path, index: int, picture: Picture) -> None:
    import cv2

    name = f"{index:06d}.png"
    write_mask(work / "labels" / name, picture.labels)
    depth = np.round(picture.depth / DEPTH_UNIT_M).clip(0, 65535).astype(np.uint16)
    encoded = cv2.imencode(".png", depth, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    (work / "depth" / name).write_bytes(encoded.tobytes())


def _write_truth(work: Path, scene: Scene, performance: Performance, moved: _Moved) -> None:
    """tracks.npz."""
    import torch

    motion, camera, landmarks = performance.motion, performance.camera, moved.landmarks
    pixels = [
        moved_camera(camera, T).project(points) for T, points in zip(performance.T_camera_world, landmarks, strict=True)
    ]
    rotation = quat_to_matrix(torch.from_numpy(motion.quats_wxyz)).numpy()
    arrays: dict[str, Any] = {
        "landmarks": landmarks,
        "landmarks_px": np.stack(pixels).astype(np.float32),
        "gaze": gaze_directions(scene.head, motion.expression, rotation),
        "lid_closure": lid_closure(motion.expression),
        "lip_opening": lip_opening(landmarks).astype(np.float32),
        "T_camera_world": performance.T_camera_world.astype(np.float32),
        "T_world_torso": moved.T_world_torso,
        "neutral": scene.person.neutral,
        "identity": scene.person.identity,
    }
    np.savez(work / "tracks.npz", **arrays)


def _manifest(
    scene: Scene, speech: Speech, performance: Performance, views: dict[float, Camera], config: StudioConfig
) -> dict[str, Any]:
    person = {k: v for k, v in vars(scene.person).items() if k not in ("identity", "neutral")}
    phones = speech.phones and [[p.name, round(p.start_seconds, 4), round(p.end_seconds, 4)] for p in speech.phones]
    yaw = np.degrees(yaw_of(performance.motion.quats_wxyz))
    return {
        "schema": SCHEMA,
        "tool_version": __version__,
        "edition": EDITION,
        "synthetic": True,
        "config": plain_config(config),
        "frame_count": len(performance.motion),
        "fps": config.fps,
        "width": config.long_side,
        "height": config.long_side,
        "camera": camera_to_json(performance.camera),
        "views": [{"yaw_degrees": yaw, "camera": camera_to_json(camera)} for yaw, camera in views.items()],
        "head": {"name": HEAD, "content_hash": scene.head.content_hash},
        "yaw_degrees": [round(float(yaw.min()), 1), round(float(yaw.max()), 1)],
        "person": person,
        "speech": {"source": speech.source, "phones": phones},
        "labels": list(LABELS),
    }


def plain_config(config: StudioConfig) -> dict[str, Any]:
    """A configuration as the manifest holds it."""
    return asdict(config) | {"audio": config.audio and Path(config.audio).name, "views": list(config.views)}


def yaw_of(quats: np.ndarray) -> np.ndarray:
    """Yaw to the subject's left of heads in camera axes, radians."""
    w, x, y, z = quats.T
    return np.arctan2(2 * (x * z + w * y), -(1 - 2 * (x * x + y * y)))


def _provenance(config: StudioConfig, speech: Speech) -> Provenance:
    return Provenance(source=f"studio seed {config.seed}, {speech.source}", seed=config.seed)


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
