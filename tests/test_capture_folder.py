"""A capture comes back as it was written; one edited into nonsense is refused with file and field."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from make_capture import HEIGHT, WIDTH, K, T, picture, small_capture, tracks

from avatar.errors import BadInput, FormatMismatch
from avatar.files import check_output_folder
from preprocess.capture import CaptureFolder
from preprocess.capture.files import SCHEMA, frame_path, mask_path, save_tracks
from preprocess.capture.pictures import read_picture, write_mask, write_picture
from preprocess.stages.workspace import Workspace


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "my capture"
    return small_capture(path)


def test_round_trip(folder):
    capture = CaptureFolder.load(folder)
    assert (len(capture), capture.fps, capture.head_name, capture.audio_path) == (T, 25.0, "anny", None)
    assert (capture.camera.width, capture.camera.fx, capture.camera.cy) == (WIDTH, 90.0, 16.0)
    np.testing.assert_array_equal(capture.camera.T_camera_world, np.eye(4))
    np.testing.assert_allclose(capture.frame(3), picture(3), atol=2)
    assert (capture.mask(3) == 30).all()
    np.testing.assert_array_equal(capture.background, picture(0))
    np.testing.assert_array_equal(capture.background_seen, np.eye(HEIGHT, WIDTH, dtype=bool))
    stored = tracks()
    for name in ("identity", "neutral", "tracked", "confidence", "landmarks_px", "scores"):
        np.testing.assert_array_equal(getattr(capture, name), stored[name])
    np.testing.assert_array_equal(capture.motion.timestamps_seconds, stored["timestamps"])
    np.testing.assert_array_equal(capture.motion.translation, stored["translation"])


def test_content_hash_follows_the_content(folder):
    before = CaptureFolder.load(folder).content_hash
    assert CaptureFolder.load(folder).content_hash == before
    save_tracks(folder, **{**tracks(), "identity": np.ones(K, np.float32)})
    assert CaptureFolder.load(folder).content_hash != before


def test_colour_survives_storage(tmp_path):
    sharp = np.zeros((32, 32, 3), np.uint8)
    sharp[:, ::2] = (255, 0, 0)
    sharp[:, 1::2] = (0, 0, 255)
    write_picture(tmp_path / "a.jpg", sharp)
    assert np.abs(read_picture(tmp_path / "a.jpg", 32, 32).astype(int) - sharp).max() < 25


@pytest.mark.parametrize(("long_side", "shape"), [(None, (33, 65)), (40, (33, 65)), (32, (17, 33)), (9, (9, 17))])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_may_come_smaller(tmp_path, suffix, long_side, shape):
    slope = np.tile(np.linspace(0, 255, 65, dtype=np.uint8)[:, None], (33, 1, 3))
    write_picture(tmp_path / f"a{suffix}", slope)
    small = read_picture(tmp_path / f"a{suffix}", 65, 33, long_side)
    assert np.abs(np.subtract(small.shape[:2], shape)).max() <= 1 and max(small.shape) >= (long_side or 65)
    expected = np.linspace(0, 255, small.shape[1])[:, None]
    assert np.abs(small - expected).max() < 20
    with pytest.raises(FormatMismatch, match="another size"):
        read_picture(tmp_path / f"a{suffix}", 80, 33, long_side)


def edit(**changes):
    def apply(folder: Path) -> None:
        text = json.loads((folder / "capture.json").read_text())
        for dotted, value in changes.items():
            place, *names = text, *dotted.split("__")
            for name in names[:-1]:
                place = place[name]
            place[names[-1]] = value
        (folder / "capture.json").write_text(json.dumps(text))

    return apply


def array(name: str, change):
    def apply(folder: Path) -> None:
        arrays = tracks()
        changed = change(arrays.pop(name).copy())
        np.savez(folder / "tracks.npz", **arrays, **({} if changed is None else {name: changed}))

    return apply


def put(value, *where):
    def change(values):
        values[where] = value
        return values

    return change


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, data: bytes):
    return lambda folder: (folder / name).write_bytes(data)


NONSENSE = {
    "schema of the future": (edit(schema="visavis.capture/2"), "capture.json has another schema"),
    "schema of an avatar": (edit(schema="visavis.avatar/1"), "capture.json has another schema"),
    "broken json": (overwrite("capture.json", b"{"), "capture.json is no valid JSON"),
    "binary json": (overwrite("capture.json", b"\xff\xfe\x00"), "capture.json is no valid JSON"),
    "a list": (overwrite("capture.json", b"[1]"), "capture.json has another schema"),
    "text for a number": (edit(fps="25"), "'fps' is wrong"),
    "no rate": (edit(fps=0), "'fps' is wrong"),
    "infinite rate": (edit(fps=float("inf")), "'fps' is wrong"),
    "negative frames": (edit(frame_count=-3), "'frame_count' is wrong"),
    "fractional width": (edit(width=48.5), "'width' is wrong"),
    "more frames than tracks": (edit(frame_count=5), "tracks.npz: 'timestamps' is wrong"),
    "no camera": (edit(camera=None), "'camera' is wrong"),
    "focal length": (edit(camera__fx=-1.0), "'fx' is wrong"),
    "principal point": (edit(camera__cx=float("nan")), "'cx' is wrong"),
    "head name": (edit(head={"content_hash": "a"}), "'name' is wrong"),
    "another size": (edit(width=64), "background.png has another size"),
    "sound promised": (edit(audio=True), "audio.wav is missing"),
    "sound unsaid": (edit(audio="yes"), "'audio' is wrong"),
    "no tracks": (remove("tracks.npz"), "tracks.npz is missing"),
    "damaged tracks": (overwrite("tracks.npz", b"PK\x03\x04 nonsense"), "tracks.npz can't be read"),
    "no background": (remove("background.png"), "background.png is missing"),
    "damaged background": (overwrite("background.png", b"\x89PNG nonsense"), "background.png is no readable picture"),
    "a frame less": (remove("frames/000002.jpg"), "000002.jpg is missing"),
    "a mask less": (remove("masks/000003.png"), "000003.png is missing"),
    "an array less": (array("quats_wxyz", lambda v: None), "tracks.npz: 'quats_wxyz' is wrong"),
    "shape": (array("expression", lambda v: v[:, :50]), r"'expression' is wrong\n.*\(4, 52\)"),
    "vertices": (array("neutral", lambda v: v[:, :2]), "'neutral' is wrong"),
    "whole numbers": (array("scores", lambda v: v.astype(int)), "'scores' is wrong"),
    "objects": (array("identity", lambda v: np.array([{}, None], object)), "tracks.npz can't be read"),
    "NaN": (array("expression", put(np.nan, 1, 2)), "'expression' is wrong"),
    "NaN in a tracked frame": (array("landmarks_px", put(np.nan, 0, 5, 1)), "'landmarks_px' is wrong"),
    "wild expression": (array("expression", put(9.0, 0, 0)), "'expression' is wrong"),
    "confidence": (array("confidence", put(3.0, 0)), "'confidence' is wrong"),
    "quaternion": (array("quats_wxyz", put(0.0, 1)), "'quats_wxyz' is wrong"),
    "behind the camera": (array("translation", put(-1.0, 0, 2)), "'translation' is wrong"),
    "time goes back": (array("timestamps", put(0.01, 2)), "'timestamps' is wrong"),
    "time leaps": (array("timestamps", put(1e9, -1)), "at least one frame per second"),
    "nothing tracked": (array("tracked", put(False)), "'tracked' is wrong"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_by_file_and_field(folder, case):
    change, words = NONSENSE[case]
    change(folder)
    with pytest.raises(FormatMismatch, match=words) as error:
        CaptureFolder.load(folder)
    assert str(folder) in str(error.value)


def test_damaged_picture_is_refused_when_read(folder):
    frame_path(folder, 1).write_bytes(b"no jpeg")
    write_mask(mask_path(folder, 1), np.zeros((5, 5), np.uint8))
    capture = CaptureFolder.load(folder)
    with pytest.raises(FormatMismatch, match=r"000001\.jpg is no readable picture"):
        capture.frame(1)
    with pytest.raises(FormatMismatch, match=r"000001\.png has another size(.|\n)*48x32(.|\n)*5x5"):
        capture.mask(1)


def test_what_is_no_capture(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        CaptureFolder.load(tmp_path / "none")
    with pytest.raises(BadInput, match=r"no capture\.json"):
        CaptureFolder.load(tmp_path)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(BadInput, match="is a file"):
        CaptureFolder.load(tmp_path / "a.mp4")


def check_output(output: Path, overwrite: bool) -> None:
    check_output_folder(output, "capture.json", SCHEMA, overwrite)


def test_outputs_that_are_refused(folder, tmp_path):
    check_output(tmp_path / "new", overwrite=False)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=False)
    with pytest.raises(BadInput, match="--overwrite"):
        check_output(folder, overwrite=False)
    check_output(folder, overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for overwriting in (False, True):
        with pytest.raises(BadInput, match="not empty and not a result"):
            check_output(tmp_path / "photos", overwriting)
        with pytest.raises(BadInput, match="is a file"):
            check_output(folder / "capture.json", overwriting)
    edit(schema="visavis.avatar/1")(folder)
    with pytest.raises(BadInput, match="not a result"):
        check_output(folder, overwrite=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount a tiny file system")
def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(BadInput, match="is full"), Workspace(disk / "out", overwrite=False) as work:
            work.blocks("key").save_chunk(0, {"a": np.zeros(200_000)})
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_import_is_light():
    code = (
        "import sys, preprocess, preprocess.capture; print([m for m in ('mediapipe', 'av', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
