"""From captures to other layouts and back."""

from __future__ import annotations

import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar import __version__
from avatar.errors import BadInput
from avatar.files import atomic_folder, check_output_folder, write_json
from avatar.head import absolute_name, load_head
from avatar.head.landmarks import N_LANDMARKS
from avatar.progress import note, progress
from avatar.split import training_span
from avatar.threads import one_torch_thread
from avatar.types import CAPTURE_SCHEMA
from preprocess.capture import CaptureFolder
from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.capture.pictures import read_mask, read_picture, write_mask, write_picture
from preprocess.detection.background import clean_plate
from preprocess.detection.landmarks import Detector
from preprocess.detection.masks import PersonSegmenter
from preprocess.formats import insta, talking_gaussian, vhap
from preprocess.formats.layout import Clip, Layout, ReadOptions, Track, no_layout
from preprocess.sound.audio import extract_audio, save_features
from preprocess.tracking import Observations, track_clip, track_torso

MARKER, SCHEMA = "layout.json", "visavis.layout/1"
_MODULES: tuple[Layout, ...] = (vhap, talking_gaussian, insta)
LAYOUTS: dict[str, Layout] = {layout.NAME: layout for layout in _MODULES}


def export_capture(
    capture: CaptureFolder, layout: str, output: Path, *, overwrite: bool = False
) -> dict[str, str | int]:
    """Write a capture as another system's folder; `output` appears when it is complete.

    Args:
        layout: a key of `LAYOUTS`.
        output: a new or empty folder, or an older result of this function with `overwrite`.

    Returns:
        `folder`, `layout`, `frames`, and `lost`: what the layout has no place for.

    Raises:
        BadInput: `output` is not empty, or can't be written.
    """
    chosen, output = LAYOUTS[layout], output.expanduser().absolute()
    check_output_folder(output, MARKER, SCHEMA, overwrite)
    facts = {"layout": layout, "frames": len(capture), "lost": chosen.LOST}
    source = {"capture": capture.path.name, "content_hash": capture.content_hash, "head": capture.head_hash}
    with atomic_folder(output) as folder:
        chosen.write(capture, folder)
        write_json(folder / MARKER, {"schema": SCHEMA, "tool_version": __version__} | facts | {"source": source})
    return {"folder": str(output)} | facts


def import_capture(
    folder: Path, output: Path, options: ReadOptions, *, layout: str | None = None, overwrite: bool = False
) -> CaptureFolder:
    """Make a capture of another system's folder. Landmarks and scores come from our own detector.

    Args:
        layout: a key of `LAYOUTS`; found by the folder's files if not given.

    Raises:
        BadInput: no known layout, no face in it, or the output can't be written.
        FormatMismatch: something in it is missing, damaged or contradictory.
    """
    output = output.expanduser().absolute()
    check_output_folder(output, "capture.json", CAPTURE_SCHEMA, overwrite)
    name = layout or layout_of(folder)
    clip = LAYOUTS[name].read(folder, options)
    with atomic_folder(output) as partial, one_torch_thread():
        observations = _store(clip, partial)
        _describe(partial, clip, _tracked(clip, options, observations), observations, name, options)
        CaptureFolder.load(partial)  # what we would refuse to read is never published
    return CaptureFolder.load(output)


def layout_of(folder: Path) -> str:
    """Which layout a folder is in.

    Raises:
        BadInput: in none that is known.
    """
    for name, layout in LAYOUTS.items():
        if (folder / layout.MARKER).exists():
            return name
    raise no_layout(folder, "; ".join(f"{name} (has {layout.MARKER})" for name, layout in LAYOUTS.items()))


def _store(clip: Clip, folder: Path) -> Observations:
    """Copy pictures and masks, and look for the face in each."""
    count, camera = len(clip.timestamps_seconds), clip.camera
    landmarks = np.full((count, N_LANDMARKS, 2), np.nan, np.float32)
    scores, transforms = np.zeros((count, 52), np.float32), np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    for name in ("frames", "masks"):
        (folder / name).mkdir()
    with Detector() as detector, PersonSegmenter() as segmenter, progress("finding the face", count) as bar:
        for index in range(count):
            picture = clip.picture(index)
            write_picture(frame_path(folder, index), picture)
            write_mask(mask_path(folder, index), clip.mask(index) if clip.mask else segmenter.mask(picture))
            if found := detector.detect(picture):
                landmarks[index], scores[index], transforms[index] = found.landmarks_px, found.scores, found.transform
            bar.update(index + 1)
    if not np.isfinite(landmarks).any():
        raise BadInput("no face was found in any picture", expected="pictures of one person")
    return Observations(clip.timestamps_seconds, landmarks, scores, transforms, camera.width, camera.height)


def _tracked(clip: Clip, options: ReadOptions, observations: Observations) -> Clip:
    """The clip with a track of ours where it has none."""
    if clip.track:
        return clip
    from avatar.head.calibration import calibrate

    note("tracking ...")
    head = load_head(options.head)
    result = track_clip(head, calibrate(head), observations)
    track = Track(result.identity, result.neutral, result.motion, result.tracked)
    return replace(clip, camera=result.camera, track=track)


def _describe(
    folder: Path, clip: Clip, tracked: Clip, observations: Observations, layout: str, options: ReadOptions
) -> None:
    """Everything of a capture but its pictures."""
    track, camera = tracked.track, tracked.camera
    assert track is not None
    size = (camera.width, camera.height)

    def picture(index: int) -> np.ndarray:
        return read_picture(frame_path(folder, index), *size)

    def mask(index: int) -> np.ndarray:
        return read_mask(mask_path(folder, index), *size)

    seen = np.isfinite(observations.landmarks_px[:, 0, 0])
    usable = track.tracked & seen
    if not usable.any():
        raise BadInput("no frame has both a track and a face", expected="pictures of one person")
    chin = observations.landmarks_px[:, :, 1].max(1)
    motion = replace(track.motion, torso=track_torso(track.motion, camera, chin, picture, mask))
    times = clip.timestamps_seconds
    plate, known = clean_plate(lambda i: (picture(i), mask(i)), _plate_frames(times))
    write_picture(folder / "background.png", plate)
    write_mask(folder / "background_seen.png", known.astype(np.uint8) * 255)
    sound = _write_sound(clip, folder, float(times[-1] - times[0]) + 1 / motion.fps)
    save_tracks(
        folder,
        timestamps=motion.timestamps_seconds, tracked=usable, identity=track.identity, neutral=track.neutral,
        expression=motion.expression, joints=motion.joints, quats_wxyz=motion.quats_wxyz,
        translation=motion.translation, torso=motion.torso, landmarks_px=observations.landmarks_px,
        scores=observations.scores, confidence=usable.astype(np.float32),
    )  # fmt: skip
    head = load_head(options.head)
    metrics = {"tracked_fraction": round(float(usable.mean()), 6)}
    save_info(
        folder,
        {
            "tool_version": __version__, "source": {"name": layout, "layout": layout}, "fps": motion.fps,
            "frame_count": len(motion), "width": camera.width, "height": camera.height,
            "head": {"name": absolute_name(options.head), "content_hash": head.content_hash},
            "camera": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
            "config": {"layout": layout, "head": options.head, "fps": options.fps}, "audio": sound,
            "verdict": "warn" if clip.notes else "ok", "warnings": list(clip.notes), "metrics": metrics,
        },
    )  # fmt: skip


def _plate_frames(times: np.ndarray) -> np.ndarray:
    """Training frames; all of a clip that is too short to hold any out."""
    training = np.flatnonzero(training_span(times))
    return training if len(training) else np.arange(len(times))


def _write_sound(clip: Clip, folder: Path, seconds: float) -> bool:
    """The layout's sound as a capture's: 16 kHz mono as it is, anything else converted."""
    if clip.audio is None:
        return False
    wav = folder / "audio.wav"
    if _is_ours(clip.audio):
        shutil.copyfile(clip.audio, wav)
    elif not extract_audio(clip.audio, wav, 0.0, seconds):
        return False
    save_features(wav, folder / "audio_features.npz")
    return True


def _is_ours(path: Path) -> bool:
    try:
        with wave.open(str(path), "rb") as file:
            return (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
    except (wave.Error, EOFError, OSError):
        return False
