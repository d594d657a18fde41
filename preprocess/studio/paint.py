"""Paints the atlas of one person: skin, lips, brows, lids, irises, teeth, hair, shirt."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar.head.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, landmarks_on, region_of_faces
from preprocess.studio.atlas import HEIGHT, LABELS, TILES, WIDTH, Atlas, Tile
from preprocess.studio.mapping import cylinder
from preprocess.studio.noise import value_noise
from preprocess.studio.person import Color, Person

RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
_IRIS_SHARE, _PUPIL_SHARE = 0.34, 0.19
"""Radii in the eye's tile, of half its width: an iris of 5.9 mm on an eyeball of 16 mm."""
_SCLERA, _TEETH, _MOUTH, _TONGUE = (226, 220, 214), (232, 224, 206), (96, 34, 36), (186, 96, 96)
_NOSE_TIP, _CHEEKS = 4, (205, 425)


class Painter:
    """Brushes over one tile-sized float picture, in shares of the tile."""

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self.color = np.zeros((tile.height, tile.width, 3), np.float32)
        self.labels = np.zeros((tile.height, tile.width), np.uint8)
        v, u = np.mgrid[: tile.height, : tile.width]
        self.u, self.v = (u + 0.5) / tile.width, (v + 0.5) / tile.height

    def blend(self, color: tuple[float, ...], strength: np.ndarray, label: str = "") -> None:
        """Mix a colour in, by strength 0 to 1; the label goes where it is above a half."""
        self.color += strength[..., None] * (np.array(color, np.float32) - self.color)
        if label:
            self.labels[strength > 0.5] = LABELS.index(label)

    def polygon(self, points: Float[np.ndarray, "n 2"], soft_px: float) -> Float[np.ndarray, "h w"]:
        """Coverage of a closed polygon (shares of the tile) with soft edges."""
        import cv2

        mask = np.zeros((self.tile.height, self.tile.width), np.uint8)
        pixels = np.round(points * (self.tile.width, self.tile.height) * 16).astype(np.int32)
        cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask, (0, 0), soft_px).astype(np.float32) / 255

    def line(self, points: Float[np.ndarray, "n 2"], width_px: int, soft_px: float) -> Float[np.ndarray, "h w"]:
        """Coverage of an open line with soft edges."""
        import cv2

        mask = np.zeros((self.tile.height, self.tile.width), np.uint8)
        pixels = np.round(points * (self.tile.width, self.tile.height) * 16).astype(np.int32)
        cv2.polylines(mask, [pixels], False, 255, width_px, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask, (0, 0), soft_px).astype(np.float32) / 255

    def spot(self, place: np.ndarray, radius: tuple[float, float]) -> Float[np.ndarray, "h w"]:
        """A soft ellipse: 1 in its middle, about 0 at twice the radius (shares of the tile)."""
        square = ((self.u - place[0]) / radius[0]) ** 2 + ((self.v - place[1]) / radius[1]) ** 2
        return np.exp(-square).astype(np.float32)


def paint(head: LinearHead, table: LandmarkTable, person: Person, seed: int) -> Atlas:
    """The atlas of a person. Lips, brows and lids are drawn where the landmark table has them on the template."""
    rng = np.random.default_rng([seed, 12])
    color, labels = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
    tiles = {
        "head": _head(head, table, person, rng),
        "eyes": _eye(person, rng),
        "hair": _hair(person, rng),
        "shirt": _shirt(person, rng),
        "teeth": _teeth(),
        "inner_mouth": _flat("inner_mouth", _MOUTH, "inner_mouth"),
        "tongue": _flat("tongue", _TONGUE, "tongue"),
        "throat": _flat("throat", person.skin, "neck"),
    }
    for name, painter in tiles.items():
        rows, columns = TILES[name].area
        color[rows, columns], labels[rows, columns] = painter.color, painter.labels
    return Atlas(np.clip(color + 0.5, 0, 255).astype(np.uint8), labels)


def _head(head: LinearHead, table: LandmarkTable, person: Person, rng: np.random.Generator) -> Painter:
    canvas = Painter(TILES["head"])
    places = np.stack(cylinder(landmarks_on(head.template.numpy(), head, table).astype(np.float64)), axis=1)
    canvas.blend(person.skin, np.ones_like(canvas.color[..., 0]))
    _regions(canvas, head, person, rng)
    for landmark in (*_CHEEKS, _NOSE_TIP):
        reddened = tuple(s * f for s, f in zip(person.skin, (1.0, 0.8, 0.8), strict=True))
        canvas.blend(reddened, 0.45 * canvas.spot(places[landmark], (0.035, 0.05)))
    _beard(canvas, places, person, rng)
    for eye in (RIGHT_EYE, LEFT_EYE):
        around = canvas.polygon(_grown(places[list(eye)], 1.45), 9.0)
        canvas.blend(tuple(0.72 * s for s in person.skin), 0.5 * around)
    canvas.blend(person.lips, canvas.polygon(places[list(OUTER_LIPS)], 1.6), "lips")
    _brows(canvas, places, person, rng)
    for eye in (RIGHT_EYE, LEFT_EYE):
        upper = places[[eye[0], *eye[:8:-1], eye[8]]]  # outer corner, upper lid inwards, inner corner
        canvas.blend((38, 24, 20), 0.9 * canvas.line(upper, 5, 1.2))
        canvas.blend(tuple(0.55 * s for s in person.skin), 0.5 * canvas.line(places[list(eye[:9])], 3, 1.5))
    mottle = value_noise(rng, canvas.tile.width, canvas.tile.height, 40, 4)
    canvas.color *= 1 + 0.035 * mottle[..., None]
    return canvas


def _regions(canvas: Painter, head: LinearHead, person: Person, rng: np.random.Generator) -> None:
    """Labels by the mesh's own regions; the scalp gets the hair's colour with a frayed edge."""
    import cv2

    canvas.labels[:] = LABELS.index("face_skin")
    turn, down = cylinder(head.template.numpy().astype(np.float64))
    pixels = np.round(np.stack([turn, down], 1) * (canvas.tile.width, canvas.tile.height) * 16).astype(np.int32)
    faces, regions = head.faces.numpy(), region_of_faces(head)
    scalp = np.zeros(canvas.labels.shape, np.uint8)
    for name, mask, value in (
        ("neck", canvas.labels, LABELS.index("neck")), ("ears", canvas.labels, LABELS.index("ears")),
        ("scalp", canvas.labels, LABELS.index("scalp")), ("scalp", scalp, 255),
    ):  # fmt: skip
        for triangle in pixels[faces[regions == REGIONS.index(name)]]:
            if np.ptp(triangle[:, 0]) < 8 * canvas.tile.width:
                cv2.fillConvexPoly(mask, triangle, value, cv2.LINE_8, 4)
    scalp[:60] = 255
    soft = cv2.GaussianBlur(scalp, (0, 0), 12).astype(np.float32) / 255
    frayed = np.clip(3 * (soft - 0.5) + 0.6 * value_noise(rng, canvas.tile.width, canvas.tile.height, 12), 0, 1)
    canvas.blend(person.hair, frayed)


def _beard(canvas: Painter, places: np.ndarray, person: Person, rng: np.random.Generator) -> None:
    if not person.stubble and not person.freckles:
        return
    grain = value_noise(rng, canvas.tile.width, canvas.tile.height, 4, 2)
    chin, lip = places[152], places[0]
    low = canvas.spot((chin + lip) / 2, (0.075, 0.14)) ** 0.5
    canvas.blend(person.hair, np.clip(person.stubble * low * (0.45 + 0.35 * grain), 0, 0.8))
    dots = np.clip((value_noise(rng, canvas.tile.width, canvas.tile.height, 5, 1) - 0.62) * 6, 0, 1)
    cheeks = sum(canvas.spot(places[k], (0.06, 0.06)) for k in (*_CHEEKS, _NOSE_TIP))
    canvas.blend(tuple(s * f for s, f in zip(person.skin, (0.75, 0.62, 0.5), strict=True)),
                 np.clip(0.7 * person.freckles * dots * cheeks, 0, 0.7))  # fmt: skip


def _brows(canvas: Painter, places: np.ndarray, person: Person, rng: np.random.Generator) -> None:
    hairs = 0.75 + 0.25 * value_noise(rng, canvas.tile.width, canvas.tile.height, 5, 2)
    for brow in (RIGHT_BROW, LEFT_BROW):
        cover = canvas.polygon(_grown(places[list(brow)], 1.06), 2.5)
        canvas.blend(person.brows, np.clip(cover * hairs, 0, 0.95), "brows")


def _eye(person: Person, rng: np.random.Generator) -> Painter:
    canvas = Painter(TILES["eyes"])
    dx, dy = 2 * canvas.u - 1, 2 * canvas.v - 1
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    canvas.labels[:] = LABELS.index("eyes")
    canvas.blend(_SCLERA, np.ones_like(radius))
    canvas.blend((210, 150, 140), np.clip((radius - 0.45) * 1.2, 0, 0.5))
    rays = np.interp(angle, np.linspace(-np.pi, np.pi, 120), rng.uniform(0.75, 1.25, 120), period=2 * np.pi)
    iris = np.clip((_IRIS_SHARE - radius) * 40, 0, 1)
    canvas.blend(person.iris, iris)
    inner = np.clip((_IRIS_SHARE - radius) * 12, 0, 1)
    canvas.color *= (1 + iris * (rays - 1) * 0.6)[..., None]
    canvas.blend((30, 24, 22), iris * (1 - inner) * 0.75)
    canvas.blend((10, 9, 10), np.clip((_PUPIL_SHARE - radius) * 40, 0, 1))
    return canvas


def _hair(person: Person, rng: np.random.Generator) -> Painter:
    canvas = Painter(TILES["hair"])
    canvas.labels[:] = LABELS.index("hair")
    canvas.blend(person.hair, np.ones_like(canvas.color[..., 0]))
    strands = np.repeat(value_noise(rng, canvas.tile.width, 24, 3, 2), canvas.tile.height // 24, axis=0)
    locks = value_noise(rng, canvas.tile.width, canvas.tile.height, 48, 2)
    canvas.color *= (1 + 0.28 * strands + 0.16 * locks)[..., None]
    return canvas


def _shirt(person: Person, rng: np.random.Generator) -> Painter:
    canvas = Painter(TILES["shirt"])
    canvas.labels[:] = LABELS.index("torso")
    canvas.blend(person.shirt, np.ones_like(canvas.color[..., 0]))
    weave = value_noise(rng, canvas.tile.width, canvas.tile.height, 4, 1)
    folds = value_noise(rng, canvas.tile.width, canvas.tile.height, 90, 2)
    stripes = (np.sin(2 * np.pi * canvas.v * rng.integers(14, 30)) > 0.6) * (rng.random() < 0.4)
    canvas.color *= (1 + 0.05 * weave + 0.14 * folds + 0.35 * stripes)[..., None]
    collar = np.clip((0.06 - canvas.v) * 60, 0, 1)
    canvas.blend(tuple(0.75 * s for s in person.shirt), collar)
    return canvas


def _teeth() -> Painter:
    canvas = _flat("teeth", _TEETH, "teeth")
    gaps = np.abs((canvas.u * 22) % 1 - 0.5) > 0.43
    canvas.color[gaps] *= 0.72
    return canvas


def _flat(tile: str, color: Color, label: str) -> Painter:
    canvas = Painter(TILES[tile])
    canvas.blend(color, np.ones_like(canvas.color[..., 0]), label)
    return canvas


def _grown(points: Float[np.ndarray, "n 2"], factor: float) -> Float[np.ndarray, "n 2"]:
    centre = points.mean(0)
    return centre + factor * (points - centre)
