"""`PartLabeller`: the tracked mesh says where the face's parts are, the clip's own colours where hair and clothes are.

The mesh is bald and ends at the neck. Whether a pixel on or beside it shows skin, hair or clothes is decided by what
it costs: how badly its colour fits what the clip shows in places that are certain, and how unlikely the place is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int8, UInt8
from scipy.spatial import KDTree

from avatar.driving import motion_params
from avatar.errors import FormatMismatch
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.landmarks import IBUG_INNER, OUTER_LIPS
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, landmarks_on, region_of_faces
from avatar.rig import posed_vertices
from avatar.split import training_span
from avatar.threads import one_torch_thread
from avatar.types import Capture
from preprocess.capture.pictures import AGAIN
from preprocess.parts.colours import CLASSES, Colours, colour_bins
from preprocess.parts.labels import NUMBER
from preprocess.parts.raster import rasterize_values

PERSON = 128
"""From this confidence on a pixel shows the person."""
MAX_SAMPLES = 24
_PART_OF_REGION = {
    "skin": "skin", "face": "skin", "lips": "skin", "inner_mouth": "inner_mouth", "teeth": "teeth",
    "tongue": "inner_mouth", "eyes": "eyes", "scalp": "skin", "ears": "skin", "neck": "neck",
}  # fmt: skip
_PART = np.array([NUMBER[_PART_OF_REGION[name]] for name in REGIONS], np.uint8)
_INNER = [NUMBER[name] for name in ("inner_mouth", "teeth", "eyes")]
_SKIN, _HAIR, _CLOTHES = range(len(CLASSES))
_REACH_M = 0.08
"""Distance from scalp and ears that the rasteriser carries as 1."""
_INNER_M = 0.012
"""No hair so near to eyes, brows, nose and lips."""
_NEVER = 1e3
_HAND = 0.25
"""Skin further from the head than this, in heights of the face, belongs to a hand or an arm."""


@dataclass(frozen=True)
class _View:
    """The mesh in one frame's picture; lengths in pixels."""

    region: Int8[np.ndarray, "h w"]
    """Index into REGIONS; beside the mesh that of its nearest pixel."""
    away: Float32[np.ndarray, "h w"]
    """Distance to the mesh in heights of the face; 0 on it."""
    reach: Float32[np.ndarray, "h w"]
    """Distance on the template to where hair grows, metres; 0 beside the mesh."""
    lips: UInt8[np.ndarray, "h w"]
    """1 inside of the lips' outline."""
    height: float
    """Of the face."""
    chin: float
    """Lowest row of the face."""
    neck: tuple[float, float]
    """First and last column of the neck."""

    def on(self, *names: str) -> Bool[np.ndarray, "h w"]:
        """Where the mesh shows one of these regions."""
        return np.isin(self.region, [REGIONS.index(name) for name in names]) & (self.away == 0)

    @property
    def rows(self) -> Float32[np.ndarray, "h 1"]:
        return np.arange(self.region.shape[0], dtype=np.float32)[:, None]

    @property
    def outside(self) -> Float32[np.ndarray, " w"]:
        """How far a column lies to the side of the neck, in heights of the face."""
        columns = np.arange(self.region.shape[1], dtype=np.float32)
        return np.maximum(np.maximum(self.neck[0] - columns, columns - self.neck[1]), 0) / np.float32(self.height)


class PartLabeller:
    """Labels any frame of a capture; learns the clip's colours when it is made (about a second).

    The colours come from frames that training may use, so that what is held out stays so.

    Raises:
        FormatMismatch: the capture was made with another edition of its head model.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture, self._head = capture, load_head(capture.head_name)
        if self._head.content_hash != capture.head_hash:
            raise FormatMismatch(
                f"the {capture.head_name} head has changed since the capture was made", expected=capture.head_hash,
                got=self._head.content_hash, fix=AGAIN,
            )  # fmt: skip
        self._table, self._neutral = calibrate(self._head), torch.from_numpy(capture.neutral)
        head, table = self._head, self._table
        self._corners = head.faces.numpy().ravel()
        self._triangles = np.arange(len(self._corners), dtype=np.int32).reshape(-1, 3)
        self._values = np.stack([
            np.repeat((region_of_faces(head) + 1) / (len(REGIONS) + 1), 3),
            (_hair_reach(head, table) / _REACH_M).clip(0, 1)[self._corners],
            (head.regions.numpy() == REGIONS.index("neck"))[self._corners],
        ], axis=1).astype(np.float32)  # fmt: skip
        usable = capture.tracked & training_span(capture.motion.timestamps_seconds)
        self._costs = self._learned(np.flatnonzero(usable if usable.any() else capture.tracked))

    def label(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Index into `PARTS` per pixel of frame `index`."""
        view = self._view(index)
        return _labels(self._costs[colour_bins(self._capture.frame(index))], self._capture.mask(index) >= PERSON, view)

    def _view(self, index: int) -> _View:
        import cv2

        with one_torch_thread():
            vertices = posed_vertices(self._head, self._neutral, motion_params(self._capture.motion, index)).numpy()
        camera = self._capture.camera
        seen = rasterize_values(vertices[self._corners], self._triangles, self._values, camera).values
        region = np.rint(seen[..., 0] * (len(REGIONS) + 1)).astype(np.int8) - 1
        beside = (region < 0).astype(np.uint8)
        # By triangles the jaw would have a jagged line; the share of neck at their corners draws a smooth one.
        outer = np.isin(region, [REGIONS.index(name) for name in ("skin", "face", "neck")])
        region[outer] = np.where(seen[..., 2][outer] > 0.5, REGIONS.index("neck"), REGIONS.index("face"))
        points = camera.project(landmarks_on(vertices, self._head, self._table))
        low, high = float(points[:, 1].min()), float(points[:, 1].max())
        height = max(high - low, 1.0)
        away, nearest = cv2.distanceTransformWithLabels(beside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        if (numbered := region[beside == 0]).size:
            region = numbered[nearest - 1]
        lips = np.zeros(region.shape, np.uint8)
        cv2.fillPoly(lips, [np.rint((points[list(OUTER_LIPS)] - 0.5) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
        neck = camera.project(vertices[self._head.regions.numpy() == REGIONS.index("neck")])[:, 0]
        reach = seen[..., 1] * np.float32(_REACH_M)
        return _View(
            region, away / np.float32(height), reach, lips, height, high, (float(neck.min()), float(neck.max()))
        )

    def _learned(self, usable: Int[np.ndarray, " n"]) -> Float32[np.ndarray, "32768 3"]:
        """Colour costs, from places that are certain; then once more from what these find."""
        picked = usable[np.linspace(0, len(usable) - 1, min(MAX_SAMPLES, len(usable))).astype(int)].tolist()
        samples = [
            (colour_bins(self._capture.frame(i)), self._capture.mask(i) >= PERSON, self._view(i)) for i in picked
        ]
        colours = Colours()
        for bins, person, view in samples:
            for name, where in _certain(view, person).items():
                colours.add(bins, name, where)
        costs = colours.costs()
        colours = Colours()
        for bins, person, view in samples:
            found = _labels(costs[bins], person, view)
            colours.add(bins, "skin", np.isin(found, [NUMBER["skin"], NUMBER["neck"]]))
            colours.add(bins, "hair", found == NUMBER["hair"])
            dressed = costs[:, _CLOTHES] < costs[:, _SKIN]  # which hands are not
            colours.add(bins, "clothes", (found == NUMBER["torso"]) & dressed[bins])
        return colours.costs()


def _hair_reach(head: LinearHead, table: LandmarkTable) -> Float[np.ndarray, " v"]:
    """How far from where hair grows every vertex lies, metres; `_REACH_M` where it never is."""
    regions, at = head.regions.numpy(), head.template.numpy()
    grown = np.isin(regions, [REGIONS.index("scalp"), REGIONS.index("ears")])
    reach = KDTree(at[grown]).query(at)[0]
    reach[KDTree(landmarks_on(at, head, table)[list(IBUG_INNER)]).query(at)[0] < _INNER_M] = _REACH_M
    return reach


def _certain(view: _View, person: Bool[np.ndarray, "h w"]) -> dict[str, Bool[np.ndarray, "h w"]]:
    """Pixels that most likely show skin, hair and clothes, by place alone."""
    import cv2

    beside = person & (view.away > 0)
    size = 2 * max(1, round(0.04 * view.height)) + 1
    scalp = cv2.erode(view.on("scalp").astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    above = beside & (view.rows < view.chin - 0.6 * view.height) & (view.outside < 0.35)
    return {
        "skin": person & view.on("face") & (view.reach > 0.03),
        "hair": person & scalp | above,
        "clothes": beside & (view.rows > view.chin + 0.45 * view.height),
    }


def _places(view: _View) -> Float32[np.ndarray, "h w 3"]:
    """What the place alone costs per class, nats."""
    under = np.clip((view.rows - view.chin) / np.float32(view.height), -1, 2)
    out = np.empty((*view.region.shape, len(CLASSES)), np.float32)
    skin, hair, clothes = out[..., _SKIN], out[..., _HAIR], out[..., _CLOTHES]
    # Beside the mesh: hair above the chin, clothes below, skin where the mesh may have missed it or the neck goes on.
    np.minimum(25 * view.away + (under <= 0), 6, out=skin)
    throat = (under > 0) & (view.outside < 0.1)
    skin[throat] = np.broadcast_to(1 + 4 * under, throat.shape)[throat]
    hair[:] = np.maximum(6 * under, 0) + np.maximum(3 * (view.away - 0.5), 0)
    clothes[:] = np.clip(3.8 - 12 * under, 0, 8)
    mesh, neck, scalp = view.away == 0, view.on("neck"), view.on("scalp")
    head = mesh & ~neck
    skin[mesh] = 0
    hair[head] = 0.5 + 60 * view.reach[head]
    hair[head & (view.reach >= 0.99 * _REACH_M)] = _NEVER
    clothes[head] = _NEVER
    skin[scalp], hair[scalp] = 2, 0
    hair[neck], clothes[neck] = 2, 0
    return out


def _labels(
    costs: Float32[np.ndarray, "h w 3"], person: Bool[np.ndarray, "h w"], view: _View
) -> UInt8[np.ndarray, "h w"]:
    """The cheapest class per pixel by colour costs and place, with the mesh's parts where it is skin."""
    import cv2

    size = 2 * round(0.012 * view.height) + 1
    costs = cv2.blur(costs + _places(view), (size, size))
    best = costs.argmin(2)
    hair = (best == _HAIR) & person
    loose = hair & ~_rooted(hair, view)
    best[loose] = np.where(costs[loose, _CLOTHES] < costs[loose, _SKIN], _CLOTHES, _SKIN)
    mesh = view.away == 0
    out = _PART[view.region]
    inner = np.isin(out, _INNER)
    out[mesh & (out == NUMBER["skin"]) & (view.lips > 0)] = NUMBER["lips"]
    out[inner & ~mesh] = NUMBER["skin"]
    inner &= mesh
    out[(best == _HAIR) & ~inner] = NUMBER["hair"]
    out[((best == _CLOTHES) & ~inner) | ((best == _SKIN) & (view.away > _HAND))] = NUMBER["torso"]
    out[~person] = NUMBER["background"]
    return out


def _rooted(hair: Bool[np.ndarray, "h w"], view: _View) -> Bool[np.ndarray, "h w"]:
    """Hair that hangs together with what grows on the head: dark clothes and rims of mixed colours do not."""
    import cv2

    size = 2 * round(0.02 * view.height) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    pieces = np.asarray(cv2.connectedComponents(cv2.erode(hair.astype(np.uint8), kernel))[1], np.int32)
    kept = np.zeros(int(pieces.max()) + 1, np.uint8)
    kept[pieces[: max(0, int(view.chin - 0.5 * view.height))]] = 1
    kept[0] = 0
    return cv2.dilate(kept[pieces], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))) > 0
