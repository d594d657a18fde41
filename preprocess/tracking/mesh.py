"""Bend a mesh smoothly along sparse displacements."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from avatar.head.rigging import adjacency
from preprocess.tracking.landmarks import LandmarkModel


def bend_mesh(
    neutral: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    model: LandmarkModel,
    offsets: Float[Tensor, "n 3"],
    stiffness: float = 1.0,
) -> Float[Tensor, "v 3"]:
    """Vertices moved so that the landmarks go along `offsets` while the displacement stays smooth.

    Minimises sum w |B d - offsets|^2 + stiffness |L d|^2 + 1e-3 |d|^2 over displacements d, with barycentric rows B and
    the graph Laplacian L (bi-harmonic deformation, Botsch and Sorkine 2008). Parts without landmarks hardly move.
    """
    count, n = len(neutral), len(offsets)
    laplacian = sparse.eye(count) - adjacency(faces.numpy(), count)
    rows = np.repeat(np.arange(n), 3)
    at = sparse.coo_matrix((model.barycentrics.numpy().ravel(), (rows, model.vertices.numpy().ravel())), (n, count))
    weighted = at.T @ sparse.diags(model.weights.double().numpy())
    system = weighted @ at + stiffness * (laplacian.T @ laplacian) + 1e-3 * sparse.eye(count)
    moved = splu(system.tocsc()).solve(weighted @ offsets.double().numpy())
    return neutral + torch.from_numpy(moved).float()
