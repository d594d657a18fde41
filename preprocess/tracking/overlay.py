"""The overlay clip: what the tracker saw, drawn over the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from avatar.geometry import quat_to_matrix
from avatar.head.model import HeadModel, on_outside
from avatar.progress import progress
from avatar.threads import usable_cores, workers
from avatar.types import Camera, Motion

_MESH, _POINTS, _LOST = (90, 230, 255), (255, 120, 40), (230, 40, 40)
_OPACITY = 0.34
_BLOCK = 16
"""As many pictures are held at once."""
_MIN_SIDE = 480


@dataclass(frozen=True)
class Wires:
    """Each edge of a mesh once, as few long lines: handing OpenCV every edge by itself takes longer than drawing it."""

    faces: Int[np.ndarray, "f 3"]
    path: Int[np.ndarray, " n"]
    """Vertices along all lines, one line after the other."""
    beside: Int[np.ndarray, "n-1 2"]
    """Triangles on both sides of the step from one vertex to the next (twice the same at a rim); f between lines."""

    @staticmethod
    def of(faces: Int[np.ndarray, "f 3"]) -> Wires:
        """Walk along the edges, always on to one that was not drawn yet, until all are."""
        ends = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
        triangle = np.arange(len(ends)) // 3
        _, first, edge = np.unique(ends @ [len(ends), 1], return_index=True, return_inverse=True)
        sides = np.stack([triangle[first]] * 2, 1)
        sides[edge, 1] = triangle
        around: dict[int, dict[int, int]] = {}
        for k, (a, b) in enumerate(ends[first].tolist()):
            around.setdefault(a, {})[b] = around.setdefault(b, {})[a] = k
        path, steps = [], []
        for start in sorted(around, key=lambda vertex: len(around[vertex]) % 2, reverse=True):  # odd ones are ends
            while around[start]:
                path.append(start)
                while around[path[-1]]:
                    here = path[-1]
                    there, k = around[here].popitem()
                    del around[there][here]
                    path.append(there)
                    steps.append(k)
                steps.append(-1)
        none = np.full((1, 2), len(faces))
        return Wires(faces, np.array(path), np.concatenate([sides, none])[steps[:-1]])

    def towards(self, points_px: Float[np.ndarray, "v 2"]) -> list[Int[np.ndarray, "m 2"]]:
        """Lines along the triangles that face the camera, in OpenCV's sixteenths of a pixel."""
        a, b, c = (points_px[corner] for corner in self.faces.T)
        u, v = b - a, c - a
        facing = np.append(u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0], False)  # counter-clockwise where y points down
        ends = np.flatnonzero(np.diff(facing[self.beside].any(1), prepend=False, append=False))
        fixed = _sixteenths(points_px[self.path])
        return [fixed[begin : end + 1] for begin, end in ends.reshape(-1, 2).tolist()]


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
    jobs: int = 0,
) -> None:
    """Write an mp4 with the tracked mesh as wires and the detected landmarks as dots; lost frames have a red rim.

    Args:
        read: gives picture i as RGB at the camera's size.
        jobs: processors to use; 0 for all.
    """
    from avatar.export.video import VideoWriter

    scale = -(-_MIN_SIDE // max(camera.width, camera.height))  # wires need pixels: small captures are drawn larger
    camera, landmarks_px = camera.scaled(camera.width * scale, camera.height * scale), landmarks_px * scale
    wires = Wires.of(outer_faces(head))

    def drawn(index: int, points_px: np.ndarray) -> np.ndarray:
        picture = _enlarged(read(index), scale)
        return draw(picture, points_px, wires, landmarks_px[index]) if tracked[index] else framed(picture)

    with (
        progress("drawing the overlay", len(motion)) as bar,
        workers(2, jobs or usable_cores()) as drawing,
        VideoWriter(
            path,
            camera.width,
            camera.height,
            motion.fps,
            audio_path=audio_path,
            crf=20,
            preset="superfast",
            threads=jobs,
        ) as clip,
    ):
        for begin in range(0, len(motion), _BLOCK):
            points = project_mesh(head, neutral, motion[begin : begin + _BLOCK], camera)
            for index, picture in enumerate(drawing.map(drawn, range(begin, begin + len(points)), points), begin + 1):
                clip.add(picture)
                bar.update(index)


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
    # Frame by frame: of larger products OpenBLAS makes threads that spin for longer than they work.
    return np.stack([camera.project(points) for points in world.numpy()])


def _enlarged(rgb: np.ndarray, scale: int) -> np.ndarray:
    import cv2

    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else rgb


def draw(
    rgb: UInt8[np.ndarray, "h w 3"],
    points_px: Float[np.ndarray, "v 2"],
    wires: Wires,
    landmarks_px: Float[np.ndarray, "478 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Wires of the triangles that face the camera, and dots at the landmarks."""
    import cv2

    drawn = rgb.copy()
    cv2.polylines(drawn, wires.towards(points_px), False, _MESH, 1, cv2.LINE_AA, shift=4)
    out = cv2.addWeighted(drawn, _OPACITY, rgb, 1 - _OPACITY, 0)
    for x, y in _sixteenths(landmarks_px[np.isfinite(landmarks_px[:, 0])]).tolist():
        cv2.circle(out, (x, y), 10, _POINTS, -1, cv2.LINE_AA, shift=4)
    return out


def _sixteenths(points_px: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """For drawing with `shift=4`; OpenCV's pixel centres lie at whole numbers."""
    return np.rint((points_px - 0.5) * 16).astype(np.int32)


def framed(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in a red frame: no face was found."""
    import cv2

    out = rgb.copy()
    cv2.rectangle(out, (0, 0), (rgb.shape[1] - 1, rgb.shape[0] - 1), _LOST, 4)
    cv2.putText(out, "no face", (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, _LOST, 1, cv2.LINE_AA)
    return out
