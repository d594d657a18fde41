"""How far a tracked capture of a studio clip is from the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from avatar.errors import BadInput
from avatar.evaluation.metrics import correlation, rounded, slope
from avatar.geometry import quat_to_matrix
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.landmarks import RIGID, lip_opening
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, landmarks_on
from avatar.types import Camera
from preprocess.capture import CaptureFolder
from preprocess.studio.alignment import aligned_errors, blink_f1, lag_frames, rotation_angles, third_difference
from preprocess.studio.folder import StudioFolder
from preprocess.studio.measures import gaze_directions, lid_closure

TURNED_DEGREES = 20.0
"""Focal length shows only where the subject turns further than this."""
_OPEN = 0.5
"""Gaze counts while the true lids are closed by less than this."""


@dataclass(frozen=True)
class Score:
    """Tracking error of one clip; means over all frames, in the frame of the recording camera."""

    frames: int
    rotation_degrees: float
    """Angle between the tracked and the true rotation of the head."""
    head_px: float
    """Distance between the middles of the tracked and the true face in the picture, pixels of the capture."""
    focal_percent: float
    turned: bool
    """Whether the subject turns beyond `TURNED_DEGREES`: the focal length is hardly observable elsewhere."""
    face_mm: float
    """Root mean square distance of the face's vertices after the similarity that aligns them best, frame by frame."""
    lips_mm: float
    """The same over the lips, after the same alignment."""
    gaze_degrees: float
    """Angle between the tracked and the true direction in space, both eyes, while the lids are open."""
    blink_f1: float
    aperture_r: float
    """Correlation of the opening of the lips."""
    aperture_slope: float
    """Its amplitude, tracked over true."""
    jitter_head: float
    """Third difference of the face's most rigid points in the picture, tracked over true; 1 is right."""
    jitter_lips: float
    """The same of the lips' opening."""
    lip_lag_frames: int
    """By how many frames the tracked lips come late."""

    def row(self) -> dict[str, float | int | bool | None]:
        """Plain, rounded numbers; None for lips that never move, whose aperture has no correlation."""
        return {k: rounded(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Seen:
    """A head through a clip, in the frame of its camera, whose pixels are the capture's."""

    camera: Camera
    vertices: Float[np.ndarray, "t v 3"]
    expression: Float[np.ndarray, "t 52"]
    rotation: Float[np.ndarray, "t 3 3"]
    gaze: Float[np.ndarray, "t 2 3"]
    landmarks: Float[np.ndarray, "t 478 3"]

    def pixels(self, points: Float[np.ndarray, "t n 3"]) -> Float[np.ndarray, "t n 2"]:
        return self.camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)


def compare(capture: CaptureFolder, studio: StudioFolder) -> Score:
    """Score a capture that was made of a studio folder's video.

    Raises:
        BadInput: the capture is of another video or was tracked with another head model.
    """
    head = _shared_head(capture, studio)
    table = calibrate(head)
    tracked, true = tracked_head(capture, head, table), true_head(studio, capture, head, table)
    return score(tracked, true, head.regions.numpy())


def shape_floor(head: LinearHead, neutral: Float[np.ndarray, "v 3"]) -> tuple[float, float]:
    """What `face_mm` and `lips_mm` would be if the identity coefficients were the best there are."""
    regions = head.regions.numpy()
    face = np.isin(regions, [REGIONS.index("face"), REGIONS.index("lips")])
    basis = head.identity_basis.numpy()[:, face].reshape(len(head.identity_basis), -1)
    best = torch.from_numpy(np.linalg.lstsq(basis.T, (neutral - head.template.numpy())[face].ravel(), rcond=None)[0])
    errors = 1e3 * aligned_errors(head.shape(best).numpy()[None, face], neutral[None, face])[0]
    on_lips = regions[face] == REGIONS.index("lips")
    return tuple(float(np.sqrt((e**2).mean())) for e in (errors, errors[on_lips]))  # pyright: ignore[reportReturnType]


def score(tracked: Seen, true: Seen, regions: Int[np.ndarray, " v"]) -> Score:
    """Compare two heads of the same mesh over the same frames."""
    face = np.isin(regions, [REGIONS.index("face"), REGIONS.index("lips")])
    errors = 1e3 * aligned_errors(tracked.vertices[:, face], true.vertices[:, face])
    on_lips = regions[face] == REGIONS.index("lips")
    middles = [head.pixels(head.vertices[:, face].mean(1, keepdims=True))[:, 0] for head in (tracked, true)]
    openings = [lip_opening(head.landmarks) for head in (tracked, true)]
    rigid = [third_difference(head.pixels(head.landmarks[:, list(RIGID)])) for head in (tracked, true)]
    lids = lid_closure(true.expression)
    cosines = (tracked.gaze * true.gaze).sum(-1)[lids < _OPEN].clip(-1, 1)
    yaw = np.degrees(np.arctan2(true.rotation[:, 0, 2], -true.rotation[:, 2, 2]))
    return Score(
        frames=len(lids),
        rotation_degrees=float(np.degrees(rotation_angles(tracked.rotation, true.rotation)).mean()),
        head_px=float(np.linalg.norm(middles[0] - middles[1], axis=1).mean()),
        focal_percent=100 * abs(tracked.camera.fx / true.camera.fx - 1),
        turned=bool(np.abs(yaw).max() > TURNED_DEGREES),
        face_mm=float(np.sqrt((errors**2).mean(1)).mean()),
        lips_mm=float(np.sqrt((errors[:, on_lips] ** 2).mean(1)).mean()),
        gaze_degrees=float(np.degrees(np.arccos(cosines)).mean()),
        blink_f1=blink_f1(lid_closure(tracked.expression), lids),
        aperture_r=correlation(*openings),
        aperture_slope=slope(openings[1], openings[0]),
        jitter_head=rigid[0] / max(rigid[1], 1e-9),
        jitter_lips=third_difference(openings[0]) / max(third_difference(openings[1]), 1e-9),
        lip_lag_frames=lag_frames(*openings),
    )


def tracked_head(capture: CaptureFolder, head: LinearHead, table: LandmarkTable) -> Seen:
    """What a capture says."""
    motion = capture.motion
    rotation = quat_to_matrix(torch.from_numpy(motion.quats_wxyz)).numpy()
    local = head.vertices(
        torch.from_numpy(capture.neutral), torch.from_numpy(motion.expression), torch.from_numpy(motion.joints)
    )
    vertices = local.numpy() @ rotation.transpose(0, 2, 1) + motion.translation[:, None]
    return Seen(
        capture.camera, vertices, motion.expression, rotation, gaze_directions(head, motion.expression, rotation),
        landmarks_on(vertices, head, table),
    )  # fmt: skip


def true_head(studio: StudioFolder, capture: CaptureFolder, head: LinearHead, table: LandmarkTable) -> Seen:
    """What is true in the frames that a capture uses."""
    frames = frames_used(capture, studio)
    T = studio.tracks["T_camera_world"][frames].astype(np.float64)
    turn = T[:, :3, :3]
    vertices = studio.vertices[frames] @ turn.transpose(0, 2, 1) + T[:, None, :3, 3]
    world = quat_to_matrix(torch.from_numpy(studio.motion.quats_wxyz[frames])).numpy()
    return Seen(
        studio.camera().scaled(capture.camera.width, capture.camera.height), vertices, studio.motion.expression[frames],
        turn @ world, np.einsum("tij,tej->tei", turn, studio.tracks["gaze"][frames]),
        landmarks_on(vertices, head, table),
    )  # fmt: skip


def frames_used(capture: CaptureFolder, studio: StudioFolder) -> Int[np.ndarray, " t"]:
    """Frame of the studio clip that each frame of the capture shows, by time."""
    seconds = capture.motion.timestamps_seconds + float(capture.info["source"]["used_from_seconds"])
    frames = np.round(seconds * studio.fps).astype(np.int64)
    if (np.diff(frames) < 1).any() or frames[-1] >= len(studio) or np.abs(frames / studio.fps - seconds).max() > 0.01:
        raise BadInput(
            "the capture's frames are not those of the studio clip", expected=f"times of {studio.fps:g} frames/s",
            got=f"{len(frames)} frames of {capture.fps:g} frames/s", fix="track the folder's own video.mp4",
        )  # fmt: skip
    return frames


def _shared_head(capture: CaptureFolder, studio: StudioFolder) -> LinearHead:
    from avatar.assets import sha256_file

    if capture.info["source"]["sha256"] != sha256_file(studio.video_path):
        raise BadInput(
            f"{capture.path} was not made of {studio.video_path}", fix=f"visavis preprocess {studio.video_path} -o ..."
        )
    wanted = studio.info["head"]
    if capture.head_hash != wanted["content_hash"]:
        raise BadInput(
            f"{capture.path} was tracked with another head", expected=f"--head {wanted['name']}", got=capture.head_name,
            fix="vertices can be compared on one mesh only: track it again, or record the folder again",
        )  # fmt: skip
    return load_head(wanted["name"])
