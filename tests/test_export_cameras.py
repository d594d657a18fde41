import json
from dataclasses import replace

import numpy as np
import pytest
from export_standin import CAMERA, CENTER

from avatar.errors import BadInput, FormatMismatch
from avatar.export.cameras import CameraPath, orbit, read_path, ring, stereo_pair, turned, write_path


def project(camera, point):
    p = camera.T_camera_world[:3, :3] @ point + camera.T_camera_world[:3, 3]
    return np.array([camera.fx * p[0] / p[2] + camera.cx, camera.fy * p[1] / p[2] + camera.cy])


def position(camera):
    return np.linalg.inv(camera.T_camera_world)[:3, 3]


def test_turning_keeps_the_centre_in_place_and_goes_right_and_up():
    here = project(CAMERA, CENTER)
    there = turned(CAMERA, CENTER, 30.0, 10.0)
    assert np.allclose(project(there, CENTER), here, atol=1e-3)
    assert np.linalg.norm(position(there) - CENTER) == pytest.approx(0.5, abs=1e-5)
    assert position(turned(CAMERA, CENTER, 30.0))[0] == pytest.approx(0.25, abs=1e-5)  # +X is right
    assert position(turned(CAMERA, CENTER, 0.0, 10.0))[1] < 0  # +Y is down


def test_orbit_swings_to_both_sides_and_returns():
    path = orbit(CAMERA, CENTER, seconds=4.0, yaw_degrees=15.0)
    angles = [np.degrees(np.arctan2(position(path(t))[0], 0.5 - position(path(t))[2])) for t in (0, 1, 2, 3, 4)]
    assert np.allclose(angles, [0, 15, 0, -15, 0], atol=1e-3)
    steps = np.diff([position(path(t))[0] for t in np.arange(0, 4, 0.04)])
    assert np.abs(np.diff(steps)).max() < 6e-4  # a sine's own acceleration; no jump in speed
    with pytest.raises(BadInput, match="period"):
        orbit(CAMERA, CENTER, seconds=0)


def test_ring_is_even():
    cameras = ring(CAMERA, CENTER, 5, 60.0)
    yaws = [np.degrees(np.arcsin(position(c)[0] / 0.5)) for c in cameras]
    assert np.allclose(yaws, [-30, -15, 0, 15, 30], atol=1e-3)
    circle = np.array([position(c) for c in ring(CAMERA, CENTER, 4, 360.0)])
    assert np.allclose(circle.mean(0), CENTER, atol=1e-5)
    assert len(ring(CAMERA, CENTER, 1, 60.0)) == 1
    with pytest.raises(BadInput, match="0 views"):
        ring(CAMERA, CENTER, 0, 60.0)


def test_stereo_pair_is_parallel_and_converges_at_the_centre():
    left, right = stereo_pair(CAMERA, CENTER, 0.063)
    assert position(right)[0] - position(left)[0] == pytest.approx(0.063, abs=1e-6)
    assert np.array_equal(left.T_camera_world[:3, :3], right.T_camera_world[:3, :3])
    assert np.allclose(project(left, CENTER), project(right, CENTER), atol=1e-3)
    nose, wall = CENTER - [0, 0, 0.1], CENTER + [0, 0, 1.0]
    assert project(left, nose)[0] > project(right, nose)[0]  # nearer than the screen: crossed disparity
    assert project(left, wall)[0] < project(right, wall)[0]
    assert project(left, nose)[1] == pytest.approx(project(right, nose)[1])  # no vertical disparity
    with pytest.raises(BadInput, match="behind"):
        stereo_pair(CAMERA, -CENTER)
    with pytest.raises(BadInput, match="6300 mm"):
        stereo_pair(CAMERA, CENTER, 6.3)


def test_path_round_trip_and_interpolation(tmp_path):
    end = replace(turned(CAMERA, CENTER, 40.0), fx=240.0)
    write_path(tmp_path / "p.json", [0.0, 2.0], [CAMERA, end])
    path = read_path(tmp_path / "p.json")
    assert np.allclose(path(2.0).T_camera_world, end.T_camera_world, atol=1e-6)
    assert np.allclose(path(-1).T_camera_world, CAMERA.T_camera_world) and path(9).fx == 240.0
    middle = path(1.0)
    assert middle.fx == pytest.approx(180.0)
    assert np.allclose(position(middle), (position(CAMERA) + position(end)) / 2, atol=1e-6)
    angle = np.degrees(np.arccos((np.trace(middle.T_camera_world[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(20.0, abs=1e-3)
    assert CameraPath(np.zeros(1), (CAMERA,))(3.0) is CAMERA


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d.update(schema="other/1"), "schema 'other/1'"),
        (lambda d: d.update(cameras=[]), "no cameras"),
        (lambda d: d["cameras"][1].pop("fx"), "camera 1 of .*usable"),
        (lambda d: d["cameras"][0].update(fx=-3), "fx -3"),
        (lambda d: d["cameras"][0].update(T_camera_world=[[1, 2], [3, 4]]), "no rotation"),
        (lambda d: d["cameras"][1].update(time_seconds=0.0), "do not rise"),
        (lambda d: d["cameras"][1].update(width=50), "several picture sizes"),
    ],
)
def test_bad_paths_are_explained(tmp_path, edit, said):
    file = tmp_path / "p.json"
    write_path(file, [0.0, 1.0], [CAMERA, CAMERA])
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))
    with pytest.raises(FormatMismatch, match=f"(?s){said}"):
        read_path(file)


def test_unreadable_paths(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read_path(tmp_path / "none.json")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(FormatMismatch, match="no JSON"):
        read_path(tmp_path / "t.json")
