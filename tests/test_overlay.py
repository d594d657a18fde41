"""The overlay's wires."""

import numpy as np
import pytest

from preprocess.tracking.overlay import Wires, draw

# An octahedron without its last face: three of the twelve edges have one triangle only.
FACES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5]])


def test_wires_hold_every_edge_once():
    wires = Wires.of(FACES)
    steps = np.sort(np.stack([wires.path[:-1], wires.path[1:]], 1), 1)
    drawn = wires.beside[:, 0] < len(FACES)
    every = np.unique(np.sort(FACES[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    np.testing.assert_array_equal(sorted(steps[drawn].tolist()), every)
    for edge, triangles in zip(steps[drawn], wires.beside[drawn], strict=True):
        at_edge = np.isin(FACES, edge).sum(1) == 2
        assert set(triangles) == set(np.flatnonzero(at_edge))


@pytest.mark.parametrize("mirrored", [False, True])
def test_only_what_faces_the_camera_is_drawn(mirrored):
    points = np.array([[10, 40], [70, 40], [40, 10], [40, 70], [40, 40], [40, 40.0]])
    wires = Wires.of(FACES[[0]])
    if mirrored:
        points[:, 0] = 80 - points[:, 0]
    picture = np.zeros((80, 80, 3), np.uint8)
    seen = draw(picture, points, wires, np.full((478, 2), np.nan, np.float32)).any()
    assert seen == mirrored  # seen from the camera it runs clockwise until it is turned over
    assert bool(wires.towards(points)) == mirrored
