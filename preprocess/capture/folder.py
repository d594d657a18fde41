"""The Capture folder: one tracked clip on disk (schema visavis.capture/1).

capture.json        schema, source, sizes, head, camera, warnings, verdict, metrics, config, what each stage took
tracks.npz          per-frame arrays, see `files.TRACK_SHAPES`
frames/000000.jpg   pictures; masks/000000.png  person confidence, 0 to 255
background.png      clean plate; background_seen.png  255 where it was ever visible
audio.wav           16 kHz mono from the first frame on; audio_features.npz (both absent for mute clips)
overlay.mp4         what the tracker saw
quality.json        findings and measures of `visavis check` (schema visavis.quality/1)
.stages/            what a new run with --overwrite can go on from; nothing else reads it

Part labels (skin, hair, teeth, ...) have no files: `CaptureFolder.parts` works them out of tracks, masks and pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avatar.types import MOTION_FIELDS, Camera, Motion
from preprocess.capture.files import (
    content_hash,
    field,
    frame_path,
    mask_path,
    missing,
    number,
    read_camera,
    read_info,
    read_tracks,
    require_files,
    whole,
    wrong,
)
from preprocess.capture.pictures import read_mask, read_picture

if TYPE_CHECKING:
    from preprocess.parts.labeller import PartLabeller


@dataclass(eq=False)
class CaptureFolder:
    """A capture read from disk; the `Capture` protocol of `avatar.types` and what else the folder knows.

    Pictures and masks are decoded on demand.
    """

    path: Path
    camera: Camera
    head_name: str
    head_hash: str
    identity: Float[np.ndarray, " k"]
    neutral: Float[np.ndarray, "v 3"]
    motion: Motion
    tracked: Bool[np.ndarray, " t"]
    confidence: Float[np.ndarray, " t"]
    landmarks_px: Float[np.ndarray, "t 478 2"]
    scores: Float[np.ndarray, "t 52"]
    background: UInt8[np.ndarray, "h w 3"]
    background_seen: Bool[np.ndarray, "h w"]
    audio_path: Path | None
    content_hash: str
    info: dict[str, Any]
    """Everything in capture.json."""

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def fps(self) -> float:
        """Mean frame rate."""
        return float(self.info["fps"])

    def frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Picture `index` as RGB.

        Raises:
            FormatMismatch: the file is missing, damaged or of another size.
        """
        return read_picture(frame_path(self.path, index), self.camera.width, self.camera.height)

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Person confidence of frame `index`, 0 to 255.

        Raises:
            FormatMismatch: as for `frame`.
        """
        return read_mask(mask_path(self.path, index), self.camera.width, self.camera.height)

    def parts(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """What each pixel of frame `index` shows: index into `preprocess.parts.PARTS`.

        Worked out from mesh, mask and colours when asked for; the first call takes a second more than the others.

        Raises:
            FormatMismatch: as for `frame`, or the capture was made with another edition of its head model.
        """
        return self._labeller.label(index)

    @cached_property
    def _labeller(self) -> PartLabeller:
        from preprocess.parts.labeller import PartLabeller

        return PartLabeller(self)

    @staticmethod
    def load(path: Path | str) -> CaptureFolder:
        """Read and check a capture folder.

        Raises:
            BadInput: there is no such folder or it is no capture.
            FormatMismatch: another schema, or contents that can't be; names the file and the field.
        """
        path = Path(path)
        info = read_info(path)
        width, height, count = (whole(path, info, key) for key in ("width", "height", "frame_count"))
        camera, head = read_camera(path, info, width, height), field(path, info, "head", dict)
        if number(path, info, "fps") <= 0:
            raise wrong(path / "capture.json", "fps", "a positive number", info["fps"])
        tracks = read_tracks(path / "tracks.npz", count)
        require_files(path, count)
        motion = Motion(*(tracks[k] for k in ("timestamps", *MOTION_FIELDS[1:])))
        wav = path / "audio.wav"
        if field(path, info, "audio", bool) and not wav.is_file():
            raise missing(wav)
        return CaptureFolder(
            path=path,
            camera=camera,
            head_name=field(path, head, "name", str),
            head_hash=field(path, head, "content_hash", str),
            motion=motion,
            background=read_picture(path / "background.png", width, height),
            background_seen=read_mask(path / "background_seen.png", width, height) > 127,
            audio_path=wav if info["audio"] else None,
            content_hash=content_hash(path),
            info=info,
            **{k: tracks[k] for k in ("identity", "neutral", "tracked", "confidence", "landmarks_px", "scores")},
        )
