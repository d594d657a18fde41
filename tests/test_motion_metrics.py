"""Every score of motion on motions whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from avatar.evaluation.motion.bootstrap import Score, Tally
from avatar.evaluation.motion.further import as_columns, judged, measure, pair_of
from avatar.evaluation.motion.material import HeldOut, Segments
from avatar.evaluation.motion.mouth import mouth_scores
from avatar.evaluation.motion.reference import Reference
from avatar.evaluation.motion.sync import sync_scores
from avatar.head import load_head
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from avatar.motion.resampling import resampled
from avatar.tracks import Motion
from preprocess.studio.speakers import recital


@pytest.fixture(scope="module")
def geometry() -> FaceGeometry:
    return FaceGeometry.of(load_head("anny"))


@pytest.fixture(scope="module")
def reference(geometry: FaceGeometry) -> Reference:
    return Reference.of([recital(3, 24, text_seed=k) for k in (0, 1)], geometry)


@pytest.fixture(scope="module")
def held(geometry: FaceGeometry, reference: Reference) -> HeldOut:
    return HeldOut.of([recital(3, 16, text_seed=k) for k in (7, 8)], geometry, reference.space)


@dataclass(frozen=True)
class Judge:
    """Scores of made motions, by the module that is asked."""

    held: HeldOut
    geometry: FaceGeometry
    reference: Reference

    def mouth(self, motions: list[Motion]) -> dict[str, Score]:
        return judged(mouth_scores(self.pair(motions), self.reference.closed_mm))

    def sync(self, motions: list[Motion]) -> dict[str, Score]:
        return judged(sync_scores(self.pair(motions), self.reference.probe))

    def pair(self, motions: list[Motion]):
        return pair_of(motions, self.held, self.geometry, self.reference)


@pytest.fixture(scope="module")
def judge(held: HeldOut, geometry: FaceGeometry, reference: Reference) -> Judge:
    return Judge(held, geometry, reference)


def number(score: Score) -> float:
    assert score.value is not None, score.why
    return score.value


def changed(motions: list[Motion], change) -> list[Motion]:
    """Motions with another expression."""
    return [replace(m, expression=change(m.expression).astype(np.float32)) for m in motions]


def late(motions: list[Motion], frames: int) -> list[Motion]:
    return changed(motions, lambda e: e[(np.arange(len(e)) - frames).clip(0, len(e) - 1)])


def test_the_truth_is_perfect(judge: Judge, held: HeldOut):
    found = measure(held.motions, held, judge.geometry, judge.reference)
    for name, score in found.items():
        if "error" in name or "lag" in name or "offset" in name:
            assert score.value == pytest.approx(0, abs=1e-9), name
    assert found["aperture_ratio"].value == pytest.approx(1)
    assert number(found["sync_confidence"]) > 0.3 and number(found["sync_distance"]) < 0.6


@pytest.mark.parametrize("frames", [3, -2])
def test_lips_that_come_late_are_told(judge: Judge, held: HeldOut, frames: int):
    found = judge.sync(late(held.motions, frames))
    assert found["sound_lag_frames"].value == found["sync_offset_frames"].value == frames


def test_sound_of_another_take_fits_nothing(judge: Judge, held: HeldOut):
    true, shuffled = judge.sync(held.motions), judge.sync(held.motions[::-1])
    assert number(shuffled["sync_confidence"]) < 0.2 * number(true["sync_confidence"])
    assert number(shuffled["sync_distance"]) > 1.5 * number(true["sync_distance"])
    assert (
        shuffled["sound_lag_frames"].value is None
        and "does not move with the sound" in shuffled["sound_lag_frames"].why
    )
    lower = shuffled["sync_confidence"].over(true["sync_confidence"])
    assert lower.high is not None and lower.high < 0


def test_how_far_lips_stay_open_in_closures_is_told(judge: Judge, held: HeldOut, geometry: FaceGeometry):
    jaw = int(np.argmax(geometry.aperture_basis))

    def ajar(expression: np.ndarray) -> np.ndarray:
        missing = judge.reference.closed_mm / 1e3 + 0.003 - geometry.aperture(expression.astype(np.float64))
        out = expression.copy()
        out[:, jaw] += np.maximum(missing, 0) / geometry.aperture_basis[jaw]
        return out

    found = judge.mouth(changed(held.motions, ajar))
    assert 3 <= number(found["closure_depth_error_mm"]) < 4


def test_errors_are_in_millimetres(judge: Judge, held: HeldOut, geometry: FaceGeometry):
    jaw = int(np.argmax(geometry.aperture_basis))
    found = judge.mouth(changed(held.motions, lambda e: e + 0.1 * (np.arange(52) == jaw)))
    assert found["aperture_error_mm"].value == pytest.approx(100 * geometry.aperture_basis[jaw], rel=1e-3)
    most = 100 * np.linalg.norm(geometry.lip_basis[jaw], axis=1).max()
    assert number(found["lip_mean_error_mm"]) < most
    assert found["lip_vertex_error_mm2"].value == pytest.approx(most**2, rel=1e-3)
    half = judge.mouth(changed(held.motions, lambda e: e.mean(0) + 0.5 * (e - e.mean(0))))
    assert half["aperture_ratio"].value == pytest.approx(0.5, rel=1e-2)


def test_untracked_frames_do_not_count(geometry: FaceGeometry, reference: Reference):
    take = recital(3, 16, text_seed=7)
    confidence = take.confidence.copy()
    confidence[100:200] = 0
    held = HeldOut.of([replace(take, confidence=confidence)], geometry, reference.space)
    noise = np.zeros((len(take.motion), 1), np.float32)
    noise[100:200] = 1.0
    wild = changed(held.motions, lambda e: e + noise * np.random.default_rng(0).random(e.shape))
    found = Judge(held, geometry, reference).mouth(wild)
    assert found["lip_vertex_error_mm2"].value == 0 and found["closure_depth_error_mm"].value == 0


def test_other_frame_rates_are_measured_at_25(geometry: FaceGeometry, reference: Reference):
    held = HeldOut.of([recital(3, 4, text_seed=7, fps=50)], geometry, reference.space)
    assert len(held.motions[0]) == len(held.heard[0].speech) == 100
    assert held.motions[0].fps == pytest.approx(25)


def test_one_frame_lasts_as_long_as_it_is_wanted(held: HeldOut):
    seconds = held.motions[0].timestamps_seconds
    still = resampled(held.motions[0][:1], seconds)
    np.testing.assert_array_equal(still.timestamps_seconds, seconds)
    assert (still.expression == held.motions[0].expression[0]).all()


def test_intervals_come_from_the_same_segments(judge: Judge, held: HeldOut):
    rng = np.random.default_rng(0)
    lips = np.isin(np.arange(52), GROUPS["lips"])
    noisy = [changed(held.motions, lambda e, s=s: e + s * lips * rng.normal(size=e.shape)) for s in (0.01, 0.02)]
    small, large = (judge.mouth(motions)["lip_mean_error_mm"] for motions in noisy)
    assert small.low is not None and small.high is not None and small.low < number(small) < small.high
    over = large.over(small)
    assert over.low is not None and over.low > 0 and over.value == pytest.approx(number(large) - number(small))
    short = Segments.of([30])
    few = Tally({"top": short.sums([np.ones(30)])}, lambda s: s["top"], "").judged()
    assert few.value == 30 and few.low is None and "only 1 segments" in few.why
    assert number(few.over(few)) == 0


def test_segments_cover_every_frame_once():
    segments = Segments.of([750, 80, 10])
    assert segments.count == 10 + 1 + 1
    assert segments.sums([np.ones(750), np.ones(80), np.ones(9)]).tolist() == [75.0] * 10 + [80.0, 9.0]
    assert segments.events([np.array([0, 0, 749]), np.array([], int), np.array([3])]).sum() == 4


def test_rows_of_the_card_say_what_they_do_not_know(judge: Judge, held: HeldOut):
    true, other = (measure(m, held, judge.geometry, judge.reference) for m in (held.motions, held.motions[::-1]))
    row = as_columns(other, true)
    assert row["sound_lag_frames"] is None and "does not move with the sound" in row["unknown"]["sound_lag_frames"]
    assert row["lip_mean_error_mm_gain"][0] > 0 and row["lip_mean_error_mm_ci"][0] < row["lip_mean_error_mm"]
    assert "sound_lag_frames_gain" not in row and not any(name.endswith("_gain") for name in as_columns(true, None))
