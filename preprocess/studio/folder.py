"""The studio folder: a synthetic clip and everything that is true of it (schema visavis.studio/1).

studio.json           schema, config, camera, further cameras, head, person, speech, labels, counts
video.mp4             what a camera would have recorded, with sound
speech.wav            the sound alone, 16 kHz mono
motion.npz            head parameters, a motion file; the world is the camera of the first frame
tracks.npz            per-frame arrays, see `TRACKS`; `neutral` and `identity` of the person
vertices.npy          t x v x 3 float32: the head's vertices in the world, metres
labels/000000.png     which part each pixel's centre shows, index into `LABELS`
depth/000000.png      16 bit, 0.1 mm: z in the frame's camera at each pixel's centre; 0 where there is only the room
background.png        the room as the first camera sees it
views/yaw_+30.mp4     the same moments from further cameras, before a grey backdrop
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from avatar.driving import motion_params
from avatar.errors import BadInput, FormatMismatch
from avatar.export.cameras import camera_from_json
from avatar.files import read_json, read_npz
from avatar.motion.motion_io import load_motion
from avatar.types import Camera, Motion
from preprocess.capture.pictures import read_mask, read_picture
from preprocess.studio.atlas import LABELS
from preprocess.studio.config import EDITION
from preprocess.studio.scene import Picture, Pose, Scene

SCHEMA = "visavis.studio/1"
MARKER = "studio.json"
DEPTH_UNIT_M = 1e-4
TRACKS: dict[str, tuple[int | str, ...]] = {
    "landmarks": ("t", 478, 3),
    "landmarks_px": ("t", 478, 2),
    "gaze": ("t", 2, 3),
    "lid_closure": ("t",),
    "lip_opening": ("t",),
    "T_camera_world": ("t", 4, 4),
    "T_world_torso": ("t", 4, 4),
    "neutral": ("v", 3),
    "identity": ("k",),
}
"""Arrays of tracks.npz: landmarks in the world (metres) and in the picture (pixels, whether visible or not), directions
of the left and right eye in the world, lid closure 0..1, distance of the inner lips (metres), and the person."""


@dataclass(eq=False)
class StudioFolder:
    """A studio recording read from disk; pictures, labels, depths and vertices are read when asked for."""

    path: Path
    info: dict[str, Any]
    """Everything in studio.json."""
    motion: Motion
    tracks: dict[str, np.ndarray]

    @staticmethod
    def load(path: Path | str) -> StudioFolder:
        """Read and check a studio folder.

        Raises:
            BadInput: there is no such folder or it is no studio recording.
            FormatMismatch: another schema, or contents that do not belong together.
        """
        path = Path(path)
        info = read_json(path / MARKER, SCHEMA, "a studio folder")
        motion = load_motion(path / "motion.npz")
        folder = StudioFolder(path, info, motion, read_npz(path / "tracks.npz"))
        folder._check()
        return folder

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def video_path(self) -> Path:
        return self.path / "video.mp4"

    @property
    def neutral(self) -> Float[np.ndarray, "v 3"]:
        """The person's vertices at rest, head frame, metres."""
        return self.tracks["neutral"]

    @cached_property
    def vertices(self) -> Float[np.ndarray, "t v 3"]:
        """The head's vertices in the world, metres; mapped, not read."""
        return np.load(self.path / "vertices.npy", mmap_mode="r", allow_pickle=False)

    def camera(self, index: int = 0) -> Camera:
        """The recording camera at a frame."""
        return moved_camera(camera_from_json(self.info["camera"], MARKER), self.tracks["T_camera_world"][index])

    @property
    def views(self) -> dict[float, Camera]:
        """Further cameras by their yaw in degrees; their clips are `view_path(yaw)`."""
        return {float(v["yaw_degrees"]): camera_from_json(v["camera"], MARKER) for v in self.info["views"]}

    def view_path(self, yaw_degrees: float) -> Path:
        return view_path(self.path, yaw_degrees)

    def labels(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Index into `LABELS` at each pixel's centre."""
        return read_mask(self.path / "labels" / f"{index:06d}.png", self.info["width"], self.info["height"])

    def depth(self, index: int) -> Float[np.ndarray, "h w"]:
        """Camera-space z at each pixel's centre, metres; 0 where there is only the room.

        Raises:
            FormatMismatch: the file is missing or damaged.
        """
        import cv2

        file = self.path / "depth" / f"{index:06d}.png"
        read = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if read is None or read.dtype != np.uint16:
            raise FormatMismatch(f"{file} is no readable depth picture", fix="record the studio folder again")
        return read.astype(np.float32) * np.float32(DEPTH_UNIT_M)

    def background(self) -> UInt8[np.ndarray, "h w 3"]:
        """The room as the first camera sees it."""
        return read_picture(self.path / "background.png", self.info["width"], self.info["height"])

    @cached_property
    def scene(self) -> Scene:
        """The set, built anew from the seed.

        Raises:
            FormatMismatch: it was recorded by another edition of the studio, or with another head model.
        """
        from avatar.head import load_head
        from avatar.head.calibration import calibrate

        if self.info["edition"] != EDITION:
            raise FormatMismatch(
                f"{self.path} was recorded by another edition of the studio", expected=str(EDITION),
                got=str(self.info["edition"]), fix="record it again to render other views",
            )  # fmt: skip
        head = load_head(self.info["head"]["name"])
        if head.content_hash != self.info["head"]["content_hash"]:
            raise FormatMismatch(
                f"{self.path} was recorded with another head model", expected=head.content_hash,
                got=self.info["head"]["content_hash"], fix="record it again",
            )  # fmt: skip
        return Scene(head, calibrate(head), int(self.info["config"]["seed"]))

    def render(self, index: int, camera: Camera | None = None, supersample: int = 2) -> Picture:
        """The moment of a frame, uncompressed, with labels and depth, from any pinhole camera.

        The recording camera (the default) sees the room, every other one a grey backdrop.
        """
        params = motion_params(self.motion, index)
        pose = Pose.of(np.asarray(self.vertices[index]), params, self.tracks["T_world_torso"][index])
        return self.scene.render(pose, camera or self.camera(index), supersample, room=camera is None)

    def _check(self) -> None:
        sizes = {"t": len(self.motion), "v": len(self.tracks.get("neutral", ())), "k": None}
        for name, shape in TRACKS.items():
            got = self.tracks[name].shape if name in self.tracks else None
            wanted = tuple(sizes.get(s, s) if isinstance(s, str) else s for s in shape)
            fits = got is not None and len(got) == len(wanted)
            if not fits or any(w not in (None, g) for w, g in zip(wanted, got or (), strict=True)):
                raise FormatMismatch(
                    f"{self.path / 'tracks.npz'}: {name} is wrong", expected=str(shape), got=str(got),
                    fix="record the studio folder again",
                )  # fmt: skip
        if self.info.get("labels") != list(LABELS) or not isinstance(self.info.get("edition"), int):
            raise FormatMismatch(
                f"{self.path} has other labels or no edition", expected=str(LABELS), fix="record it again"
            )
        if not self.video_path.is_file():
            raise BadInput(f"{self.video_path} is missing", fix="record the studio folder again")


def view_path(folder: Path, yaw_degrees: float) -> Path:
    """The clip of a further camera."""
    return folder / "views" / f"yaw_{yaw_degrees:+g}.mp4"


def moved_camera(camera: Camera, T_camera_world: Float[np.ndarray, "4 4"]) -> Camera:
    """The same lens elsewhere."""
    return replace(camera, T_camera_world=np.asarray(T_camera_world, np.float32))
