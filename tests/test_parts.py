"""Part labels against the studio's truth, with true tracks; what hangs on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar.errors import FormatMismatch
from preprocess.capture import CaptureFolder
from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.detection.masks import SteadyMasks, snapped
from preprocess.parts import PARTS
from preprocess.parts.colours import Colours, colour_bins
from preprocess.studio import StudioConfig, StudioFolder, record
from preprocess.studio.layers import TRUE_PART, mask_scores, part_overlaps, plate_scores

SIZE = 192


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> StudioFolder:
    config = StudioConfig(seconds=2.0, seed=11, long_side=SIZE, fps=10)
    return record(tmp_path_factory.mktemp("studio") / "subject", config)


@pytest.fixture(scope="module")
def capture(studio, tmp_path_factory) -> CaptureFolder:
    """What a perfect tracker and a perfect segmenter would make of it."""
    return true_capture(studio, tmp_path_factory.mktemp("true") / "capture")


def true_capture(studio: StudioFolder, path: Path) -> CaptureFolder:
    for name in ("frames", "masks"):
        (path / name).mkdir(parents=True)
    count, camera, motion = len(studio), studio.camera(), studio.motion
    for index in range(count):
        write_picture(frame_path(path, index), studio.render(index).rgb)
        write_mask(mask_path(path, index), (studio.labels(index) > 0).astype(np.uint8) * 255)
    write_picture(path / "background.png", studio.background())
    write_mask(path / "background_seen.png", np.full((SIZE, SIZE), 255, np.uint8))
    save_tracks(
        path, timestamps=motion.timestamps_seconds, tracked=np.ones(count, bool), identity=studio.tracks["identity"],
        neutral=studio.neutral, expression=motion.expression, joints=motion.joints, quats_wxyz=motion.quats_wxyz,
        translation=motion.translation, torso=motion.torso, landmarks_px=studio.tracks["landmarks_px"],
        scores=motion.expression, confidence=np.ones(count),
    )  # fmt: skip
    lens = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
    source = {"used_from_seconds": 0.0}
    shown = {"source": source, "fps": studio.fps, "frame_count": count, "width": SIZE, "height": SIZE, "camera": lens}
    save_info(path, shown | {"head": studio.info["head"], "audio": False})
    return CaptureFolder.load(path)


def test_parts_are_where_they_are(capture, studio):
    overlaps = part_overlaps(capture, studio, range(0, len(studio), 3))
    least = {"background": 0.999, "skin": 0.93, "lips": 0.75, "eyes": 0.6, "hair": 0.85, "torso": 0.96}
    assert all(overlaps[name] > low for name, low in least.items()), overlaps


def test_every_pixel_of_the_person_and_no_other_has_a_part(capture):
    labels = capture.parts(5)
    assert labels.dtype == np.uint8 and labels.shape == (SIZE, SIZE) and labels.max() < len(PARTS)
    np.testing.assert_array_equal(labels > 0, capture.mask(5) > 127)
    np.testing.assert_array_equal(labels, CaptureFolder.load(capture.path).parts(5))


def test_true_parts_cover_the_studios_labels(studio):
    assert TRUE_PART.shape == (len(studio.info["labels"]),)
    assert set(TRUE_PART.tolist()) == set(range(len(PARTS)))


def test_scores_of_true_masks_and_the_true_plate(capture, studio):
    frames = range(0, len(studio), 4)
    assert mask_scores(capture, studio, frames) == {"mask_iou": 1, "mask_edge_error": 0, "mask_flicker": 0}
    plate = plate_scores(capture, studio)
    assert plate["plate_recall"] == 1 and plate["plate_psnr"] > 90 and 0.5 < plate["plate_precision"] < 1


def test_another_head_is_refused(capture):
    with pytest.raises(FormatMismatch, match="head has changed"):
        replace(capture, head_hash="0" * 64).parts(0)


def test_colours_fit_the_class_they_were_counted_for():
    rgb = np.zeros((60, 60, 3), np.uint8)
    rgb[:, :20], rgb[:, 20:40], rgb[:, 40:] = (220, 170, 140), (60, 40, 30), (40, 60, 160)
    bins, colours = colour_bins(rgb), Colours()
    columns = np.broadcast_to(np.arange(60) // 20, (60, 60))
    for number, name in enumerate(("skin", "hair", "clothes")):
        colours.add(bins, name, columns == number)
    np.testing.assert_array_equal(colours.costs()[bins].argmin(2), columns)


def blurred(mask: np.ndarray, shift: int) -> np.ndarray:
    """As from a network of few pixels: a wide soft edge beside the true one."""
    import cv2

    small = cv2.resize(np.roll(mask, shift, 1), (24, 24), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, mask.shape[::-1])


def test_masks_snap_to_the_pictures_edges(capture):
    def wrong(got: np.ndarray) -> float:
        return float(((got > 127) != (capture.mask(4) > 127)).mean())

    rough = blurred(capture.mask(4), 1)
    assert wrong(snapped(capture.frame(4), rough)) < 0.7 * wrong(rough)
    untouched = capture.mask(4) * 0 + 255
    np.testing.assert_array_equal(snapped(capture.frame(4), untouched), untouched)


def test_masks_are_steadied_where_nothing_moves_and_not_smeared_where_something_does():
    room = np.full((40, 60, 3), 90, np.uint8)
    steady, out = SteadyMasks(), {}
    for index in range(9):
        rgb, mask = room.copy(), np.zeros((40, 60), np.uint8)
        mask[:, :10] = 100 + 60 * (index % 2)  # flickers over the still room
        rgb[10:30, 20 + 4 * index : 26 + 4 * index], mask[10:30, 20 + 4 * index : 26 + 4 * index] = 250, 255
        out |= dict(steady.add(index, rgb, mask))
    out |= dict(steady.finish())
    assert sorted(out) == list(range(9)) and steady.finish() == []
    still = np.array([out[k][20, 3] for k in range(9)], int)
    assert np.abs(np.diff(still[1:-1])).max() <= 25  # was 60
    for index in range(1, 8):
        assert out[index][20, 22 + 4 * index] > 250 and out[index][20, 30 + 4 * index] < 5
