"""Training data of a prior: windows of motion and sound from takes; disguised sound makes voices generalise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.motion.audio import RATE
from avatar.motion.hearing import BANDS, FPS, PER_ROW, ROWS, Level, hear
from avatar.motion.prior.network import Conditions
from avatar.motion.prior.noise import slow_of
from avatar.motion.resampling import resampled
from avatar.motion.space import MotionSpace
from avatar.motion.style import STYLE_WIDTH, style_of, style_windows
from avatar.motion.takes import Take

TEMPI = (0.9, 1.0, 1.1)
"""Every take is heard at these speeds too: pitch, vocal tract and motion change alike."""
_WARPS = np.linspace(0.88, 1.14, 9)
_APART = 0.5
"""Share of windows whose head and upper face are from another moment of the same take: minutes of sound are soon known
by heart, and a head that goes by what it knows by heart stands still when it hears anything else. What answers a
partner stays with his sound."""
_MUTED = 0.07
"""Share of windows in which nobody speaks and the lips rest."""
_ALONE = 0.2
"""Share of windows of a conversation in which nothing is told of the other one: who listens must talk alone, too."""
_AROUND_SPEECH, _LEAST_QUIET = 8, 50
"""Frames: so far from any sound lips are at rest, and so many of them tell how."""


@dataclass(frozen=True)
class Track:
    """One take at one tempo, ready to be cut."""

    x: Float[Tensor, "t d"]
    sound: Float[Tensor, "t w"]
    partner: Float[Tensor, "t w"] | None
    confidence: Float[Tensor, " t"]
    styles: Float[Tensor, "k s"]
    """Of its `style_windows`."""


def track_of(take: Take, space: MotionSpace, level: Level, tempo: float = 1.0) -> Track:
    """A take at 25 frames per second, played faster by `tempo`."""
    rest = take.face_at_rest
    start, length = take.motion.timestamps_seconds[0], len(take.samples_16k) / RATE
    frames = max(1, round(length / tempo * FPS))
    seconds = start + np.minimum(np.arange(frames) / FPS * tempo, length)
    motion = resampled(take.motion, seconds)
    confidence = np.interp(seconds, take.motion.timestamps_seconds, take.confidence)
    x = space.encode(motion, rest)
    styles = np.stack([style_of(x[window], space) for window in style_windows(frames)])
    sounds = [_faster(s, tempo) for s in (take.samples_16k, take.partner_16k) if s is not None]
    heard = [torch.from_numpy(_fitted(hear(s, level), frames)) for s in sounds]
    return Track(
        torch.from_numpy(x), heard[0], heard[1] if len(heard) > 1 else None,
        torch.from_numpy(confidence.astype(np.float32)), torch.from_numpy(styles),
    )  # fmt: skip


def _faster(samples: np.ndarray, tempo: float) -> np.ndarray:
    if tempo == 1:
        return samples
    places = np.arange(0, len(samples) - 1, tempo)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def _fitted(rows: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([rows[:frames], np.repeat(rows[-1:], max(0, frames - len(rows)), axis=0)])


@dataclass(frozen=True)
class Batch:
    """b windows of t frames."""

    x: Float[Tensor, "b t d"]
    confidence: Float[Tensor, "b t"]
    given: Conditions


class Windows:
    """Cuts random windows out of tracks; the disguise of each is drawn anew."""

    def __init__(self, tracks: Sequence[Track], space: MotionSpace, style_scale: tuple[Tensor, Tensor]) -> None:
        self._tracks = [t for t in tracks]
        self._weights = torch.tensor([float(len(t.x)) for t in tracks])
        self._style_mean, self._style_deviation = style_scale
        self._resting = resting_lips(tracks, space)
        self._lips, self._slow = space.slices["lips"], torch.from_numpy(slow_of(space.group))

    def draw(self, batch: int, frames: int, rng: torch.Generator) -> Batch:
        """A batch of windows; takes that are shorter are filled up with frames of confidence 0."""
        which = torch.multinomial(self._weights, batch, replacement=True, generator=rng)
        rows = [self._cut(self._tracks[int(k)], frames, rng) for k in which]
        x, sound, partner, told, confidence, style = (torch.stack(column) for column in zip(*rows, strict=True))
        sound = disguised(sound, rng)
        if told.any():
            told = told * (torch.rand(batch, 1, generator=rng) >= _ALONE)
        partner = disguised(partner, rng) * told[..., None]
        muted = torch.rand(batch, generator=rng) < _MUTED
        x[muted, :, self._lips] = self._resting.expand(int(muted.sum()), frames, -1)
        sound[muted] = silence(int(muted.sum()), frames, rng)
        styled = (torch.rand(batch, generator=rng) < 0.7).float()
        style = (style - self._style_mean) / self._style_deviation
        heard = torch.ones(batch, frames)
        return Batch(x, confidence, Conditions(sound, heard, partner, told, style, styled))

    def _cut(self, track: Track, frames: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        part = _frames_of(track, frames, rng)
        x, confidence = track.x[part.clamp(max=len(track.x) - 1)], _confidence(track, part)
        if track.partner is None and torch.rand((), generator=rng) < _APART:
            other = _frames_of(track, frames, rng)
            x = torch.where(self._slow, track.x[other.clamp(max=len(track.x) - 1)], x)
            confidence = torch.minimum(confidence, _confidence(track, other))
        part = part.clamp(max=len(track.x) - 1)
        partner = torch.zeros(frames, PER_ROW * ROWS) if track.partner is None else track.partner[part]
        told = torch.full((frames,), float(track.partner is not None))
        other = int(torch.randint(len(track.styles), (), generator=rng))
        style = track.styles[other] if len(track.styles) else torch.zeros(STYLE_WIDTH)
        return x, track.sound[part], partner, told, confidence, style


def _frames_of(track: Track, count: int, rng: torch.Generator) -> Int[Tensor, " t"]:
    """Frames of a random window; those of a shorter track go on beyond its end."""
    start = int(torch.randint(max(1, len(track.x) - count + 1), (), generator=rng))
    return torch.arange(start, start + count)


def _confidence(track: Track, part: Int[Tensor, " t"]) -> Float[Tensor, " t"]:
    last = len(track.x) - 1
    return torch.where(part <= last, track.confidence[part.clamp(max=last)], 0.0)


def resting_lips(tracks: Sequence[Track], space: MotionSpace) -> Float[Tensor, " r"]:
    """How the lips lie while nobody speaks; the rest of each action where the takes are never silent."""
    lips, quiet = space.slices["lips"], list[Tensor]()
    for track in tracks:
        loud = track.sound.unflatten(-1, (ROWS, PER_ROW))[..., BANDS + 2].amax(-1)
        around = torch.nn.functional.max_pool1d(loud[None, None], 2 * _AROUND_SPEECH + 1, 1, _AROUND_SPEECH)[0, 0]
        quiet.append(track.x[(around == 0) & (track.confidence > 0)][:, lips])
    found = torch.cat(quiet)
    if len(found) >= _LEAST_QUIET:
        return found.mean(0)
    return torch.from_numpy(-space.mean / space.deviation).float()[lips]


def disguised(sound: Float[Tensor, "b t w"], rng: torch.Generator) -> Float[Tensor, "b t w"]:
    """The same words by another mouth in another room: vocal tract, tilt of the spectrum, noise, lost bands, pitch."""
    batch, frames = sound.shape[:2]
    rows = sound.unflatten(-1, (ROWS, PER_ROW)).clone()
    mel = rows[..., :BANDS]
    warps = _warp_matrices()[torch.randint(len(_WARPS), (batch,), generator=rng)]
    mel = torch.einsum("btrm,bmn->btrn", mel, warps)
    tilt = torch.randn(batch, 1, 1, 1, generator=rng) * torch.linspace(-1, 1, BANDS)
    bumps = torch.randn(batch, 1, 1, 5, generator=rng) @ _bump_basis()
    mel = mel + 0.7 * tilt + 0.4 * bumps
    noise = -1.5 - 7 * torch.rand(batch, 1, 1, 1, generator=rng) + 0.4 * tilt
    noisy = torch.rand(batch, 1, 1, 1, generator=rng) < 0.6
    mel = torch.where(noisy, torch.logaddexp(mel, noise + 0.5 * torch.randn(mel.shape, generator=rng)), mel)
    narrow = torch.rand(batch, 1, 1, 1, generator=rng) < 0.15
    mel = torch.where(narrow & (torch.arange(BANDS) >= round(0.78 * BANDS)), -8.0, mel)
    rows[..., :BANDS] = mel
    rows[..., BANDS] += 0.15 * torch.randn(batch, 1, 1, generator=rng)
    rows[..., BANDS + 3] += 0.3 * torch.randn(batch, 1, 1, generator=rng)
    return rows.flatten(-2)


def silence(batch: int, frames: int, rng: torch.Generator) -> Float[Tensor, "b t w"]:
    """Rows of no sound, or of a room's noise."""
    rows = torch.zeros(batch, frames, ROWS, PER_ROW)
    level = -8 + 3 * torch.rand(batch, 1, 1, 1, generator=rng)
    rows[..., :BANDS] = (level + 0.6 * torch.randn(batch, frames, ROWS, BANDS, generator=rng)).clamp(min=-8)
    rows[..., BANDS + 1] = 0.15 * torch.rand(batch, frames, ROWS, generator=rng)
    rows[..., BANDS + 3] = -1.3 + 0.9 * torch.rand(batch, 1, 1, generator=rng)
    return rows.flatten(-2)


def _bump_basis() -> Float[Tensor, "5 bands"]:
    place = torch.arange(BANDS) / BANDS
    return torch.stack([torch.cos(torch.pi * (k + 2) * place) for k in range(5)])


def _warp_matrices() -> Float[Tensor, "w bands bands"]:
    """Stretching the mel axis, as another length of the vocal tract does (O'Shaughnessy's mel, frequency scaled)."""
    place = np.arange(BANDS)
    top = 2595 * np.log10(1 + RATE / 1400)
    hertz = 700 * (10 ** ((place + 1) / (BANDS + 1) * top / 2595) - 1)
    out = np.zeros((len(_WARPS), BANDS, BANDS), np.float32)
    for k, warp in enumerate(_WARPS):
        source = (2595 * np.log10(1 + hertz * warp / 700) / top * (BANDS + 1) - 1).clip(0, BANDS - 1)
        left = np.floor(source).astype(int).clip(0, BANDS - 2)
        share = source - left
        out[k, left, place] += 1 - share
        out[k, left + 1, place] += share
    return torch.from_numpy(out)
