"""The card of a motion prior: scores of constructed motions whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.evaluation.motion.card import diversity, make_card, silence_test
from avatar.evaluation.motion.manner import manner
from avatar.evaluation.motion.reference import Reference
from avatar.head import load_head
from avatar.motion import rules
from avatar.motion.blinks import paced_blinks
from avatar.motion.eyes import EyeHabits, blinks, head_share
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from avatar.motion.takes import Take
from avatar.tracks import Motion
from preprocess.studio.speakers import recital

LIPS = list(GROUPS["lips"])


@pytest.fixture(scope="module")
def geometry() -> FaceGeometry:
    return FaceGeometry.of(load_head())


@pytest.fixture(scope="module")
def take() -> Take:
    return recital(5, 30, text_seed=200)


@pytest.fixture(scope="module")
def reference(take: Take, geometry: FaceGeometry) -> Reference:
    return Reference.of([take], geometry)


def later(motion: Motion, frames: int) -> Motion:
    return replace(motion, expression=np.roll(motion.expression, frames, axis=0))


def opened(motion: Motion) -> Motion:
    """Lips that never close."""
    expression = motion.expression.copy()
    expression[:, LIPS] = gaussian_filter1d(expression[:, LIPS], 6, axis=0)
    return replace(motion, expression=expression)


def trembling(motion: Motion) -> Motion:
    turns = Rotation.from_rotvec(0.01 * np.random.default_rng(0).standard_normal((len(motion), 3)))
    quats = (turns * Rotation.from_quat(motion.quats_wxyz, scalar_first=True)).as_quat(scalar_first=True)
    return replace(motion, quats_wxyz=quats.astype(np.float32))


def test_constructed_drivers_get_the_scores_they_deserve(take: Take, reference: Reference, tmp_path: Path):
    true = take.motion
    still = replace(true, expression=np.repeat(true.expression[:1], len(true), axis=0))
    motions = {
        "truth": [true], "late": [later(true, 3)], "rules": [opened(true)], "l0": [true], "still": [still],
        "trembling": [trembling(true)],
    }  # fmt: skip
    card = make_card(motions, [take], reference)
    truth, late, soft, same = (card.row(name) for name in ("truth", "late", "rules", "l0"))
    assert truth["lip_vertex_error_mm"] == 0 and truth["closure_f1"] == 1 and truth["aperture_r"] == 1
    assert late["lag_frames"] == 3 and late["aperture_r"] < 0.9 and late["closure_f1"] < 0.9
    assert soft["closure_recall"] < 0.3 and soft["lip_vertex_error_mm"] > 1
    assert same["lip_vertex_error_mm_gain"][1] < 0 < same["closure_f1_gain"][0]  # over the rung below
    assert card.row("still")["aperture_r"] is None and card.row("still")["aperture_slope"] == 0
    assert card.row("trembling")["head_jerk"] > 1.5 * truth["head_jerk"]
    assert soft["lip_vertex_error_mm_ci"][0] < soft["lip_vertex_error_mm"] < soft["lip_vertex_error_mm_ci"][1]
    page = tmp_path / "card.html"
    card.write_page(page, "somebody")
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text and "closure f1" in text and "8th percentile" in text


def test_eyes_have_the_habits_they_were_given(take: Take):
    habits = EyeHabits(3.0, 1.0, 1.0, 4.0, 2.0, 0.0, 0.0, 0.7)
    seconds = np.arange(25 * 60) / 25
    turning = Rotation.from_euler("YXZ", np.outer(np.sin(seconds), (10, 0, 0)), degrees=True)
    still = Motion(
        seconds, np.zeros((1500, 52), np.float32), np.zeros((1500, 4, 3), np.float32),
        turning.as_quat(scalar_first=True).astype(np.float32), np.zeros((1500, 3), np.float32),
    )  # fmt: skip
    moved = habits.onto(still, 5, np.zeros(52, np.float32))
    assert abs(len(blinks(moved)) - 20) <= 2
    assert head_share([moved]) == pytest.approx(0.7, abs=0.1)
    assert (moved.expression[:, LIPS] == 0).all() and (moved.quats_wxyz == still.quats_wxyz).all()
    again = EyeHabits.of([moved])
    assert (
        again.blink_every_seconds == pytest.approx(3, rel=0.1) and again.reach_yaw_degrees > again.reach_pitch_degrees
    )
    assert EyeHabits.from_arrays(habits.arrays()).head_share == pytest.approx(0.7)
    part = habits.onto(still[700:800], 5, np.zeros(52, np.float32))
    np.testing.assert_array_equal(part.expression, moved.expression[700:800])
    assert EyeHabits.of([take.motion[:30]]).blink_every_seconds > 1  # too short to tell: the usual ones


def test_blinks_are_counted(geometry: FaceGeometry, take: Take):
    expression = np.zeros((1500, 52), np.float32)
    seconds = np.arange(1500) / 25
    expression[:, list(GROUPS["lids"])] = paced_blinks(seconds, 3, 12.0)[:, None]
    motion = Motion(
        seconds, expression, np.zeros((1500, 4, 3), np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (1500, 1)), np.zeros((1500, 3), np.float32),
    )  # fmt: skip
    assert manner([motion], geometry)["blinks_per_minute"] == pytest.approx(12, abs=1)


def test_lips_that_follow_sound_vary_less_than_the_rest(take: Take, geometry: FaceGeometry):
    samples = [rules.drive(take.samples_16k, seed=seed) for seed in range(4)]
    found = diversity(samples, geometry)
    assert found["diversity_lips"] < 1e-9 and found["diversity_rest"] > 0.1 and found["diversity_ratio"] > 5


def test_silence_is_told_from_chatter(take: Take, reference: Reference):
    rest = reference.space.rest_expression
    quiet = silence_test(lambda samples: rules.drive(samples, seed=0, neutral=rest), reference, 1.0)
    assert quiet["silence_zeros_open"] == 0 and quiet["silence_zeros_motion"] < 0.01
    chatter = silence_test(lambda samples: take.motion[:250], reference, 1.0)
    assert chatter["silence_zeros_open"] > 0.1 and chatter["silence_zeros_motion"] > 0.1
    widest = take.motion[np.full(250, int(reference.geometry.aperture(take.motion.expression).argmax()))]
    ajar = silence_test(lambda samples: widest, reference, 1.0)
    assert ajar["silence_zeros_open"] == 1 and ajar["silence_zeros_motion"] == 0
