"""The overlay clip: what the tracker saw, drawn over the pictures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from avatar.geometry import quat_to_matrix
from avatar.head.model import HeadModel, on_outside
from avatar.progress import progress
from avatar.types import Camera, Motion

_MESH, _POINTS, _LOST = (90, 230, 255), (255, 120, 40), (230, 40, 40)
_OPACITY = 0.3
_BLOCK = 64
_MIN_SIDE = 480


def write_overlay(
    path: Path,
    read: Callable[[int], np.ndarray],
    head: HeadModel,
    neutral: Float[np.ndarray, "v 3"],
    motion: Motion,
    tracked: np.ndarray,
    landmarks_px: Float[np.ndarray, "t 478 2"],
    camera: Camera,
    audio_path: Path | None,
) -> None:
    """Write an mp4 with the tracked mesh as wires and the detected landmarks as dots; lost frames have a red rim.

    Args:
        read: gives picture i as RGB at the camera's size.
    """
    from avatar.export.video import VideoWriter

    scale = -(-_MIN_SIDE // max(camera.width, camera.height))  # wires need pixels: small captures are drawn larger
    camera, landmarks_px = camera.scaled(camera.width * scale, camera.height * scale), landmarks_px * scale
    faces = outer_faces(head)
    with (
        progress("drawing the overlay", len(motion)) as bar,
        ThreadPoolExecutor(1) as encoding,
        VideoWriter(path, camera.width, camera.height, motion.fps, audio_path=audio_path, crf=20) as clip,
    ):
        encoded = None
        for begin in range(0, len(motion), _BLOCK):
            points = project_mesh(head, neutral, motion[begin : begin + _BLOCK], camera)
            for index in range(begin, begin + len(points)):
                picture = _enlarged(read(index), scale)
                if tracked[index]:
                    picture = draw(picture, points[index - begin], faces, landmarks_px[index])
                else:
                    picture = framed(picture)
                if encoded is not None:
                    encoded.result()
                encoded = encoding.submit(clip.add, picture)
                bar.update(index + 1)
        if encoded is not None:
            encoded.result()


def outer_faces(head: HeadModel) -> Int[np.ndarray, "f 3"]:
    """Triangles of the skin: teeth, tongue and eyeballs would only blacken the picture with wires."""
    return head.faces[on_outside(head.regions[head.faces]).all(1)].numpy()


@torch.no_grad()
def project_mesh(
    head: HeadModel, neutral: Float[np.ndarray, "v 3"], motion: Motion, camera: Camera
) -> Float[np.ndarray, "t v 2"]:
    """Vertices of every frame in pixels."""
    expression, joints, quats, translation = (
        torch.from_numpy(np.ascontiguousarray(a, np.float32))
        for a in (motion.expression, motion.joints, motion.quats_wxyz, motion.translation)
    )
    vertices = head.vertices(torch.from_numpy(np.ascontiguousarray(neutral, np.float32)), expression, joints)
    world = vertices @ quat_to_matrix(quats).transpose(-1, -2) + translation[:, None]
    return camera.project(world.flatten(0, 1).numpy()).reshape(*world.shape[:2], 2)


def _enlarged(rgb: np.ndarray, scale: int) -> np.ndarray:
    import cv2

    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else rgb


def draw(
    rgb: UInt8[np.ndarray, "h w 3"],
    points_px: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    landmarks_px: Float[np.ndarray, "478 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Wires of the triangles that face the camera, and dots at the landmarks."""
    import cv2

    corner = points_px[faces]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    towards = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0  # counter-clockwise in a picture whose y points down
    fixed = np.rint((corner[towards] - 0.5) * 16).astype(np.int32)  # OpenCV's pixel centres lie at integers
    wires = rgb.copy()
    cv2.polylines(wires, list(fixed), True, _MESH, 1, cv2.LINE_AA, shift=4)
    out = cv2.addWeighted(wires, _OPACITY, rgb, 1 - _OPACITY, 0)
    for x, y in np.rint((landmarks_px[np.isfinite(landmarks_px[:, 0])] - 0.5) * 16).astype(int).tolist():
        cv2.circle(out, (x, y), 10, _POINTS, -1, cv2.LINE_AA, shift=4)
    return out


def framed(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in a red frame: no face was found."""
    import cv2

    out = rgb.copy()
    cv2.rectangle(out, (0, 0), (rgb.shape[1] - 1, rgb.shape[0] - 1), _LOST, 4)
    cv2.putText(out, "no face", (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, _LOST, 1, cv2.LINE_AA)
    return out
