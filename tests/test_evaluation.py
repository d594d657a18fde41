"""Metrics against known values, and the held-out protocol on a fitted synthetic person."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avatar.errors import BadInput
from avatar.evaluation.metrics import correlation, jitter, lag_frames, psnr, slope, ssim
from avatar.evaluation.protocol import Evaluator, aperture
from avatar.evaluation.report import write_report
from avatar.head.landmarks import LIP_MIDDLES, OUTER_EYE_CORNERS


def test_psnr_of_known_errors():
    a = torch.full((8, 8, 3), 0.5)
    assert psnr(a, a + 0.1) == pytest.approx(20, abs=1e-3)
    assert psnr(a, a) == 100
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[0] = True
    b = a.clone()
    b[1:] += 0.3
    assert psnr(b, a, mask) == 100


def test_ssim_is_one_for_equal_and_low_for_noise():
    g = torch.Generator().manual_seed(0)
    a = torch.rand(40, 40, 3, generator=g)
    assert ssim(a, a) == pytest.approx(1, abs=1e-5)
    assert ssim(a, torch.rand(40, 40, 3, generator=g)) < 0.2


def test_correlation_and_slope():
    x = np.arange(10.0)
    assert correlation(x, 3 * x + 1) == pytest.approx(1)
    assert slope(x, 3 * x + 1) == pytest.approx(3)
    assert correlation(x, np.ones(10)) == 0


def test_aperture_is_relative_to_the_eyes():
    landmarks = np.zeros((478, 2))
    landmarks[OUTER_EYE_CORNERS[1]] = (50, 0)
    landmarks[LIP_MIDDLES[1]] = (0, 10)
    assert aperture(landmarks) == pytest.approx(0.2)
    assert math.isnan(aperture(None))


@pytest.fixture(scope="module")
def evaluation(tiny_avatar, capture):
    """The detector is the truth of the nearest true frame: what matters here is the protocol around it."""
    truths = [capture.frame(i) for i in range(len(capture.motion))]

    def detect(rgb):
        small = rgb[::2, ::2].astype(int)
        errors = [np.abs(small - t).mean() for t in truths]
        return 2 * capture.landmarks_px[int(np.argmin(errors))]

    return Evaluator(tiny_avatar, capture, detect, long_side=128).run(samples=3)


def test_held_out_frames_only(evaluation, tiny_avatar):
    first, last = tiny_avatar.info["split"]["test"]
    assert evaluation.frames == list(range(first, last + 1))
    assert evaluation.summary["test_frames"] == len(evaluation.frames)
    assert tiny_avatar.info["split"]["validation"][1] < first


def test_modes_stand_in_the_order_that_their_definitions_imply(evaluation):
    s = evaluation.summary
    assert s["paste_back"]["psnr"] > s["full"]["psnr"], "true pixels outside the head can only help"
    assert s["refined"]["psnr"] > 0.99 * s["full"]["psnr"]
    assert s["full"]["psnr"] > s["rivals"]["mean_frame"]["psnr"]
    assert 0 < s["full"]["ssim"] < 1


def test_the_report_opens_offline_and_holds_the_numbers(evaluation, tiny_avatar, tmp_path):
    write_report(tmp_path / "report.html", tiny_avatar, evaluation)
    page = (tmp_path / "report.html").read_text()
    assert f"{evaluation.summary['full']['psnr']:.2f}" in page
    assert page.count("data:image/jpeg;base64,") == 2 and "<svg" in page
    assert 'src="http' not in page and 'href="http' not in page


def test_another_capture_is_refused(tiny_avatar, capture):
    from synthetic import SyntheticCapture

    with pytest.raises(BadInput, match="not the capture"):
        Evaluator(tiny_avatar, SyntheticCapture(40, (64, 64)), lambda rgb: None)


def test_trembling_and_lag_are_measured():
    t = np.arange(60) / 25
    smooth = np.stack([np.sin(3 * t), np.cos(3 * t)], -1)[:, None].repeat(5, 1)
    shaken = smooth + np.random.default_rng(0).normal(0, 0.01, smooth.shape)
    assert jitter(shaken) > 5 * jitter(smooth) > 0
    lost = shaken.copy()
    lost[20] = np.nan
    assert jitter(lost) == pytest.approx(jitter(shaken), rel=0.2)
    assert np.isnan(jitter(smooth[:3]))
    opening = np.abs(np.sin(5 * t)) + 0.2 * np.sin(11 * t)
    assert [lag_frames(opening, np.roll(opening, shift)) for shift in (-3, 0, 2)] == [-3, 0, 2]
    assert lag_frames(opening, 0 * opening) == 0
