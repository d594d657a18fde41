"""Who is filmed: a random head outside of what the tracker can express, and its colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS

IDENTITY_SD = 0.8
RESIDUAL_MM = 1.0
"""Root mean square, over the face, of the shape detail that no coefficient of the identity basis gives."""
_WAVELENGTHS_M = (0.035, 0.09)
_WAVES = 40
_SKINS = ((246, 216, 196), (235, 195, 170), (222, 176, 146), (196, 144, 112), (158, 108, 80), (116, 76, 56))
_HAIRS = ((32, 24, 20), (58, 40, 28), (96, 66, 42), (150, 112, 70), (190, 158, 106), (122, 62, 36), (130, 126, 122))
_IRISES = ((78, 52, 32), (104, 74, 44), (96, 110, 66), (84, 118, 148), (110, 126, 134))
_SHIRTS = ((52, 70, 112), (122, 44, 48), (46, 88, 66), (70, 72, 78), (196, 190, 178), (32, 34, 40), (150, 110, 54))
Color = tuple[int, ...]


@dataclass(frozen=True)
class Person:
    """One synthetic subject."""

    identity: Float[np.ndarray, " k"]
    neutral: Float[np.ndarray, "v 3"]
    """Vertices at rest, head frame, metres: identity plus residual."""
    residual_rms_mm: float
    """Of the detail outside of the identity basis, over the face."""
    skin: Color
    lips: Color
    brows: Color
    hair: Color
    iris: Color
    shirt: Color
    hair_style: Literal["short", "bob"]
    stubble: float
    """0 none to 1 thick."""
    freckles: float


def make_person(head: LinearHead, seed: int) -> Person:
    """The person of a seed."""
    rng = np.random.default_rng([seed, 11])
    identity = rng.normal(0, IDENTITY_SD, len(head.identity_basis)).clip(-2, 2).astype(np.float32)
    residual = outside_detail(head, rng)
    neutral = head.shape(torch.from_numpy(identity)).numpy() + residual
    face = _region_mask(head, "face", "lips")
    rms = float(np.sqrt((residual[face] ** 2).sum(1).mean()) * 1e3)
    skin = _between(_SKINS, rng)
    hair = _pick(_HAIRS[:3] if sum(skin) < 400 else _HAIRS, rng)
    rosy = rng.uniform(0.2, 0.6)
    lips = tuple(round(s * (1 - rosy) + c * rosy) for s, c in zip(_scaled(skin, 0.82), (176, 66, 72), strict=True))
    beard = rng.random() < 0.35
    return Person(
        identity, neutral.astype(np.float32), rms, skin, lips, _scaled(hair, 0.85), hair, _pick(_IRISES, rng),
        _pick(_SHIRTS, rng), "short" if beard or rng.random() < 0.5 else "bob",
        float(rng.uniform(0.2, 0.8)) if beard else 0.0, float(rng.uniform(0, 1) * (sum(skin) > 500)),
    )  # fmt: skip


def outside_detail(head: LinearHead, rng: np.random.Generator) -> Float[np.ndarray, "v 3"]:
    """A smooth random displacement field, metres, that neither identity coefficients nor a rigid motion can give.

    A sum of plane waves, mostly symmetric; what lies in the span of the identity basis and of small rigid motions is
    taken out by least squares. Eyeballs move as a whole.
    """
    at = head.template.numpy().astype(np.float64)
    mirrored = at * (-1, 1, 1)
    field = np.zeros_like(at)
    for _ in range(_WAVES):
        direction = rng.normal(size=3)
        wave = 2 * np.pi / rng.uniform(*_WAVELENGTHS_M) * direction / np.linalg.norm(direction)
        amplitude, phase = rng.normal(size=3), rng.uniform(0, 2 * np.pi)
        field += amplitude * np.cos(at @ wave + phase)[:, None]
        field += 0.7 * amplitude * (-1, 1, 1) * np.cos(mirrored @ wave + phase)[:, None]
    axes = np.eye(3)
    rigid = [np.broadcast_to(a, at.shape) for a in axes] + [np.cross(a, at) for a in axes]
    span = np.concatenate([head.identity_basis.numpy(), np.stack(rigid)]).reshape(len(head.identity_basis) + 6, -1)
    coefficients = np.linalg.solve(span @ span.T, span @ field.ravel())
    field -= (coefficients @ span).reshape(field.shape)
    eyes = _region_mask(head, "eyes")
    for side in (at[:, 0] > 0, at[:, 0] <= 0):
        field[eyes & side] = field[eyes & side].mean(0)
    face = _region_mask(head, "face", "lips")
    return (field * (RESIDUAL_MM * 1e-3 / np.sqrt((field[face] ** 2).sum(1).mean()))).astype(np.float32)


def _region_mask(head: LinearHead, *names: str) -> np.ndarray:
    return np.isin(head.regions.numpy(), [REGIONS.index(name) for name in names])


def _pick(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _between(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    place = rng.uniform(0, len(colors) - 1)
    low, share = int(place), place - int(place)
    return tuple(round(a + share * (b - a)) for a, b in zip(colors[low], colors[low + 1], strict=True))


def _scaled(color: Color, factor: float) -> Color:
    return tuple(round(c * factor) for c in color)
