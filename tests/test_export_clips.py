import json

import av
import numpy as np
import pytest
import torch
from export_standin import CAMERA, CENTER, DotAvatar, DotMotion, spot

from avatar.assets import sha256_file
from avatar.errors import BadInput, FormatMismatch
from avatar.export.cameras import camera_from_json, front, orbit, ring
from avatar.export.clip import ClipOptions, duration_seconds, frames_at_rate, render_clip
from avatar.export.multiview import export_multiview
from avatar.export.provenance import Provenance, sidecar_path
from avatar.export.splats import read_ply, write_ply
from avatar.export.stereo import export_stereo

MOTION = DotMotion(np.arange(20) / 25)
FROM = Provenance(avatar="abc", source="own", seed=3, command="visavis render x")


def frames_of(path):
    with av.open(str(path)) as clip:
        return [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)], dict(clip.metadata)


def test_clip_shows_every_moment_and_says_it_is_synthetic(tmp_path):
    path = tmp_path / "clip.mp4"
    count = render_clip(DotAvatar(), MOTION, front(CAMERA), path, options=ClipOptions(long_side=192), provenance=FROM)
    frames, metadata = frames_of(path)
    assert count == len(frames) == 20
    assert frames[0].shape == (128, 192, 3)
    assert np.allclose([f[2, 2].mean() for f in frames], 40 + np.arange(20), atol=2)
    assert metadata["comment"].startswith("Synthetic media made by visavis")
    record = json.loads(sidecar_path(path).read_text())
    assert record["synthetic"] is True and record["avatar"] == "abc" and record["seed"] == 3
    assert record["sha256"] == sha256_file(path)


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        render_clip(DotAvatar(), MOTION, front(CAMERA), tmp_path / name, provenance=FROM)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_orbit_keeps_the_head_in_place(tmp_path):
    camera_at = orbit(CAMERA, CENTER, seconds=duration_seconds(MOTION), yaw_degrees=20)
    render_clip(DotAvatar(), MOTION, camera_at, tmp_path / "o.mp4", options=ClipOptions(long_side=384))
    frames, _ = frames_of(tmp_path / "o.mp4")
    noses = np.array([spot(f, 0) for f in frames])
    assert np.abs(noses - [192, 128]).max() < 2
    green = np.array([spot(f, 1)[0] for f in frames])
    assert green.max() - green.min() > 8  # the other dots turn with the head


def test_variable_rate_keeps_its_pace():
    assert frames_at_rate(np.arange(5) / 25, 25).tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(frames_at_rate(np.arange(26) / 25 + 7, 50), np.arange(51) / 2, atol=0.5)
    times = np.array([0.0, 0.04, 0.08, 0.28, 0.32])  # a gap of five frames
    assert frames_at_rate(times, 25).tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 4]
    with pytest.raises(BadInput, match="0 frames"):
        frames_at_rate(np.zeros(0), 25)


def test_stereo_is_side_by_side_left_eye_left(tmp_path):
    path = export_stereo(DotAvatar(), MOTION, front(CAMERA), CENTER, tmp_path / "s.mp4", options=ClipOptions(192))
    assert path.name == "s_sbs.mp4" and sidecar_path(path).exists()
    image = frames_of(path)[0][0]
    assert image.shape == (128, 384, 3)
    left, right = image[:, :192], image[:, 192:]
    assert np.abs(spot(left, 0) - spot(right, 0)).max() < 1.0  # the nose lies in the screen plane
    # Green and blue lie 2 cm behind the screen: seen by the right eye they stand further right.
    disparity = spot(right, 1) - spot(left, 1)
    expected = 240 * 0.063 * (1 / 0.5 - 1 / 0.52)
    assert disparity[0] == pytest.approx(expected, abs=0.7) and abs(disparity[1]) < 0.7


def test_multiview_is_synchronised_and_calibrated(tmp_path):
    cameras = ring(CAMERA, CENTER, 3, 40.0)
    paths = export_multiview(
        DotAvatar(), MOTION, cameras, tmp_path / "ring", options=ClipOptions(long_side=384), provenance=FROM
    )
    document = json.loads((tmp_path / "ring" / "cameras.json").read_text())
    assert document["frames"] == 20 and [v["file"] for v in document["views"]] == [p.name for p in paths]
    brightness = [[f[2, 2].mean() for f in frames_of(p)[0]] for p in paths]
    assert np.ptp(brightness, axis=0).max() <= 2  # frame k is the same moment everywhere
    world = DotAvatar().gaussians(MOTION, 0).means[1].numpy()
    for view, path in zip(document["views"], paths, strict=True):
        camera = camera_from_json(view, view["file"])
        p = camera.T_camera_world[:3, :3] @ world + camera.T_camera_world[:3, 3]
        pixel = [camera.fx * p[0] / p[2] + camera.cx, camera.fy * p[1] / p[2] + camera.cy]
        assert np.abs(spot(frames_of(path)[0][0], 1) - pixel).max() < 1.5


def test_splats_round_trip_and_header(tmp_path):
    gaussians = DotAvatar().gaussians(MOTION, 0)
    write_ply(tmp_path / "f.ply", gaussians, FROM)
    back = read_ply(tmp_path / "f.ply")
    for name in ("means", "quats_wxyz", "scales", "opacities", "colors"):
        assert torch.allclose(getattr(back, name), getattr(gaussians, name), atol=1e-5), name
    header = (tmp_path / "f.ply").read_bytes().split(b"end_header\n")[0].decode()
    assert "comment Synthetic media" in header and "element vertex 5" in header
    assert header.index("f_dc_0") < header.index("opacity") < header.index("scale_0") < header.index("rot_0")
    assert json.loads(sidecar_path(tmp_path / "f.ply").read_text())["source"] == "own"


def test_splats_open_in_another_reader(tmp_path):
    """trimesh reads any valid .ply: the header and the body agree for a reader that is not ours."""
    trimesh = pytest.importorskip("trimesh")
    gaussians = DotAvatar().gaussians(MOTION, 0)
    write_ply(tmp_path / "f.ply", gaussians)
    cloud = trimesh.load(tmp_path / "f.ply")
    assert np.allclose(cloud.vertices, gaussians.means.numpy(), atol=1e-6)


def test_broken_splats_are_explained(tmp_path):
    path = tmp_path / "f.ply"
    write_ply(path, DotAvatar().gaussians(MOTION, 0))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FormatMismatch, match="bytes for 5 Gaussians"):
        read_ply(path)
    path.write_text("hello")
    with pytest.raises(FormatMismatch, match="no ply header"):
        read_ply(path)
    with pytest.raises(BadInput, match="cannot read"):
        read_ply(tmp_path / "none.ply")
