"""Where Gaussians start, what covers a face, how hair hangs."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from avatar.driving import DrivingSpace
from avatar.export.cameras import turned
from avatar.fitting import FitConfig
from avatar.fitting.colors import color_unseen, median_colors
from avatar.fitting.config import SplitConfig
from avatar.fitting.frames import FrameStore, split_frames
from avatar.fitting.occlusion import covered_pixels
from avatar.fitting.seeding import CLEAR_FRAMES, CORE_DEPTH_M, Seeder
from avatar.geometry import axis_angle_to_matrix
from avatar.renderer import render
from avatar.types import Gaussians, HeadParams


@pytest.fixture(scope="module")
def seeder(capture):
    split = split_frames(capture.motion, capture.tracked, SplitConfig())
    config = FitConfig(long_side=128, head_gaussians=2000, core_gaussians=3000, hair_gaussians=400, torso_gaussians=300)
    frames = FrameStore(capture, 128, 16)
    driving = DrivingSpace.of(capture.motion[split.train])
    neutral = torch.from_numpy(capture.neutral)
    return Seeder(capture.head, neutral, capture.motion, frames, split.train, driving, config)


@pytest.fixture(scope="module")
def layers(seeder):
    return seeder.layers()


def posed(seeder, layers, params: HeadParams | None = None):
    driven = seeder.driving.prepare(seeder.motion).frame(seeder.reference)
    driven = replace(driven, params=params or driven.params)
    return layers.gaussians(seeder.head, seeder.neutral, driven)


def test_seeds_lie_where_their_pixels_are(seeder, layers):
    """Rendering the seeds as they are already resembles the frame."""
    gaussians = posed(seeder, layers)
    uv = seeder.camera.project(gaussians.means.numpy())
    inside = ((uv > 0) & (uv < [seeder.camera.width, seeder.camera.height])).all(1)
    image = seeder.frames.rgba(seeder.reference)
    x, y = uv[inside].astype(int).T
    person = image[y, x, 3] > 127
    assert person.mean() > 0.9
    torso = layers.torso.colors.median(0).values
    np.testing.assert_allclose(torso.numpy() * 255, (40, 60, 110), atol=12)


def test_nothing_covers_the_face_in_the_reference_frame(seeder, capture):
    """Of a clip in which something hides the lower half of what would be the reference, another frame is."""
    covered = copy(capture)

    def frame(index: int) -> np.ndarray:
        picture = capture.frame(index).copy()
        if index == seeder.reference:
            picture[len(picture) // 2 :] = 20, 160, 20
        return picture

    covered.frame = frame
    train = split_frames(capture.motion, capture.tracked, SplitConfig()).train
    frames = FrameStore(covered, 128, 16)
    again = Seeder(seeder.head, seeder.neutral, seeder.motion, frames, train, seeder.driving, seeder.config)
    assert again.reference != seeder.reference and again.reference in seeder.color_frames
    assert seeder.reference not in again.color_frames[:CLEAR_FRAMES]


def test_a_clip_without_long_hair_has_none_below_the_cheeks(seeder):
    rows = np.nonzero(seeder.hair)[0]
    assert len(rows) == 0 or (rows < seeder.cheek_row).mean() > 0.9
    assert seeder.torso.sum() > 500


def test_hanging_hair_follows_its_root_but_keeps_its_direction(seeder, layers):
    hanging = replace(
        layers.head, hang=torch.ones_like(layers.head.hang), means=torch.full_like(layers.head.means, 0.02)
    )
    stiff = replace(hanging, hang=torch.zeros_like(layers.head.hang))
    rest = seeder.driving.prepare(seeder.motion).frame(seeder.reference)
    roll = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.5])) @ rest.params.rotation
    tilted = replace(rest, params=replace(rest.params, rotation=roll))

    def offsets(layer, frame):
        bare = replace(layer, means=torch.zeros_like(layer.means))
        at = [replace(layers, head=x).gaussians(seeder.head, seeder.neutral, frame).means for x in (layer, bare)]
        return (at[0] - at[1])[: len(layer.means)]

    torch.testing.assert_close(offsets(hanging, rest), offsets(hanging, tilted), atol=1e-5, rtol=0)
    assert (offsets(stiff, rest) - offsets(stiff, tilted)).norm(dim=1).median() > 0.004


PERSON = np.ones((128, 128), bool)


def face_and_landmarks(size: int = 128):
    face = np.full((size, size, 3), 0.6)
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    landmarks = size / 2 + 0.35 * size * ring
    from avatar.head.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE

    for ids, centre in ((OUTER_LIPS, (64, 85)), (LEFT_EYE, (80, 50)), (RIGHT_EYE, (48, 50))):
        small = np.linspace(0, 2 * np.pi, len(ids), endpoint=False)
        landmarks[list(ids)] = np.array(centre) + 6 * np.stack([np.cos(small), np.sin(small)], 1)
    return face, landmarks


def test_an_open_mouth_is_not_covered():
    face, landmarks = face_and_landmarks()
    frame = face.copy()
    frame[82:88, 60:68] = 0.05
    assert not covered_pixels(face, frame, PERSON, landmarks).any()


def test_a_hand_on_the_cheek_is_covered():
    face, landmarks = face_and_landmarks()
    frame = face.copy()
    frame[60:120, 20:48] = (0.2, 0.3, 0.2)  # a gloved hand from below
    covered = covered_pixels(face, frame, PERSON, landmarks)
    assert covered[70:90, 30:44].all()
    assert covered[110:118, 24:44].all(), "the hand outside of the face goes with it"
    assert not covered[20:40].any()


def test_a_hand_on_the_mouth_covers_it():
    face, landmarks = face_and_landmarks()
    frame = face.copy()
    frame[70:105, 44:84] = (0.2, 0.3, 0.2)
    assert covered_pixels(face, frame, PERSON, landmarks)[80:90, 58:70].all()


def test_a_hand_in_the_colour_of_the_face_is_covered_with_what_its_outlines_enclose():
    face, landmarks = face_and_landmarks()
    rows, columns = np.mgrid[:128, :128]
    beside = np.hypot(rows - 64, columns - 64) > 45
    face[beside] = 0.1
    frame = face.copy()
    frame[80:128, 0:60] = 0.6  # fingers from the left, as bright as the cheek behind them
    for row in (80, 96, 112):
        frame[row : row + 2, :60] = 0.4
    covered = covered_pixels(face, frame, PERSON, landmarks)
    assert covered[82:110, 25:55].mean() > 0.97
    assert covered[84:126, 2:30].all()
    assert not covered[:60].any() and not covered[:, 80:].any()
    off = np.where(beside[..., None], face, frame)  # the same lines without a hand beside the face are the face's own
    assert covered_pixels(face, off, PERSON, landmarks).mean() < 0.5 * covered.mean()


def test_the_core_lies_under_the_skin_and_is_opaque(seeder, layers):
    """Seen from any side that shows the face, nothing behind it does."""
    core = slice(seeder.config.head_gaussians, seeder.config.head_gaussians + seeder.config.core_gaussians)
    gaussians = posed(seeder, layers)
    core_points = gaussians.means[core].numpy()
    triangles = layers.head.triangles[core].numpy()
    depth = np.einsum("ni,ni->n", core_points - seeder.centers[triangles], seeder.normals[triangles])
    np.testing.assert_allclose(depth, -CORE_DEPTH_M, atol=2e-4)
    only = Gaussians(*(getattr(gaussians, f.name)[core] for f in fields(Gaussians)))
    middle = core_points.mean(0)
    for degrees in (-30.0, 0.0, 30.0):
        camera = turned(seeder.camera, middle, degrees)
        alpha = render(only, camera).alpha.numpy()
        cheeks = camera.project(core_points)[:: len(core_points) // 20].astype(int)
        assert np.median(alpha[cheeks[:, 1], cheeks[:, 0]]) > 0.97


def test_an_uncovered_face_is_left_alone():
    face, landmarks = face_and_landmarks()
    noisy = face + np.random.default_rng(0).normal(0, 0.02, face.shape)
    assert not covered_pixels(face, noisy, PERSON, landmarks).any()


def test_a_body_is_round():
    """It comes forward from its outline, not where the picture cuts it off."""
    from avatar.fitting.body import HALF_DEPTH_M, body_depth
    from avatar.types import Camera

    camera = Camera(128, 96, 250.0, 250.0, 64.0, 48.0)
    rows, columns = np.mgrid[:96, :128]
    person = (rows > 20) & (np.abs(columns - 64) < 50)
    depth = body_depth(person, camera, 0.8)
    middle, side, top = depth[70, 64], depth[70, 16], depth[23, 64]
    assert depth[95, 64] == pytest.approx(middle, abs=1e-3)
    assert 0.4 * HALF_DEPTH_M < side - middle < HALF_DEPTH_M and top - middle == pytest.approx(side - middle, abs=0.02)
    assert np.abs(np.diff(depth[70, 16:112])).max() < 0.01, "neighbours lie side by side"


def test_what_lies_above_the_picture_was_not_filmed(seeder):
    """It takes the colour of its nearest neighbour in the picture, not of the pixel at the picture's edge."""
    head = seeder.motion.translation[seeder.reference]
    above = head - [0, head[2] * (seeder.camera.cy + 5) / seeder.camera.fy, 0]
    points = torch.from_numpy(np.stack([head, above])).float()
    assert seeder.camera.pixels_of(points.numpy())[2].tolist() == [True, False]
    frames = copy(seeder.frames)

    def edged(index: int) -> np.ndarray:
        picture = seeder.frames.rgba(index).copy()
        picture[0] = 255
        return picture

    frames.rgba = edged
    colors = median_colors(frames, [seeder.reference], lambda _: (points, np.ones(2, bool)))
    torch.testing.assert_close(colors[0], colors[1])
    assert (colors[0] < 0.9).any()


def test_what_was_never_filmed_has_the_colour_of_its_like():
    """Six triangles: skin, scalp and lips, each seen and unseen; the unseen skin lies beside the lips."""
    kinds, seen = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([True, False] * 3)
    of = torch.arange(6).repeat_interleave(20)
    places = of[:, None].numpy() * np.array([[0.01, 0, 0]]) + np.random.default_rng(0).normal(0, 1e-4, (120, 3))
    skin, brown, red, wrong = torch.eye(3)[0], torch.full((3,), 0.2), torch.eye(3)[2], torch.ones(3)
    colors = torch.stack([skin, wrong, skin, wrong, red, red])[of]
    strands = torch.cat([brown.repeat(150, 1), wrong.repeat(50, 1)])
    for n_beside, back in ((150, brown), (10, skin)):  # hair beside the head, and a bald one
        surface = {"colors": colors.clone(), "triangles": of.int()}
        hair = {"colors": strands.clone(), "triangles": torch.full((200,), 3).int()}
        color_unseen(surface, hair, n_beside, seen, kinds == 0, kinds == 1, places)
        want = torch.stack([skin, skin, skin, back, red, red])[of]
        torch.testing.assert_close(surface["colors"], want)
        assert torch.equal(hair["colors"][:150], strands[:150])
        assert torch.equal(hair["colors"][150:], (brown if n_beside == 150 else wrong).expand(50, 3))
