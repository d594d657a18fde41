"""Video files of every kind come out upright, square-pixelled, on time, or as an error with its fix."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from make_video import BLUE, GREEN, GREY, RED, audio_only, colour_at, corner_video, corners, tone, write_video

from avatar.errors import BadInput
from preprocess.video import frames, probe, require_length

TOLERANCE = 14


def is_colour(picture, x, y, colour, tolerance=TOLERANCE) -> bool:
    return np.abs(colour_at(picture, x, y) - np.array(colour)).max() < tolerance


def first(path: Path, **options) -> np.ndarray:
    return next(iter(frames(path, **options)))[2]


def assert_corners(picture, top_left=RED, top_right=GREEN, bottom_left=BLUE) -> None:
    for (x, y), colour in (((0.2, 0.2), top_left), ((0.8, 0.2), top_right), ((0.2, 0.8), bottom_left)):
        assert is_colour(picture, x, y, colour), (colour_at(picture, x, y), colour)


def test_plain_clip(tmp_path):
    path = corner_video(tmp_path / "clip ünï.mp4", seconds=2.4, fps=10, audio=tone(2.4))
    info = probe(path)
    assert (info.width, info.height, info.has_audio, info.rotation_degrees) == (96, 64, True, 0)
    assert info.duration_seconds == pytest.approx(2.4, abs=0.1)  # the encoder guesses how long the last frame lasts
    assert info.frame_count == 24
    got = list(frames(path))
    assert [i for i, _, _ in got] == list(range(24))
    np.testing.assert_allclose([t for _, t, _ in got], np.arange(24) / 10, atol=2e-3)
    assert got[0][2].shape == (64, 96, 3) and got[0][2].dtype == np.uint8
    assert_corners(got[0][2])


@pytest.mark.parametrize(
    ("rotation", "degrees", "size", "expected"),
    [
        (-90, 90, (64, 96), (BLUE, RED, GREY)),  # a phone held upright: turned clockwise for display
        (90, 270, (64, 96), (GREEN, GREY, RED)),
        (180, 180, (96, 64), (GREY, BLUE, GREEN)),
    ],
)
def test_rotation_tag(tmp_path, rotation, degrees, size, expected):
    path = corner_video(tmp_path / "phone.mp4", rotation_degrees=rotation)
    info = probe(path)
    assert (info.width, info.height) == size
    assert info.rotation_degrees == degrees
    picture = first(path)
    assert picture.shape[:2] == size[::-1]
    top_left, top_right, bottom_left = expected
    assert is_colour(picture, 0.2, 0.2, top_left)
    if top_right != GREY:
        assert is_colour(picture, 0.8, 0.2, top_right)
    if bottom_left != GREY:
        assert is_colour(picture, 0.2, 0.8, bottom_left)


def test_mirrored_display_matrix(tmp_path):
    path = corner_video(tmp_path / "selfie.mp4", tune=lambda s: s.set_display_matrix(_matrix(-1, 0, 0, 1)))
    assert_corners(first(path), top_left=GREEN, top_right=RED, bottom_left=GREY)


def _matrix(a, b, c, d):
    return [a, b, 0, c, d, 0, 0, 0, 1]


def test_variable_frame_rate(tmp_path):
    times = np.cumsum([0.0, *np.tile([0.04, 0.1, 0.033], 14)])
    path = write_video(tmp_path / "vfr.mkv", [corners(96, 64, i) for i in range(len(times))], times)
    got = np.array([t for _, t, _ in frames(path)])
    np.testing.assert_allclose(got, times, atol=2e-3)


def test_clip_that_does_not_start_at_zero(tmp_path):
    times = 5 + np.arange(25) / 10
    path = write_video(tmp_path / "late.mkv", [corners(96, 64) for _ in times], times)
    got = [t for _, t, _ in frames(path)]
    assert probe(path).start_seconds == pytest.approx(5, abs=2e-3)
    assert got[0] == 0 and got[-1] == pytest.approx(2.4, abs=2e-3)


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p", "yuv444p", "yuvj420p"])
def test_pixel_formats(tmp_path, pixel_format):
    path = corner_video(tmp_path / "clip.mkv", pixel_format=pixel_format)
    assert probe(path).pixel_format == pixel_format
    assert_corners(first(path))


def test_untagged_hd_is_bt709(tmp_path):
    path = corner_video(tmp_path / "hd.mp4", fps=2, width=1280, height=720)
    # The writer here converts with BT.601 and tags nothing, so a BT.709 reader sees green shifted by a known amount.
    assert not is_colour(first(path), 0.8, 0.2, GREEN, tolerance=5)


def test_odd_size(tmp_path):
    path = corner_video(tmp_path / "odd.mkv", width=95, height=63, pixel_format="yuv444p")
    assert (probe(path).width, probe(path).height) == (95, 63)
    assert first(path).shape == (63, 95, 3)
    assert first(path, long_side=47).shape == (31, 47, 3)


@pytest.mark.parametrize(("ratio", "size"), [(Fraction(16, 15), (102, 64)), (Fraction(3, 4), (96, 85))])
def test_non_square_pixels(tmp_path, ratio, size):
    path = corner_video(tmp_path / "grid.mp4", sample_aspect_ratio=ratio)
    assert (probe(path).width, probe(path).height) == size
    picture = first(path)
    assert picture.shape[:2] == size[::-1]
    assert_corners(picture)


def test_long_side_never_enlarges(tmp_path):
    path = corner_video(tmp_path / "clip.mp4")
    assert first(path, long_side=48).shape == (32, 48, 3)
    assert first(path, long_side=500).shape == (64, 96, 3)


def test_start_max_and_skip(tmp_path):
    path = corner_video(tmp_path / "clip.mp4", seconds=4)
    whole = list(frames(path))
    part = list(frames(path, start_seconds=1.0, max_seconds=2.0))
    assert [i for i, _, _ in part] == list(range(20))
    assert part[0][1] == pytest.approx(1.0, abs=2e-3)
    np.testing.assert_array_equal(part[3][2], whole[13][2])
    resumed = list(frames(path, start_seconds=1.0, max_seconds=2.0, skip=5))
    assert [i for i, _, _ in resumed] == list(range(5, 20))
    assert resumed[0][1] == part[5][1]
    np.testing.assert_array_equal(resumed[0][2], part[5][2])


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".ts", "libx264")])
def test_other_containers(tmp_path, suffix, codec):
    path = corner_video(tmp_path / f"clip{suffix}", codec=codec)
    assert probe(path).duration_seconds == pytest.approx(2.4, abs=0.2)
    got = list(frames(path))
    assert len(got) == 24
    assert_corners(got[-1][2])


def test_duration_is_measured_where_the_header_has_none(tmp_path):
    path = corner_video(tmp_path / "recorder.webm", codec="libvpx-vp9", container_options={"live": "1"})
    assert probe(path).duration_seconds == pytest.approx(2.4, abs=0.2)


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        probe(path)
    assert str(path) in str(error.value)
    assert error.value.fix
    return str(error.value)


def test_missing_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.mp4")


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.mp4").touch()
    assert "is empty" in refusal(tmp_path / "a.mp4")


def test_text_file(tmp_path):
    (tmp_path / "a.mp4").write_text("naïve text\n" * 50)
    assert "a text file" in refusal(tmp_path / "a.mp4")


def test_random_bytes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "is not a video" in refusal(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".m4a", ".wav"])
def test_audio_only(tmp_path, suffix):
    text = refusal(audio_only(tmp_path / f"speech{suffix}"))
    assert "holds no video" in text and "only audio" in text


def truncated(path: Path, share: float) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


def test_mp4_without_its_index(tmp_path):
    assert "moov" in refusal(truncated(corner_video(tmp_path / "cut.mp4"), 0.6))


def test_mp4_whose_data_ends_early(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 96, 3), np.uint8)
    path = tmp_path / "cut.mp4"
    write_video(path, noise, np.arange(60) / 10, container_options={"movflags": "faststart"})
    text = refusal(truncated(path, 0.7))
    assert "is cut off" in text and "--max-seconds" in text
    assert len(list(frames(path, max_seconds=2.0))) == 20


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".avi", "mpeg4")])
def test_other_containers_that_end_early(tmp_path, suffix, codec):
    path = truncated(corner_video(tmp_path / f"cut{suffix}", seconds=10, codec=codec), 0.6)
    with pytest.raises(BadInput, match="is cut off"):
        list(frames(path))


def test_zero_frames(tmp_path):
    import av

    path = tmp_path / "zero.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        container.start_encoding()
        container.mux(sound.encode())
    text = refusal(path)
    assert "0 frames" in text or "holds no video" in text


def test_too_short(tmp_path):
    path = corner_video(tmp_path / "short.mp4", seconds=1.2)
    with pytest.raises(BadInput, match="too short") as error:
        require_length(path, probe(path).duration_seconds)
    assert "got: 1.1" in str(error.value) and "at least 2 s" in str(error.value)
    require_length(path, 2.0)


def test_start_after_the_end(tmp_path):
    path = corner_video(tmp_path / "clip.mp4")
    with pytest.raises(BadInput, match="no frame after 9 s"):
        list(frames(path, start_seconds=9))
