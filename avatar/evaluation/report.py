"""The evaluation as one HTML file that opens offline: numbers, contact sheets, curves."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import UInt8

from avatar.evaluation.protocol import Evaluation
from avatar.export.cameras import turned
from avatar.files import atomic_path
from avatar.model import Avatar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORBIT_DEGREES = (-30, -15, 0, 15, 30)
ERROR_GAIN = 4
MOVEMENT = {
    "aperture_r": ("mouth opening: r", "correlation of the opening of the lips over the test frames; 1 is best"),
    "aperture_slope": ("mouth opening: slope", "its amplitude, render over video; 1 is right, less opens too little"),
    "lag_frames": ("mouth opening: lag, frames", "by how many frames the render's lips come late, by best correlation"),
    "jitter_ratio": ("trembling", "third difference of all landmarks in time, render over video; 1 trembles as much"),
    "silence_motion": (
        "lips in silence", "energy of the render's lip motion where nobody speaks, over that where somebody does"
    ),
    "faces_found": ("faces found", "share of the pairs of pictures in which both show a face"),
}  # fmt: skip
"""Scores of `movement.compare`: what they are called and what they mean."""
SYNCED = ("video", "render")


def write_report(path: Path, avatar: Avatar, evaluation: Evaluation) -> None:
    """Write the report of `visavis eval`."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("avatar.evaluation", "."), autoescape=select_autoescape())
    rows = [
        (name, evaluation.summary.get(key) or evaluation.summary["rivals"].get(key))
        for name, key in (
            ("full render", "full"), ("head only", "head"), ("paste-back", "paste_back"),
            ("full, pose refined on the test image", "refined"),
            ("rival: mean training frame", "mean_frame"), ("rival: nearest training frame", "nearest_frame"),
        )
    ]  # fmt: skip
    html = environment.get_template("report.html.j2").render(
        avatar=avatar.path.name if avatar.path else "avatar",
        summary=evaluation.summary,
        info=avatar.info,
        rows=rows,
        sync=sync_rows(evaluation.summary.get("sync")),
        looked_at=len(evaluation.modes["full"].stlpips),
        movement=[
            (n, evaluation.summary["full"][k], m) for k, (n, m) in MOVEMENT.items() if k in evaluation.summary["full"]
        ],
        error_gain=ERROR_GAIN,
        contact=data_uri(contact_sheet(evaluation)),
        orbit=data_uri(orbit_sheet(avatar)),
        orbit_degrees=ORBIT_DEGREES,
        curves=curves_svg(evaluation),
        fit_curve=fit_curve_svg(avatar.info) if avatar.info.get("curve") else None,
    )
    with atomic_path(path) as partial:
        partial.write_text(html, encoding="utf-8")


def sync_rows(sync: dict | None) -> list[tuple]:
    """Video, render and chance: how often the sound is found, where the lips lie beside it, how surely."""
    if sync is None:
        return []
    rows = [(name, *(sync[name][key] for key in ("accuracy", "offset_frames", "confidence"))) for name in SYNCED]
    chance = (np.mean([sync[name][f"chance_{key}"] for name in SYNCED]) for key in ("accuracy", "confidence"))
    accuracy, confidence = (round(float(value), 4) for value in chance)
    return [*rows, ("sound from elsewhere in the clip", accuracy, None, confidence)]


def contact_sheet(evaluation: Evaluation) -> UInt8[np.ndarray, "h w 3"]:
    """One row per sampled test frame: truth, render, absolute error (amplified)."""
    rows = []
    for _, truth, image in evaluation.samples:
        error = np.abs(truth.astype(int) - image).clip(0, 255 // ERROR_GAIN) * ERROR_GAIN
        rows.append(np.concatenate([truth, image, error.astype(np.uint8)], 1))
    return np.concatenate(rows, 0)


def orbit_sheet(avatar: Avatar, long_side: int = 384) -> UInt8[np.ndarray, "h w 3"]:
    """The rest pose from several sides."""
    from avatar.driving import still_motion

    prepared = avatar.prepare(still_motion(avatar.default_params()))
    camera = avatar.camera.with_long_side(long_side)
    views = [avatar.frame(prepared, 0, turned(camera, avatar.head_center, yaw)) for yaw in ORBIT_DEGREES]
    return np.concatenate(views, 1)


def data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture inside the page."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def curves_svg(evaluation: Evaluation) -> str:
    """PSNR and mouth aperture over the test frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for name in ("full", "head", "mean_frame", "nearest_frame"):
        top.plot(evaluation.frames, evaluation.modes[name].psnr, label=name.replace("_", " "), lw=1)
    top.set_ylabel("PSNR, dB")
    top.legend(fontsize=7, ncols=4)
    bottom.plot(evaluation.frames, evaluation.true.aperture, label="video", lw=1)
    bottom.plot(evaluation.frames, evaluation.shown.aperture, label="render", lw=1)
    bottom.set_ylabel("mouth aperture / eye distance")
    bottom.set_xlabel("frame")
    bottom.legend(fontsize=7)
    return svg_of(figure)


def fit_curve_svg(info: dict) -> str:
    """Validation PSNR against the time that the fit had spent, and the state that was published."""
    from matplotlib.figure import Figure

    points = info["curve"]
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([p["seconds"] for p in points], [p["psnr"] for p in points], marker=".", lw=1)
    best = next((p for p in points if p["step"] == info["fit"]["best_step"]), None)
    if best:
        axes.plot(best["seconds"], best["psnr"], "o", ms=8, mfc="none", label=f"published, step {best['step']}")
        axes.legend(fontsize=7, loc="lower right")
    axes.set_xlabel("seconds of optimisation")
    axes.set_ylabel("validation PSNR, dB")
    return svg_of(figure)


def svg_of(figure: Figure) -> str:
    """A drawing inside the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
