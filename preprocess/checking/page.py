"""The check as one HTML file that opens offline: findings, stills with landmarks, coverage as inline SVG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from avatar.evaluation.report import data_uri
from avatar.files import atomic_path
from preprocess.checking.evidence import Evidence
from preprocess.checking.person import blinks, head_angles, lip_distance
from preprocess.checking.run import Checked

_COLUMNS, _SHOWN, _STILL_WIDTH = 6, 18, 300
_DOT, _COVERED, _LOST = (90, 230, 255), (255, 150, 40), (230, 40, 40)
_YAW, _PITCH = 45, 30


def write_page(path: Path, checked: Checked, overlay: str | None = None) -> None:
    """Write the page of `visavis check`.

    Args:
        overlay: link to the tracked overlay, relative to the page.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("preprocess.checking", "."), autoescape=select_autoescape(["j2"]))
    html = environment.get_template("page.html.j2").render(
        name=checked.evidence.name,
        quality=checked.quality,
        sheet=data_uri(contact_sheet(checked)) if len(checked.evidence.stills) else None,
        overlay=overlay,
        plots=plots(checked) if checked.looks is not None else [],
    )
    with atomic_path(path) as partial:
        partial.write_text(html, encoding="utf-8")


def contact_sheet(checked: Checked) -> UInt8[np.ndarray, "h w 3"]:
    """Stills over the whole clip with the landmarks that were found."""
    import cv2

    evidence, looks = checked.evidence, checked.looks
    shown = np.unique(np.linspace(0, len(evidence.stills) - 1, _SHOWN).round().astype(int))
    tiles = []
    for still in shown:
        rgb, points = evidence.stills[still], evidence.landmarks_px[evidence.still_index[still]]
        scale = _STILL_WIDTH / rgb.shape[1]
        tile = cv2.resize(rgb, (_STILL_WIDTH, round(rgb.shape[0] * scale)), interpolation=cv2.INTER_AREA)
        lost = not np.isfinite(points[0, 0])
        if not lost:
            for x, y in np.rint(points[::3] * scale * 16).astype(int).tolist():
                cv2.circle(tile, (x, y), 8, _DOT, -1, cv2.LINE_AA, shift=4)
        if lost or (looks is not None and looks.covered[still]):
            colour = _LOST if lost else _COVERED
            cv2.rectangle(tile, (0, 0), (tile.shape[1] - 1, tile.shape[0] - 1), colour, 5)
        seconds = evidence.seconds[evidence.still_index[still]]
        cv2.putText(tile, f"{seconds:.1f} s", (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[i : i + _COLUMNS], 1) for i in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows, 0)


def plots(checked: Checked) -> list[dict[str, str]]:
    """Coverage plots: SVG and caption."""
    evidence, measures = checked.evidence, checked.quality.measures
    shown = [
        {"svg": turns_svg(evidence), "caption": "where the head turned, as degrees from the camera"},
        {"svg": timeline_svg(checked), "caption": "how far the lips are apart, blinks (blue), covered (orange)"},
    ]
    if any(measures.get("viseme_seconds", {}).values()):
        shown.append({"svg": bars_svg(measures["viseme_seconds"]), "caption": "mouth shapes heard, seconds"})
    return shown


def turns_svg(evidence: Evidence) -> str:
    """Yaw to the right and pitch up, one dot per frame."""
    face = np.flatnonzero(evidence.has_face)
    yaw, pitch = head_angles(evidence.forward[face[:: max(1, len(face) // 600)]])
    width, height, scale = 360, 240, 4
    lines = "".join(
        f'<line x1="{width / 2 + a * scale}" y1="0" x2="{width / 2 + a * scale}" y2="{height}" stroke="#ddd"/>'
        f'<text x="{width / 2 + a * scale + 2}" y="{height - 3}">{a}&#176;</text>'
        for a in range(-40, 41, 20)
    )
    lines += "".join(
        f'<line x1="0" y1="{height / 2 - a * scale}" x2="{width}" y2="{height / 2 - a * scale}" stroke="#ddd"/>'
        f'<text x="2" y="{height / 2 - a * scale - 2}">{a}&#176;</text>'
        for a in (-20, 0, 20)
    )
    dots = "".join(
        f'<circle cx="{width / 2 + x * scale:.1f}" cy="{height / 2 - y * scale:.1f}" r="2"/>'
        for x, y in zip(yaw.clip(-_YAW, _YAW), pitch.clip(-_PITCH, _PITCH), strict=True)
    )
    return _svg(width, height, f'{lines}<g fill="#1864ab" fill-opacity=".45">{dots}</g>')


def timeline_svg(checked: Checked) -> str:
    """How far the lips were apart over time, with blinks and covered pictures as bands."""
    evidence, looks = checked.evidence, checked.looks
    assert looks is not None
    width, height = 640, 240
    end = max(float(evidence.seconds[-1]), 1e-6)
    still_width = width / max(1, len(evidence.stills))
    bands = "".join(
        f'<rect x="{width * evidence.seconds[evidence.still_index[s]] / end - still_width / 2:.1f}" y="0" '
        f'width="{still_width:.1f}" height="{height}" fill="#ffd8a8"/>'
        for s in np.flatnonzero(looks.covered)
    )
    part = evidence.dense & evidence.has_face
    for at in blinks(evidence.seconds[part], evidence.scores[part])[0]:
        x = width * at / end
        bands += f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="18" stroke="#1864ab" stroke-width="2"/>'
    face = np.flatnonzero(evidence.has_face)
    face = face[:: max(1, len(face) // 1500)]
    apart = lip_distance(evidence.landmarks_px[face])
    curve = _polyline(width * evidence.seconds[face] / end, height - 18 - apart / max(0.3, apart.max()) * (height - 45))
    ticks = "".join(
        f'<text x="{width * t / end + 2:.1f}" y="{height - 3}">{t:g} s</text>'
        for t in np.linspace(0, end, 6).round()[:-1]
    )
    return _svg(width, height, bands + curve + ticks)


def bars_svg(values: dict[str, float]) -> str:
    """Horizontal bars with their names."""
    width, row, label = 360, 22, 90
    scale = (width - label - 45) / max(values.values())
    bars = "".join(
        f'<text x="0" y="{row * i + 15}">{name.replace("_", " ")}</text>'
        f'<rect x="{label}" y="{row * i + 4}" width="{scale * v:.1f}" height="14" fill="#1864ab"/>'
        f'<text x="{label + scale * v + 4:.1f}" y="{row * i + 15}">{v:.1f}</text>'
        for i, (name, v) in enumerate(values.items())
    )
    return _svg(width, row * len(values), bars)


def _polyline(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="#222" stroke-width="1"/>'


def _svg(width: int, height: int, inside: str) -> str:
    frame = f'<rect x="0" y="0" width="{width}" height="{height}" fill="none" stroke="#bbb"/>'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} xmlns="http://www.w3.org/2000/svg">{inside}{frame}</svg>'
