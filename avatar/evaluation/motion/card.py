"""The card of a motion prior: every rung of the ladder beside the truth, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avatar.evaluation.metrics import rounded
from avatar.evaluation.motion.catalogue import groups
from avatar.evaluation.motion.events import OPENED_MM
from avatar.evaluation.motion.frechet import floors
from avatar.evaluation.motion.lips import TOLERANCE_FRAMES
from avatar.evaluation.motion.manner import distances, manner
from avatar.evaluation.motion.material import SEGMENT_SECONDS, HeldOut
from avatar.evaluation.motion.reference import CLOSED_QUANTILE, Reference
from avatar.evaluation.motion.scores import as_columns, measure
from avatar.evaluation.report import svg_of
from avatar.files import atomic_path
from avatar.motion.audio import RATE
from avatar.motion.eye_angles import gaze_degrees
from avatar.motion.eyes import head_degrees
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUPS
from avatar.motion.takes import Take
from avatar.tracks import Motion

LADDER = ("rules", "l0", "flow", "stream")
"""From the lowest rung up; each is compared with the one before."""
PROTOCOL = f"""Held-out takes, never trained on, at 25 frames per second. lip_vertex_error_mm: mean over frames of the
lip vertex that is furthest off. Lips are closed below the {100 * CLOSED_QUANTILE:.0f}th percentile of their opening in
the training's speech;
closures match within {TOLERANCE_FRAMES} frames, in speech. aperture_r, aperture_speed_r: correlation of the opening and
of its change from frame to frame with the truth's. silence_motion: energy of that change in silence over speech's.
sync_distance and its like: by a linear probe of sound and lips, fitted on training takes. frechet_...: between
the statistics of windows of truth and driver; floors are those of the truth's own halves.
[low, high]: 95 % bootstrap intervals over segments of {SEGMENT_SECONDS:g} s; gains are against the rung before, on the
same draws. Rates, sizes and speeds of the rest of the face are to be compared with the truth's.""".replace("\n", " ")
_ROOM_NOISE_DB, _SILENT_SECONDS = -60.0, 10.0


@dataclass(frozen=True)
class Card:
    """Rows of scores, and the tracks behind them."""

    rows: list[dict[str, Any]]
    motions: Mapping[str, Sequence[Motion]]
    geometry: FaceGeometry
    floors: Mapping[str, float | None] = field(default_factory=dict)
    """Fréchet distances of the truth's own halves: nothing below can be told."""
    robustness: Mapping[str, Mapping[str, Mapping[str, float | None]]] = field(default_factory=dict)
    """By driver what `sounds.robustness` found."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what nothing can be told of is None."""
        rest = {"floors": self.floors, "robustness": self.robustness}
        return {"protocol": PROTOCOL, "rows": self.rows} | {name: part for name, part in rest.items() if part}

    def row(self, name: str) -> dict[str, Any]:
        """Scores of one driver."""
        return next(row for row in self.rows if row["name"] == name)

    def write_page(self, path: Path, title: str, take: int = 0, seconds: float = 12.0) -> None:
        """An HTML page with the scores and the tracks of the beginning of one take."""
        from jinja2 import Environment, FileSystemLoader

        page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True).get_template("page.html.j2")
        names = [name for name in self.rows[0] if name != "name"]
        names += [name for row in self.rows for name in row if name not in (*names, "name")]
        names = list(dict.fromkeys(n for n in names if not n.endswith(("_ci", "_gain")) and n != "unknown"))
        curves = curves_svg(self.motions, self.geometry, take, seconds)
        text = page.render(
            title=title, protocol=PROTOCOL, rows=self.rows, groups=groups(names), curves=curves, floors=self.floors,
            robustness=self.robustness,
        )  # fmt: skip
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")


def make_card(motions: Mapping[str, Sequence[Motion]], truth: Sequence[Take], reference: Reference) -> Card:
    """Scores of drivers against held-out takes.

    Args:
        motions: by driver, one for each take of `truth`, on its clock; those of `LADDER` are compared with each other.
        reference: of the training takes.
    """
    held = HeldOut.of(truth, reference.geometry, reference.space)
    measured = {name: measure(m, held, reference) for name, m in motions.items()}
    rows = []
    for name, scores in measured.items():
        rung = LADDER.index(name) if name in LADDER else 0
        below = next((r for r in reversed(LADDER[:rung]) if r in measured), "")
        own = manner(motions[name], reference.geometry) | distances(motions[name], [take.motion for take in truth])
        row = {"name": name} | as_columns(scores, measured.get(below))
        rows.append(row | {key: rounded(value) for key, value in own.items()})
    halves = floors(held, reference.windows)
    return Card(rows, motions, reference.geometry, {k: None if x is None else rounded(x) for k, x in halves.items()})


def diversity(samples: Sequence[Motion], geometry: FaceGeometry) -> dict[str, float]:
    """How far motions for the same sound differ from seed to seed, as shares of how far each moves: lips and the rest.

    Lips should be told by the sound, all else hardly: `diversity_ratio` is that of variances.
    """
    lips, rest = list(GROUPS["lips"]), [i for name in ("upper", "lids", "gaze") for i in GROUPS[name]]
    weights = np.sqrt(np.diag(geometry.gram))
    faces = np.stack([m.expression * weights for m in samples])
    heads = np.stack([head_degrees(m) for m in samples])

    def share(x: np.ndarray) -> float:
        return float(x.var(0).mean() / max(x.var(1).mean(), 1e-12))

    own = share(faces[..., lips])
    others = (share(faces[..., rest]) + share(heads)) / 2
    return {"diversity_lips": own, "diversity_rest": others, "diversity_ratio": others / max(own, 1e-9)}


def silence_test(
    drive: Callable[[np.ndarray], Motion], reference: Reference, speech_energy_mm2: float
) -> dict[str, float]:
    """What the lips do in ten seconds of digital silence and of a room's noise.

    Args:
        speech_energy_mm2: mean square of the opening's change from frame to frame while the same driver speaks.
    """
    rng, count = np.random.default_rng(52), round(_SILENT_SECONDS * RATE)
    noise = (10 ** (_ROOM_NOISE_DB / 20) * rng.standard_normal(count)).astype(np.float32)
    out = {}
    for name, sound in (("zeros", np.zeros(count, np.float32)), ("noise", noise)):
        motion = drive(sound)[25:]  # the first second may still come to rest
        opening = 1e3 * reference.geometry.aperture(motion.expression)
        out[f"silence_{name}_open"] = float((opening > reference.rest_mm + OPENED_MM).mean())
        out[f"silence_{name}_motion"] = float((np.diff(opening) ** 2).mean() / max(speech_energy_mm2, 1e-12))
    return out


def curves_svg(motions: Mapping[str, Sequence[Motion]], geometry: FaceGeometry, take: int, seconds: float) -> str:
    """Opening of the lips, yaw of head and eyes, and lids of all drivers beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    labels = ("lips open, mm", "head, yaw, degrees", "gaze, yaw, degrees", "lids")
    for name, tracks in motions.items():
        if name in ("mean_pose", "shuffled_audio"):
            continue
        motion = tracks[take][: max(2, round(seconds * tracks[take].fps))]
        expression = motion.expression
        shown = (
            1e3 * geometry.aperture(expression), head_degrees(motion)[:, 0], gaze_degrees(expression)[:, 0],
            expression[:, list(GROUPS["lids"])].mean(1),
        )  # fmt: skip
        for axis, track in zip(axes, shown, strict=True):
            style = {"color": "black", "lw": 1.8} if name == "truth" else {"lw": 1}
            axis.plot(motion.timestamps_seconds, track, label=name, **style)
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(label)
    axes[0].legend(fontsize=8, ncols=len(motions))
    axes[-1].set_xlabel("seconds")
    return svg_of(figure)
