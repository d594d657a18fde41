"""The tracker: detector output of a whole clip in, one person and one motion out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avatar.errors import BadInput
from avatar.geometry import nearest_rotation
from avatar.head.arkit import ARKIT_NAMES
from avatar.head.landmarks import LEFT_IRIS, RIGHT_IRIS
from avatar.head.model import HeadModel, LandmarkTable
from avatar.split import training_span
from avatar.threads import workers
from avatar.types import Camera, Motion
from preprocess.tracking.appearance import Read
from preprocess.tracking.frames import Frames, solve_frames
from preprocess.tracking.interpolation import fill_linear, fill_quats
from preprocess.tracking.joint import solve_joint, solve_offsets, spread_over_yaw
from preprocess.tracking.landmark_evidence import LandmarkEvidence, Person, Targets
from preprocess.tracking.landmarks import LandmarkModel, landmark_model
from preprocess.tracking.mesh import bend_mesh
from preprocess.tracking.photometric import refine_frames
from preprocess.tracking.report import judge_track
from preprocess.tracking.smoothing import smooth_frames
from preprocess.tracking.types import Observations, TrackConfig, TrackResult

MIN_FRAMES = 8


@torch.no_grad()
def track_clip(
    head: HeadModel,
    table: LandmarkTable,
    observations: Observations,
    config: TrackConfig | None = None,
    pictures: tuple[Read, Read] | None = None,
    jobs: int = 1,
) -> TrackResult:
    """Fit identity, focal length, and every frame's pose and expression to the detected landmarks, then to the pixels.

    The world is the camera's frame: a head upright and facing the camera has rotation diag(1, -1, -1) and positive z.
    Gaze, lids and jaw are in the ARKit actions (`eyeLook*`, `eyeBlink*`, `jawOpen`); joints stay zero.

    Args:
        pictures: frame (RGB) and person mask by number; without them, the landmarks alone decide.
        jobs: threads.

    Raises:
        BadInput: a face in too few frames of the training part, or a landmark table too scattered.
    """
    config = config or TrackConfig()
    model = landmark_model(head, table, config)
    seen = observations.seen
    joint = _training_frames(observations, config)
    person = Person(
        model.rest, config.focal_prior * max(observations.width, observations.height),
        torch.tensor([observations.width / 2, observations.height / 2]), model,
    )  # fmt: skip
    frames, targets = initialise(person, observations, config)
    numbers = np.cumsum(seen) - 1
    subset = spread_over_yaw(frames.rotation, torch.from_numpy(numbers[joint]), config.joint_frames)
    person, identity, some = solve_joint(person, frames[subset], targets[subset], config)
    neutral = head.shape(identity)
    if config.landmark_offsets:
        person, _, offsets = solve_offsets(person, some, targets[subset], config)
        if config.offsets_in_mesh:
            neutral = bend_mesh(neutral, head.faces, model, offsets)
    evidence = LandmarkEvidence(person, targets, config)
    seconds, pixels = observations.timestamps_seconds[seen], config.photometric

    def solved(chunk: Tensor) -> Frames:
        begin = frames[chunk]
        begin = replace(begin, translation=_placed(person, begin.rotation, targets.landmarks_px[chunk])[0])
        return solve_frames(evidence[chunk], begin, config.frame_steps, config.expression_bounds)

    with workers(jobs, jobs) as pool:  # each with one of torch's threads: torch and OpenCV leave Python's lock
        found = Frames.cat(list(pool.map(solved, torch.arange(len(seconds)).split(config.chunk_frames))))
        found = smooth_frames(evidence, found, seconds, config, pool)
        if pictures and pixels.rounds:
            refined = refine_frames(
                head, neutral, evidence, found, np.flatnonzero(seen), joint[seen], _camera(person, observations),
                *pictures, pixels, pool,
            )  # fmt: skip
            surer = replace(
                config, smooth_rotation_sd=pixels.smooth_rotation_sd, smooth_translation_sd=pixels.smooth_translation_sd
            )
            found = smooth_frames(refined, refined.at, seconds, surer, pool)
    return _result(person, found, targets, observations, identity, neutral, config)


def _training_frames(observations: Observations, config: TrackConfig) -> Bool[np.ndarray, " t"]:
    """Frames with a face before the gap that precedes the test part."""
    seconds, seen = observations.timestamps_seconds, observations.seen
    training = seen & training_span(seconds, 1 - config.train_fraction, config.train_gap_seconds)
    if training.sum() < MIN_FRAMES:
        raise BadInput(
            "there are too few frames with a face to learn this person's head from",
            expected=f"at least {MIN_FRAMES} in the first {config.train_fraction:.0%} of the clip less "
            f"{config.train_gap_seconds:g} s",
            got=f"{int(training.sum())} ({int(seen.sum())} of {len(seen)} in the whole clip)",
            fix="use a longer clip that shows the face",
        )
    return training


def initialise(person: Person, observations: Observations, config: TrackConfig) -> tuple[Frames, Targets]:
    """Rotations from the detector's transforms, translations by weak perspective, expressions from the scores."""
    chunks = torch.from_numpy(np.flatnonzero(observations.seen)).split(config.chunk_frames)
    frames, targets = zip(*(_initialised(person, observations, c.numpy(), config) for c in chunks), strict=True)
    return Frames.cat(list(frames)), Targets.cat(list(targets))


def _initialised(
    person: Person, observations: Observations, chunk: Int[np.ndarray, " t"], config: TrackConfig
) -> tuple[Frames, Targets]:
    landmarks = torch.from_numpy(observations.landmarks_px[chunk]).float()[:, person.model.used]
    scores = torch.from_numpy(observations.scores[chunk]).float()
    # MediaPipe's camera looks along -z with +y up.
    flip = torch.tensor([1.0, -1.0, -1.0])[:, None]
    transforms = torch.from_numpy(observations.face_transforms[chunk, :3, :3]).float()
    rotation = nearest_rotation(flip * transforms)
    translation, scale = _placed(person, rotation, landmarks)
    return Frames(rotation, translation, scores), Targets(
        landmarks, scores, scale * config.landmark_noise_mm * 1e-3, _frame_weights(person.model, scores)
    )


def _placed(
    person: Person, rotation: Float[Tensor, "t 3 3"], landmarks_px: Float[Tensor, "t n 2"]
) -> tuple[Float[Tensor, "t 3"], Float[Tensor, " t"]]:
    """Where weak perspective has the turned head, and its scale there in pixels per metre."""
    posed = person.neutral @ rotation.mT
    mean_px, mean = landmarks_px.mean(1), posed.mean(1)
    size_px = (landmarks_px - mean_px[:, None]).square().sum((1, 2)).sqrt()
    size = (posed - mean[:, None])[..., :2].square().sum((1, 2)).sqrt()
    depth = person.focal_px * size / size_px
    centre = (mean_px - person.centre_px) * (depth / person.focal_px)[:, None]
    return torch.cat((centre, depth[:, None]), 1) - mean, size_px / size


def _frame_weights(model: LandmarkModel, scores: Float[Tensor, "t 52"]) -> Float[Tensor, "t n"]:
    """Weights of the landmarks per frame: the detector invents irises behind closed lids, always looking down."""
    weights = model.weights.repeat(len(scores), 1)
    for iris, action in ((LEFT_IRIS, "eyeBlinkLeft"), (RIGHT_IRIS, "eyeBlinkRight")):
        openness = (1 - 1.5 * scores[:, ARKIT_NAMES.index(action), None]).clamp(1e-3, 1)
        weights = torch.where(model.is_in(iris), weights * openness**2, weights)
    return weights


def _result(
    person: Person, frames: Frames, targets: Targets, observations: Observations, identity: Tensor, neutral: Tensor,
    config: TrackConfig,
) -> TrackResult:  # fmt: skip
    seen, seconds = observations.seen, observations.timestamps_seconds
    metrics, agreement = judge_track(person, frames, targets, observations, config)
    confidence = np.zeros(len(seen), np.float32)
    confidence[seen] = agreement
    motion = Motion(
        seconds.astype(np.float32),
        fill_linear(_spread(frames.expression, seen), seen, seconds),
        np.zeros((len(seen), 4, 3), np.float32),
        fill_quats(_spread(frames.rotation, seen), seen, seconds),
        fill_linear(_spread(frames.translation, seen), seen, seconds),
    )
    camera = _camera(person, observations)
    return TrackResult(
        camera, identity.numpy(), neutral.numpy(), motion, seen, confidence, metrics | {"focal_px": person.focal_px}
    )


def _camera(person: Person, observations: Observations) -> Camera:
    x, y = person.centre_px.tolist()
    return Camera(observations.width, observations.height, person.focal_px, person.focal_px, x, y)


def _spread(values: Tensor, seen: np.ndarray) -> Float[np.ndarray, "t ..."]:
    """Values of the seen frames in an array over all frames."""
    spread = np.zeros((len(seen), *values.shape[1:]), np.float32)
    spread[seen] = values.numpy()
    return spread
