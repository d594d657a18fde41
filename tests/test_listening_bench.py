"""Scores of listeners, and `visavis bench listening` on two synthetic people, small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_prior import SMALL

from avatar.errors import BadInput
from avatar.head import load_head
from avatar.motion.blinks import head_track
from avatar.motion.controls.directions import Direction, apply_directions
from avatar.motion.controls.rest import Rest
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.rules import drive
from avatar.motion.takes import Take
from avatar.motion.turns import Turns
from avatar.types import Motion
from preprocess.studio.listening_bench import run
from preprocess.studio.listening_scores import Counts, count, matched, nods_of
from preprocess.studio.speakers import conversation


@pytest.fixture(scope="module")
def talk() -> tuple[Take, Take]:
    return conversation(2, 8, 60, text_seed=3)


def swaying(seconds: float) -> Motion:
    """A head that sways slowly by up to 7 degrees, as wide as any of the studio's."""
    still = drive(np.zeros(round(16_000 * seconds), np.float32), seed=0)
    turn = head_track(still.timestamps_seconds, 5, limit_degrees=7.0)
    quats = Rotation.from_euler("YXZ", turn, degrees=True).as_quat(scalar_first=True)
    return replace(still, quats_wxyz=quats.astype(np.float32))


@pytest.mark.parametrize("strength, found", [(0.1, False), (0.25, True), (1.0, True)])
def test_nods_are_found_where_they_were_made(strength: float, found: bool):
    motion, at = swaying(40), np.array([3.0, 8.5, 14.0, 22.2, 30.0])
    assert len(nods_of(motion)) == 0
    nods = [Direction("nod", t, t + 0.5 * (1 + k % 3), strength) for k, t in enumerate(at.tolist())]
    seen = nods_of(apply_directions(motion, nods, Rest()))
    assert len(seen) == found * len(at)
    assert not found or np.abs(seen - at - 0.25).max() < 0.1  # where the head is lowest first


def test_moments_are_matched_one_to_one():
    assert matched(np.array([1.0, 1.2, 5.0]), np.array([1.1, 4.6, 9.0])) == 2
    assert matched(np.array([1.0]), np.array([1.6])) == matched(np.zeros(0), np.array([1.0])) == 0


def test_the_truth_scores_as_itself(talk):
    geometry, (truth, other) = FaceGeometry.of(load_head()), talk
    turns = Turns.of(truth.samples_16k, other.samples_16k)
    own = count(truth.motion, truth.motion, turns, geometry)
    assert own.scores["nod_f1"] == own.scores["nod_precision"] == own.scores["nod_recall"] == 1
    after, lips = own.scores["nods_after_pauses"], own.scores["lips_listening"]
    assert after is not None and lips is not None and after > 2 and lips < 0.05
    still = count(swaying(60), truth.motion, turns, geometry).scores
    assert still["nods_per_minute"] == still["nod_recall"] == 0 and still["nod_precision"] is None
    twice = (own + own).scores
    assert twice == own.scores and (own + Counts()) == own


def test_another_draw_says_the_same_and_moves_differently():
    one, two = (conversation(2, 8, 12, text_seed=3, draw=draw)[0] for draw in (0, 1))
    np.testing.assert_array_equal(one.samples_16k, two.samples_16k)
    np.testing.assert_array_equal(one.partner_16k, two.partner_16k)
    assert not np.array_equal(one.motion.quats_wxyz, two.motion.quats_wxyz)


def test_conversations_are_between_two():
    with pytest.raises(BadInput, match="between two"):
        run([3], SMALL, seconds=20)


@pytest.mark.slow
def test_listeners_are_measured(tmp_path: Path):
    result = run([2, 8], SMALL, seconds=20, held_out_seconds=30, keep=tmp_path)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [
        "truth", "truth_again", "rules", "rules_answering", "prior_alone", "prior_alone_rules_answering", "prior",
        "prior_shuffled_partner",
    ]  # fmt: skip
    assert (
        rows["truth"]["nod_f1"] == 1 and rows["rules"]["nods_per_minute"] < rows["rules_answering"]["nods_per_minute"]
    )
    assert len(result["each"]) == 2 * len(rows) and len(list(tmp_path.glob("*.prior"))) == 2
