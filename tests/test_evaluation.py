"""Metrics against known values, and the held-out protocol on a fitted synthetic person."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avatar.assets import find_asset
from avatar.errors import BadInput, FormatMismatch, MissingAsset
from avatar.evaluation.metrics import correlation, jitter, lag_frames, psnr, rounded, slope, ssim
from avatar.evaluation.movement import NO_FACE, Movement, compare
from avatar.evaluation.perceptual import WEIGHTS, ShiftTolerantLpips
from avatar.evaluation.protocol import Evaluator
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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("series", [np.empty(0), np.ones(1), np.ones(30)], ids=["empty", "one", "constant"])
def test_nothing_is_said_of_a_series_that_tells_nothing(series):
    other = np.arange(float(len(series)))
    assert math.isnan(correlation(series, other)) and math.isnan(slope(series, other))
    assert lag_frames(series, other) is None and lag_frames(other, series) is None
    assert rounded(correlation(other, series)) is None and rounded(1 / 3) == 0.3333


def faces(openings) -> np.ndarray:
    points = np.zeros((len(openings), 478, 2))
    points[:, OUTER_EYE_CORNERS[1]] = (50, 0)
    points[:, LIP_MIDDLES[1], 1] = openings
    return points


def test_aperture_is_relative_to_the_eyes():
    aperture = Movement(np.arange(2.0), np.concatenate([faces([10.0]), NO_FACE[None]])).aperture
    assert aperture[0] == pytest.approx(0.2) and math.isnan(aperture[1])


@pytest.mark.filterwarnings("error")
def test_a_render_without_a_face_and_a_mouth_that_never_moves_have_no_correlation():
    seconds = np.arange(40) / 25
    talking = Movement(seconds, faces(5 + 4 * np.sin(7 * seconds)))
    lost, mute = Movement(seconds, np.repeat(NO_FACE[None], 40, 0)), Movement(seconds, faces(np.ones(40)))
    nothing = {"aperture_r": None, "aperture_slope": None, "lag_frames": None}
    assert compare(talking, lost, None) == nothing | {"faces_found": 0.0, "jitter_ratio": None}
    assert compare(mute, mute, None).items() >= nothing.items()
    assert compare(talking, talking, None)["lag_frames"] == 0


@pytest.fixture(scope="module")
def evaluation(tiny_avatar, capture):
    """The detector is the truth of the nearest true frame: what matters here is the protocol around it."""
    truths = [capture.frame(i) for i in range(len(capture.motion))]

    def detect(rgb):
        small = rgb[::2, ::2].astype(int)
        errors = [np.abs(small - t).mean() for t in truths]
        return 2 * capture.landmarks_px[int(np.argmin(errors))]

    def looks(image, target):
        return float((image - target).abs().mean())

    return Evaluator(tiny_avatar, capture, detect, 128, looks).run(samples=3)


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
    assert 0 < s["full"]["stlpips"] < s["rivals"]["mean_frame"]["stlpips"] and 0 < s["head"]["stlpips"]
    assert "stlpips" not in s["paste_back"]


def test_the_report_opens_offline_and_holds_the_numbers(evaluation, tiny_avatar, tmp_path):
    write_report(tmp_path / "report.html", tiny_avatar, evaluation)
    page = (tmp_path / "report.html").read_text()
    assert len(tiny_avatar.info["curve"]) >= 3 and "the averaged state that did best" in page
    assert f"{evaluation.summary['full']['psnr']:.2f}" in page
    assert page.count("data:image/jpeg;base64,") == 2 and "<svg" in page
    assert "trembling" in page and "ST-LPIPS" in page and "lips in silence" not in page, "the clip has no sound"
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


@pytest.fixture(scope="module")
def looks():
    try:
        return ShiftTolerantLpips(find_asset(WEIGHTS))
    except MissingAsset as error:
        pytest.skip(str(error))


def test_blur_looks_worse_than_a_shift_though_psnr_says_otherwise(looks, capture):
    import cv2

    face = capture.frame(0)
    blurred, shifted = cv2.GaussianBlur(face, (0, 0), 1.5), np.roll(face, 2, 1)
    sharp, blurred, shifted = (torch.from_numpy(p).float() / 255 for p in (face, blurred, shifted))
    assert psnr(blurred, sharp) > psnr(shifted, sharp) + 2
    assert looks(blurred, sharp) > 2 * looks(shifted, sharp) > 0
    assert looks(sharp, sharp) == 0
    assert math.isnan(looks(sharp[:20], sharp[:20]))


def test_stlpips_gives_what_its_authors_code_gives(looks):
    """Version 0.0.2 of stlpips-pytorch, net "alex", variant "shift_tolerant", run on these very pictures."""
    y, x = np.mgrid[:80, :96]
    image = np.stack([0.5 + 0.5 * np.sin(x / 3), 0.5 + 0.5 * np.cos(y / 5), (x + y) / 174], -1)
    pair = (torch.from_numpy(p).float() for p in (image, image[::-1].copy()))
    assert looks(*pair) == pytest.approx(0.39715, rel=1e-4)


def test_other_weights_are_refused(tmp_path):
    for name, content in (("none.pth", {}), ("text.pth", None)):
        torch.save(content, tmp_path / name) if content is not None else (tmp_path / name).write_text("cat")
        with pytest.raises(FormatMismatch, match="does not hold the weights"):
            ShiftTolerantLpips(tmp_path / name)
