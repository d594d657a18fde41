"""The expert that learns one person's lips and sound, on drawn mouths that say what is heard."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from make_speech import babble, noise

from avatar.evaluation.lip_sync import LEAST_TESTED, LipSyncExpert, Mouths, compare, mouth_crop

FPS, LEARN_SECONDS, SECONDS = 25, 24, 32


def drawn(openings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Grey mouths, dark where they are open."""
    pictures = np.random.default_rng(seed).integers(140, 160, (len(openings), 32, 48)).astype(np.uint8)
    for picture, opening in zip(pictures, openings, strict=True):
        cv2.ellipse(picture, (24, 16), (14, 1 + round(10 * float(opening))), 0, 0, 360, 40, -1)
    return pictures


@pytest.fixture(scope="module")
def talk():
    sound, opening = babble(SECONDS, seed=5)
    seconds = np.arange(SECONDS * FPS) / FPS
    return sound, seconds, np.interp(seconds, np.arange(len(opening)) / 100, opening)


@pytest.fixture(scope="module")
def expert(talk):
    sound, seconds, opening = talk
    learn = seconds < LEARN_SECONDS
    return LipSyncExpert(sound, Mouths(seconds[learn], drawn(opening[learn])), steps=60)


@pytest.mark.parametrize("late", [0, 4, -3])
def test_held_out_mouths_are_found_in_their_sound_and_late_ones_told(talk, expert, late):
    _, seconds, opening = talk
    held = seconds > LEARN_SECONDS + 1
    score = expert.score(Mouths(seconds[held], drawn(np.roll(opening, late)[held], seed=1)))
    assert score["offset_frames"] == late
    assert score["confidence"] > 2 * score["chance_confidence"] > 0
    if not late:
        assert score["accuracy"] > 0.5 and score["chance_accuracy"] < 0.25


def test_a_mouth_that_does_not_move_fits_nothing(talk, expert):
    _, seconds, _ = talk
    held = seconds > LEARN_SECONDS + 1
    score = expert.score(Mouths(seconds[held], drawn(np.full(held.sum(), 0.3), seed=1)))
    assert score["accuracy"] < 0.25 and score["confidence"] < 0.2


def test_it_learns_the_same_from_the_same_seed(talk):
    sound, seconds, opening = talk
    known, held = Mouths(seconds[:200], drawn(opening[:200])), Mouths(seconds[300:400], drawn(opening[300:400]))
    first, second = (LipSyncExpert(sound, known, seed=3, steps=2).score(held) for _ in range(2))
    assert first == second


def test_too_little_says_nothing(talk, expert):
    sound, seconds, opening = talk
    few = Mouths(seconds[400 : 400 + LEAST_TESTED - 1], drawn(opening[400 : 400 + LEAST_TESTED - 1]))
    all_known = Mouths(seconds, drawn(opening))
    assert expert.score(few) is None
    assert compare(sound, few, all_known, all_known) is None, "too few frames to learn from"
    assert compare(noise(SECONDS), all_known, all_known, all_known) is None, "nobody speaks"


def test_the_box_of_the_mouth_follows_the_head_not_the_lips():
    rng = np.random.default_rng(0)
    face = cv2.GaussianBlur(rng.integers(0, 255, (200, 200, 3)).astype(np.uint8), (0, 0), 4)
    landmarks = np.full((478, 2), 100.0)
    landmarks[[33, 133, 362, 263, 2]] = (70, 80), (90, 80), (110, 80), (130, 80), (100, 105)
    upright = mouth_crop(face, landmarks)
    landmarks[[13, 14, 0, 17]] += 20
    np.testing.assert_array_equal(mouth_crop(face, landmarks), upright)
    turn = cv2.getRotationMatrix2D((100, 100), 20, 1.2)
    turned = mouth_crop(cv2.warpAffine(face, turn, (200, 200)), landmarks @ turn[:, :2].T + turn[:, 2])
    assert np.abs(turned.astype(int) - upright).mean() < 5
