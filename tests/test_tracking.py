"""The landmark tracker against synthetic truth: a small made-up head, seen by a camera, with noise and mishaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from avatar.errors import BadInput
from avatar.geometry import axis_angle_to_matrix, matrix_to_axis_angle, quat_to_matrix
from avatar.head.arkit import ARKIT_NAMES
from avatar.head.landmarks import EYES, LEFT_IRIS, LIPS, RIGHT_IRIS
from avatar.head.linear import LinearHead
from avatar.head.model import LandmarkTable
from preprocess.tracking import Observations, TrackConfig, track_clip
from preprocess.tracking.landmarks import landmark_model
from preprocess.tracking.mesh import bend_mesh
from preprocess.tracking.temporal_system import accelerations, solve_track

FRAMES, FPS, WIDTH, HEIGHT = 150, 25.0, 320, 240
GRID = 24
BLINK, JAW, SMILE = (ARKIT_NAMES.index(n) for n in ("eyeBlinkLeft", "jawOpen", "mouthSmileLeft"))
MISSING, SMEARED = slice(40, 45), slice(60, 63)
QUICK = TrackConfig(joint_frames=40, joint_steps=12, frame_steps=7, smooth_steps=4)


def small_head() -> LinearHead:
    """A face-sized shell without joints."""
    axis = np.linspace(-0.08, 0.08, GRID)
    x, y = (c.ravel() for c in np.meshgrid(axis, axis))
    nose = 0.02 * np.exp(-(x**2 + y**2) / 0.015**2)
    vertices = np.stack((x, y, 0.05 - 5 * (x**2 + 0.6 * y**2) + nose), 1)
    corner = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).ravel()
    lower = np.stack((corner, corner + 1, corner + GRID), 1)
    upper = np.stack((corner + 1, corner + GRID + 1, corner + GRID), 1)
    rng = np.random.default_rng(1)

    def bump(centre: np.ndarray, width: float, move: np.ndarray) -> np.ndarray:
        reach = np.exp(-(((vertices - centre) ** 2).sum(1)) / width**2)
        return reach[:, None] * move

    def random_bump(width: float, size: float) -> np.ndarray:
        return bump(vertices[rng.integers(len(vertices))], width, rng.normal(size=3) * size)

    identity = np.stack([random_bump(0.05, 0.002) for _ in range(15)])
    expression = np.stack([random_bump(0.025, 0.004) for _ in ARKIT_NAMES])
    expression[JAW] = bump(np.array((0, -0.06, 0.04)), 0.025, np.array((0, -0.02, -0.003)))
    expression[BLINK] = bump(np.array((0.03, 0.035, 0.04)), 0.012, np.array((0, -0.009, 0)))
    template, identity, expression = (torch.tensor(a, dtype=torch.float32) for a in (vertices, identity, expression))
    faces, count = torch.tensor(np.concatenate((lower, upper))), len(template)
    return LinearHead(
        name="small", content_hash="small", template=template, identity_basis=identity, expression_basis=expression,
        faces=faces, uvs=torch.zeros(len(faces), 3, 2), regions=torch.zeros(count, dtype=torch.long),
        joint_regressor=torch.zeros(4, count), skin_weights=torch.zeros(count, 4),
    )  # fmt: skip


def small_table() -> LandmarkTable:
    """Landmarks anywhere on the shell, but lips, eyes and irises where such things are."""
    rng = np.random.default_rng(2)
    points = rng.uniform(-0.07, 0.07, (478, 2))
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack((np.cos(angles), np.sin(angles)), 1)
    points[list(LIPS)] = np.concatenate((ring * (0.025, 0.012), ring * (0.02, 0.006))) + (0, -0.04)
    eye = ring[:16] * (0.015, 0.007)
    points[list(EYES)] = np.concatenate((eye + (-0.03, 0.035), eye + (0.03, 0.035)))
    irises = np.repeat([(-0.03, 0.035), (0.03, 0.035)], 5, axis=0)
    points[list(RIGHT_IRIS + LEFT_IRIS)] = irises + rng.normal(0, 0.002, (10, 2))
    points[33], points[263] = (-0.045, 0.035), (0.045, 0.035)
    cell = (points + 0.08) / 0.16 * (GRID - 1)
    column, row = np.floor(cell).astype(int).T
    u, v = (cell - np.floor(cell)).T
    upper = u + v > 1
    triangles = row * (GRID - 1) + column + upper * (GRID - 1) ** 2
    first = np.stack((1 - u - v, u, v), 1)
    second = np.stack((1 - v, u + v - 1, 1 - u), 1)
    barycentrics = np.where(upper[:, None], second, first)
    return LandmarkTable(torch.tensor(triangles), torch.tensor(barycentrics).float(), torch.full((478,), 0.001))


@dataclass(frozen=True)
class Truth:
    identity: torch.Tensor
    expression: np.ndarray
    rotation: torch.Tensor
    translation: np.ndarray
    clean_px: np.ndarray
    observations: Observations


def make_truth(focal_px: float = 2.2 * WIDTH, noise_px: float = 0.4) -> Truth:
    """Six seconds of a nodding, talking, blinking head; five frames without a face, three with smeared lips."""
    head, table, rng = small_head(), small_table(), np.random.default_rng(3)
    seconds = np.arange(FRAMES) / FPS
    identity = torch.tensor(rng.normal(size=15)).float()
    expression = np.zeros((FRAMES, 52), np.float32)
    expression[:, JAW] = 0.35 + 0.35 * np.sin(2 * np.pi * 2.5 * seconds)
    expression[:, SMILE] = 0.3 + 0.3 * np.sin(2 * np.pi * 0.3 * seconds)
    for blink in (20, 75, 100, 135):
        expression[blink : blink + 5, BLINK] = (0.4, 1.0, 1.0, 0.6, 0.2)
    turns = np.stack(
        (0.1 * np.sin(1.7 * seconds), 0.35 * np.sin(1.1 * seconds + 1), 0.05 * np.sin(0.7 * seconds)), 1
    )  # fmt: skip
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotation = upright @ axis_angle_to_matrix(torch.tensor(turns).float())
    translation = np.stack(
        (0.01 * np.sin(0.9 * seconds), 0.008 * np.cos(1.3 * seconds), 0.8 + 0.02 * np.sin(seconds)), 1
    )
    corners = head.faces[table.triangles]
    vertices = head.shape(identity) + torch.einsum("tk,kvj->tvj", torch.tensor(expression), head.expression_basis)
    points = (vertices[:, corners] * table.barycentrics[..., None]).sum(2) @ rotation.mT
    points = points.numpy() + translation[:, None]
    clean = focal_px * points[..., :2] / points[..., 2:] + (WIDTH / 2, HEIGHT / 2)
    landmarks = clean + rng.normal(0, noise_px, clean.shape)
    smeared = rng.permutation(LIPS)[:24]
    landmarks[SMEARED, smeared] += rng.normal(0, 12, (3, len(smeared), 2))
    landmarks[MISSING] = np.nan
    scores = (expression + rng.normal(0, 0.08, expression.shape)).clip(0, 1)
    transforms = np.tile(np.eye(4), (FRAMES, 1, 1))
    wrong = axis_angle_to_matrix(torch.tensor(rng.normal(0, 0.05, (FRAMES, 3))).float())
    transforms[:, :3, :3] = (upright @ rotation @ wrong).numpy()
    observations = Observations(seconds, landmarks, scores, transforms, WIDTH, HEIGHT)
    return Truth(identity, expression, rotation, translation, clean, observations)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth()


@pytest.fixture(scope="module")
def result(truth: Truth):
    return track_clip(small_head(), small_table(), truth.observations, QUICK)


def rotation_errors(result, truth: Truth) -> np.ndarray:
    got = quat_to_matrix(torch.tensor(result.motion.quats_wxyz))
    return np.degrees(matrix_to_axis_angle(got @ truth.rotation.mT).norm(dim=-1).numpy())


def test_reprojection_and_pose_come_back(truth, result):
    assert result.metrics["reprojection_iod"] < 0.02
    assert result.metrics["reprojection_px"] < 0.7
    clean = np.ones(FRAMES, bool)
    clean[MISSING] = clean[SMEARED] = False
    assert rotation_errors(result, truth)[clean].mean() < 1.0
    error = np.abs(result.motion.translation - truth.translation)[clean].mean(0)
    assert error[:2].max() < 1e-3
    assert error[2] < 0.02
    assert abs(result.camera.fx / (2.2 * WIDTH) - 1) < 0.05
    assert result.camera.cx == WIDTH / 2
    assert result.camera.cy == HEIGHT / 2


def test_expressions_follow(truth, result):
    seen = result.tracked
    for action in (JAW, BLINK, SMILE):
        r = np.corrcoef(result.motion.expression[seen, action], truth.expression[seen, action])[0, 1]
        assert r > 0.95, ARKIT_NAMES[action]
    # The temporal prior must leave blinks their height.
    peaks = result.motion.expression[[21, 76, 101, 136], BLINK]
    assert peaks.min() > 0.8
    low, high = QUICK.expression_bounds
    assert result.motion.expression.min() >= low - 1e-6
    assert result.motion.expression.max() <= high + 1e-6
    assert not result.motion.joints.any()


def test_the_eyes_look_the_same_way(truth):
    """What the detector says of one eye only, both believe in part."""
    out_left, in_left, in_right, out_right = (
        ARKIT_NAMES.index(f"eyeLook{name}") for name in ("OutLeft", "InLeft", "InRight", "OutRight")
    )
    scores = truth.observations.scores.copy()
    scores[:, [out_left, in_left, in_right, out_right]] = 0.6, 0, 0, 0
    observations = replace(truth.observations, scores=scores)
    tracked = track_clip(small_head(), small_table(), observations, QUICK)
    looks = tracked.motion.expression[tracked.tracked]
    left, right = looks[:, out_left] - looks[:, in_left], looks[:, in_right] - looks[:, out_right]
    assert np.abs(left - right).max() < 0.1
    assert (left + right).mean() / 2 == pytest.approx(0.3, abs=0.1)


def test_missing_frames_are_interpolated_and_flagged(truth, result):
    assert not result.tracked[MISSING].any()
    assert result.tracked.sum() == FRAMES - 5
    assert (result.confidence[MISSING] == 0).all()
    for name in ("expression", "quats_wxyz", "translation"):
        assert np.isfinite(getattr(result.motion, name)).all()
    assert rotation_errors(result, truth)[MISSING].max() < 3
    np.testing.assert_allclose(result.motion.translation[MISSING, :2], truth.translation[MISSING, :2], atol=3e-3)
    np.testing.assert_allclose(np.linalg.norm(result.motion.quats_wxyz, axis=1), 1, atol=1e-5)


def test_smeared_lips_do_not_drag_the_jaw(truth, result):
    off = np.abs(result.motion.expression - truth.expression)[SMEARED, JAW]
    assert off.max() < 0.15
    assert result.confidence[SMEARED].max() < np.median(result.confidence[result.tracked])


def test_test_frames_do_not_reach_the_person(truth, result):
    """Identity, focal length and offsets come from before the gap: the rest may be anything."""
    landmarks = truth.observations.landmarks_px.copy()
    first_hidden = int(FRAMES * 0.85) - int(FPS) + 1
    landmarks[first_hidden:] += 5.0
    changed = track_clip(small_head(), small_table(), replace(truth.observations, landmarks_px=landmarks), QUICK)
    np.testing.assert_array_equal(changed.identity, result.identity)
    np.testing.assert_array_equal(changed.neutral, result.neutral)
    assert changed.camera.fx == result.camera.fx


def test_focal_stays_near_its_prior():
    """Another lens than expected is hardly observable, and must not carry the solution away."""
    far = make_truth(focal_px=1.5 * WIDTH)
    got = track_clip(small_head(), small_table(), far.observations, QUICK)
    assert 0.6 < got.metrics["focal_px"] / (2.2 * WIDTH) < 1.1
    assert got.metrics["reprojection_iod"] < 0.02
    fixed = track_clip(small_head(), small_table(), far.observations, replace(QUICK, focal_sd=0.0))
    assert fixed.metrics["focal_px"] == pytest.approx(2.2 * WIDTH, rel=1e-4)


def test_same_input_same_track_and_chunks_do_not_matter(truth, result):
    again = track_clip(small_head(), small_table(), truth.observations, QUICK)
    np.testing.assert_array_equal(again.motion.expression, result.motion.expression)
    np.testing.assert_array_equal(again.motion.quats_wxyz, result.motion.quats_wxyz)
    small = track_clip(small_head(), small_table(), truth.observations, replace(QUICK, chunk_frames=64))
    np.testing.assert_allclose(small.motion.translation, result.motion.translation, atol=2e-3)
    assert np.abs(small.motion.expression - result.motion.expression)[:, JAW].max() < 0.05


def test_temporal_prior_brings_the_track_closer_to_the_truth():
    noisy = make_truth(noise_px=1.0)
    errors = {}
    for steps in (0, QUICK.smooth_steps):
        config = replace(QUICK, smooth_steps=steps, independent_landmarks=478.0)
        got = track_clip(small_head(), small_table(), noisy.observations, config)
        shake = np.diff(got.motion.translation[45:] - noisy.translation[45:], axis=0)
        errors[steps] = np.abs(shake).mean(), got.metrics["jitter_ratio"]
    assert errors[QUICK.smooth_steps][0] < 0.8 * errors[0][0]
    assert errors[QUICK.smooth_steps][1] < errors[0][1]


def test_scattered_landmarks_are_left_out(truth, result):
    """Landmarks whose calibration failed may hold anything, infinite spread included."""
    table, bad = small_table(), torch.arange(100, 130)
    spread = table.spread.clone()
    spread[bad] = torch.inf
    landmarks = truth.observations.landmarks_px.copy()
    landmarks[:, bad.numpy()] += 40
    got = track_clip(
        small_head(), replace(table, spread=spread), replace(truth.observations, landmarks_px=landmarks), QUICK
    )
    assert got.metrics["reprojection_px"] < 1.1 * result.metrics["reprojection_px"]


def test_bent_mesh_follows_landmarks_and_stays_smooth():
    head, table = small_head(), small_table()
    model = landmark_model(head, table, TrackConfig())
    offsets = torch.tensor([0.003, 0.0, -0.002]) * torch.exp(-(model.rest[:, :1] ** 2) / 0.03**2)
    bent = bend_mesh(head.template, head.faces, model, offsets)
    moved = ((bent - head.template)[model.vertices] * model.barycentrics[..., None]).sum(1)
    assert (moved - offsets).norm(dim=1).mean() < 2e-4
    edges = head.faces[:, :2]
    stretch = (bent - head.template)[edges[:, 0]] - (bent - head.template)[edges[:, 1]]
    assert stretch.norm(dim=1).max() < 1e-3


def test_banded_solve_equals_the_dense_one():
    rng = np.random.default_rng(0)
    t, d = 9, 4
    seconds = np.cumsum(rng.uniform(0.02, 0.1, t))
    root = rng.normal(size=(t, d, d))
    information = root @ root.transpose(0, 2, 1) + np.eye(d)
    gradient, values = rng.normal(size=(t, d)), rng.normal(size=(t, d))
    precision = rng.uniform(0.5, 2, (t - 2, d)) * 1e-5
    rows = np.stack([accelerations(e.reshape(t, d), seconds).ravel() for e in np.eye(t * d)], axis=1)
    dense = rows.T @ (precision.ravel()[:, None] * rows)
    for i in range(t):
        dense[i * d : (i + 1) * d, i * d : (i + 1) * d] += information[i]
    acceleration = accelerations(values, seconds)
    right = -gradient.ravel() - rows.T @ (precision * acceleration).ravel()
    tensors = torch.tensor(information), torch.tensor(gradient)
    got = solve_track(*tensors, acceleration, precision, seconds).numpy()
    np.testing.assert_allclose(got.ravel(), np.linalg.solve(dense, right), rtol=1e-8)


def test_accelerations_on_uneven_steps():
    seconds = np.array([0.0, 0.04, 0.1, 0.12, 0.3])
    values = np.stack((1 + 2 * seconds, 3 * seconds**2), 1)
    np.testing.assert_allclose(accelerations(values, seconds), [[0, 6]] * 3, atol=1e-9)


def test_bad_input_says_what_to_do(truth, unchecked_shapes):
    o = truth.observations
    with pytest.raises(BadInput, match="wrong shape"):
        replace(o, scores=o.scores[:, :51])
    with pytest.raises(BadInput, match="do not increase"):
        replace(o, timestamps_seconds=o.timestamps_seconds[::-1].copy())
    blind = o.landmarks_px.copy()
    blind[:120] = np.nan
    with pytest.raises(BadInput, match="too few frames with a face"):
        track_clip(small_head(), small_table(), replace(o, landmarks_px=blind), QUICK)
    scattered = replace(small_table(), spread=torch.full((478,), 0.1))
    with pytest.raises(BadInput, match="too scattered"):
        track_clip(small_head(), scattered, o, QUICK)
