"""The held-out protocol: the last share of the clip, never trained on, rendered with the tracker's own parameters.

Three modes are always reported side by side, because the field mixes them: `full` (everything rendered: head, torso,
background), `head` (only pixels of the head mesh's silhouette count), `paste_back` (the rendered head pasted on the
true frame, which inflates PSNR). `refined` corrects the head pose on each test image first: it uses the test image, so
it measures the model, not the system. Two rivals that need no model stand beside: the mean training frame and the
training frame with the nearest landmarks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from avatar.driving import PreparedMotion, perturb
from avatar.errors import BadInput
from avatar.evaluation import lip_sync
from avatar.evaluation.lip_sync import MOST_FRAMES, Mouths, mouth_crop
from avatar.evaluation.metrics import psnr, ssim
from avatar.evaluation.movement import NO_FACE, Detect, Movement, compare, find_landmarks
from avatar.fitting.frames import FrameStore
from avatar.model import Avatar, to_uint8
from avatar.motion.audio import load_audio
from avatar.progress import progress
from avatar.renderer import render
from avatar.rig import head_silhouette, posed_vertices
from avatar.types import Camera, Capture
from cuda_ext import ops

Distance = Callable[[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]], float]
"""How different two pictures look; NaN where they are too small to tell."""

HEAD_MARGIN = 2 / 256
"""The head mask is grown by this share of the long side, so that the outline counts too."""
REFINE_STEPS, REFINE_FRAMES, REFINE_RATES = 25, 16, (1e-3, 4e-4)
PERCEPTUAL_FRAMES = 16
"""Evenly spaced test frames whose looks are compared: a network sees them."""


@dataclass
class Mode:
    """Per-frame scores of one way of making the picture."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    stlpips: list[float] = field(default_factory=list)
    """Of a few frames only, where the metric is there."""
    landmark_px: list[float] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    """Landmarks of each picture, NaN where no face was found."""

    def summary(self) -> dict[str, float]:
        """Means over the frames where a value exists; landmark distance in pixels at 256 px long side."""
        values = {"psnr": self.psnr, "ssim": self.ssim, "stlpips": self.stlpips, "landmark_px": self.landmark_px}
        return {k: round(float(np.nanmean(v)), 4) for k, v in values.items() if len(v) and np.isfinite(v).any()}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured; `summary` is the JSON of `visavis eval`."""

    summary: dict
    modes: dict[str, Mode]
    true: Movement
    shown: Movement
    """How the video's and the full render's landmarks move over the test frames."""
    mouths: tuple[Mouths, Mouths]
    """Of video and full render, where the tracker has them."""
    frames: list[int]
    samples: list[tuple[int, UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]]
    """(frame, truth, full render) of a few test frames."""


class Evaluator:
    """Scores one avatar on the test frames of its own capture."""

    def __init__(
        self, avatar: Avatar, capture: Capture, detect: Detect, long_side: int = 256, perceptual: Distance | None = None
    ) -> None:
        info = avatar.info
        if info["capture"]["content_hash"] != capture.content_hash:
            raise BadInput(
                f"{capture.path} is not the capture that this avatar was fitted on",
                expected=info["capture"]["content_hash"],
                got=capture.content_hash,
                fix="give the right one with --capture",
            )
        first, last = info["split"]["test"] or (0, -1)
        self.test = [i for i in range(first, last + 1) if capture.tracked[i]]
        start, end = info["split"]["train"]
        self.train = [i for i in range(start, end + 1) if capture.tracked[i]]
        if not self.test:
            raise BadInput("the clip has no held-out frames with a face", fix="record a longer clip")
        self.avatar, self.capture, self.detect, self.perceptual = avatar, capture, detect, perceptual
        self.frames = FrameStore(capture, long_side, cache_mb=256)
        self.prepared: PreparedMotion = avatar.prepare(capture.motion, audio=capture.audio_path)
        self.plate = avatar.plate(self.frames.camera, "plate")
        self.px = 256 / max(self.frames.camera.width, self.frames.camera.height)

    def run(self, samples: int = 8) -> Evaluation:
        """Score all test frames."""
        names = ("full", "head", "paste_back", "mean_frame", "nearest_frame")
        modes = {name: Mode() for name in names}
        truth_points, kept, mouths = [], [], ([], [])
        keep, judged = set(self._spread(samples)), set(self._spread(PERCEPTUAL_FRAMES if self.perceptual else 0))
        mean_frame = self._mean_frame()
        with progress("evaluate", len(self.test)) as bar:
            for done, index in enumerate(self.test):
                truth = self.frames[index][0]
                image = self._render(index)
                head = torch.from_numpy(self._head_mask(index))
                landmarks = find_landmarks(to_uint8(truth), self.detect)
                truth_points.append(NO_FACE if landmarks is None else landmarks)
                self._score(modes["full"], image, truth, landmarks)
                self._score_head(modes["head"], image, truth, landmarks, head)
                pasted = torch.where(head[..., None], image, truth)
                self._score(modes["paste_back"], pasted, truth, landmarks)
                self._score(modes["mean_frame"], mean_frame, truth, landmarks)
                nearest = self.frames[self._nearest(index)][0]
                self._score(modes["nearest_frame"], nearest, truth, landmarks)
                if index in judged:
                    pictures = {"full": image, "mean_frame": mean_frame, "nearest_frame": nearest}
                    self._score_looks(modes, pictures, truth, head)
                pictures = to_uint8(truth), to_uint8(image)
                for crops, picture in zip(mouths, pictures, strict=True):
                    crops.append(self._mouth(picture, index))
                if index in keep:
                    kept.append((index, *pictures))
                bar.update(done + 1, f"PSNR {np.mean(modes['full'].psnr):.2f}")
        summary = self._summary(modes)
        seconds = self.capture.motion.timestamps_seconds[self.test]
        true, shown = (Movement(seconds, np.stack(points)) for points in (truth_points, modes["full"].points))
        summary["full"] |= compare(true, shown, self.capture.audio_path)
        seen = [Mouths(seconds, np.stack(crops)) for crops in mouths]
        return Evaluation(summary, modes, true, shown, (seen[0], seen[1]), self.test, kept)

    def lip_sync(self, evaluation: Evaluation) -> dict[str, dict] | None:
        """How well the lips of video and render fit the sound, see `lip_sync.compare`; None without a sound."""
        if self.capture.audio_path is None:
            return None
        train = self.train[:MOST_FRAMES]
        crops = [self._mouth(self.frames.rgba(index)[..., :3].copy(), index) for index in train]
        known = Mouths(self.capture.motion.timestamps_seconds[train], np.stack(crops))
        return lip_sync.compare(load_audio(self.capture.audio_path), known, *evaluation.mouths)

    def mean_psnr(self) -> float:
        """Mean PSNR of the full render alone."""
        return float(np.mean([psnr(self._render(i), self.frames[i][0]) for i in self.test]))

    def _spread(self, count: int) -> list[int]:
        """Test frames, evenly spaced."""
        places = np.linspace(0, len(self.test) - 1, min(count, len(self.test))).astype(int)
        return [self.test[place] for place in places]

    def _mouth(self, picture: UInt8[np.ndarray, "h w 3"], index: int) -> UInt8[np.ndarray, "32 48"]:
        camera, source = self.frames.camera, self.capture.camera
        scale = np.array([camera.width / source.width, camera.height / source.height])
        return mouth_crop(picture, self.capture.landmarks_px[index] * scale)

    # -- pictures -----------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _render(self, index: int) -> Float[Tensor, "h w 3"]:
        gaussians = self.avatar.gaussians(self.prepared, index)
        return render(gaussians, self.frames.camera, background=self.plate).rgb.clamp(0, 1)

    def _mean_frame(self) -> Float[Tensor, "h w 3"]:
        chosen = np.array(self.train)[np.linspace(0, len(self.train) - 1, min(len(self.train), 500)).astype(int)]
        total = torch.zeros_like(self.frames[self.train[0]][0])
        for index in chosen.tolist():
            total += self.frames[index][0]
        return total / len(chosen)

    def _nearest(self, index: int) -> int:
        landmarks = self.capture.landmarks_px
        distance = np.linalg.norm(landmarks[self.train] - landmarks[index], axis=-1).mean(-1)
        return self.train[int(np.nanargmin(distance))]

    def _head_mask(self, index: int) -> Bool[np.ndarray, "h w"]:
        import cv2

        vertices = posed_vertices(self.avatar.head, self.avatar.neutral, self.prepared.frame(index).params)
        mask = head_silhouette(vertices, self.avatar.head.faces, self.frames.camera).astype(np.uint8)
        size = 2 * max(1, round(HEAD_MARGIN * max(mask.shape))) + 1
        return cv2.dilate(mask, np.ones((size, size), np.uint8)) > 0

    # -- scores -------------------------------------------------------------------------------------------------------
    def _score(self, mode: Mode, image: Tensor, truth: Tensor, truth_landmarks: np.ndarray | None) -> None:
        mode.psnr.append(psnr(image, truth))
        mode.ssim.append(ssim(image, truth))
        self._score_landmarks(mode, image, truth_landmarks)

    def _score_head(
        self, mode: Mode, image: Tensor, truth: Tensor, truth_landmarks: np.ndarray | None, head: Bool[Tensor, "h w"]
    ) -> None:
        """As `_score`, with everything outside the head's silhouette made equal and grey."""
        box, grey_outside = _head_only(head)
        image, truth = grey_outside(image), grey_outside(truth)
        mode.psnr.append(psnr(image, truth, head))
        mode.ssim.append(ssim(image[box], truth[box]))
        self._score_landmarks(mode, image, truth_landmarks)

    def _score_looks(
        self, modes: dict[str, Mode], pictures: dict[str, Tensor], truth: Tensor, head: Bool[Tensor, "h w"]
    ) -> None:
        assert self.perceptual is not None
        for name, image in pictures.items():
            modes[name].stlpips.append(self.perceptual(image, truth))
        box, grey_outside = _head_only(head)
        looks = self.perceptual(grey_outside(pictures["full"])[box], grey_outside(truth)[box])
        modes["head"].stlpips.append(looks)

    def _score_landmarks(self, mode: Mode, image: Tensor, truth_landmarks: np.ndarray | None) -> None:
        found = find_landmarks(to_uint8(image), self.detect)
        mode.points.append(NO_FACE if found is None else found)
        distance = np.nan
        if found is not None and truth_landmarks is not None:
            distance = float(np.linalg.norm(found - truth_landmarks, axis=1).mean()) * self.px
        mode.landmark_px.append(distance)

    def refined(self) -> dict[str, float]:
        """PSNR and SSIM of the full render after correcting the six pose numbers on each test image."""
        scores = Mode()
        chosen = self._spread(REFINE_FRAMES)
        for index in chosen:
            truth = self.frames[index][0]
            image = self._refine(index, truth)
            scores.psnr.append(psnr(image, truth))
            scores.ssim.append(ssim(image, truth))
        return scores.summary() | {"frames": len(chosen)}

    def _refine(self, index: int, truth: Tensor) -> Float[Tensor, "h w 3"]:
        rates = torch.tensor([REFINE_RATES[0]] * 3 + [REFINE_RATES[1]] * 3)
        unit = torch.zeros(6, requires_grad=True)
        optimizer = torch.optim.Adam([unit], lr=1.0, betas=(0.8, 0.95))
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.04, REFINE_STEPS)
        for _ in range(REFINE_STEPS):
            loss = ops.photometric_loss(self._posed(index, unit * rates), truth, 0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return self._posed(index, unit * rates).clamp(0, 1)

    def _posed(self, index: int, delta: Tensor) -> Float[Tensor, "h w 3"]:
        driven = self.prepared.frame(index)
        driven = replace(driven, params=perturb(driven.params, delta))
        gaussians = self.avatar.layers.gaussians(self.avatar.head, self.avatar.neutral, driven)
        return render(gaussians, self.frames.camera, background=self.plate).rgb

    def _summary(self, modes: dict[str, Mode]) -> dict:
        camera = self.frames.camera
        return {
            "test_frames": len(self.test),
            "long_side": max(camera.width, camera.height),
            "full": modes["full"].summary(),
            "head": modes["head"].summary(),
            "paste_back": modes["paste_back"].summary(),
            "refined": self.refined(),
            "rivals": {name: modes[name].summary() for name in ("mean_frame", "nearest_frame")},
        }


def _head_only(head: Bool[Tensor, "h w"]) -> tuple[tuple[slice, slice], Callable[[Tensor], Tensor]]:
    """The box around the head, and what makes a picture grey outside of the head."""
    rows, columns = torch.nonzero(head.any(1))[:, 0], torch.nonzero(head.any(0))[:, 0]
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return box, lambda image: torch.where(head[..., None], image, torch.tensor(0.5))


def render_fps(avatar: Avatar, long_side: int = 512, frames: int = 30) -> float:
    """Median rendering rate of the avatar's own track, motion row in, 8-bit picture out, on all threads."""
    camera: Camera = avatar.camera.with_long_side(long_side)
    prepared = avatar.own
    seconds = []
    for index in np.linspace(0, len(prepared) - 1, frames + 3).astype(int).tolist():
        started = time.perf_counter()
        avatar.frame(prepared, index, camera)
        seconds.append(time.perf_counter() - started)
    return 1 / float(np.median(seconds[3:]))
