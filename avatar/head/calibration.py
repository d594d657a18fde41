"""Where the detector's landmarks lie on a head model: found by running the detector on renders of that very head.

No landmark table is copied from anywhere, so every head model gets one, in the detector's own sense of each point. The
head is rendered from many sides, each detection is cast back onto the triangle seen there, and a robust centre of the
hits is kept (their geometric median, by Weiszfeld's algorithm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from avatar.assets import find_asset, head_folder
from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_safetensors, write_safetensors
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.landmarks import IRISES, LIPS, N_LANDMARKS
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, on_outside
from avatar.head.render_mesh import rasterize, shade_mesh
from avatar.progress import note, progress
from avatar.types import JOINTS, N_EXPRESSIONS

SCHEMA = "visavis-landmarks-1"
CALIBRATION_VERSION = 2
"""Raise it whenever the tables change; their file names carry it."""

_SIZE, _FOCAL, _DISTANCE = 512, 1280.0, 0.9
_YAWS = (-40, -30, -20, -10, 0, 10, 20, 30, 40)
_PITCHES = (-12, 0, 12)
_OPENINGS = (0.35, 0.55)
_JAW_RADIANS = 0.35
"""What the jaw joint turns for an opening of 1, on heads that do not know `jawOpen` (yet)."""
_IRIS_DEPTH = 0.0155
"""From the eyeball's centre to the plane of the iris's rim, metres."""
_RIM_PIXELS = 6
_TRIAL_VIEWS = 12
"""After so many views half of them must have shown a face."""
_MIN_FACING = 0.25
"""Cosine between a triangle and the line of sight below which a hit is too slanted to trust."""


@dataclass(frozen=True)
class _Hits:
    """What the detections of one view hit: triangle (-1 none), barycentrics, cosine of the slant; per landmark."""

    triangles: Int[np.ndarray, " 478"]
    barycentrics: Float[np.ndarray, "478 3"]
    facing: Float[np.ndarray, " 478"]
    mouth_open: bool


def calibrate(head: LinearHead, cache: bool = True) -> LandmarkTable:
    """The landmark table of a head model.

    Args:
        head: any head; only its geometry, regions, joints and `jawOpen` matter.
        cache: read and keep the table beside the converted head (it takes some seconds).

    Raises:
        BadInput: the detector finds no face on the renders of this head.
    """
    path = head_folder() / f"{head.name}-{head.content_hash[:16]}-landmarks{CALIBRATION_VERSION}.safetensors"
    if cache and path.exists():
        return _load(path)
    note(f"finding the landmarks on the {head.name} head (once, some seconds) ...")
    table = _calibrated(head)
    if cache:
        write_safetensors(path, vars(table), {"schema": SCHEMA})
    return table


def _calibrated(head: LinearHead) -> LandmarkTable:
    scene = _Scene.of(head)
    poses = [(0.0, yaw, pitch) for yaw in _YAWS for pitch in _PITCHES]
    poses += [(opening, yaw, pitch) for opening in _OPENINGS for yaw in _YAWS[1:-1] for pitch in (-8, 8)]
    views = []
    with _detector() as detector, progress("landmark calibration", len(poses)) as bar:
        for done, (opening, yaw, pitch) in enumerate(poses):
            picture, ids, camera_vertices = scene.render(opening, yaw, pitch)
            pixels = detect_pixels(detector, picture)
            if pixels is not None:
                views.append(_cast(scene, ids, camera_vertices, pixels, opening > 0))
            if done >= _TRIAL_VIEWS and 2 * len(views) < done:
                raise BadInput(
                    f"the detector does not recognise the {head.name} head as a face",
                    expected="a face in most renders",
                    got=f"{len(views)} in {done + 1}",
                    fix="check that the head looks along +Z, with +Y up, in metres",
                )
            bar.update(done + 1)
    return _table(views, scene)


@dataclass(frozen=True)
class _Scene:
    """The head as it is rendered, with painted irises (no head model has a texture)."""

    head: LinearHead
    faces: Int[np.ndarray, "f 3"]
    colors: Float[np.ndarray, "v 3"]
    eye_faces: Int[np.ndarray, " e"]
    """Indices of the eyeballs' triangles."""
    outer: Bool[np.ndarray, " f"]
    """Triangles of the skin and lips: what all landmarks but the irises belong to."""

    @staticmethod
    def of(head: LinearHead) -> _Scene:
        faces = head.faces.numpy()
        regions = head.regions.numpy()[faces]
        eyes = (regions == REGIONS.index("eyes")).all(axis=1)
        outer = on_outside(head.regions[head.faces]).all(1).numpy()
        return _Scene(head, faces, plausible_colors(head), np.flatnonzero(eyes), outer)

    def render(
        self, opening: float, yaw: float, pitch: float
    ) -> tuple[UInt8[np.ndarray, "h w 3"], np.ndarray, np.ndarray]:
        """Picture, triangle per pixel, camera-space vertices; the mouth open by 0..1, yaw and pitch in degrees."""
        expression, joints = torch.zeros(N_EXPRESSIONS), torch.zeros(len(JOINTS), 3)
        if self.head.expression_basis[ARKIT_INDEX["jawOpen"]].any():
            expression[ARKIT_INDEX["jawOpen"]] = opening
        else:
            joints[JOINTS.index("jaw"), 0] = _JAW_RADIANS * opening
        vertices = self.head.vertices(self.head.template, expression, joints).numpy()
        turn = _rotation(math.radians(yaw), math.radians(pitch))
        seen = vertices @ turn.T + (0, 0, _DISTANCE)
        rgb, ids = shade_mesh(seen, self.faces, _FOCAL, _FOCAL, _SIZE / 2, _SIZE / 2, _SIZE, _SIZE, self.colors)
        rgb[ids < 0] = 110
        eyes = self.head.joint_positions(self.head.template).numpy()[2:] @ turn.T + (0, 0, _DISTANCE)
        for eye in eyes:
            _paint_iris(rgb, np.isin(ids, self.eye_faces), eye, turn[:, 2])
        return rgb, ids, seen


def _rotation(yaw: float, pitch: float) -> Float[np.ndarray, "3 3"]:
    """Camera axes (OpenCV) from head axes, the head turned."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    turn = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.diag([1.0, -1.0, -1.0]) @ turn


def _paint_iris(rgb: np.ndarray, on_eyes: np.ndarray, centre: np.ndarray, gaze: np.ndarray) -> None:
    """Colour the eye's pixels whose line of sight passes the iris or pupil disc (radii of 5.9 and 2 mm)."""
    rows, columns = np.nonzero(on_eyes)
    rays = np.stack(
        [(columns + 0.5 - _SIZE / 2) / _FOCAL, (rows + 0.5 - _SIZE / 2) / _FOCAL, np.ones(len(rows))], axis=1
    )
    disc = centre + _IRIS_DEPTH * gaze
    hits = rays * ((disc @ gaze) / (rays @ gaze))[:, None]
    distance = np.linalg.norm(hits - disc, axis=1)
    for radius, color in ((0.0059, (70, 50, 35)), (0.002, (10, 10, 10))):
        inside = distance < radius
        rgb[rows[inside], columns[inside]] = color


def detect_pixels(detector: Any, picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "478 2"] | None:
    """Landmarks in pixels (centres at +0.5), or None where no face is found."""
    import mediapipe as mp

    found = detector.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture)))
    if not found.face_landmarks:
        return None
    height, width = picture.shape[:2]
    return np.array([[p.x * width, p.y * height] for p in found.face_landmarks[0]])


def _cast(scene: _Scene, ids: np.ndarray, camera_vertices: np.ndarray, pixels: np.ndarray, mouth_open: bool) -> _Hits:
    """The outer triangle seen under (or next to) every landmark; irises look through the lids, on the eyeballs."""
    from scipy.ndimage import distance_transform_edt

    projected = np.c_[camera_vertices[:, :2] / camera_vertices[:, 2:] * _FOCAL + _SIZE / 2, camera_vertices[:, 2]]
    points = projected.astype(np.float32)
    eye_ids, _ = rasterize(points, scene.faces[scene.eye_faces], _SIZE, _SIZE)
    column, row = np.clip(pixels.astype(int), 0, _SIZE - 1).T
    # A lip or lid landmark a pixel off its rim would fall on a tooth or the eyeball far behind: take the rim.
    misses = np.where(ids >= 0, ~scene.outer[ids], True)
    far, nearest = cast("tuple[np.ndarray, np.ndarray]", distance_transform_edt(misses, return_indices=True))
    triangles = ids[nearest[0, row, column], nearest[1, row, column]]
    triangles[far[row, column] > _RIM_PIXELS] = -1
    iris = list(IRISES)
    on_eye = eye_ids[row[iris], column[iris]]
    triangles[iris] = np.where(on_eye >= 0, scene.eye_faces[on_eye], -1)
    corners = camera_vertices[scene.faces[triangles]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sight = corners.mean(axis=1)
    facing = -(normal * sight).sum(axis=1) / (np.linalg.norm(normal, axis=1) * np.linalg.norm(sight, axis=1))
    return _Hits(triangles, _barycentrics(points[scene.faces[triangles], :2], pixels), facing, mouth_open)


def _barycentrics(corners: Float[np.ndarray, "n 3 2"], pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Screen-space barycentrics, held inside the triangle (a pixel's centre may be inside and the point just not)."""
    a, b, c = (corners[:, i] - pixels for i in range(3))
    areas = np.stack([b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0], c[:, 0] * a[:, 1] - c[:, 1] * a[:, 0],
                      a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]], axis=1)  # fmt: skip
    total = areas.sum(axis=1, keepdims=True)
    shares = np.clip(areas / np.where(total == 0, 1, total), 0, 1)
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)


def _table(views: list[_Hits], scene: _Scene) -> LandmarkTable:
    neutral, lips = scene.head.template.numpy(), set(LIPS)
    triangles, barycentrics = np.zeros(N_LANDMARKS, dtype=np.int64), np.full((N_LANDMARKS, 3), 1 / 3)
    spread = np.full(N_LANDMARKS, np.inf)
    for k in range(N_LANDMARKS):
        # With closed lips, upper and lower inner lip would fall on the same points: lips come from open mouths only.
        hits = [v for v in views if v.triangles[k] >= 0 and v.facing[k] > _MIN_FACING and v.mouth_open == (k in lips)]
        if not hits:
            continue
        chosen = np.array([v.triangles[k] for v in hits])
        shares = np.stack([v.barycentrics[k] for v in hits])
        points = (neutral[scene.faces[chosen]] * shares[:, :, None]).sum(axis=1)
        centre = _geometric_median(points, np.array([v.facing[k] for v in hits]))
        distance = np.linalg.norm(points - centre, axis=1)
        best = distance.argmin()
        triangles[k], barycentrics[k], spread[k] = chosen[best], shares[best], np.median(distance)
    return LandmarkTable(
        torch.from_numpy(triangles),
        torch.from_numpy(barycentrics.astype(np.float32)),
        torch.from_numpy(spread.astype(np.float32)),
    )


def _geometric_median(points: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "3"]:
    """Weiszfeld's iteration from the coordinate-wise median."""
    centre = np.median(points, axis=0)
    for _ in range(15):
        pull = weights / np.maximum(np.linalg.norm(points - centre, axis=1), 1e-4)
        centre = (pull[:, None] * points).sum(axis=0) / pull.sum()
    return centre


def _load(path: Path) -> LandmarkTable:
    tensors, header = read_safetensors(path, f"rm {path}")
    if header.get("schema") != SCHEMA:
        got = str(header.get("schema"))
        raise FormatMismatch(f"{path} is no landmark table", expected=SCHEMA, got=got, fix=f"rm {path}")
    return LandmarkTable(**tensors)


def plausible_colors(head: LinearHead) -> Float[np.ndarray, "v 3"]:
    """Skin, lips, teeth, hair per vertex, by region: the detector knows faces, not plaster."""
    tints = dict.fromkeys(REGIONS, (0.83, 0.66, 0.56))
    tints |= {"lips": (0.72, 0.42, 0.40), "inner_mouth": (0.30, 0.10, 0.10), "tongue": (0.70, 0.38, 0.38)}
    tints |= {"teeth": (0.92, 0.90, 0.85), "eyes": (0.93, 0.92, 0.91), "scalp": (0.30, 0.22, 0.17)}
    return np.array([tints[name] for name in REGIONS], dtype=np.float32)[head.regions.numpy()]


def _detector() -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(find_asset("face_landmarker.task"))),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=1,
    )
    return vision.FaceLandmarker.create_from_options(options)
