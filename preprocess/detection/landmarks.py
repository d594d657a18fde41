"""The face detector: 478 landmarks, 52 ARKit scores and a pose per frame, from MediaPipe's FaceLandmarker.

IMAGE mode on purpose: the VIDEO mode filters over time, lags 0.4 frames behind and costs half a decibel in the avatar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from avatar.assets import find_asset
from avatar.head.arkit import from_mediapipe

_HYSTERESIS = 0.7


@dataclass(frozen=True)
class Detection:
    """One face in one picture."""

    landmarks_px: Float[np.ndarray, "478 2"]
    depths_px: Float[np.ndarray, "478"]
    """MediaPipe's relative z in pixels, smaller is closer; weak perspective."""
    scores: Float[np.ndarray, "52"]
    """ARKit actions in the order of `avatar.head.arkit.ARKIT_NAMES`; what the detector doesn't know is 0."""
    transform: Float[np.ndarray, "4 4"]
    """MediaPipe's canonical face (cm, y up) to its camera (y up, looking down -z)."""
    faces_found: int

    @property
    def box_px(self) -> Float[np.ndarray, "4"]:
        """Left, top, right, bottom of the landmarks."""
        return np.concatenate([self.landmarks_px.min(0), self.landmarks_px.max(0)])


class Detector:
    """Context manager around one FaceLandmarker; not thread-safe, remembers where the face was.

    Args:
        max_faces: how many people are looked for; the larger face wins, with some loyalty to the one before.
    """

    def __init__(self, max_faces: int = 2) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(find_asset("face_landmarker.task"))),
            num_faces=max_faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self.last_box_px: np.ndarray | None = None
        """Where the face was last seen; set it to resume in the middle of a clip."""

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()

    def landmarks(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "478 2"] | None:
        """The points of the largest face alone, in pixels; None without a face."""
        found = self.detect(rgb)
        return None if found is None else found.landmarks_px

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Detection | None:
        """The person's face, or None. Small faces get a second and a third look, at a closer crop."""
        found = self._look(rgb)
        if not found:
            found = next((faces for crop in self._crops(rgb) if (faces := self._look_closer(rgb, *crop))), [])
        if not found:
            return None
        chosen = self._choose(found)
        self.last_box_px = chosen.box_px
        return chosen

    def _look(self, rgb: np.ndarray) -> list[Detection]:
        import mediapipe as mp

        result = self._landmarker.detect(mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(rgb)))
        height, width = rgb.shape[:2]
        faces = zip(result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True)
        detections = []
        for points, categories, transform in faces:
            # x, y relative to width and height; z has the scale of x
            xyz = np.array([(p.x, p.y, p.z) for p in points], np.float32) * np.array([width, height, width], np.float32)
            scores = from_mediapipe([c.score for c in categories], [c.category_name for c in categories])
            pose = np.asarray(transform, np.float32)
            detections.append(Detection(xyz[:, :2], xyz[:, 2], scores, pose, len(result.face_landmarks)))
        return detections

    def _crops(self, rgb: np.ndarray) -> list[tuple[float, float, float]]:
        """(centre x, centre y, side) of the squares worth a closer look."""
        height, width = rgb.shape[:2]
        crops = []
        if self.last_box_px is not None:
            left, top, right, bottom = (float(edge) for edge in self.last_box_px)
            crops.append(((left + right) / 2, (top + bottom) / 2, 2.2 * max(right - left, bottom - top)))
        crops.append((width / 2, height / 2, max(width, height) / 2))
        return crops

    def _look_closer(self, rgb: np.ndarray, x: float, y: float, side: float) -> list[Detection]:
        import cv2

        left, top = max(0, int(x - side / 2)), max(0, int(y - side / 2))
        crop = rgb[top : top + int(side), left : left + int(side)]
        if min(crop.shape[:2]) < 16:
            return []
        scale = 2.0 if side < 512 else 1.0
        if scale > 1:
            crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        corner = np.array([left, top], np.float32)
        return [
            replace(d, landmarks_px=d.landmarks_px / scale + corner, depths_px=d.depths_px / scale)
            for d in self._look(crop)
        ]

    def _choose(self, faces: list[Detection]) -> Detection:
        """The largest face; the one followed so far as long as it is not clearly smaller."""
        largest = max(faces, key=_area)
        if self.last_box_px is None:
            return largest
        same = max(faces, key=lambda d: _overlap(d.box_px, self.last_box_px))
        loyal = _overlap(same.box_px, self.last_box_px) > 0.2 and _area(same) > _HYSTERESIS * _area(largest)
        return same if loyal else largest


def _area(face: Detection) -> float:
    left, top, right, bottom = face.box_px
    return float((right - left) * (bottom - top))


def _overlap(a: np.ndarray, b: np.ndarray | None) -> float:
    """Intersection over union of two boxes."""
    if b is None:
        return 0.0
    inner = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner
    return float(inner / union) if union > 0 else 0.0
