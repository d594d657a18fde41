"""Measures, and rewrites the README's tables between their markers: `kernels` (a minute) and `clips` (20 minutes)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
VISAVIS = Path(sys.executable).with_name("visavis")
CLIPS = {"pexels": "pexels.mp4", "speaking": "speaking.avi"}
MINUTES = (1, 5)


def run(*arguments: str | Path) -> dict:
    """A visavis command's JSON."""
    command = [str(VISAVIS), *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def markdown(columns: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def machine_line(machine: dict) -> str:
    return f"Measured on {machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f} at the start."


def kernels() -> str:
    """Kernel timings beside their rivals of the same run."""
    result = run("bench", "kernels")
    rows = [
        [r["case"], r["threads"], r["min_ms"], r["median_ms"], r["p95_ms"], rivals(r["ratio_to"])]
        for r in result["rows"]
    ]
    columns = ["case", "threads", "min ms", "median ms", "p95 ms", "rival of the same run, how many times slower"]
    return machine_line(result["machine"]) + "\n\n" + markdown(columns, rows)


def ratios_text(ratios: dict[str, float]) -> str:
    names = {"cpu, 4 lanes": "the same built for 4 lanes (SSE)", "reference (torch)": "plain torch"}
    return ", ".join(f"{names.get(name, name)}: {ratio}" for name, ratio in ratios.items())


def clips() -> str:
    """Held-out scores on the real clips, from video to numbers, per fitting time."""
    from avatar.assets import find_asset
    from avatar.info import machine

    line, rows = machine_line(machine()), []
    with tempfile.TemporaryDirectory() as tmp:
        for name, asset in CLIPS.items():
            capture = Path(tmp) / f"{name}.capture"
            tracked = run("preprocess", find_asset(asset), "-o", capture)
            for minutes in MINUTES:
                avatar = Path(tmp) / f"{name}.{minutes}"
                fitted = run("fit", capture, "-o", avatar, "--minutes", str(minutes))
                rows.append(row(name, minutes, tracked, fitted, run("eval", avatar)))
    columns = [
        "clip", "fit, min", "full PSNR / SSIM", "head", "paste-back", "pose-refined", "mean frame", "nearest frame",
        "landmarks, px", "aperture r", "steps", "preprocess, frames/s", "render 512 px, frames/s", "peak MB",
    ]  # fmt: skip
    return line + "\n\n" + markdown(columns, rows)


def row(name: str, minutes: int, tracked: dict, fitted: dict, scores: dict) -> list[object]:
    full, rivals = scores["full"], scores["rivals"]
    return [
        name, minutes, f"**{full['psnr']:.2f}** / {full['ssim']:.3f}", f"{scores['head']['psnr']:.2f}",
        f"{scores['paste_back']['psnr']:.2f}", f"{scores['refined']['psnr']:.2f}",
        f"{rivals['mean_frame']['psnr']:.2f}", f"{rivals['nearest_frame']['psnr']:.2f}",
        f"{full['landmark_px']:.2f}", f"{full['aperture_r']:.2f}", fitted["steps"], f"{tracked['fps_processed']:.0f}",
        f"{scores['render_fps_512']:.0f}", max(round(tracked["peak_rss_mb"]), fitted["peak_rss_mb"]),
    ]  # fmt: skip


def main() -> None:
    wanted = sys.argv[1:] or ["kernels", "clips"]
    for name in wanted:
        table = {"kernels": kernels, "clips": clips}[name]()
        readme = ROOT / "README.md"
        marker = f"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)"
        text = re.sub(marker, lambda m, t=table: m[1] + t + "\n" + m[2], readme.read_text(), flags=re.DOTALL)
        readme.write_text(text)
        print(table)


if __name__ == "__main__":
    main()
