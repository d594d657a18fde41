"""Detector, masks, clean plate and quality gate, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
from make_video import head_picture

from avatar.head.arkit import ARKIT_INDEX
from preprocess.checking.gate import Seen, assess, segments
from preprocess.detection.background import clean_plate, fill
from preprocess.detection.landmarks import Detector
from preprocess.detection.masks import PersonSegmenter
from preprocess.video import VideoInfo

INFO = VideoInfo(640, 360, 25.0, 8.0, 200, 0.0, True, 0, "yuv420p", False)


@pytest.fixture(scope="module")
def detector():
    with Detector() as it:
        yield it


@pytest.fixture(autouse=True)
def forgetful(request):
    if "detector" in request.fixturenames:
        request.getfixturevalue("detector").last_box_px = None


def test_detection_lies_on_the_face(detector):
    found = detector.detect(head_picture())
    assert found.landmarks_px.shape == (478, 2) and found.depths_px.shape == (478,)
    assert found.faces_found == 1
    left, top, right, bottom = found.box_px
    assert 105 < left < 130 and 190 < right < 215 and 50 < top < 90 and 160 < bottom < 190
    # The subject's left eye corner is on the right of the picture; the nose tip is closer than the ears.
    assert found.landmarks_px[263, 0] > found.landmarks_px[33, 0]
    assert found.depths_px[1] < found.depths_px[234]
    assert np.linalg.det(found.transform[:3, :3]) == pytest.approx(1, abs=0.01)


def test_scores_are_in_arkit_order(detector):
    jaw = ARKIT_INDEX["jawOpen"]
    shut = detector.detect(head_picture(jaw_open=0.0)).scores
    wide = detector.detect(head_picture(jaw_open=0.6)).scores
    assert wide[jaw] > shut[jaw] + 0.3
    assert np.argmax(wide - shut) == jaw


def test_no_face(detector):
    assert detector.detect(np.full((240, 320, 3), 90, np.uint8)) is None


def two_heads(left_distance: float, right_distance: float) -> np.ndarray:
    size = {"width": 640, "height": 360}
    wall = head_picture(x=99, **size)
    left = head_picture(x=-0.15 * left_distance, distance=left_distance, **size)
    right = head_picture(x=0.15 * right_distance, distance=right_distance, **size)
    return np.where((left == wall).all(-1, keepdims=True), right, left)


def test_larger_of_two_faces_then_loyal_to_it(detector):
    first = detector.detect(two_heads(0.8, 1.2))
    assert first.faces_found == 2 and first.box_px[2] < 320
    nearly_level = detector.detect(two_heads(0.85, 0.8))
    assert nearly_level.box_px[2] < 320
    overtaken = detector.detect(two_heads(1.6, 0.8))
    assert overtaken.box_px[0] > 320


def test_small_face_is_found_by_a_closer_look(detector):
    picture = head_picture(10, width=640, height=360, distance=3.0)
    assert not detector._look(picture)
    left, top, right, bottom = detector.detect(picture).box_px
    assert 280 < left < right < 360 and 140 < top < bottom < 230
    # Once known, it is also found away from the middle.
    off_centre = head_picture(10, width=640, height=360, distance=2.5, x=0.375)
    detector.last_box_px = np.array([425.0, 152.0, 478.0, 210.0])
    assert detector.detect(off_centre).box_px[0] > 400


def test_mask_covers_the_head_and_not_the_wall():
    picture = head_picture(distance=0.5)
    with PersonSegmenter() as segmenter:
        mask = segmenter.mask(picture)
    assert mask.shape == (240, 320) and mask.dtype == np.uint8
    assert mask[100:140, 140:180].mean() > 200
    assert mask[:, :40].mean() < 30 and mask[:, -40:].mean() < 30


def test_clean_plate_sees_behind_a_moving_person():
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)

    def read(index: int):
        picture, mask = wall.copy(), np.zeros((40, 60), np.uint8)
        x = index % 8
        picture[10:30, x : x + 15], mask[10:30, x : x + 15] = 200, 255
        return picture, mask

    plate, seen = clean_plate(read, np.arange(100))
    assert seen[:, 40:].all() and seen[:8].all()
    assert not seen[20, 10] and seen[20, 18]
    np.testing.assert_array_equal(plate[seen], wall[seen])


def test_clean_plate_with_everything_hidden():
    plate, seen = clean_plate(lambda _: (np.full((9, 9, 3), 50, np.uint8), np.full((9, 9), 255, np.uint8)), [0, 1])
    assert not seen.any() and (plate == 127).all()


def test_fill_continues_its_surroundings():
    ramp = np.tile(np.linspace(0, 200, 65, dtype=np.float32)[None, :, None], (33, 1, 3))
    known = np.ones((33, 65), bool)
    known[8:25, 20:45] = False
    filled = fill(np.where(known[..., None], ramp, 0), known)
    np.testing.assert_array_equal(filled[known], ramp[known])
    assert np.abs(filled - ramp).max() < 35


def made(count: int = 200, fps: float = 25.0, seed: int = 0, **changes) -> Seen:
    """A quiet clip: a face that sways by a pixel in pictures with a little noise."""
    rng = np.random.default_rng(seed)
    face = rng.uniform(0, 100, (478, 2)).astype(np.float32) + [200, 100]
    face[33], face[263] = (220, 140), (280, 140)
    sway = np.sin(np.arange(count) / 10)[:, None, None] * 3
    scene = rng.integers(0, 255, (18, 32, 3))
    thumbs = np.clip(scene + rng.normal(0, 1.5, (count, 18, 32, 3)), 0, 255).astype(np.uint8)
    values = {
        "timestamps_seconds": np.arange(count) / fps,
        "landmarks_px": (face + sway).astype(np.float32),
        "faces_found": np.ones(count, int),
        "thumbnails": thumbs,
    }
    return Seen(**{**values, **changes})


def without_face(seen: Seen, *spans: tuple[int, int]) -> Seen:
    points = seen.landmarks_px.copy()
    for a, b in spans:
        points[a:b] = np.nan
    return Seen(seen.timestamps_seconds, points, seen.faces_found, seen.thumbnails)


def joined(*parts: Seen) -> Seen:
    thumbs = np.concatenate([p.thumbnails for p in parts])
    points = np.concatenate([p.landmarks_px for p in parts])
    return Seen(np.arange(len(points)) / 25, points, np.ones(len(points), int), thumbs)


def test_quiet_clip_is_ok():
    report = assess("a.mp4", made(), INFO)
    assert (report.verdict, report.start, report.stop, report.warnings) == ("ok", 0, 200, [])
    report.require()


def test_no_face_anywhere_is_refused():
    report = assess("a.mp4", without_face(made(), (0, 200)), INFO)
    assert report.verdict == "refuse"
    with pytest.raises(type(report.refusal), match=r"no face was found anywhere in a\.mp4"):
        report.require()


def test_too_few_faces_are_refused_with_the_share_and_the_gap():
    report = assess("a.mp4", without_face(made(), (10, 20), (100, 180)), INFO)
    text = str(report.refusal)
    assert "only 55% of the frames" in text and "at least 60%" in text and "4.0 s to 7.2 s" in text and "next" in text


def test_some_missing_faces_are_a_warning():
    report = assess("a.mp4", without_face(made(), (0, 50)), INFO)
    assert report.verdict == "warn" and "75%" in report.warnings[0]


def test_hard_cut_uses_the_longest_piece_and_says_so():
    seen = joined(made(70), made(130, seed=5))
    assert segments(seen) == [(0, 70), (70, 200)]
    report = assess("a.mp4", seen, INFO)
    assert (report.start, report.stop, report.verdict) == (70, 200, "warn")
    assert "1 cuts" in report.warnings[0] and "2.8-8.0 s" in report.warnings[0]
    assert report.segments_seconds[0] == (0.0, pytest.approx(2.76))


def test_longest_piece_is_the_one_with_the_face():
    report = assess("a.mp4", joined(without_face(made(120), (0, 120)), made(80, seed=5)), INFO)
    assert (report.start, report.stop) == (120, 200)


def test_jump_cut_in_the_same_scene():
    a, b = made(100), made(100)
    b.landmarks_px[:] += [40, 5]
    b.thumbnails[:, 4:12, 8:20] = np.clip(b.thumbnails[:, 4:12, 8:20].astype(int) + 60, 0, 255)
    assert segments(joined(a, b)) == [(0, 100), (100, 200)]


def test_flash_and_fast_motion_are_no_cuts():
    seen = made()
    seen.thumbnails[80:81] = 255
    seen.landmarks_px[120:130] += (np.arange(10) * 25)[:, None, None]
    assert segments(seen) == [(0, 200)]


def test_pieces_that_are_too_short_are_refused():
    report = assess("a.mp4", joined(*(made(40, seed=s) for s in range(5))), INFO)
    assert "1.60 s; 5 pieces between cuts" in str(report.refusal)


@pytest.mark.parametrize(
    ("changes", "info", "words"),
    [
        ({"faces_found": np.full(200, 2)}, {}, "two people"),
        ({}, {"has_audio": False}, "no sound"),
        ({}, {"hdr": True}, "HDR"),
        ({"landmarks_px": made().landmarks_px * 0.3}, {}, "pixels high"),
    ],
)
def test_warnings(changes, info, words):
    from dataclasses import replace

    report = assess("a.mp4", made(**changes), replace(INFO, **info))
    assert report.verdict == "warn" and len(report.warnings) == 1 and words in report.warnings[0]
