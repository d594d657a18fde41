"""Events: nods with the words, blinks, looks, lips that open for speech and close after it; and support."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.spatial import KDTree

from avatar.evaluation.motion.bootstrap import Score, Tally, ratio
from avatar.evaluation.motion.material import Course, Heard, HeldOut, Pair
from avatar.motion.eyes import SACCADE_DEGREES_PER_SECOND, blinks
from avatar.motion.hearing import FPS
from avatar.motion.prosody import runs_of

_BEAT_FRAMES = 3.0
_APART_SECONDS = 0.2
_ELSEWHERE = (0.35, 0.5, 0.65)
"""Shares of the take by which the sound is moved to see what chance gives."""
OPENED_MM = 0.5
_PAUSE_FRAMES = 12
"""Shorter silence is no pause to close the lips in."""
_EARLY_FRAMES, _LATE_FRAMES = 8, 12
"""Around the onset of speech, where lips are looked for that open."""
_TREE_FRAMES = 4000
_ROUNDING = 1e-3


def beat_scores(pair: Pair) -> dict[str, Tally | Score]:
    """Head beats that meet stressed sounds, over what the same sound elsewhere gives.

    A beat is a moment at which the head's turn slows down; each counts exp(-d^2 / 2 s^2), d frames from the nearest
    syllable or accent, s = 3, after Li et al., "AI Choreographer" (ICCV 2021).
    """
    gains, counts = [], []
    for course, heard, known in zip(pair.made, pair.held.heard, pair.held.known, strict=True):
        beats = head_beats(course)
        beats = beats[known[beats]]
        sounds = _sounds(heard)
        if not len(sounds):
            beats = beats[:0]
        length = len(course)
        moved = [np.sort((sounds + share * length) % length) for share in _ELSEWHERE]
        chance = np.mean([_near(beats, m) for m in moved], axis=0) if len(beats) else np.zeros(0)
        gains.append((beats, _near(beats, sounds) - chance if len(beats) else chance))
        counts.append(beats)
    events = pair.held.segments.events
    sums = {"top": events(counts, [gain for _, gain in gains]), "bottom": events(counts)}
    return {"beat_alignment": Tally(sums, ratio, "the head has no beats, or nobody speaks")}


def head_beats(course: Course) -> Int[np.ndarray, " k"]:
    """Frames at which the head's turn is slowest between two movements."""
    speed = gaussian_filter1d(course.head_speed, 1.0)
    found, _ = find_peaks(-speed, prominence=max(0.25 * float(speed.std()), 1e-3))
    return found


def _sounds(heard: Heard) -> Float[np.ndarray, " k"]:
    """Frames of syllables and accents, `_APART_SECONDS` apart or more; accents go before."""
    kept = list[float](heard.prosody.accents_seconds)
    for second in heard.prosody.syllables_seconds:
        if all(abs(second - other) >= _APART_SECONDS for other in kept):
            kept.append(float(second))
    return np.sort(np.array(kept, np.float64)) * FPS


def _near(beats: np.ndarray, sounds: np.ndarray) -> Float[np.ndarray, " k"]:
    right = np.searchsorted(sounds, beats).clip(0, len(sounds) - 1)
    left = (right - 1).clip(0)
    apart = np.minimum(np.abs(sounds[right] - beats), np.abs(sounds[left] - beats))
    return np.exp(-(apart**2) / (2 * _BEAT_FRAMES**2))


def eye_scores(pair: Pair) -> dict[str, Tally | Score]:
    """How completely lids close, how long the eyes rest, and how far they look from straight ahead.

    Rates, lengths and gains are those of `manner`.
    """
    starts, depths, steps, lengths = [], [], [], []
    for course, motion in zip(pair.made, pair.motions, strict=True):
        found = blinks(motion)
        starts.append(np.array([blink.start for blink in found], int))
        depths.append(np.array([course.lids[blink].max() for blink in found], np.float64))
        speed = FPS * np.linalg.norm(np.diff(course.gaze_in_space, axis=0), axis=1)
        rests = runs_of(speed < SACCADE_DEGREES_PER_SECOND)
        whole = rests[(rests[:, 0] > 0) & (rests[:, 1] < len(speed))]
        steps.append(whole[:, 0])
        lengths.append((whole[:, 1] - whole[:, 0]) / FPS)
    events = pair.held.segments.events
    off = [np.linalg.norm(course.gaze_in_space, axis=1) for course in pair.made]
    return {
        "blink_completeness": Tally({"top": events(starts, depths), "bottom": events(starts)}, ratio, "no blinks"),
        "fixation_seconds": Tally({"top": events(steps, lengths), "bottom": events(steps)}, ratio, "no two saccades"),
        "gaze_from_ahead_deg": Tally(pair.mean(off), ratio, "no frame was tracked"),
    }


def pause_scores(pair: Pair, rest_mm: float) -> dict[str, Tally | Score]:
    """How soon lips close after speech and open for it, and how still the head is in silence.

    Args:
        rest_mm: aperture at which this person's lips rest.
    """
    ends, closing, begins, opening = [], [], [], []
    for course, heard in zip(pair.made, pair.held.heard, strict=True):
        is_open = course.aperture_mm > rest_mm + OPENED_MM
        pauses = [(a, b) for a, b in runs_of(~heard.speech).tolist() if b - a >= _PAUSE_FRAMES]
        after = [(a, b) for a, b in pauses if a > 0]
        before = [b for _, b in pauses if b < len(course) and not is_open[max(0, b - _EARLY_FRAMES)]]
        ends.append(np.array([a for a, _ in after], int))
        closing.append(np.array([(b - a if is_open[a:b].all() else (~is_open[a:b]).argmax()) for a, b in after]) / FPS)
        begins.append(np.array(before, int))
        opening.append(np.array([_opens(is_open, b) for b in before], np.float64) / FPS)
    events = pair.held.segments.events
    still = pair.silence_over_speech([course.head_speed for course in pair.made], "a head that never moves")
    return {
        "closing_seconds": Tally({"top": events(ends, closing), "bottom": events(ends)}, ratio, "no pauses"),
        "opening_seconds": Tally(
            {"top": events(begins, opening), "bottom": events(begins)},
            ratio,
            "no pauses with closed lips",
        ),
        "head_silence_ratio": still,
    }


def _opens(is_open: np.ndarray, start: int) -> float:
    """Frames from the onset of speech to the first with open lips (before it: below 0), `_LATE_FRAMES` at most."""
    first = max(0, start - _EARLY_FRAMES)
    near = is_open[first : start + _LATE_FRAMES]
    return float(first - start + near.argmax()) if near.any() else float(_LATE_FRAMES)


def support_scores(pair: Pair, training: HeldOut) -> dict[str, Tally | Score]:
    """Whether faces are such as were filmed: distance to the nearest training frame over the truth's, and the share of
    numbers beyond the training's range, where they are held back."""
    space = pair.held.space
    face = slice(0, space.slices["upper"].stop)
    known = np.concatenate([c.x[k] for c, k in zip(training.courses, training.known, strict=True)])
    tree = KDTree(known[:: max(1, len(known) // _TREE_FRAMES), face])
    far = [[np.asarray(tree.query(c.x[:, face])[0]) for c in side] for side in (pair.true, pair.made)]
    sums = {"top": pair.mean(far[1])["top"], "bottom": pair.mean(far[0])["top"]}
    beyond = [((c.x < space.low - _ROUNDING) | (c.x > space.high + _ROUNDING)).mean(1) for c in pair.made]
    return {
        "support_distance_ratio": Tally(sums, ratio, "the truth is the training"),
        "beyond_range_share": Tally(pair.mean(beyond), ratio, "no frame was tracked"),
    }


def drift_degrees(pair: Pair) -> Score:
    """How far the head's mean pose of the last minute lies from the first's; None for takes under three minutes."""
    minute = round(60 * FPS)
    long = [c.head_degrees for c in pair.made if len(c) >= 3 * minute]
    if not long:
        return Score.unknown("no take lasts three minutes")
    far = [float(np.linalg.norm(h[-minute:].mean(0) - h[:minute].mean(0))) for h in long]
    return Score(float(np.mean(far)), why="first and last minute can't be drawn again")
