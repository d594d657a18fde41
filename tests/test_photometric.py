"""The photometric pass: a painted shell is rendered in known poses; wrong poses must come back from its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_tracking import JAW, small_head, small_table

from avatar.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.head.model import REGIONS
from avatar.head.render_mesh import rasterize
from avatar.threads import workers
from avatar.types import Camera
from preprocess.tracking.appearance import Pictures, SurfacePoints, learn_appearance
from preprocess.tracking.frames import Frames
from preprocess.tracking.landmark_evidence import LandmarkEvidence, Person, Targets
from preprocess.tracking.landmarks import landmark_model
from preprocess.tracking.photometric import PhotometricEvidence, refine_frames
from preprocess.tracking.points import displaced
from preprocess.tracking.types import PhotometricConfig, TrackConfig

CAMERA = Camera(160, 120, 350.0, 350.0, 80.0, 60.0)
FRAMES = 16
CONFIG = PhotometricConfig(points=800, long_side=160, learn_frames=FRAMES)


def paint(places: np.ndarray) -> np.ndarray:
    """A smooth pattern on the neutral shell, with waves of 2 to 4 cm."""
    x, y, _ = places.T * 2 * np.pi
    waves = (np.sin(x / 0.031) * np.cos(y / 0.027), np.sin((x + y) / 0.023), np.cos((x - 0.5 * y) / 0.019))
    return 0.5 + 0.2 * np.stack(waves, 1) + 0.1 * np.sin(y / 0.04)[:, None]


def rendered(head, frames: Frames, index: int, light: float) -> np.ndarray:
    """(h, w, 3) uint8 of one frame."""
    local = head.vertices(head.template, frames.expression[index])
    seen = (local @ frames.rotation[index].T + frames.translation[index]).numpy()
    points = np.c_[CAMERA.project(seen), seen[:, 2]].astype(np.float32)
    ids, weights = rasterize(points, head.faces.numpy(), CAMERA.width, CAMERA.height)
    on = ids >= 0
    places = (head.template.numpy()[head.faces.numpy()[ids[on]]] * weights[on][..., None]).sum(1)
    image = np.full((CAMERA.height, CAMERA.width, 3), 0.3)
    image[on] = light * paint(places)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def clip():
    head = small_head()
    object.__setattr__(head, "regions", torch.full_like(head.regions, REGIONS.index("face")))
    rng = np.random.default_rng(5)
    turned = torch.tensor(rng.normal(0, (0.08, 0.2, 0.05), (FRAMES, 3)), dtype=torch.float32)
    rotation = torch.diag(torch.tensor([1.0, -1, -1])) @ axis_angle_to_matrix(turned)
    shift = rng.normal(0, (0.01, 0.01, 0.02), (FRAMES, 3)) + (0, 0, 0.7)
    expression = torch.zeros(FRAMES, 52)
    expression[:, JAW] = torch.tensor(rng.uniform(0, 1, FRAMES))
    truth = Frames(rotation, torch.tensor(shift, dtype=torch.float32), expression)
    pictures = [rendered(head, truth, i, light=1 - 0.02 * (i % 4)) for i in range(FRAMES)]
    return head, truth, pictures


def disturbed(truth: Frames) -> Frames:
    """Poses off by a degree and millimetres, jaws by a tenth."""
    rng = np.random.default_rng(6)
    step = torch.zeros(FRAMES, 58)
    step[:, :3] = torch.tensor(rng.normal(0, 0.015, (FRAMES, 3)))
    step[:, 3:6] = torch.tensor(rng.normal(0, 0.0015, (FRAMES, 3)))
    step[:, 6 + JAW] = torch.tensor(rng.normal(0, 0.1, FRAMES))
    return truth.moved(step, (-0.1, 1.2))


def landmarks_that_hardly_know(head, frames: Frames) -> LandmarkEvidence:
    """Landmarks that agree with wrong frames, and weigh little."""
    config = TrackConfig(independent_landmarks=3.0, expression_sd=0.4)
    model = landmark_model(head, small_table(), config)
    person = Person(model.rest, CAMERA.fx, torch.tensor([CAMERA.cx, CAMERA.cy]), model)
    posed = (
        displaced(model.rest, model.expression, frames.expression) @ frames.rotation.mT + frames.translation[:, None]
    )
    pixels = CAMERA.fx * posed[..., :2] / posed[..., 2:] + person.centre_px
    weights = model.weights.repeat(FRAMES, 1)
    return LandmarkEvidence(person, Targets(pixels, frames.expression, torch.full((FRAMES,), 1.0), weights), config)


def errors(frames: Frames, truth: Frames) -> tuple[float, float]:
    """Degrees, and the jaw's action."""
    angle = matrix_to_axis_angle(frames.rotation.mT @ truth.rotation).norm(dim=1).rad2deg().mean()
    return float(angle), float((frames.expression - truth.expression)[:, JAW].abs().mean())


def whole(index: int) -> np.ndarray:
    return np.full((CAMERA.height, CAMERA.width), 255, np.uint8)


@torch.no_grad()
def test_wrong_poses_come_back(clip):
    head, truth, pictures = clip
    wrong = disturbed(truth)
    numbers, learn = np.arange(FRAMES), np.ones(FRAMES, bool)
    found = refine_frames(
        head, head.template, landmarks_that_hardly_know(head, wrong), wrong, numbers, learn, CAMERA,
        pictures.__getitem__, whole, CONFIG, workers(1, 1),
    ).at  # fmt: skip
    before, after = errors(wrong, truth), errors(found, truth)
    assert before[0] > 1 and before[1] > 0.06
    assert after[0] < 0.4 * before[0] and after[1] < 0.5 * before[1]


@torch.no_grad()
def test_what_is_not_learned_from_changes_nothing_but_itself(clip):
    head, truth, pictures = clip
    wrong = disturbed(truth)
    numbers, learn = np.arange(FRAMES), np.arange(FRAMES) < 12
    spoilt = [*pictures[:-1], 255 - pictures[-1]]
    evidence = landmarks_that_hardly_know(head, wrong)
    a, b = (
        refine_frames(
            head, head.template, evidence, wrong, numbers, learn, CAMERA, p.__getitem__, whole, CONFIG, workers(1, 1)
        )
        for p in (pictures, spoilt)
    )
    for name in ("rotation", "translation", "expression"):
        torch.testing.assert_close(getattr(a.at, name)[:-1], getattr(b.at, name)[:-1], rtol=0, atol=1e-6)


@torch.no_grad()
def test_gradient_is_that_of_the_cost(clip):
    head, truth, pictures = clip
    images = Pictures(CAMERA, pictures.__getitem__, whole, 1.5)
    points = SurfacePoints.spread(head, head.template, 400)
    numbers = np.arange(FRAMES)
    appearance = learn_appearance(points, truth, numbers, images)
    wrong = disturbed(truth)
    here = PhotometricEvidence.at(wrong, numbers, appearance, images, 1.0).linearise(wrong)
    torch.testing.assert_close(here.value, here.cost(wrong))
    step = 2e-4
    for k in (0, 1, 2, 3, 4, 5, 6 + JAW):
        unit = torch.zeros(FRAMES, 58)
        unit[:, k] = step if k < 6 else 10 * step
        ends = [here.cost(wrong.moved(s * unit, (-9, 9))) for s in (1, -1)]
        numeric = (ends[0] - ends[1]) / (2 * unit[:, k])
        assert np.corrcoef(numeric, here.gradient[:, k])[0, 1] > 0.98


@torch.no_grad()
def test_points_that_are_hidden_or_turned_away_do_not_count(clip):
    head, truth, pictures = clip
    images = Pictures(CAMERA, pictures.__getitem__, lambda _: np.zeros((CAMERA.height, CAMERA.width), np.uint8), 1.0)
    points = SurfacePoints.spread(head, head.template, 200)
    appearance = learn_appearance(points, truth, np.arange(FRAMES), images)
    assert (appearance.surface.precision == 0).all()  # nothing there belongs to the person
