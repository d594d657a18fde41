"""Landmark calibration on the default head: steady, symmetric, anatomically where it belongs."""

import numpy as np
import pytest
import torch

from avatar.errors import BadInput
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.landmarks import IRISES, LIPS, OUTER_LIPS
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, on_surface


@pytest.fixture(scope="module")
def head() -> LinearHead:
    return load_head("anny")


@pytest.fixture(scope="module")
def table(head: LinearHead) -> LandmarkTable:
    return calibrate(head)


@pytest.fixture(scope="module")
def points(head: LinearHead, table: LandmarkTable) -> torch.Tensor:
    return on_surface(head.template, head.faces, table)


def test_landmarks_are_steady(table: LandmarkTable):
    assert table.triangles.shape == (478,) and table.barycentrics.shape == (478, 3)
    assert torch.allclose(table.barycentrics.sum(1), torch.ones(478), atol=1e-5)
    assert table.barycentrics.min() >= 0
    assert table.spread.median() < 0.003
    assert (table.spread > 0.005).sum() < 60, "only contours may slide"
    assert table.spread[list(LIPS)].max() < 0.006


def test_left_and_right_mirror(table: LandmarkTable, points: torch.Tensor):
    steady = points[table.spread < 0.005]
    mirrored = steady * torch.tensor([-1.0, 1.0, 1.0])
    distance = torch.cdist(mirrored, steady).amin(1)
    assert distance.median() < 0.002 and distance.quantile(0.95) < 0.005


def test_landmarks_are_where_the_detector_means_them(head: LinearHead, table: LandmarkTable, points: torch.Tensor):
    nose_tip, chin, brow_top = points[4], points[152], points[10]
    assert abs(nose_tip[2] - head.template[:, 2].max()) < 0.008 and abs(nose_tip[0]) < 0.003
    assert chin[1] < points[17, 1] < points[0, 1] < nose_tip[1] < brow_top[1]
    assert points[263, 0] > 0.03 and points[33, 0] < -0.03, "263 is the outer corner of the subject's left eye"
    assert (points[13, 1] - points[14, 1]) > -0.002, "inner lips, upper over lower"
    lips = head.template[head.regions == REGIONS.index("lips")]
    assert torch.cdist(points[list(OUTER_LIPS)], lips).amin(1).max() < 0.005


def test_irises_lie_on_their_eyeballs(head: LinearHead, table: LandmarkTable, points: torch.Tensor):
    corners = head.faces[table.triangles[list(IRISES)]]
    assert (head.regions[corners] == REGIONS.index("eyes")).all()
    centres = head.joint_positions(head.template)[2:]
    for middle, side in ((473, 0), (468, 1)):
        gaze = points[middle] - centres[side]
        assert torch.nn.functional.cosine_similarity(gaze, torch.tensor([0.0, 0.0, 1.0]), dim=0) > np.cos(np.radians(8))


def test_upper_and_lower_inner_lips_stay_apart(head: LinearHead, table: LandmarkTable):
    """Bound to different lips: opening the jaw must part them."""
    expression = torch.zeros(52)
    expression[24] = 0.5
    opened = on_surface(head.vertices(head.template, expression), head.faces, table)
    assert opened[13, 1] - opened[14, 1] > 0.008


def test_cached_table_is_the_same(head: LinearHead, table: LandmarkTable):
    again = calibrate(head)
    assert torch.equal(again.triangles, table.triangles) and torch.equal(again.barycentrics, table.barycentrics)


def test_a_faceless_mesh_is_refused(head: LinearHead):
    from dataclasses import replace

    backwards = replace(head, template=head.template * torch.tensor([-1.0, 1.0, -1.0]))
    with pytest.raises(BadInput, match="does not recognise"):
        calibrate(backwards, cache=False)
