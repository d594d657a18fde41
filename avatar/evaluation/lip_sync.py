"""A lip-sync expert of one person: a small network that tells which sound belongs to which mouth.

As SyncNet (Chung and Zisserman, "Out of time", ACCV Workshops 2016) it embeds 0.3 s of cepstra and nine frames of the
mouth so that what belongs together lies together; it is trained on the training part of the person's own clip with
InfoNCE (van den Oord et al. 2018) over the times of a batch, in seconds. It sees pictures only: a render is judged by
what its mouth looks like. The boxes come from the tracker, so that a render without a mouth is judged too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from avatar.evaluation.metrics import rounded
from avatar.motion.audio_windows import STEP_HZ, STEPS, audio_windows, cepstra
from avatar.motion.encoders.base import Encoding
from avatar.motion.features import features
from avatar.motion.prosody import prosody
from avatar.progress import progress
from avatar.threads import one_torch_thread

CROP = (48, 32)
"""Width and height of a mouth, pixels."""
FRAMES = 9
"""That are looked at together."""
REACH = 15
"""Offsets up to this many frames are told apart."""
LEAST_FRAMES, MOST_FRAMES = 100, 3000
"""To learn from: with less nothing is learned, more takes long to read."""
LEAST_TESTED = 20
_LEAST_SPEECH = 0.1
"""Share of a clip: there is nothing to learn from music and silence."""
_BELOW_NOSE, _HALF_WIDTH = 0.35, 0.62
"""Where the mouth is, in distances of the eyes, under the base of the nose."""
_EYES, _NOSE = ((33, 133), (362, 263)), 2
_BATCH, _RATE, _DECAY, _DROP, _WIDTH = 128, 2e-3, 1e-2, 0.3, 64
_NEAR = 3
"""Frames nearer than this sound alike: they are no wrong answers."""
_FLOORS = (0.35, 0.5, 0.65)
"""Shares of the clip by which the sound is moved to see what chance gives."""


@dataclass(frozen=True)
class Mouths:
    """Mouths of one clip's frames, in order."""

    seconds: Float[np.ndarray, " n"]
    crops: UInt8[np.ndarray, "n 32 48"]


def mouth_crop(rgb: UInt8[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"]) -> UInt8[np.ndarray, "32 48"]:
    """The mouth in grey, upright and in one size, by eyes and nose alone: lips that open do not move the box."""
    import cv2

    right, left = (landmarks_px[list(corners)].mean(0) for corners in _EYES)
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    down = np.array([-across[1], across[0]])
    eyes = float(np.linalg.norm(left - right))
    scale = CROP[0] / (2 * _HALF_WIDTH * max(eyes, 1e-6))
    turn = scale * np.stack([across, down])
    shift = np.array(CROP) / 2 - turn @ (landmarks_px[_NOSE] + _BELOW_NOSE * eyes * down)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return cv2.warpAffine(gray, np.c_[turn, shift], CROP, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


class _Network(nn.Module):
    """Two encoders into one space of unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.sound = nn.Sequential(
            nn.Conv1d(13, 48, 5, padding=2), nn.GELU(), nn.Conv1d(48, 48, 5, stride=2, padding=2), nn.GELU(),
            nn.Flatten(), nn.Dropout(_DROP), nn.Linear(48 * STEPS // 2, _WIDTH),
        )  # fmt: skip
        self.mouth = nn.Sequential(
            nn.Conv2d(FRAMES, 24, 5, stride=2, padding=2), nn.GELU(), nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.GELU(), nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.GELU(),
            nn.Flatten(), nn.Dropout(_DROP), nn.Linear(32 * (CROP[0] // 8) * (CROP[1] // 8), _WIDTH),
        )  # fmt: skip
        self.log_sharpness = nn.Parameter(torch.tensor(2.0))

    def loss(
        self, mouths: Float[Tensor, "b f 32 48"], sounds: Float[Tensor, "b 13 16"], frames: Float[Tensor, " b"]
    ) -> Tensor:
        """InfoNCE both ways; neighbours of a frame are left out of its wrong answers."""
        likeness = self.log_sharpness.exp() * unit(self.mouth, mouths) @ unit(self.sound, sounds).T
        apart = (frames[:, None] - frames).abs()
        likeness = likeness.masked_fill((apart > 0) & (apart < _NEAR), -1e4)
        right = torch.arange(len(frames))
        return (F.cross_entropy(likeness, right) + F.cross_entropy(likeness.T, right)) / 2


def unit(encoder: nn.Module, x: Tensor) -> Float[Tensor, "b d"]:
    """Embeddings of length 1."""
    return F.normalize(encoder(x), dim=-1)


class LipSyncExpert:
    """Tells how well mouths fit the sound of the clip that it learned from."""

    def __init__(self, samples: Float[np.ndarray, " n"], known: Mouths, seed: int = 0, steps: int = 300) -> None:
        """Learn, with one thread, for some seconds.

        Args:
            samples: of the whole clip, 16 kHz mono; sample 0 is at time 0 of the frames.
            known: of the training part only, at least `LEAST_FRAMES`.
        """
        self._sound: Encoding = cepstra(samples)
        self._mean, self._scale = known.crops.mean(0), max(float(known.crops.std()), 1.0)
        self._frame_seconds = float(np.median(np.diff(known.seconds)))
        with one_torch_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _Network()
            self._learn(known, np.random.default_rng(seed), steps)
        self._network.eval()

    def _learn(self, known: Mouths, rng: np.random.Generator, steps: int) -> None:
        sounds = self._sounds(known.seconds)
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=_RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
        with progress("lip sync", steps) as bar:
            for step in range(steps):
                chosen = rng.choice(len(sounds), min(_BATCH, len(sounds)), replace=False)
                # Renders are darker, lighter and a pixel off: none of that may matter.
                light = torch.randn(len(chosen), 2, 1, 1)
                shown = self._mouths(known.crops, chosen) * (1 + 0.1 * light[:, :1]) + 0.1 * light[:, 1:]
                shown = torch.roll(shown, rng.integers(-2, 3, 2).tolist(), (2, 3))
                heard = sounds[chosen] + 0.1 * torch.randn(len(chosen), *sounds.shape[1:])
                loss = self._network.loss(shown, heard, torch.from_numpy(chosen).float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update(step + 1)

    def score(self, shown: Mouths) -> dict[str, float | int | None] | None:
        """How well mouths fit the sound; None where fewer than `LEAST_TESTED` frames can be compared.

        `accuracy` is the share of frames whose own sound, among those of `REACH` frames before to as many after, is
        the likeliest or next to it (chance 0.097). The mean likeness of all frames peaks at `offset_frames` (lips late
        is positive), and lies there by `confidence` above its median, as SyncNet's. `chance_accuracy` and
        `chance_confidence` are means of the same with sound of other parts of the clip.
        """
        curves = self._likeness(shown, 0.0)
        if len(curves) < LEAST_TESTED:
            return None
        length = self._sound.timestamps_seconds[-1]
        floors = [_summary(self._likeness(shown, share * length)) for share in _FLOORS]
        accuracy, confidence, peak = _summary(curves)
        return {
            "accuracy": rounded(accuracy),
            "offset_frames": REACH - peak,
            "confidence": rounded(confidence),
            "chance_accuracy": rounded(np.mean([f[0] for f in floors])),
            "chance_confidence": rounded(np.mean([f[1] for f in floors])),
            "frames": len(curves),
        }

    @torch.no_grad()
    def _likeness(self, shown: Mouths, moved_seconds: float) -> Float[np.ndarray, "n offsets"]:
        """Of every frame with the sounds around it, as long as all of them were recorded."""
        offsets = self._frame_seconds * np.arange(-REACH, REACH + 1)
        first, last = self._sound.timestamps_seconds[[0, -1]]
        margin = offsets[-1] + STEPS / 2 / STEP_HZ
        inside = (shown.seconds - margin >= first) & (shown.seconds + margin <= last)
        seconds = shown.seconds[inside] + moved_seconds
        # Moved sound goes round, between the first and the last moment that has sound on both sides.
        seconds = first + margin + (seconds - first - margin) % max(last - first - 2 * margin, 1e-6)
        with one_torch_thread():
            mouths = unit(self._network.mouth, self._mouths(shown.crops, np.flatnonzero(inside)))
            sounds = unit(self._network.sound, self._sounds((seconds[:, None] + offsets).ravel()))
        return torch.einsum("nd,nod->no", mouths, sounds.unflatten(0, (len(mouths), len(offsets)))).numpy()

    def _mouths(self, crops: UInt8[np.ndarray, "n 32 48"], which: Int[np.ndarray, " m"]) -> Float[Tensor, "m f 32 48"]:
        """Some frames, each with those around it."""
        around = which[:, None] + np.arange(FRAMES) - FRAMES // 2
        near = crops[around.clip(0, len(crops) - 1)]
        return torch.from_numpy(((near - self._mean) / self._scale).astype(np.float32))

    def _sounds(self, seconds: Float[np.ndarray, " n"]) -> Float[Tensor, "n 13 16"]:
        windows = audio_windows(self._sound, seconds).astype(np.float32)
        return torch.from_numpy(windows).transpose(1, 2).contiguous()


def compare(samples: Float[np.ndarray, " n"], known: Mouths, video: Mouths, render: Mouths) -> dict[str, dict] | None:
    """Scores of video and render by an expert that learned from `known`, see `LipSyncExpert.score`.

    None where nobody speaks, or with too few frames to learn from or to compare.
    """
    speaking = prosody(features(samples)).speaking
    if len(known.seconds) < LEAST_FRAMES or speaking.mean() < _LEAST_SPEECH:
        return None
    expert = LipSyncExpert(samples, known)
    scores = {"video": expert.score(video), "render": expert.score(render)}
    return None if None in scores.values() else {name: score for name, score in scores.items() if score}


def _summary(curves: Float[np.ndarray, "n offsets"]) -> tuple[float, float, int]:
    """Accuracy, confidence, and where the mean curve peaks."""
    mean = curves.mean(0)
    accuracy = float((np.abs(curves.argmax(1) - REACH) <= 1).mean())
    return accuracy, float(mean.max() - np.median(mean)), int(mean.argmax())
