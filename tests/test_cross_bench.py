"""Avatars driven by other people's motion, on the synthetic person: what the measures say of whole and broken heads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic import SyntheticCapture, talking_motion

from avatar.errors import BadInput
from avatar.fitting import FitConfig
from preprocess.studio import cross_bench
from preprocess.studio.cross_bench import drive, run, scores, sheet, supported


@pytest.fixture(scope="module", autouse=True)
def few_frames():
    before, cross_bench.FRAMES = cross_bench.FRAMES, 8
    yield
    cross_bench.FRAMES = before


@pytest.fixture(scope="module")
def stranger():
    """Somebody else, who sits elsewhere and moves otherwise."""
    other = SyntheticCapture(40)
    other.motion = replace(talking_motion(40, seed=3), translation=other.motion.translation + 0.1)
    return other


def nobody(picture):
    return None


@pytest.fixture(scope="module")
def own(tiny_avatar, capture):
    return drive(tiny_avatar, capture, False, nobody)


def test_an_avatar_in_its_own_motion_is_whole(tiny_avatar, capture, own):
    row = scores(own, own, capture) | supported(tiny_avatar, capture.motion, False)
    assert row["finite_share"] == 1 and row["support_mean"] > 0.8
    assert 0.8 < row["area_lowest"] <= row["area_mean"] < 1.2
    assert row["aperture_r"] is None and row["faces_found"] == 0, "the detector found nobody"


def test_a_strangers_motion_leaves_it_whole(tiny_avatar, stranger, own):
    played = drive(tiny_avatar, stranger, True, nobody)
    row = scores(played, own, stranger)
    assert row["finite_share"] == 1 and 0.7 < row["area_lowest"] <= row["area_mean"] < 1.3
    assert row["farthest_mm"] < 1500 * own.farthest.max()
    assert sheet(stranger, [played.pictures]).shape == (2 * 256, 6 * 256, 3)


def test_broken_heads_are_told(tiny_avatar, capture, own):
    head = tiny_avatar.layers.head
    burst = replace(tiny_avatar, layers=replace(tiny_avatar.layers, head=replace(head, means=head.means + 0.3)))
    assert scores(drive(burst, capture, False, nobody), own, capture)["farthest_mm"] > 200
    means = torch.full_like(head.means, torch.nan)
    lost = replace(tiny_avatar, layers=replace(tiny_avatar.layers, head=replace(head, means=means)))
    row = scores(drive(lost, capture, False, nobody), own, capture)
    assert row["finite_share"] == 0 and row["area_lowest"] == 0 and row["farthest_mm"] == 0


def test_unknown_subjects_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no subject is called 'cat'"):
        run(["cat"], FitConfig(steps=1), seconds=3.4, keep=tmp_path)
