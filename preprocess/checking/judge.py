"""From evidence to findings: every threshold of the quality gate beyond what `gate` refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from preprocess.checking.evidence import Evidence
from preprocess.checking.person import blinks, clipped_share, head_angles, heard_visemes, lip_distance
from preprocess.checking.pictures import Looks, look
from preprocess.checking.report import Finding, Quality
from preprocess.sound.audio import RATE
from preprocess.sound.sync import Sync, measure_sync

_SHARP = 0.16
"""Half of what a face in focus has; motion blur and soft lenses are below."""
_MANY, _SOME = 0.3, 0.15
_DARK, _BRIGHT, _BURNT = 45, 215, 0.12
_ROOM_MOVED = 0.01
_YAW_DEGREES, _PITCH_DEGREES = 20.0, 10.0
_VISEME_SECONDS, _FEW_VISEMES = 0.3, 6
_MOUTH_RANGE = 0.08
_CLIPPED = 2e-4
_GOOD_SECONDS = 20.0
_BLINK_EVERY_SECONDS = 15.0


def judge(evidence: Evidence, warnings: list[str]) -> tuple[Quality, Looks]:
    """Measure a clip that the gate let pass.

    Args:
        warnings: what is known already (cuts, two people, no sound ...).
    """
    looks = look(evidence)
    sync = _sync(evidence)
    measures = {**_picture_measures(looks), **_person_measures(evidence), **_sound_measures(evidence)}
    usable = _usable_seconds(evidence, looks)
    findings = [Finding("clip", text) for text in warnings]
    findings += _picture_findings(measures) + _person_findings(measures) + _sound_findings(measures, sync)
    if usable < _GOOD_SECONDS:
        findings.append(
            Finding("clip", f"only {usable:.0f} s can be used", "record one to three minutes of talking in one take")
        )
    return Quality("warn" if findings else "ok", round(usable, 2), sync, measures, findings), looks


def _sync(evidence: Evidence) -> Sync:
    if evidence.samples is None:
        return Sync("no speech", 0.0, 0.0, 0.0, 0.0)
    part = evidence.dense
    return measure_sync(evidence.samples, evidence.seconds[part], evidence.landmarks_px[part])


def _usable_seconds(evidence: Evidence, looks: Looks) -> float:
    """Frames with a face, less those next to a still that is covered or blurred."""
    good_still = ~looks.covered & ~(looks.sharpness < _SHARP)
    nearest = np.abs(evidence.seconds[:, None] - evidence.seconds[evidence.still_index]).argmin(1)
    steps = np.diff(evidence.seconds, append=evidence.seconds[-1] + _step(evidence))
    return float(steps[evidence.has_face & good_still[nearest]].sum())


def _step(evidence: Evidence) -> float:
    return float(np.median(np.diff(evidence.seconds))) if len(evidence.seconds) > 1 else 0.0


def _picture_measures(looks: Looks) -> dict[str, Any]:
    seen = np.isfinite(looks.sharpness)
    moved = looks.moved[np.isfinite(looks.moved)]
    return {
        "sharpness": _middle(looks.sharpness),
        "blurred_share": _share(looks.sharpness[seen] < _SHARP),
        "brightness": _middle(looks.brightness),
        "burnt_share": _middle(looks.burnt),
        "covered_share": _share(looks.covered[seen]),
        "room_moved_share_of_width": round(float(np.percentile(moved, 90)), 4) if len(moved) >= 5 else None,
    }


def _person_measures(evidence: Evidence) -> dict[str, Any]:
    face, dense = evidence.has_face, evidence.dense & evidence.has_face
    yaw, pitch = (np.percentile(a, (2, 98)) for a in head_angles(evidence.forward[face]))
    at, threshold = blinks(evidence.seconds[dense], evidence.scores[dense])
    heights = np.ptp(evidence.landmarks_px[face, :, 1], axis=1)
    low, high = np.percentile(lip_distance(evidence.landmarks_px[face]), (5, 95))
    return {
        "seconds": round(float(evidence.seconds[-1] - evidence.seconds[0]) + _step(evidence), 2),
        "face_share": _share(face),
        "face_height_px": _middle(heights),
        "yaw_degrees": [round(float(a), 1) for a in yaw],
        "pitch_degrees": [round(float(a), 1) for a in pitch],
        "blinks": len(at),
        "blink_threshold": round(threshold, 3),
        "blinks_watched_seconds": round(float(dense.sum()) * _step(evidence), 1),
        "mouth_opening": [round(float(low), 3), round(float(high), 3)],
    }


def _sound_measures(evidence: Evidence) -> dict[str, Any]:
    if evidence.samples is None or not len(evidence.samples):
        return {}
    heard = heard_visemes(evidence.samples[: round(180 * RATE)])
    return {
        "loudest": round(float(np.abs(evidence.samples).max()), 3),
        "clipped_share": round(clipped_share(evidence.samples), 6),
        "viseme_seconds": {name: round(seconds, 2) for name, seconds in heard.items()},
    }


def _picture_findings(m: dict[str, Any]) -> list[Finding]:
    found = []
    if m["sharpness"] is not None and m["sharpness"] < _SHARP:
        found.append(Finding("focus", "the face is out of focus", "clean the lens, focus on the eyes, more light"))
    elif m["blurred_share"] > _MANY:
        text = f"the face is blurred in {m['blurred_share']:.0%} of the pictures"
        found.append(Finding("focus", text, "move more slowly, or record with more light"))
    if m["brightness"] is not None and not _DARK <= m["brightness"] <= _BRIGHT:
        side = "dark" if m["brightness"] < _DARK else "bright"
        text = f"the face is too {side} (mean {m['brightness']:.0f} of 255)"
        found.append(Finding("light", text, "light the face evenly from the front"))
    if (m["burnt_share"] or 0) > _BURNT:
        text = f"{m['burnt_share']:.0%} of the face is plain white or black"
        found.append(Finding("light", text, "softer light, a lower exposure"))
    if m["covered_share"] > _SOME:
        text = f"something covers the face, or falls on it, in {m['covered_share']:.0%} of the pictures"
        found.append(Finding("cover", text, "keep hands, hair, cups and moving lights off the face"))
    if (m["room_moved_share_of_width"] or 0) > _ROOM_MOVED:
        text = f"the camera or the room moves (by {m['room_moved_share_of_width']:.1%} of the picture's width)"
        found.append(Finding("room", text, "put the camera on a table or a tripod"))
    return found


def _person_findings(m: dict[str, Any]) -> list[Finding]:
    found = []
    for name, (low, high), need in (
        ("sideways", m["yaw_degrees"], _YAW_DEGREES), ("up and down", m["pitch_degrees"], _PITCH_DEGREES)
    ):  # fmt: skip
        if high - low < need:
            text = f"the head turns only {high - low:.0f} degrees {name}"
            found.append(Finding("turn", text, f"turn it slowly by {need:.0f} degrees {name} and back while talking"))
    if m["blinks"] == 0 and m["blinks_watched_seconds"] > _BLINK_EVERY_SECONDS:
        text = f"no blink in {m['blinks_watched_seconds']:.0f} s"
        found.append(Finding("blinks", text, "blink a few times; take off glasses that mirror"))
    if np.ptp(m["mouth_opening"]) < _MOUTH_RANGE:
        found.append(Finding("mouth", "the mouth hardly opens", "talk, and say some words clearly"))
    return found


def _sound_findings(m: dict[str, Any], sync: Sync) -> list[Finding]:
    if not m.get("viseme_seconds") or m["loudest"] < 0.01:
        return []
    found = []
    if m["clipped_share"] > _CLIPPED:
        text = f"the sound is overdriven ({m['clipped_share']:.2%} of it)"
        found.append(Finding("sound", text, "lower the recording level, or stand further from the microphone"))
    if sync.verdict == "no speech":
        text = "nothing is heard that these lips say (music, noise, somebody else, or another take's sound)"
        found.append(Finding("sync", text, "record the person's own voice in a quiet room"))
    elif sync.is_off:
        text = f"sound and lips do not go together: {sync.text()}"
        found.append(Finding("sync", text, "repeat the command with --fix-sync"))
    missing = [name for name, seconds in m["viseme_seconds"].items() if seconds < _VISEME_SECONDS]
    if sync.verdict in ("in sync", "off by") and len(m["viseme_seconds"]) - len(missing) < _FEW_VISEMES:
        text = f"few mouth shapes are heard; missing: {', '.join(missing).replace('_', ' ')}"
        found.append(Finding("mouth", text, "read a page of any text aloud"))
    return found


def _middle(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 3) if len(finite) else None


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 3) if len(flags) else 0.0
