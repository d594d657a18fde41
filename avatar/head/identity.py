"""A compact orthogonal identity basis out of many named shape changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class IdentityBasis:
    """The leading components of a set of shape changes, and how much of them they hold."""

    basis: Float[np.ndarray, "k v 3"]
    retained_weighted: float
    """Share of the weighted variance (what the decomposition optimises)."""
    retained: float
    """Share of the plain variance over all vertices."""


def without_rigid_motion(
    changes: Float[np.ndarray, "n v 3"], vertices: Float[np.ndarray, "v 3"], weights: Float[np.ndarray, " v"]
) -> Float[np.ndarray, "n v 3"]:
    """The changes less their weighted-least-squares translation and (infinitesimal) rotation.

    Otherwise identity could move the head, which is the pose's business, and the two would be ambiguous in tracking.
    """
    axes = np.eye(3)
    fields = np.stack([np.broadcast_to(a, vertices.shape) for a in axes] + [np.cross(a, vertices) for a in axes])
    root = np.sqrt(weights)[:, None]
    q, _ = np.linalg.qr((fields * root).reshape(6, -1).T)
    flat = (changes * root).reshape(len(changes), -1)
    return ((flat - (flat @ q) @ q.T).reshape(changes.shape)) / root


def orthogonal_basis(
    changes: Float[np.ndarray, "n v 3"], weights: Float[np.ndarray, " v"], count: int
) -> IdentityBasis:
    """Components of random sums of the changes, each change being one standard deviation of its own coefficient.

    The best `count`-dimensional subspace is sought in the norm weighted per vertex; inside it the components are then
    turned to be orthogonal in the plain norm, as `HeadModel` promises. That turn is a rotation of the coefficients, so
    they stay independent with unit variance.
    """
    root = np.repeat(np.sqrt(weights), 3)
    flat = changes.reshape(len(changes), -1)
    _, values, right = np.linalg.svd(flat * root, full_matrices=False)
    sigma = values[:count, None] * right[:count] / root
    _, plain_values, plain_right = np.linalg.svd(sigma, full_matrices=False)
    # The sign of a singular vector is arbitrary: fix it, so that every machine converts to the same head.
    peak = np.take_along_axis(plain_right, np.abs(plain_right).argmax(axis=1)[:, None], axis=1)
    basis = plain_values[:, None] * plain_right * np.sign(peak)
    return IdentityBasis(
        basis=basis.reshape(-1, *changes.shape[1:]),
        retained_weighted=float((values[:count] ** 2).sum() / (values**2).sum()),
        retained=float((basis**2).sum() / (flat**2).sum()),
    )
