"""The quality gate: says before hours of fitting whether a clip can make an avatar, and what to record better."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from avatar.errors import BadInput
from avatar.head.landmarks import eye_distance
from preprocess.video import VideoInfo
from preprocess.video.container import MIN_SECONDS

MIN_FACE_SHARE = 0.6
_MIN_FACE_PX = 64


@dataclass(frozen=True)
class Seen:
    """What the detection pass collected over t frames."""

    timestamps_seconds: Float[np.ndarray, " t"]
    landmarks_px: Float[np.ndarray, "t 478 2"]
    """NaN where no face was found."""
    faces_found: Int[np.ndarray, " t"]
    thumbnails: UInt8[np.ndarray, "t 18 32 3"]

    @property
    def has_face(self) -> Bool[np.ndarray, " t"]:
        return np.isfinite(self.landmarks_px[:, 0, 0])


@dataclass(frozen=True)
class QualityReport:
    """Verdict on a clip, and which part of it to use."""

    verdict: str
    """'ok', 'warn' or 'refuse'."""
    start: int
    stop: int
    """The frames to use: the longest piece without a cut."""
    segments_seconds: list[tuple[float, float]]
    """All pieces between cuts."""
    face_share: float
    """Share of the frames to use in which a face was found."""
    warnings: list[str] = field(default_factory=list)
    refusal: BadInput | None = None

    def require(self) -> None:
        """Raise the refusal, if there is one.

        Raises:
            BadInput: the clip can't make an avatar.
        """
        if self.refusal is not None:
            raise self.refusal


def assess(name: str, seen: Seen, info: VideoInfo) -> QualityReport:
    """Judge a clip by what the detector saw in it.

    Args:
        name: of the clip, for messages.
    """
    pieces = segments(seen)
    faces = seen.has_face
    start, stop = max(pieces, key=lambda piece: (int(faces[slice(*piece)].sum()), piece[1] - piece[0]))
    times = seen.timestamps_seconds
    spans = [(float(times[a]), float(times[b - 1])) for a, b in pieces]
    share = float(faces[start:stop].mean())
    refusal = _refusal(name, seen, (start, stop), share, len(pieces))
    warnings = [] if refusal else _warnings(seen, info, (start, stop), spans, share)
    verdict = "refuse" if refusal else "warn" if warnings else "ok"
    return QualityReport(verdict, start, stop, spans, share, warnings, refusal)


def segments(seen: Seen) -> list[tuple[int, int]]:
    """Pieces [start, stop) between cuts.

    A hard cut changes the whole picture, a jump cut moves the head from one frame to the next. Both are spikes: unlike
    quick motion, flashes and repeated frames, nothing comparable happens two frames before or after.
    """
    thumbs = seen.thumbnails.astype(np.int16)
    change = np.abs(np.diff(thumbs, axis=0)).mean((1, 2, 3))
    jump = _head_jumps(seen.landmarks_px)
    hard = (change > 20) & (_spike(change) > 3)
    jumped = (jump > 0.25) & (_spike(jump) > 4) & (change > 2) & (_spike(change) > 2.5)
    edges = [0, *(np.flatnonzero(hard | jumped) + 1).tolist(), len(thumbs)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _head_jumps(landmarks_px: np.ndarray) -> np.ndarray:
    """Mean motion of the landmarks between frames over the distance of the outer eye corners; 0 without a face."""
    if len(landmarks_px) < 2:
        return np.zeros(0)
    eyes = eye_distance(landmarks_px)
    moved = np.linalg.norm(np.diff(landmarks_px, axis=0), axis=-1).mean(-1)
    return np.nan_to_num(moved / np.maximum(np.minimum(eyes[1:], eyes[:-1]), 1.0))


def _spike(values: np.ndarray) -> np.ndarray:
    """How many times a value exceeds all of its four neighbours in time."""
    padded = np.pad(values, 2)
    n = len(values)
    around = np.max([padded[k : k + n] for k in (0, 1, 3, 4)], axis=0)
    return values / np.maximum(around, 1e-3)


def _refusal(name: str, seen: Seen, use: tuple[int, int], share: float, pieces: int) -> BadInput | None:
    if not seen.has_face.any():
        return BadInput(
            f"no face was found anywhere in {name}",
            expected="one person facing the camera, the face at least 1/8 of the picture's height",
            got=f"{len(seen.timestamps_seconds)} frames without a face",
            fix="check that the clip shows a person, upright and lit; record closer to the camera",
        )
    times = seen.timestamps_seconds
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    seconds = float(times[use[1] - 1] - times[use[0]] + step)
    if seconds < MIN_SECONDS:
        among = f"; {pieces} pieces between cuts" if pieces > 1 else ""
        return BadInput(
            f"{name} is too short",
            expected=f"at least {MIN_SECONDS:g} s without a cut; 20 s to 5 min make a good avatar",
            got=f"{seconds:.2f} s{among}",
            fix="record the person for longer, in one take",
        )
    if share < MIN_FACE_SHARE:
        return BadInput(
            f"a face was found in only {share:.0%} of the frames of {name}",
            expected=f"at least {MIN_FACE_SHARE:.0%}",
            got=_gaps(seen, use),
            fix="cut to where the face shows (--start-seconds, --max-seconds), or record facing the camera, hands down",
        )
    return None


def _gaps(seen: Seen, use: tuple[int, int]) -> str:
    """The longest stretch without a face, in seconds."""
    best, begin = (0, 0), None
    for i in [*range(*use), use[1]]:
        hidden = i < use[1] and not seen.has_face[i]
        begin = i if hidden and begin is None else begin
        if not hidden and begin is not None:
            best, begin = max(best, (begin, i), key=lambda g: g[1] - g[0]), None
    times = seen.timestamps_seconds
    return f"the longest stretch without a face is {times[best[0]]:.1f} s to {times[max(0, best[1] - 1)]:.1f} s"


def _warnings(
    seen: Seen, info: VideoInfo, use: tuple[int, int], spans: list[tuple[float, float]], share: float
) -> list[str]:
    warnings = []
    part = slice(*use)
    if len(spans) > 1:
        pieces = ", ".join(f"{a:.1f}-{b:.1f} s" for a, b in spans[:8]) + (", ..." if len(spans) > 8 else "")
        begin, end = seen.timestamps_seconds[use[0]], seen.timestamps_seconds[use[1] - 1]
        used = f"only its longest piece, {begin:.1f}-{end:.1f} s, is used"
        warnings.append(f"the clip has {len(spans) - 1} cuts; {used}. Pieces: {pieces}")
    two = float((seen.faces_found[part] > 1).mean())
    if two > 0.02:
        warnings.append(f"two people are in {two:.0%} of the frames; the larger face is taken. One person is better")
    if share < 0.97:
        warnings.append(f"the face was found in {share:.0%} of the frames; the others are not learned from")
    heights = np.ptp(seen.landmarks_px[part, :, 1][seen.has_face[part]], axis=1)
    if np.median(heights) < _MIN_FACE_PX:
        warnings.append(
            f"the face is only {np.median(heights):.0f} pixels high; record closer, or raise --long-side if the video "
            "has more pixels"
        )
    if info.hdr:
        warnings.append("the video is HDR (PQ or HLG): colours will look flat. Record in SDR, or convert it")
    if not info.has_audio:
        warnings.append(
            "the video has no sound: fitting works, but not re-enacting with the own voice, lip-sync metrics, or "
            "learning this person's way of speaking"
        )
    return warnings
