"""Second differences over uneven time steps, and the linear system of a track under an acceleration prior."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def second_difference_rows(seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t-2 3"]:
    """Coefficients that turn three neighbouring samples into an acceleration, 1/s^2."""
    before, after = np.diff(seconds)[:-1], np.diff(seconds)[1:]
    mean = (before + after) / 2
    return np.stack((1 / (before * mean), -(1 / before + 1 / after) / mean, 1 / (after * mean)), axis=1)


def accelerations(values: Float[np.ndarray, "t d"], seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t-2 d"]:
    """Second time derivative of samples."""
    rows = second_difference_rows(seconds)
    return rows[:, :1] * values[:-2] + rows[:, 1:2] * values[1:-1] + rows[:, 2:] * values[2:]


def solve_track(
    information: Float[Tensor, "t d d"],
    gradient: Float[Tensor, "t d"],
    acceleration: Float[np.ndarray, "t-2 d"],
    precision: Float[np.ndarray, "t-2 d"],
    seconds: Float[np.ndarray, " t"],
) -> Float[Tensor, "t d"]:
    """Increments that minimise the frames' quadratic costs plus half the weighted squared accelerations.

    Each frame is coupled with two on either side, so the matrix is block tridiagonal in pairs of frames and the time
    linear in t: the smoother of Whittaker and Henderson, with a matrix weight per sample. (In torch rather than by
    LAPACK's banded solver: a second threaded BLAS beside torch's fights it for the cores.)

    Args:
        information: second derivative of each frame's cost by its d unknowns; float64, as `gradient`.
        gradient: first derivative there.
        acceleration: of the present track.
        precision: weight of each squared acceleration.
        seconds: time stamps, increasing.
    """
    t, d = gradient.shape
    rows = second_difference_rows(seconds)
    padded = t + t % 2
    blocks = torch.eye(d, dtype=torch.float64).repeat(padded, 1, 1)
    blocks[:t] = information
    right = np.zeros((padded, d))
    right[:t] = -gradient.numpy()
    # lags[l][i]: what couples frame i with frame i + l, one value per unknown
    lags = np.zeros((3, padded, d))
    for a in range(3):
        right[a : t - 2 + a] -= precision * acceleration * rows[:, a, None]
        for b in range(a, 3):
            lags[b - a, a : t - 2 + a] += precision * (rows[:, a] * rows[:, b])[:, None]
    blocks.diagonal(dim1=1, dim2=2).add_(torch.from_numpy(lags[0]))
    pairs, lower = _in_pairs(blocks, torch.from_numpy(lags[1]), torch.from_numpy(lags[2]))
    return _solve_block_tridiagonal(pairs, lower, torch.from_numpy(right).reshape(-1, 2 * d)).reshape(padded, d)[:t]


def _in_pairs(
    blocks: Float[Tensor, "t d d"], lag1: Float[Tensor, "t d"], lag2: Float[Tensor, "t d"]
) -> tuple[Float[Tensor, "t/2 2*d 2*d"], Float[Tensor, "t/2-1 2*d 2*d"]]:
    """Blocks of frame pairs on the diagonal, and below it."""
    t, d = lag1.shape
    pairs = torch.zeros(t // 2, 2 * d, 2 * d, dtype=torch.float64)
    pairs[:, :d, :d], pairs[:, d:, d:] = blocks[0::2], blocks[1::2]
    pairs[:, :d, d:] = pairs[:, d:, :d] = torch.diag_embed(lag1[0::2])
    lower = torch.zeros(t // 2 - 1, 2 * d, 2 * d, dtype=torch.float64)
    lower[:, :d, :d] = torch.diag_embed(lag2[0:-2:2])
    lower[:, :d, d:] = torch.diag_embed(lag1[1:-2:2])
    lower[:, d:, d:] = torch.diag_embed(lag2[1:-2:2])
    return pairs, lower


def _solve_block_tridiagonal(
    diagonal: Float[Tensor, "m n n"], lower: Float[Tensor, "m-1 n n"], right: Float[Tensor, "m n"]
) -> Float[Tensor, "m n"]:
    """Block elimination forwards, substitution backwards (block Thomas algorithm); symmetric positive definite."""
    couplings, particulars = [], []
    block, residual = diagonal[0], right[0]
    for i in range(len(lower)):
        factor = torch.linalg.cholesky(block)
        both = torch.cholesky_solve(torch.cat((lower[i].mT, residual[:, None]), 1), factor)
        couplings.append(both[:, :-1])
        particulars.append(both[:, -1])
        eliminated = lower[i] @ both
        block, residual = diagonal[i + 1] - eliminated[:, :-1], right[i + 1] - eliminated[:, -1]
    solution = [torch.cholesky_solve(residual[:, None], torch.linalg.cholesky(block))[:, 0]]
    for coupling, particular in zip(reversed(couplings), reversed(particulars), strict=True):
        solution.append(particular - coupling @ solution[-1])
    return torch.stack(solution[::-1])
