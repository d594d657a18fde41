"""Every score of motion on motions whose answer is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.evaluation.motion.bootstrap import Score, Tally
from avatar.evaluation.motion.card import make_card
from avatar.evaluation.motion.catalogue import CATALOGUE
from avatar.evaluation.motion.control import dial_order, key_error_mm, leakage
from avatar.evaluation.motion.dynamics import dynamics_scores, trembling_scores
from avatar.evaluation.motion.events import (
    beat_scores,
    drift_degrees,
    eye_scores,
    head_beats,
    pause_scores,
    support_scores,
)
from avatar.evaluation.motion.frechet import floors, frechet_scores
from avatar.evaluation.motion.lips import lip_scores
from avatar.evaluation.motion.material import HeldOut, Segments
from avatar.evaluation.motion.reference import Reference
from avatar.evaluation.motion.scores import as_columns, judged, measure, pair_of
from avatar.evaluation.motion.sounds import DISGUISES, Disguise, robustness
from avatar.evaluation.motion.sync import sync_scores
from avatar.head import load_head
from avatar.motion.blinks import blink_track
from avatar.motion.eye_angles import with_gaze
from avatar.motion.eyes import head_degrees, head_share
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.features import features
from avatar.motion.groups import GROUPS
from avatar.motion.resampling import resampled
from avatar.motion.rules import drive
from avatar.motion.takes import Take
from avatar.tracks import Motion
from preprocess.studio.speakers import recital

LIPS = np.isin(np.arange(52), GROUPS["lips"])


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
    reference: Reference

    def lips(self, motions: list[Motion]) -> dict[str, Score]:
        return judged(lip_scores(self.pair(motions), self.reference.closed_mm))

    def sync(self, motions: list[Motion]) -> dict[str, Score]:
        return judged(sync_scores(self.pair(motions), self.reference.probe))

    def pair(self, motions: list[Motion]):
        return pair_of(motions, self.held, self.reference)


@pytest.fixture(scope="module")
def judge(held: HeldOut, reference: Reference) -> Judge:
    return Judge(held, reference)


def number(score: Score) -> float:
    assert score.value is not None, score.why
    return score.value


def changed(motions: list[Motion], change) -> list[Motion]:
    """Motions with another expression."""
    return [replace(m, expression=change(m.expression).astype(np.float32)) for m in motions]


def late(motions: list[Motion], frames: int) -> list[Motion]:
    return changed(motions, lambda e: e[(np.arange(len(e)) - frames).clip(0, len(e) - 1)])


def test_the_truth_is_perfect(judge: Judge, held: HeldOut):
    found = measure(held.motions, held, judge.reference)
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

    found = judge.lips(changed(held.motions, ajar))
    assert 3 <= number(found["closure_depth_error_mm"]) < 4


def test_errors_are_in_millimetres(judge: Judge, held: HeldOut, geometry: FaceGeometry):
    jaw = int(np.argmax(geometry.aperture_basis))
    found = judge.lips(changed(held.motions, lambda e: e + 0.1 * (np.arange(52) == jaw)))
    assert found["aperture_error_mm"].value == pytest.approx(100 * geometry.aperture_basis[jaw], rel=1e-3)
    most = 100 * np.linalg.norm(geometry.lip_basis[jaw], axis=1).max()
    assert number(found["lip_mean_error_mm"]) < most
    assert found["lip_vertex_error_mm2"].value == pytest.approx(most**2, rel=1e-3)
    half = judge.lips(changed(held.motions, lambda e: e.mean(0) + 0.5 * (e - e.mean(0))))
    assert half["aperture_ratio"].value == pytest.approx(0.5, rel=1e-2)


def test_untracked_frames_do_not_count(geometry: FaceGeometry, reference: Reference):
    take = recital(3, 16, text_seed=7)
    confidence = take.confidence.copy()
    confidence[100:200] = 0
    held = HeldOut.of([replace(take, confidence=confidence)], geometry, reference.space)
    noise = np.zeros((len(take.motion), 1), np.float32)
    noise[100:200] = 1.0
    wild = changed(held.motions, lambda e: e + noise * np.random.default_rng(0).random(e.shape))
    found = Judge(held, reference).lips(wild)
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
    small, large = (judge.lips(motions)["lip_mean_error_mm"] for motions in noisy)
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
    true, other = (measure(m, held, judge.reference) for m in (held.motions, held.motions[::-1]))
    row = as_columns(other, true)
    assert row["sound_lag_frames"] is None and "does not move with the sound" in row["unknown"]["sound_lag_frames"]
    assert row["lip_mean_error_mm_gain"][0] > 0 and row["lip_mean_error_mm_ci"][0] < row["lip_mean_error_mm"]
    assert "sound_lag_frames_gain" not in row and not any(name.endswith("_gain") for name in as_columns(true, None))


def smoothed(motions: list[Motion], frames: float) -> list[Motion]:
    turned = [gaussian_filter1d(head_degrees(m), frames, axis=0) for m in motions]
    soft = changed(motions, lambda e: gaussian_filter1d(e, frames, axis=0))
    return [with_head(m, degrees) for m, degrees in zip(soft, turned, strict=True)]


def with_head(motion: Motion, degrees: np.ndarray) -> Motion:
    quats = Rotation.from_euler("YXZ", degrees, degrees=True).as_quat(scalar_first=True)
    return replace(motion, quats_wxyz=quats.astype(np.float32))


def test_noise_trembles_and_smoothing_is_told(judge: Judge, held: HeldOut):
    rng = np.random.default_rng(0)
    noisy = changed(held.motions, lambda e: e + 0.02 * rng.normal(size=e.shape))
    noisy = [with_head(m, head_degrees(m) + 0.5 * rng.normal(size=(len(m), 3))) for m in noisy]
    shaken, soft = (judged(trembling_scores(judge.pair(m))) for m in (noisy, smoothed(held.motions, 2)))
    for name in ("lip_jitter_ratio", "head_jitter_ratio", "lip_energy_over_10hz", "head_energy_over_5hz"):
        assert number(shaken[name]) > 1.5, name
        assert number(soft[name]) < 0.7, name
    still = judged(trembling_scores(judge.pair(changed(held.motions, lambda e: np.repeat(e[:1], len(e), axis=0)))))
    assert still["lip_jitter_ratio"].value == 0


def test_half_the_movement_is_half_the_deviation(judge: Judge, held: HeldOut):
    same, half = (
        judged(dynamics_scores(judge.pair([with_head(m, share * head_degrees(m)) for m in held.motions])))
        for share in (1.0, 0.5)
    )
    degrees = np.concatenate([c.head_degrees for c in held.courses])
    assert half["head_dynamics_deg"].value == pytest.approx(0.5 * degrees.std(0).mean(), rel=0.01)
    assert half["head_yaw_ratio"].value == pytest.approx(0.5, rel=0.01)
    assert number(same["head_dynamics_deg"]) == pytest.approx(0, abs=1e-4)
    backwards = [replace(m, expression=np.roll(m.expression[::-1], 1, axis=0)) for m in held.motions]
    turned = judged(dynamics_scores(judge.pair(backwards)))
    assert number(turned["upper_dynamics_mm"]) < 1e-3, "a deviation does not know which way time goes"
    rng = np.random.default_rng(0)
    mixed = judged(dynamics_scores(judge.pair(changed(held.motions, rng.permutation))))
    assert number(mixed["upper_dynamics_mm"]) < 1e-3
    assert number(mixed["upper_speed_dynamics_mm_s"]) > 10 * number(turned["upper_speed_dynamics_mm_s"]) + 0.1
    assert number(mixed["upper_autocorrelation_error"]) > 0.3


def test_equal_distributions_are_at_the_floor(geometry: FaceGeometry, reference: Reference):
    takes = [recital(3, 40, text_seed=k) for k in (7, 8)]
    held = HeldOut.of(takes[:1], geometry, reference.space)
    low = floors(held, reference.windows)

    def found(motion: Motion) -> dict[str, Score]:
        return judged(frechet_scores(pair_of([motion], held, reference), reference.windows))

    same, others, still = (
        found(takes[0].motion),
        found(takes[1].motion),
        found(resampled(takes[0].motion[:1], takes[0].motion.timestamps_seconds)),
    )
    for name in ("frechet_expression_1s", "frechet_speed_1s", "frechet_expression_2s"):
        floor = low[name]
        assert floor is not None and number(same[name]) < 1e-6
        assert number(others[name]) < 2 * floor, name
        assert number(still[name]) > 3 * floor, name


def test_nods_on_stressed_syllables_are_seen(judge: Judge, held: HeldOut):
    nodding, elsewhere = [], []
    for motion, heard in zip(held.motions, held.heard, strict=True):
        t, said = motion.timestamps_seconds, heard.prosody.accents_seconds
        for out, moments in ((nodding, said), (elsewhere, np.arange(0.31, t[-1], 0.83))):
            # Head down around each moment: it stands still in the middle of a nod.
            nod = sum(np.exp(-((t - at) ** 2) / (2 * 0.08**2)) for at in moments)
            out.append(with_head(motion, np.outer(nod, (0, 4, 0))))
    with_words, without = (judged(beat_scores(judge.pair(m)))["beat_alignment"] for m in (nodding, elsewhere))
    assert number(with_words) > 0.1 and number(with_words) > number(without) + 0.1
    still = [with_head(m, np.zeros((len(m), 3))) for m in held.motions]
    assert judged(beat_scores(judge.pair(still)))["beat_alignment"].value is None
    assert len(head_beats(judge.pair(still).made[0])) == 0


def test_eyes_blink_and_rest_as_they_were_made_to(judge: Judge, held: HeldOut):
    lids = list(GROUPS["lids"])
    made = []
    for motion in held.motions:
        t = motion.timestamps_seconds
        expression = motion.expression.copy()
        expression[:, lids] = 0.8 * blink_track(t, 3)[:, None]
        expression = with_gaze(expression, np.stack([5.0 * (t % 2 < 1) - 2.5, 0 * t], 1))
        made.append(with_head(replace(motion, expression=expression), np.zeros((len(t), 3))))
    found = judged(eye_scores(judge.pair(made)))
    assert found["blink_completeness"].value == pytest.approx(0.8, abs=0.05)
    assert found["fixation_seconds"].value == pytest.approx(1.0, abs=0.05)
    assert found["gaze_from_ahead_deg"].value == pytest.approx(2.5, abs=0.05)
    turning = [with_head(m, np.outer(np.sin(m.timestamps_seconds), (10, 0, 0))) for m in held.motions]
    rules = [drive(h.samples_16k, seed=0) for h in held.heard]
    assert head_share(rules) == pytest.approx(1, abs=0.1)
    assert number(judged(eye_scores(judge.pair(turning)))["gaze_from_ahead_deg"]) > 5


def test_lips_that_stay_open_after_speech_are_told(judge: Judge, held: HeldOut):
    rest = judge.reference.rest_mm
    quick, slow = (judged(pause_scores(judge.pair(m), rest)) for m in (held.motions, late(held.motions, 8)))
    assert number(slow["closing_seconds"]) > number(quick["closing_seconds"]) + 0.15
    assert number(slow["opening_seconds"]) > number(quick["opening_seconds"]) + 0.15
    still = [with_head(m, np.zeros((len(m), 3))) for m in held.motions]
    assert judged(pause_scores(judge.pair(still), rest))["head_silence_ratio"].value is None


def test_faces_that_were_never_seen_lie_far_off(judge: Judge, held: HeldOut):
    grimace = changed(held.motions, lambda e: e + 0.6 * np.isin(np.arange(52), GROUPS["upper"]))
    true, odd = (judged(support_scores(judge.pair(m), judge.reference.training)) for m in (held.motions, grimace))
    assert number(true["support_distance_ratio"]) == pytest.approx(1)
    assert number(odd["support_distance_ratio"]) > 3
    assert number(odd["beyond_range_share"]) > number(true["beyond_range_share"]) + 0.1


def test_two_seconds_have_scores_and_say_what_they_lack(geometry: FaceGeometry, reference: Reference):
    held = HeldOut.of([recital(3, 1.8, text_seed=7)], geometry, reference.space)
    found = measure(held.motions, held, reference)
    assert found["lip_vertex_error_mm"].value == 0 and found["frechet_expression_2s"].value is None
    assert found["frechet_expression_2s"].why and floors(held, reference.windows)["frechet_pose_2s"] is None


def test_a_head_that_drifts_is_told(geometry: FaceGeometry, reference: Reference, held: HeldOut):
    t = np.arange(25 * 200) / 25
    motion = with_head(resampled(held.motions[0][:1], t), np.outer(t / 20, (1, 0, 0)))
    one = Take(motion, np.zeros(16_000 * 200, np.float32), np.ones(len(t), np.float32), "somebody")
    alone = HeldOut.of([one], geometry, reference.space)
    assert drift_degrees(pair_of([motion], alone, reference)).value == pytest.approx(7, abs=0.05)
    assert drift_degrees(pair_of(held.motions, held, reference)).value is None


def test_other_sounds_say_the_same_words(geometry: FaceGeometry, reference: Reference):
    take = recital(3, 6, text_seed=7)
    before = features(take.samples_16k)
    hz = float(np.median(before.f0_hz[before.voiced]))
    for name, factor in (("pitch +4 semitones", 1.26), ("pitch -4 semitones", 0.794), ("formants x 1.12", 1.0)):
        other = DISGUISES[name].of(take)
        after = features(other.samples_16k)
        assert len(other.samples_16k) == len(take.samples_16k)
        assert np.median(after.f0_hz[after.voiced]) == pytest.approx(factor * hz, rel=0.03), name
        assert np.corrcoef(before.energy_db, after.energy_db)[0, 1] > 0.9, name
    quick = DISGUISES["tempo +10 %"].of(take)
    said = features(quick.samples_16k)
    assert len(quick.motion) == round(len(take.motion) / 1.1)
    assert np.median(said.f0_hz[said.voiced]) == pytest.approx(hz, rel=0.03)
    thin = np.abs(np.fft.rfft(DISGUISES["8 kHz"].of(take).samples_16k))
    assert (thin[len(thin) * 5 // 8 :] ** 2).sum() < 1e-3 * (thin**2).sum()
    silent = {"as it was": Disguise(lambda s: s), "nothing": Disguise(lambda s: 0 * s)}
    told = robustness(lambda s: drive(s, seed=0), [take], reference, silent)
    assert set(told["as it was"].values()) == {0.0}
    assert (told["nothing"]["sync_confidence"] or 0) < -0.1


def test_controls_are_held_to_their_word(held: HeldOut, geometry: FaceGeometry):
    assert dial_order([0, 1, 2, 3], [0.1, 0.5, 0.4, 2.0]) == pytest.approx(0.8)
    assert dial_order([0, 1, 2], [1.0, 1.0, 1.0]) is None
    motion = held.motions[0]
    key = motion.expression[10].astype(np.float64)
    assert key_error_mm(motion, {10: key}, geometry) == 0
    assert key_error_mm(motion, {10: key, 20: motion.expression[20] + 0.1 * LIPS}, geometry) > 0.1
    moved = motion.expression.copy()
    moved[25:50] += np.float32(0.1) * LIPS
    edited = replace(motion, expression=moved)
    assert leakage(motion, edited, ["lips"], (1.0, 2.0)).exact
    spilt = leakage(motion, edited, ["lips"], (1.0, 1.5))
    assert not spilt.exact and spilt.action == pytest.approx(0.1, abs=1e-6) and spilt.head_degrees < 0.05
    shaken = with_head(motion, head_degrees(motion) + (2, 0, 0))
    assert leakage(motion, shaken, ["lips"]).head_degrees == pytest.approx(2, abs=0.2)
    assert leakage(motion, shaken, ["head"]).exact


def test_the_card_of_rules_has_floors_reasons_and_a_page(geometry: FaceGeometry, tmp_path: Path):
    training, truth = ([recital(3, 16, text_seed=k)] for k in (0, 7))
    motions = {
        "truth": [truth[0].motion],
        "mean_pose": [resampled(truth[0].motion[:1], truth[0].motion.timestamps_seconds)],
        "rules": [drive(truth[0].samples_16k, seed=0)],
    }
    card = make_card(motions, truth, Reference.of(training, geometry))
    said = json.loads(json.dumps(card.as_dict(), allow_nan=False))
    assert said["floors"]["frechet_expression_1s"] > 0
    still = card.row("mean_pose")
    assert still["sound_lag_frames"] is None and "does not move" in still["unknown"]["sound_lag_frames"]
    assert card.row("rules")["sync_confidence"] > still["sync_confidence"] + 0.1
    described = {name for scores in CATALOGUE.values() for name in scores}
    assert {name for name in still if not name.endswith(("_ci", "_gain"))} - described == {"name", "unknown"}
    card.write_page(tmp_path / "card.html", "rules")
    text = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "Distributions" in text and "floor" in text
    assert 'title="the mouth does not move with the sound"' in text
