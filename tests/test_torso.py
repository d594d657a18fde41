"""Shoulders: tracked where they can be seen, moved rigidly, predicted from the head where nobody says."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from synthetic import talking_motion

from avatar.driving import DrivingSpace
from avatar.layers import TorsoLayer
from avatar.types import TORSO_BEHIND_HEAD_M, Camera
from preprocess.tracking import track_torso

WIDTH, HEIGHT, FRAMES = 200, 160, 60
CAMERA = Camera(WIDTH, HEIGHT, 440.0, 440.0, WIDTH / 2, HEIGHT / 2)
CHIN = 70.0


@pytest.fixture(scope="module")
def motion():
    return talking_motion(FRAMES)


def test_tracked_shoulders_move_points_as_the_pixels_moved(motion):
    rng = np.random.default_rng(0)
    cloth = cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, WIDTH, 3)), (0, 0), 3)
    cloth = cv2.normalize(cloth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    t = np.linspace(0, 2 * np.pi, FRAMES)
    truth = [cv2.getRotationMatrix2D((100, 120), 3 * np.sin(a), 1.0) for a in t]
    for a, warp in zip(t, truth, strict=True):
        warp[:, 2] += (6 * np.sin(a), 4 * np.cos(a) - 4)
    body = np.zeros((HEIGHT, WIDTH), np.uint8)
    body[60:, 20:180] = 255

    def picture(i):
        return cv2.warpAffine(cloth, truth[i], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)

    def mask(i):
        return cv2.warpAffine(body, truth[i], (WIDTH, HEIGHT))

    torso = track_torso(motion, CAMERA, np.full(FRAMES, CHIN), picture, mask)
    depth = float(np.median(motion.translation[:, 2])) + TORSO_BEHIND_HEAD_M
    seen = np.array([[60.0, 120.0], [140.0, 130.0], [100.0, 100.0]])
    rest = np.c_[(seen - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx * depth, np.full(3, depth)]
    reference = int(np.abs(torso).sum(1).argmin())
    to_reference = np.linalg.inv(np.vstack([truth[reference], [0, 0, 1]]))
    for i in range(0, FRAMES, 7):
        moved = TorsoLayer.moved(torch.from_numpy(rest).float(), torch.from_numpy(torso[i])).numpy()
        step = np.vstack([truth[i], [0, 0, 1]]) @ to_reference
        expected = seen @ step[:2, :2].T + step[:2, 2]
        assert np.abs(CAMERA.project(moved) - expected).max() < 0.6, i


def test_no_shoulders_no_guess(motion):
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    torso = track_torso(motion, CAMERA, np.full(FRAMES, CHIN), lambda i: blank, lambda i: blank[..., 0])
    assert not torso.any()
    body = np.full((HEIGHT, WIDTH), 255, np.uint8)
    torso = track_torso(motion, CAMERA, np.full(FRAMES, CHIN), lambda i: blank, lambda i: body)
    assert not torso.any(), "plain cloth can't be aligned"


def test_at_rest_undoes_the_movement():
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    move = torch.tensor([0.03, -0.02, 0.1])
    torch.testing.assert_close(TorsoLayer.moved(TorsoLayer.at_rest(points, move), move), points)


def test_drivers_without_shoulders_get_them_from_the_head():
    head = talking_motion(200)
    torso = np.c_[0.5 * head.translation[:, :2], 0 * head.translation[:, :1]].astype(np.float32)
    space = DrivingSpace.of(replace(head, torso=torso))
    own = space.prepare(replace(head, torso=torso)).torso
    np.testing.assert_allclose(own.numpy(), torso)
    guessed = space.prepare(head).torso.numpy()
    assert np.corrcoef(guessed[:, 0], torso[:, 0])[0, 1] > 0.9
