"""Every avatar driven by everybody's motion: does any of them fall apart, and do its lips follow?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import KDTree

from avatar.evaluation.metrics import correlation, rounded
from avatar.evaluation.movement import NO_FACE, Detect, Movement, find_landmarks
from avatar.fitting import FitConfig, fit
from avatar.info import machine
from avatar.model import Avatar, to_uint8
from avatar.progress import progress
from avatar.renderer import render
from avatar.rig import posed_vertices
from avatar.support import support_of
from avatar.types import Camera, Capture, Gaussians, HeadParams, Motion
from preprocess.capture.pictures import write_picture
from preprocess.detection.landmarks import Detector
from preprocess.studio.field_bench import file_name, subject_capture

LONG_SIDE, FRAMES, SHEET_FRAMES = 256, 60, 6
VISIBLE = 0.05
"""Opacity from which on a Gaussian that strays can be seen."""


@dataclass(frozen=True)
class Played:
    """An avatar in some frames of a motion."""

    areas: Float[np.ndarray, " n"]
    """Of the head's Gaussians as the camera sees them, at the distance of the head, square metres; 0 if not finite."""
    farthest: Float[np.ndarray, " n"]
    """Largest distance of a visible Gaussian of the head from the mesh, metres; NaN if not finite."""
    faces: Movement
    pictures: list[UInt8[np.ndarray, "h w 3"]]


def run(subjects: Sequence[str], config: FitConfig, *, seconds: float, keep: Path | None) -> dict[str, Any]:
    """Fit every subject, drive each avatar by each one's whole clip, and measure evenly spaced frames of it.

    Rows: `area_lowest` and `area_mean` of the head over the median of the avatar's own track (a head that collapses
    or bursts leaves 1), `farthest_mm` from the mesh (hair among it: compare with the row of the avatar's own motion),
    `finite_share` of the frames, `aperture_r` between the driver's video and the render, and the support of the motion.

    Args:
        subjects: as for `field_bench.run`.
        keep: where captures and avatars stay, and a sheet per driver: the video above all avatars.

    Raises:
        BadInput: no such subject.
    """
    began, rows = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        home = keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        captures = {name: subject_capture(home, name, seconds)[0] for name in subjects}
        avatars = {
            name: fit(capture, home / f"{file_name(name)}.avatar", config, overwrite=True)
            for name, capture in captures.items()
        }
        with Detector() as detector:
            own = {name: drive(avatars[name], captures[name], False, detector.landmarks) for name in subjects}
            for driver, capture in captures.items():
                shown = []
                for driven, avatar in avatars.items():
                    foreign = driver != driven
                    played = drive(avatar, capture, True, detector.landmarks) if foreign else own[driven]
                    row = scores(played, own[driven], capture) | supported(avatar, capture.motion, foreign)
                    rows.append({"case": f"{driver} drives {driven}"} | row)
                    shown.append(played.pictures)
                if keep:
                    write_picture(keep / f"cross-{file_name(driver)}.png", sheet(capture, shown))
    return {"machine": began, "config": asdict(config), "rows": rows}


def chosen(capture: Capture, count: int) -> list[int]:
    """Tracked frames, evenly spaced over a clip."""
    tracked = np.flatnonzero(capture.tracked)
    return tracked[np.linspace(0, len(tracked) - 1, min(count, len(tracked))).astype(int)].tolist()


@torch.inference_mode()
def drive(avatar: Avatar, capture: Capture, foreign: bool, detect: Detect) -> Played:
    """An avatar in the motion of a capture."""
    camera = avatar.camera.with_long_side(LONG_SIDE)
    plate, head_count = avatar.plate(camera, "plate"), len(avatar.layers.head.means)
    prepared = avatar.prepare(capture.motion, audio=capture.audio_path, foreign=foreign)
    frames, areas, farthest, points, pictures = chosen(capture, FRAMES), [], [], [], []
    with progress("drive", len(frames)) as bar:
        for done, index in enumerate(frames):
            try:
                gaussians = avatar.gaussians(prepared, index)
                picture = to_uint8(render(gaussians, camera, background=plate).rgb)
            except ValueError:  # rig and rasteriser take no NaN and no infinity
                gaussians, picture = None, np.zeros((camera.height, camera.width, 3), np.uint8)
            if gaussians is None:
                area, strayed, found = 0.0, np.nan, None
            else:
                head = Gaussians(*(getattr(gaussians, f.name)[:head_count] for f in fields(gaussians)))
                area, strayed = _measured(avatar, head, prepared.frame(index).params, camera)
                found = find_landmarks(picture, detect)
            areas.append(area)
            farthest.append(strayed)
            points.append(NO_FACE if found is None else found)
            pictures.append(picture)
            bar.update(done + 1)
    faces = Movement(capture.motion.timestamps_seconds[frames], np.stack(points))
    return Played(np.array(areas), np.array(farthest), faces, pictures)


def _measured(avatar: Avatar, head: Gaussians, params: HeadParams, camera: Camera) -> tuple[float, float]:
    """Visible area and largest distance from the mesh of the head's Gaussians, see `Played`."""
    area = float(render(head, camera).alpha.sum()) * float(params.translation[2]) ** 2 / (camera.fx * camera.fy)
    vertices = posed_vertices(avatar.head, avatar.neutral, params)
    surface = torch.cat([vertices, vertices[avatar.head.faces.long()].mean(1)])
    visible = head.means[head.opacities > VISIBLE]
    return area, float(KDTree(surface.numpy()).query(visible.numpy())[0].max(initial=0))


def scores(played: Played, own: Played, capture: Capture) -> dict[str, Any]:
    """One row of `run`, but for the support."""
    frames = chosen(capture, FRAMES)
    driver = Movement(played.faces.seconds, capture.landmarks_px[frames]).aperture
    both = np.isfinite(driver) & np.isfinite(played.faces.aperture)
    ratios = played.areas / max(float(np.median(own.areas)), 1e-9)
    finite = np.isfinite(played.farthest)
    return {
        "area_lowest": rounded(ratios.min(), 3),
        "area_mean": rounded(ratios.mean(), 3),
        "farthest_mm": rounded(1e3 * played.farthest[finite].max(initial=0), 1),
        "finite_share": rounded(finite.mean(), 3),
        "aperture_r": rounded(correlation(driver[both], played.faces.aperture[both]), 3),
        "faces_found": rounded(both.mean(), 3),
    }


def supported(avatar: Avatar, motion: Motion, foreign: bool) -> dict[str, float]:
    """How much of the motion the avatar's training supports."""
    motion = avatar.driving.retarget(motion) if foreign else motion
    summary = support_of(avatar.driving.statistics(), motion).summary()
    return {"support_mean": summary["mean"], "support_lowest": summary["lowest"]}


def sheet(capture: Capture, shown: list[list[UInt8[np.ndarray, "h w 3"]]]) -> UInt8[np.ndarray, "sh sw 3"]:
    """The driver's video, and below it each avatar at the same moments."""
    frames = chosen(capture, FRAMES)
    places = np.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).astype(int)
    rows = [[capture.frame(frames[place]) for place in places]]
    rows += [[pictures[place] for place in places] for pictures in shown]
    return np.concatenate([np.concatenate([_square(picture) for picture in row], 1) for row in rows])


def _square(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """A picture on a black square."""
    import cv2

    scale = LONG_SIDE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    top, left = (LONG_SIDE - height) // 2, (LONG_SIDE - width) // 2
    square = np.zeros((LONG_SIDE, LONG_SIDE, 3), np.uint8)
    square[top : top + height, left : left + width] = small
    return square
