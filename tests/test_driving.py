"""The driving-space contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import talking_motion

from avatar.driving import still_motion
from avatar.driving_maths import CLAMP_MARGIN, soft_clamp
from avatar.geometry import mean_rotation, quat_to_matrix


def test_training_features_are_centred_and_of_unit_size(space, motion):
    features = space.raw_features(motion)
    torch.testing.assert_close(features[:, :6].mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    strong = features[:, :6].std(0)
    assert strong[0] == pytest.approx(1, abs=0.02)
    assert (strong < 1.02).all()


def test_features_stay_inside_the_training_range_plus_margin(space, motion):
    wild = replace(motion, expression=motion.expression * 5 + 1, translation=motion.translation + 0.3)
    features = space.prepare(wild).features
    margin = CLAMP_MARGIN * (space.high - space.low)
    assert (features <= space.high + margin + 1e-4).all() and (features >= space.low - margin - 1e-4).all()
    assert (space.raw_features(wild) > space.high + margin).any()


def test_soft_clamp_is_identity_inside_and_smooth_at_the_edge():
    low, high = np.float32([-1]), np.float32([1])
    inside = np.linspace(-1, 1, 11, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(soft_clamp(inside, low, high), inside)
    step = 1e-3
    outside = soft_clamp(np.float32([[1 + step]]), low, high)
    assert float(outside[0, 0] - 1) == pytest.approx(step, rel=1e-2)


def test_foreign_motion_lands_on_our_mean(space, motion):
    other = talking_motion(150, seed=5)
    turned = replace(
        other, translation=other.translation + np.float32([0.2, 0.1, 0.5]), expression=other.expression + 0.1
    )
    moved = space.retarget(turned)
    np.testing.assert_allclose(moved.translation.mean(0), space.mean_translation.numpy(), atol=1e-5)
    R = mean_rotation(quat_to_matrix(torch.as_tensor(moved.quats_wxyz)))
    torch.testing.assert_close(R, space.mean_rotation, atol=1e-3, rtol=0)
    # The movement itself survives: jaw curves keep their shape.
    jaw = turned.expression.std(0).argmax()
    assert np.corrcoef(moved.expression[:, jaw], turned.expression[:, jaw])[0, 1] > 0.98


def test_rest_pose_prepares_to_finite_features(space):
    prepared = space.prepare(still_motion(space.params_at_rest()))
    assert len(prepared) == 1 and torch.isfinite(prepared.features).all()
    torch.testing.assert_close(prepared.features[0, -6:], torch.zeros(6), atol=1e-4, rtol=0)
