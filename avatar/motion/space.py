"""The motion space of a prior: what a head does per frame as few whitened numbers in groups, and back. numpy only.

Expressions are relative to the person's rest, so that one space serves many people. Lips and upper face are principal
components in the metric of the moved skin (`FaceGeometry.gram`), not of coefficients; gaze is two angles and a
vergence; the head turns and moves about its mean pose. A prior carries its space: statistics that are lost or mixed up
are the classic way to a violently shaking head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from avatar.driving_maths import EXPRESSION_RANGE, soft_clamp
from avatar.errors import FormatMismatch
from avatar.motion.eye_angles import gaze_degrees, with_gaze
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.motion.takes import Take
from avatar.tracks import JOINTS, N_EXPRESSIONS, Motion

_MOST = {"lips": 16, "upper": 8}
"""Principal components at most."""
_KEPT_VARIANCE = 0.998
_LEAST_DEVIATION = {"lips": 1e-5, "upper": 1e-5, "lids": 0.03, "gaze": 0.5}
"""Metres of skin, of closure, degrees: what never moves must not turn noise into full-scale numbers."""
_LEAST_TURN, _LEAST_SHIFT_M = np.deg2rad(0.3), 0.0005
_GUARD_QUANTILE = 0.002
_GAZE = ("yaw", "pitch", "vergence")


@dataclass(frozen=True)
class MotionSpace:
    """Linear maps between a motion and d numbers per frame of unit deviation; see the module."""

    rest_expression: Float[np.ndarray, "52"]
    """Of the person who was trained on; what a motion starts from if nobody else's rest is given."""
    mean: Float[np.ndarray, " d"]
    deviation: Float[np.ndarray, " d"]
    lips_basis: Float[np.ndarray, "r 52"]
    """Relative expression of each component, in its physical unit (metres of skin, root mean square)."""
    lips_weights: Float[np.ndarray, "52 r"]
    """Components of a relative expression."""
    upper_basis: Float[np.ndarray, "q 52"]
    upper_weights: Float[np.ndarray, "52 q"]
    low: Float[np.ndarray, " d"]
    """Training range; what is generated is softly held inside."""
    high: Float[np.ndarray, " d"]

    @property
    def slices(self) -> dict[str, slice]:
        """Columns of each group."""
        widths = {"lips": len(self.lips_basis), "upper": len(self.upper_basis), "lids": 2, "gaze": 3, "head": 6}
        ends = np.cumsum(list(widths.values()))
        return {name: slice(int(e) - w, int(e)) for (name, w), e in zip(widths.items(), ends, strict=True)}

    @property
    def group(self) -> Int[np.ndarray, " d"]:
        """Index of each number's group (`avatar.motion.groups`)."""
        return np.repeat(np.arange(len(GROUP_NAMES)), [s.stop - s.start for s in self.slices.values()])

    @property
    def size(self) -> int:
        """d."""
        return len(self.mean)

    @staticmethod
    def of(takes: Sequence[Take], geometry: FaceGeometry) -> MotionSpace:
        """Statistics of training takes; frames of confidence 0 do not count."""
        rests = [take.face_at_rest for take in takes]
        kept = [take.motion[take.confidence > 0] for take in takes]
        relative = np.concatenate([m.expression - rest for m, rest in zip(kept, rests, strict=True)])
        lips, lips_weights = _components(relative, geometry.gram, "lips")
        upper, upper_weights = _components(relative, geometry.gram, "upper")
        width = len(lips) + len(upper) + 11
        plain = np.zeros(width), np.ones(width)
        space = MotionSpace(
            rest_of(takes), *plain, lips, lips_weights, upper, upper_weights,
            np.full(width, -np.inf), np.full(width, np.inf),
        )  # fmt: skip
        x = np.concatenate([space.encode(m, rest) for m, rest in zip(kept, rests, strict=True)])
        deviation = np.maximum(x.std(0), space._least_deviation())
        low, high = np.quantile((x - x.mean(0)) / deviation, (_GUARD_QUANTILE, 1 - _GUARD_QUANTILE), axis=0)
        return MotionSpace(
            space.rest_expression, x.mean(0), deviation, lips, lips_weights, upper, upper_weights, low, high
        )

    def _least_deviation(self) -> Float[np.ndarray, " d"]:
        least = np.empty(self.size)
        for name, columns in self.slices.items():
            least[columns] = _LEAST_DEVIATION.get(name, 0.0)
        least[self.slices["head"]] = [_LEAST_TURN] * 3 + [_LEAST_SHIFT_M] * 3
        return least

    def encode(self, motion: Motion, rest: Float[np.ndarray, "52"] | None = None) -> Float[np.ndarray, "t d"]:
        """The numbers of a motion whose mean pose is the identity at the origin.

        Args:
            rest: of the person who moves; the trained person's if not given.
        """
        relative = motion.expression - (self.rest_expression if rest is None else rest)
        lids = relative[:, GROUPS["lids"]]
        turn = Rotation.from_quat(motion.quats_wxyz, scalar_first=True).as_rotvec()
        parts = (
            relative @ self.lips_weights, relative @ self.upper_weights, lids, gaze_degrees(motion.expression), turn,
            motion.translation,
        )  # fmt: skip
        return ((np.concatenate(parts, 1) - self.mean) / self.deviation).astype(np.float32)

    def guarded(self, x: Float[np.ndarray, "*t d"]) -> Float[np.ndarray, "*t d"]:
        """Held inside of what training showed."""
        return soft_clamp(x, self.low, self.high)

    def decode(
        self, x: Float[np.ndarray, "t d"], seconds: Float[np.ndarray, " t"], rest: Float[np.ndarray, "52"] | None = None
    ) -> Motion:
        """The motion of those numbers, about the identity pose at the origin.

        Args:
            seconds: when each frame is.
            rest: of the person who shall move so; the trained person's if not given.
        """
        physical, columns = x * self.deviation + self.mean, self.slices
        base = self.rest_expression if rest is None else np.asarray(rest)
        expression = np.repeat(np.asarray(base, np.float64)[None], len(x), axis=0)
        expression += physical[:, columns["lips"]] @ self.lips_basis + physical[:, columns["upper"]] @ self.upper_basis
        expression[:, GROUPS["lids"]] += physical[:, columns["lids"]]
        expression = with_gaze(expression, physical[:, columns["gaze"]])
        head = physical[:, columns["head"]]
        return Motion(
            timestamps_seconds=np.asarray(seconds, np.float64),
            expression=expression.clip(*EXPRESSION_RANGE).astype(np.float32),
            joints=np.zeros((len(x), len(JOINTS), 3), np.float32),
            quats_wxyz=Rotation.from_rotvec(head[:, :3]).as_quat(scalar_first=True).astype(np.float32),
            translation=head[:, 3:].astype(np.float32),
        )

    def importance(self) -> Float[np.ndarray, " d"]:
        """How far a unit of each number moves the skin, over the mean of its group; 1 for lids, gaze and head."""
        weights = np.ones(self.size)
        for name in _MOST:
            moved = self.deviation[self.slices[name]] ** 2
            weights[self.slices[name]] = moved / moved.mean()
        return weights

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file, by name."""
        return {f"space.{f.name}": getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> MotionSpace:
        """What `arrays` gave.

        Raises:
            FormatMismatch: something is missing, of another shape or not finite.
        """
        names = [f.name for f in fields(MotionSpace)]
        if lacking := [name for name in names if f"space.{name}" not in arrays]:
            raise _unusable(f"no {', '.join(lacking)}")
        given = {name: arrays[f"space.{name}"] for name in names}
        space = MotionSpace(**given)
        r, q, d = len(space.lips_basis), len(space.upper_basis), len(space.lips_basis) + len(space.upper_basis) + 11
        shapes = {
            "rest_expression": (52,), "lips_basis": (r, 52), "lips_weights": (52, r), "upper_basis": (q, 52),
            "upper_weights": (52, q),
        }  # fmt: skip
        for name, array in given.items():
            if array.shape != shapes.get(name, (d,)):
                raise _unusable(f"{name} of shape {array.shape}")
            if not np.isfinite(array).all():
                raise _unusable(f"{name} that is not finite")
        if not (space.deviation > 0).all():
            raise _unusable("a deviation of 0")
        return space


def rest_of(takes: Sequence[Take]) -> Float[np.ndarray, "52"]:
    """How the people in takes rest, on average."""
    return np.mean([take.face_at_rest for take in takes], 0).astype(np.float32)


def _components(
    relative: Float[np.ndarray, "t 52"], gram: Float[np.ndarray, "52 52"], group: str
) -> tuple[Float[np.ndarray, "r 52"], Float[np.ndarray, "52 r"]]:
    """Principal components of a group's actions in a metric: what one unit of each is, and how to read it off."""
    index = np.array(GROUPS[group])
    values, vectors = np.linalg.eigh(gram[np.ix_(index, index)])
    values = np.maximum(values, 1e-4 * values.max())  # what hardly moves the skin still gets a place
    root, inverse = vectors * np.sqrt(values), vectors / np.sqrt(values)
    # Not around the mean: what a low rank leaves out of it would be lost.
    moved = relative[:, index] @ root
    _, sigma, axes = np.linalg.svd(moved, full_matrices=False)
    share = np.cumsum(sigma**2) / max(float((sigma**2).sum()), 1e-12)
    rank = min(_MOST[group], len(sigma), int(np.searchsorted(share, _KEPT_VARIANCE)) + 1)
    basis, weights = np.zeros((rank, N_EXPRESSIONS)), np.zeros((N_EXPRESSIONS, rank))
    basis[:, index], weights[index] = axes[:rank] @ inverse.T, root @ axes[:rank].T
    return basis, weights


def _unusable(got: str) -> FormatMismatch:
    return FormatMismatch(
        "this motion space can't be used", expected="the statistics of a visavis prior", got=got, fix="train it again"
    )
