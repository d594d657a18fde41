"""Measures, and rewrites the README's tables between their markers: `kernels` (2 min), `clips` (5), `studio` (8);
`fields` (30), `priors` (5) and `listening` (5) only when asked for."""

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
TRACKS = {"pixels": (), "landmarks only": ("--no-photometric",)}
"""How a clip is tracked: options of preprocess."""
MINUTES = 2
"""Of a fit, at most; on these clips it ends sooner, after ten passes."""
FIELD_SUBJECTS, FIELD_MINUTES, FIELD_SECONDS = ("speaking", "studio:2000"), 1, 30
"""Of the comparison of fields: whom they are fitted to, for how long, and the length of the studio's film."""


LISTENERS, TALK_SECONDS = (2, 8), 300
"""Synthetic people who talk with each other, and for how long they do before they are measured."""
SPEAKERS, SPEECH_SECONDS = (1000, 1001), 150
"""Synthetic speakers that motion priors are trained on, and for how long they speak."""
MANY = {"blinks_per_minute", "saccades_per_minute", "lag_frames"}
"""Scores that need no digits."""


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
    """Kernel timings beside their rivals of the same run; all numbers of all rows go to build/bench_kernels.json."""
    result = run("bench", "kernels")
    full = ROOT / "build" / "bench_kernels.json"
    full.parent.mkdir(exist_ok=True)
    full.write_text(json.dumps(result, indent=1))
    cases: dict[str, list[dict]] = {}
    for r in result["rows"]:
        cases.setdefault(r["case"], []).append(r)
    threads = [r["threads"] for r in next(iter(cases.values()))]
    columns = ["case", *(f"{t} thread{'s' * (t > 1)}, ms" for t in threads), "peak MB", "rivals of the same run"]
    rows = [
        [case, *map(times_text, rows), rows[-1]["peak_mb"], rivals_text([r["ratio_to"] for r in rows])]
        for case, rows in cases.items()
    ]
    return contention_line(result) + "\n\n" + markdown(columns, rows)


def contention_line(result: dict) -> str:
    machine, waited = result["machine"], [r["waited"] for r in result["rows"] if r["waited"] is not None]
    line = (
        f"Measured on {machine['cpu']}, {machine['cores']} cores, vectors of {machine['lanes']} floats; "
        f"load {machine['load']:.1f} before, {machine['load_after']:.1f} after"
    )
    if waited:
        share, worst = sum(waited) / len(waited), max(waited)
        line += f"; our threads waited {share:.0%} of their time for a processor (worst row {worst:.0%})"
    return (
        f"{line}. Median / 95th percentile; *peak* is memory above the inputs. A rival's number says how many times as "
        "long it takes, with 1 and with more threads."
    )


def times_text(row: dict) -> str:
    return f"**{row['median_ms']:.2f}** / {row['p95_ms']:.2f}"


def rivals_text(ratios: list[dict[str, float]]) -> str:
    names = {"cpu, 4 lanes": "4 lanes (SSE)", "reference (torch)": "plain torch", "torch path": "torch and our kernels"}
    texts = []
    for rival in ratios[0]:
        if rival == "one view":
            texts.append("times one view: " + ", ".join(f"{1 / r[rival]:.2f}" for r in ratios))
        else:
            texts.append(f"{names.get(rival, rival)}: " + ", ".join(f"{r[rival]:.3g}" for r in ratios))
    return "; ".join(texts)


def clips() -> str:
    """Held-out scores on the real clips, from video to numbers, with and without the pixels' say in the tracking."""
    from avatar.assets import find_asset
    from avatar.info import machine

    line, rows = machine_line(machine()), []
    with tempfile.TemporaryDirectory() as tmp:
        for name, asset in CLIPS.items():
            for track, options in TRACKS.items():
                capture = Path(tmp) / f"{name}.{track}.capture"
                tracked = run("preprocess", find_asset(asset), "-o", capture, *options)
                avatar = Path(tmp) / f"{name}.{track}"
                fitted = run("fit", capture, "-o", avatar, "--minutes", str(MINUTES))
                rows.append(row([name, track, MINUTES], tracked, fitted, run("eval", avatar)))
    columns = [
        "clip", "tracked by", "fit, min", "full PSNR / SSIM", "head", "paste-back", "pose-refined", "mean frame",
        "nearest frame", "landmarks, px", "aperture r", "steps", "preprocess, frames/s", "render 512 px, frames/s",
        "peak MB",
    ]  # fmt: skip
    return line + "\n\n" + markdown(columns, rows)


def row(case: list[object], tracked: dict, fitted: dict, scores: dict) -> list[object]:
    full, rivals = scores["full"], scores["rivals"]
    return [
        *case, f"**{full['psnr']:.2f}** / {full['ssim']:.3f}", f"{scores['head']['psnr']:.2f}",
        f"{scores['paste_back']['psnr']:.2f}", f"{scores['refined']['psnr']:.2f}",
        f"{rivals['mean_frame']['psnr']:.2f}", f"{rivals['nearest_frame']['psnr']:.2f}",
        f"{full['landmark_px']:.2f}", f"{full['aperture_r']:.2f}", fitted["steps"], f"{tracked['fps_processed']:.0f}",
        f"{scores['render_fps_512']:.0f}", max(round(tracked["peak_rss_mb"]), fitted["peak_rss_mb"]),
    ]  # fmt: skip


def studio() -> str:
    """The tracker on synthetic subjects with other seeds than it was developed on."""
    result = run("bench", "studio")
    columns = ["quantity", "mean", "worst", "bar", "clips within"]
    rows: list[list[object]] = [[f"`{r['quantity']}`", *list(r.values())[1:]] for r in result["summary"]]
    seeds = [r["case"].removeprefix("studio seed ") for r in result["rows"]]
    face, lips = (sum(r[k] for r in result["rows"]) / len(seeds) for k in ("face_floor_mm", "lips_floor_mm"))
    floor = f"shape that no identity coefficients give: face {face:.2f} mm, lips {lips:.2f} mm on average"
    line = f"Seeds {seeds[0]} to {seeds[-1]}, {result['seconds']:g} s each, 512 px; {floor}."
    return line + "\n\n" + markdown(columns, rows)


def fields() -> str:
    """All designs of deformation with equal budgets; real and synthetic people apart."""
    result = run(
        "bench", "fields", "--subjects", ",".join(FIELD_SUBJECTS), "--minutes", str(FIELD_MINUTES),
        "--seconds", str(FIELD_SECONDS), "--keep", ROOT / "build" / "fields",
    )  # fmt: skip
    columns = [
        "clip", "field", "full PSNR / SSIM", "head", "ST-LPIPS", "landmarks, px", "aperture r", "lag, frames", "jitter",
        "silence", "sync", "baked PSNR", "MB", "render 512 px, frames/s", "steps",
    ]  # fmt: skip
    aside = ["head at -30 / +30", "head at -45 / +45", "full at -30 / +30"]
    parts = []
    for synthetic in (False, True):
        rows = [r for r in result["rows"] if r["case"].startswith("studio") == synthetic]
        parts.append(markdown(columns + aside * synthetic, [field_row(r) for r in rows]))
    return "\n\n".join([machine_line(result["machine"]), *parts])


def field_row(r: dict) -> list[object]:
    def number(name: str, digits: int) -> str:
        return "" if r.get(name) is None else f"{r[name]:.{digits}f}"

    cells: list[object] = [
        r["case"].replace("studio:", "studio seed "), f"`{r['field']}`", f"**{r['psnr']:.2f}** / {r['ssim']:.3f}",
        number("head_psnr", 2), number("stlpips", 3), number("landmark_px", 2), number("aperture_r", 2),
        number("lag_frames", 0), number("jitter_ratio", 2), number("silence_motion", 3), number("sync_confidence", 2),
        number("baked_psnr", 2), number("mb", 1), number("render_fps", 0), r["steps"],
    ]  # fmt: skip
    if "yaw_psnr" in r:
        head, full = ({k: v - r[name]["+0"] for k, v in r[name].items()} for name in ("yaw_head_psnr", "yaw_psnr"))
        views = (head, 30), (head, 45), (full, 30)
        cells += [f"{loss[f'-{yaw}']:.1f} / {loss[f'+{yaw}']:.1f}" for loss, yaw in views]
    return cells


def priors() -> str:
    """Motion priors on synthetic speakers, means over them; all rows with their intervals go to build/priors.json."""
    folder = ROOT / "build" / "priors"
    folder.mkdir(parents=True, exist_ok=True)
    seeds = ",".join(map(str, SPEAKERS))
    result = run(
        "bench",
        "prior",
        "--seeds",
        seeds,
        "--seconds",
        str(SPEECH_SECONDS),
        "--preset",
        "quick",
        "--keep",
        folder,
        "--rivals",
    )
    (folder / "rows.json").write_text(json.dumps(result, indent=1))
    scores = {
        "lip_vertex_error_mm": "lips, mm", "closure_f1": "closures, F1", "aperture_r": "aperture r",
        "aperture_speed_r": "its speed, r", "aperture_slope": "slope", "lag_frames": "lag, frames",
        "silence_motion": "silence", "blinks_per_minute": "blinks / min", "saccades_per_minute": "saccades / min",
        "head_yaw_deg": "yaw, deg", "head_pitch_deg": "pitch, deg", "head_jerk": "head, jerk",
    }  # fmt: skip
    names = list(dict.fromkeys(r["name"] for r in result["rows"]))
    rows = [[name.replace("_", " "), *(mean_text(result["rows"], name, score) for score in scores)] for name in names]
    trained = [r for r in result["rows"] if "training_seconds" in r]
    spent = " and ".join(f"{r['training_seconds']:.0f}" for r in trained)
    factor = max(r["real_time_factor"] for r in trained)
    drift = max(r["drift"] for r in trained)
    line = f"Trained in {spent} s; a streamed second takes {factor:.3f} s of one core; after ten minutes "
    line += f"openings of the lips and speeds of the head differ by {100 * drift:.0f} % at most."
    return machine_line(result["machine"]) + " " + line + "\n\n" + markdown(["driver", *scores.values()], rows)


def listening() -> str:
    """Listeners beside each other; the rows of each of them go to build/listeners/rows.json, priors stay beside it."""
    folder = ROOT / "build" / "listeners"
    folder.mkdir(parents=True, exist_ok=True)
    result = run(
        "bench", "listening", "--seeds", ",".join(map(str, LISTENERS)), "--seconds", str(TALK_SECONDS),
        "--preset", "quick", "--keep", folder,
    )  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(result, indent=1))
    scores = {
        "nods_per_minute": "nods / min", "nod_precision": "precision", "nod_recall": "recall", "nod_f1": "F1",
        "nods_after_pauses": "after pauses", "lips_listening": "lips", "idle_head_deg_s": "head idle, deg/s",
    }  # fmt: skip
    rows: list[list[object]] = []
    for r in result["rows"]:
        numbers = ["" if r[name] is None else f"{r[name]:.{3 if name == 'lips_listening' else 2}f}" for name in scores]
        rows.append([r["name"].replace("_", " "), *numbers])
    return machine_line(result["machine"]) + "\n\n" + markdown(["driver", *scores.values()], rows)


def mean_text(rows: list[dict], driver: str, score: str) -> str:
    found = [r[score] for r in rows if r["name"] == driver and r.get(score) is not None]
    digits = 0 if score in MANY else 4 if score == "silence_motion" else 2
    return f"{sum(found) / len(found):.{digits}f}" if found else ""


def main() -> None:
    wanted = sys.argv[1:] or ["kernels", "clips", "studio"]
    for name in wanted:
        tables = {"kernels": kernels, "clips": clips, "studio": studio, "fields": fields}
        table = (tables | {"priors": priors, "listening": listening})[name]()
        readme = ROOT / "README.md"
        marker = f"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)"
        text = re.sub(marker, lambda m, t=table: m[1] + t + "\n" + m[2], readme.read_text(), flags=re.DOTALL)
        readme.write_text(text)
        print(table)


if __name__ == "__main__":
    main()
