"""Bend a mesh smoothly along sparse displacements."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

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
    edges = np.concatenate([faces[:, [0, 1]].numpy(), faces[:, [1, 2]].numpy(), faces[:, [2, 0]].numpy()])
    adjacency = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    laplacian = sparse.eye(count) - sparse.diags(1 / degree) @ adjacency
    rows = np.repeat(np.arange(n), 3)
    at = sparse.coo_matrix((model.barycentrics.numpy().ravel(), (rows, model.vertices.numpy().ravel())), (n, count))
    weighted = at.T @ sparse.diags(model.weights.double().numpy())
    system = weighted @ at + stiffness * (laplacian.T @ laplacian) + 1e-3 * sparse.eye(count)
    moved = splu(system.tocsc()).solve(weighted @ offsets.double().numpy())
    return neutral + torch.from_numpy(moved).float()
