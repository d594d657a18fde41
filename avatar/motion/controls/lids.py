"""Blinks of any motion: found, taken out, and put in at a rate of one's choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.blinks import BlinkShape, find_blinks, paced_blinks
from avatar.tracks import Motion

LIDS = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
_SHORTEST_FRAMES = 1


def without_blinks(lids: Float[np.ndarray, "t 2"], blinks: list[slice]) -> Float[np.ndarray, "t 2"]:
    """The lids go straight from where they were before each blink to where they are after it."""
    out = lids.copy()
    for blink in blinks:
        ends = [i for i in (blink.start - 1, blink.stop) if 0 <= i < len(lids)]
        frames = np.arange(blink.start, blink.stop)
        for eye in range(out.shape[1]):
            out[blink, eye] = np.interp(frames, ends, lids[ends, eye]) if ends else 0
    return out


def blink_shape(lids: Float[np.ndarray, "t 2"], blinks: list[slice], fps: float) -> BlinkShape:
    """The middle course of somebody's blinks; that of the literature for fewer than three."""
    if len(blinks) < 3:
        return _seen_at(BlinkShape(), fps)
    both = lids.mean(1)
    both, usual = lids.mean(1), _seen_at(BlinkShape(), fps)
    peaks = [blink.start + int(both[blink].argmax()) for blink in blinks]
    close = float(np.median([peak - blink.start for peak, blink in zip(peaks, blinks, strict=True)])) / fps
    after = float(np.median([blink.stop - peak for peak, blink in zip(peaks, blinks, strict=True)])) / fps
    return replace(
        usual,
        close=min(max(close, 0.05), 0.2),
        open=min(max(after - usual.hold, 0.1), 0.35),
        depth=min(max(float(np.median(both[peaks])), 0.7), 1.0),
    )


def _seen_at(shape: BlinkShape, fps: float) -> BlinkShape:
    """So long shut that some frame sees it."""
    return replace(shape, hold=max(shape.hold, _SHORTEST_FRAMES / fps))


def with_blink_rate(motion: Motion, per_minute: float, seed: int) -> Motion:
    """The motion's own blinks taken out, and others put in, in the person's own shape, by (seed, time) alone.

    Only the two `eyeBlink` actions change.
    """
    lids, fps = motion.expression[:, LIDS], motion.fps
    blinks = find_blinks(lids, fps)
    shape = blink_shape(lids, blinks, fps)
    track = paced_blinks(motion.timestamps_seconds, seed, per_minute, shape)[:, None]
    open_lids = without_blinks(lids, blinks)
    expression = motion.expression.copy()
    expression[:, LIDS] = open_lids + np.maximum(shape.depth - open_lids, 0) * track
    return replace(motion, expression=expression)
