"""Joints and skinning weights derived from geometry, for heads that come without (or with other) ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    import scipy.sparse as sp


def triangulate(
    quads: Int[np.ndarray, "q 4"], vertices: Float[np.ndarray, "v 3"]
) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "f 3"]]:
    """Cut quads along their shorter diagonal and drop degenerate triangles.

    Returns:
        The triangles, and for every corner its place 4 * quad + corner, for picking per-corner data.
    """
    short = np.linalg.norm(vertices[quads[:, 0]] - vertices[quads[:, 2]], axis=1)
    other = np.linalg.norm(vertices[quads[:, 1]] - vertices[quads[:, 3]], axis=1)
    # A tie (flat symmetric quads) must not be decided by rounding: it would differ between the face's two sides.
    cut_02 = (short <= other * (1 + 1e-6))[:, None, None]
    corners = np.where(cut_02, np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 1, 3], [1, 2, 3]]))
    places = (np.arange(len(quads))[:, None, None] * 4 + corners).reshape(-1, 3)
    faces = quads.reshape(-1)[places]
    a, b, c = faces.T
    whole = (a != b) & (b != c) & (a != c)
    return faces[whole], places[whole]


def adjacency(faces: Int[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """Row-normalised vertex adjacency: multiplying averages over neighbours."""
    import scipy.sparse as sp

    i, j = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    links = sp.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    degree = np.asarray(links.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.maximum(degree, 1)) @ links)


def open_edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " n"]:
    """Vertices on the mesh's boundary: ends of edges that belong to one triangle only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def smoothed(
    values: Float[np.ndarray, "v *c"], faces: Int[np.ndarray, "f 3"], rounds: int
) -> Float[np.ndarray, "v *c"]:
    """Values averaged half and half with their neighbours' mean, `rounds` times."""
    average = adjacency(faces, len(values))
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * (average @ values)
    return values


def point_regressor(
    vertices: Float[np.ndarray, "v 3"], chosen: Int[np.ndarray, " n"], point: Float[np.ndarray, "3"]
) -> Float[np.ndarray, " v"]:
    """Weights over the chosen vertices, summing to 1, that give `point`: the closest such weights to their mean.

    Minimises |w - 1/n|^2 subject to sum(w) = 1 and w @ vertices = point (least norm).
    """
    rows = np.vstack([vertices[chosen].T, np.ones(len(chosen))])
    mean = np.full(len(chosen), 1 / len(chosen))
    weights = np.zeros(len(vertices))
    weights[chosen] = mean + np.linalg.lstsq(rows, np.r_[point, 1.0] - rows @ mean, rcond=None)[0]
    return weights


def hinge_weights(
    displacements: Float[np.ndarray, "v 3"],
    vertices: Float[np.ndarray, "v 3"],
    hinge: Float[np.ndarray, "3"],
    rigid: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " v"]:
    """How far each vertex follows a jaw that turns about the x axis through `hinge`, from a jaw-opening displacement.

    Per vertex the displacement is projected on the field of that rotation; the vertices in `rigid` (lower teeth) define
    weight 1. Near the hinge itself, where the field vanishes, the weight fades out.
    """
    turn = np.cross(np.array([1.0, 0.0, 0.0]), vertices - hinge)
    length = (turn**2).sum(axis=1)
    along = (displacements * turn).sum(axis=1)
    angle = along[rigid].sum() / length[rigid].sum()
    near = 0.015**2  # metres squared: the radius of the joint itself
    return np.clip(along / (angle * (length + near)) * 1.05, 0.0, 1.0)
