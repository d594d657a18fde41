"""Playback without torch gives the pictures that the torch path gives."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from synthetic import talking_motion

from avatar.errors import BadInput, FormatMismatch
from avatar.export.cameras import ring, stereo_pair
from avatar.model import Avatar, to_uint8
from avatar.plate import plate_behind
from avatar.playback import Player, load_player
from avatar.tracks import Camera
from cuda_ext import ops


@pytest.fixture(scope="module")
def player(tiny_avatar) -> Player:
    return load_player(tiny_avatar.path)


def by_torch(avatar: Avatar, prepared, index: int, camera: Camera, background="plate") -> np.ndarray:
    return to_uint8(avatar.render_frame(prepared, index, camera, background).rgb)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("background", ["plate", "none", (0.2, 0.5, 1.0)])
@pytest.mark.parametrize("size", [(128, 128), (97, 151)])
def test_pictures_equal_those_of_the_torch_path(tiny_avatar, player, background, size):
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = 0.01
    camera = replace(tiny_avatar.camera.scaled(*size), T_camera_world=pose)
    prepared, driven = tiny_avatar.prepare(tiny_avatar.own_motion), player.prepare(player.own_motion)
    for index in (0, 40, 7):
        got = player.frame(driven, index, camera, background)
        assert difference(got, by_torch(tiny_avatar, prepared, index, camera, background)) <= 1
        np.testing.assert_array_equal(got, tiny_avatar.frame(prepared, index, camera, background))


@pytest.mark.parametrize("background", ["plate", "none", (0.2, 0.5, 1.0)])
def test_pictures_of_one_call_equal_those_of_single_calls(tiny_avatar, player, background):
    prepared, driven = tiny_avatar.prepare(tiny_avatar.own_motion), player.prepare(player.own_motion)
    camera, center = player.camera.scaled(97, 131), tiny_avatar.head_center
    for cameras in (stereo_pair(camera, center), [*ring(camera, center, 3, 50.0), camera, camera]):
        alone = [player.frame(driven, 5, c, background) for c in cameras]
        assert (alone[0] != alone[1]).any()
        by_avatar = tiny_avatar.frames(prepared, 5, cameras, background)
        for got in (player.frames(driven, 5, cameras, background), by_avatar):
            np.testing.assert_array_equal(np.stack(alone), np.stack(got))


def test_threads_do_not_change_several_views(player, tiny_avatar):
    driven, cameras = player.prepare(player.own_motion), ring(player.camera, tiny_avatar.head_center, 3, 40.0)
    before, pictures = ops.get_threads(), []
    try:
        for count in (1, 2, 5):
            ops.set_threads(count)
            pictures.append(np.stack(player.frames(driven, 9, cameras)))
    finally:
        ops.set_threads(before)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_every_camera_has_its_own_plate(tiny_avatar):
    """Where no Gaussian is, the room is seen as `plate_behind` gives it, also after the cameras moved."""
    noise = np.random.default_rng(0).integers(0, 256, tiny_avatar.background.shape, np.uint8)
    avatar = replace(tiny_avatar, background=noise)
    prepared, distance = avatar.prepare(avatar.own_motion), float(avatar.driving.mean_translation[2])
    pairs = [stereo_pair(avatar.camera, avatar.head_center, ipd_m) for ipd_m in (0.063, 0.09)]
    for cameras in (*pairs, pairs[0][::-1], [avatar.camera, *pairs[0]]):
        bare = avatar.frames(prepared, 0, cameras, "none")
        rooms = [plate_behind(noise, avatar.camera, distance, camera) for camera in cameras]
        for room, black, picture in zip(rooms, bare, avatar.frames(prepared, 0, cameras), strict=True):
            empty = (black == 0).all(2)
            assert empty.mean() > 0.1
            assert np.abs(picture[empty].astype(int) - room[empty]).max() <= 2  # a little alpha may give no grey level
            assert all(room is other or np.abs(room.astype(int) - other).max() > 50 for other in rooms)


@pytest.mark.parametrize(("maps", "bytes_each", "levels", "rms"), [("half", 2, 1, 0.03), ("int8", 1, 3, 0.1)])
def test_packed_maps_play_nearly_the_same(tiny_avatar, player, maps, bytes_each, levels, rms):
    small = load_player(tiny_avatar.path, maps)
    driven, errors = player.prepare(player.own_motion), []
    for index in range(0, len(player.own_motion), 8):
        exact, got = player.frame(driven, index).astype(float), small.frame(driven, index)
        errors.append(np.abs(got - exact))
    # Two Gaussians at one depth may change their order.
    assert np.mean(np.stack(errors) > levels) < 1e-4
    assert np.sqrt(np.mean(np.square(errors))) < rms
    maps_size = sum(m.nbytes for m in (player._head.map_means, player._head.map_opacities, player._torso.map_means))
    assert small._packed.nbytes < maps_size * (bytes_each + 1) / 4


@pytest.mark.parametrize(("maps", "levels"), [("float32", 0), ("half", 1), ("int8", 3)])
def test_a_map_of_colors_plays_as_the_colors_it_gives(player, maps, levels):
    head, driven, index = player._head, player.prepare(player.own_motion), 7
    by_feature = np.random.default_rng(0).normal(0, 0.02, head.map_means.shape).astype(np.float32)

    def picture(head, maps: str) -> np.ndarray:
        parts = (player._mesh, head, player._torso, player.space, player._plate, player.camera, player.own_motion)
        return Player(*parts, maps).frame(driven, index).astype(int)

    moved = picture(head._replace(colors=head.colors + by_feature @ driven.features[index]), maps)
    got = picture(head._replace(map_colors=by_feature), maps)
    assert np.abs(got - moved).max() <= levels + 1  # sums in another order
    assert np.abs(got - picture(head, maps)).max() > 10


def test_foreign_motion_is_driven_the_same_way(tiny_avatar, player):
    motion = talking_motion(40, seed=3)
    prepared, driven = tiny_avatar.prepare(motion, foreign=True), player.prepare(motion, foreign=True)
    for name in ("features", "torso_features", "torso"):
        np.testing.assert_array_equal(getattr(driven, name), getattr(prepared, name).numpy())
    camera = tiny_avatar.camera
    assert difference(player.frame(driven, 12), by_torch(tiny_avatar, prepared, 12, camera)) <= 1


def test_an_avatar_plays_without_torch(tiny_avatar):
    code = """
import sys
from avatar.playback import load_player
player = load_player(sys.argv[1])
picture = player.frame(player.prepare(player.own_motion), 3)
assert picture.std() > 10, "an empty picture"
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_avatar.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_threads_may_share_a_player(player):
    driven = player.prepare(player.own_motion)
    alone = [player.frame(driven, i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: player.frame(driven, i), range(12)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_played_is_explained(player, tiny_avatar, tmp_path):
    driven = player.prepare(player.own_motion)
    with pytest.raises(BadInput, match="unknown background 'wall'"):
        player.frame(driven, 0, background="wall")
    with pytest.raises(BadInput, match="unusable background colour"):
        player.frame(driven, 0, background=(0.5, float("nan"), 0.5))
    with pytest.raises(IndexError, match=f"frame 900 of a motion of {len(driven)}"):
        player.frame(driven, 900)
    for camera in (replace(player.camera, width=0), replace(player.camera, fx=float("nan"))):
        with pytest.raises(BadInput, match="this camera can't be rendered"):
            player.frame(driven, 0, camera)
    for others, said in (
        ([], "got: none"),
        ([player.camera, player.camera.scaled(64, 32)], "got: 64x32 pinhole, 128x128 pinhole"),
        ([player.camera, replace(player.camera, model="fisheye")], "got: 128x128 fisheye, 128x128 pinhole"),
    ):
        with pytest.raises(BadInput, match=f"(?s)can't be rendered in one call.*one picture size and model.*{said}"):
            player.frames(driven, 0, others)
    with pytest.raises(BadInput, match="is not an avatar"):
        load_player(tmp_path)
    narrow = replace(driven, features=driven.features[:, :-1])
    with pytest.raises(ValueError, match="head.map_means: expected shape"):
        player.frame(narrow, 0)
    for name in ("avatar.json", "motion.npz"):
        (tmp_path / name).write_bytes((tiny_avatar.path / name).read_bytes())
    (tmp_path / "avatar.safetensors").write_bytes(b"cut off")
    with pytest.raises(FormatMismatch, match="a whole safetensors file"):
        load_player(tmp_path)


def test_features_of_fewer_frames_are_refused(player, unchecked_shapes):
    driven = player.prepare(player.own_motion)
    short = replace(driven, features=driven.features[:-1])
    with pytest.raises(ValueError, match=f"expected arrays of {len(driven)} frames"):
        player.frame(short, len(driven) - 1)
