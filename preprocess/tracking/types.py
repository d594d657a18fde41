"""What the tracker takes, its choices, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from avatar.errors import BadInput
from avatar.head.landmarks import N_LANDMARKS
from avatar.split import GAP_SECONDS, TEST_SHARE
from avatar.types import N_EXPRESSIONS, Camera, Motion


@dataclass(frozen=True)
class Observations:
    """What the face detector saw in a clip of t frames."""

    timestamps_seconds: Float[np.ndarray, " t"]
    """Strictly increasing."""
    landmarks_px: Float[np.ndarray, "t 478 2"]
    """Capture pixels; NaN rows where no face was found."""
    scores: Float[np.ndarray, "t 52"]
    """The detector's expression scores, ARKit order, 0..1; ignored where no face was found."""
    face_transforms: Float[np.ndarray, "t 4 4"]
    """MediaPipe's facial transformation matrices; ignored where no face was found."""
    width: int
    height: int

    def __post_init__(self) -> None:
        frames = len(self.timestamps_seconds)
        expected = {
            "timestamps_seconds": (frames,),
            "landmarks_px": (frames, N_LANDMARKS, 2),
            "scores": (frames, N_EXPRESSIONS),
            "face_transforms": (frames, 4, 4),
        }
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise BadInput(f"Observations.{name} has the wrong shape", expected=str(shape), got=str(got))
        if frames > 1 and not (np.diff(self.timestamps_seconds) > 0).all():
            raise BadInput(
                "the frames' time stamps do not increase",
                expected="strictly increasing seconds",
                got=f"{int((np.diff(self.timestamps_seconds) <= 0).sum())} steps back or on the spot",
                fix="re-encode the video with a constant frame rate (ffmpeg -i in -r 25 out.mp4)",
            )

    @property
    def seen(self) -> Bool[np.ndarray, " t"]:
        """Frames in which a face was found."""
        return np.asarray(np.isfinite(self.landmarks_px).all(axis=(1, 2)))


@dataclass(frozen=True)
class PhotometricConfig:
    """Choices of the photometric pass."""

    rounds: int = 2
    """How often looks are learned and frames moved to agree with them; 0 leaves the pass out."""
    steps: int = 3
    points: int = 3000
    """On the face's surface."""
    independent_points: float = 80.0
    """Neighbouring points share the errors of the model: the landmarks reckon with so many independent ones."""
    long_side: int = 256
    """Of the pictures that are compared, pixels."""
    blur_px: float = 1.0
    smooth_rotation_sd: float = 7.0
    """As in `TrackConfig`, for the track that the pixels gave: it is surer than the landmarks', and bears more."""
    smooth_translation_sd: float = 0.8
    learn_frames: int = 240
    """Frames, spread over the training part, from which the looks are learned."""
    chunk_frames: int = 32
    """Frames solved at once: bounds the memory."""


@dataclass(frozen=True)
class TrackConfig:
    """Choices of the landmark tracker. Standard deviations are those of Gaussian priors."""

    focal_prior: float = 2.2
    """Expected focal length over the longer side of the image: a portrait lens (26 degrees across). Perspective hardly
    shows at the size of a head, so that most clips can't tell; the identity takes up what little is left."""
    focal_sd: float = 0.2
    """Its relative standard deviation, for one frame of the joint solve; 0 fixes it."""
    landmark_noise_mm: float = 0.9
    """Standard deviation of a landmark, on the face; about 1 % of the distance between the outer eye corners."""
    robust_scale: float = 3.0
    """Residuals beyond this many standard deviations count less and less."""
    robust_power: float = 2.0
    """Weight (1 + r^2/c^2)^-power: 1 is Cauchy's, 2 Geman and McClure's, which forgets outliers altogether."""
    region_radius_mm: float = 12.0
    """Landmarks within this distance share their outlier verdict, since hands and hair cover regions, not points."""
    max_spread_mm: float = 5.0
    """Landmarks whose calibration scattered more are not used: jaw and cheek contours slide with the view."""
    lip_weight: float = 3.0
    eye_weight: float = 3.0
    iris_weight: float = 3.0
    rigid_weight: float = 1.0
    """Weight of the bridge of the nose and the forehead, which expressions move least."""
    identity_weight: float = 0.5
    """Strength of the identity's unit normal prior per frame of the joint solve."""
    expression_sd: float = 0.1
    """How far expressions may be from the detector's scores. Those know gaze and lips better than landmarks do: with
    more freedom both move away from the truth of synthetic subjects, and held-out frames of real clips gain nothing."""
    gaze_apart_sd: float = 0.05
    """How far the eyes may look apart from each other, sideways and upwards (1 is 25 degrees): they move together."""
    expression_bounds: tuple[float, float] = (-0.1, 1.2)
    joint_frames: int = 120
    """Frames, spread over the yaw angle, from which identity, focal length and landmark offsets are estimated."""
    joint_steps: int = 24
    joint_tolerance: float = 2e-3
    """The joint solve ends when a step lowers its cost by less than this share."""
    frame_steps: int = 10
    train_fraction: float = 1 - TEST_SHARE
    """Identity, focal length and landmark offsets see this first part of the clip only: the rest stays a test."""
    train_gap_seconds: float = GAP_SECONDS
    """Left out between that part and the test."""
    landmark_offsets: bool = True
    """Estimate where this person's landmarks lie beside the calibrated ones (metres on the head, constant in time)."""
    offset_sd_mm: float = 3.0
    offsets_in_mesh: bool = False
    """Bend the neutral mesh smoothly along the landmark offsets; otherwise they stay inside the tracker. Lids then fit
    closer in the picture, but their depth is a guess: eyeballs may come through them."""
    smooth_rotation_sd: float = 40.0
    """Typical angular acceleration of a head, rad/s^2; smaller is smoother."""
    smooth_translation_sd: float = 4.0
    """Typical acceleration of a head, m/s^2."""
    smooth_expression_sd: float = 150.0
    """Typical second derivative of an action, 1/s^2."""
    smooth_eyes_sd: float = 600.0
    """The same for lids and gaze, which blink and jump."""
    smooth_steps: int = 5
    """Steps of the temporal solve; 0 leaves every frame on its own."""
    independent_landmarks: float = 30.0
    """Neighbouring landmarks share the detector's errors: the temporal prior reckons with so many independent ones."""
    chunk_frames: int = 256
    """Frames solved at once: bounds the memory of long clips."""
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)


@dataclass(frozen=True)
class TrackResult:
    """A tracked clip: one camera, one person, one motion."""

    camera: Camera
    identity: Float[np.ndarray, " k"]
    neutral: Float[np.ndarray, "v 3"]
    """The person's neutral vertices, head frame, metres."""
    motion: Motion
    """Finite in every frame: frames without a face are interpolated."""
    tracked: Bool[np.ndarray, " t"]
    confidence: Float[np.ndarray, " t"]
    """0 where no face was found, else the share of landmarks that agree with the model, about 1 for a clear face."""
    metrics: dict[str, float]
    """`reprojection_px` (capture pixels) and `reprojection_iod` (of the distance between the outer eye corners), the
    same as `..._lips`, `..._eyes` and `..._test_iod` (frames after the training part); `jitter_ratio` (mean second
    difference of the tracked over the detected landmarks) and `focal_px`."""
