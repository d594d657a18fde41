"""What a fit can be told. The resolved config is stored in every avatar."""

from __future__ import annotations

from dataclasses import dataclass

from avatar.split import GAP_SECONDS, TEST_SHARE
from avatar.stored import Precision


@dataclass(frozen=True)
class SplitConfig:
    """Which frames train, which choose the best state, which test. All by time, so that test frames are never near."""

    test_share: float = TEST_SHARE
    """Last share of the clip: never used for fitting, only by `visavis eval`."""
    gap_seconds: float = GAP_SECONDS
    """Frames dropped between training and test, so that neighbours of test frames are not trained on."""
    validation_share: float = 0.05
    """Last share of the training span: not trained on, chooses the best state."""


@dataclass(frozen=True)
class RateConfig:
    """Adam step sizes at the start; all decay together by the share of the budget spent."""

    means: float = 1.5e-4
    """Metres."""
    torso_means: float = 3e-4
    quats: float = 2e-3
    log_scales: float = 6e-3
    opacity_logits: float = 3e-2
    colors: float = 6e-3
    map_means: float = 2e-5
    """Metres per unit of a driving feature."""
    map_opacities: float = 6e-3
    torso_map: float = 2e-5
    field: float = 2e-3
    """Of a deformation field's networks."""
    field_table: float = 1e-2
    """Of its hash tables and its codes per Gaussian."""
    motion_rotation: float = 3e-4
    """Radians: tracked parameters of the training frames are refined at tiny rates."""
    motion_translation: float = 1e-4
    motion_expression: float = 3e-3
    final_share: float = 0.05
    """Rates at the end of the budget, relative to the start."""
    after_rollback: float = 0.2
    """Factor on all rates each time that the fit's numbers ran away and it went back to a sound state."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the objective."""

    ssim: float = 0.2
    """(1 - w) L1 + w (1 - SSIM)."""
    mask: float = 0.05
    """L1 between alpha and the person mask."""
    backdrop_share: float = 0.25
    """Share of steps on random backdrops: cures wall colour baked on hair edges, which full-frame PSNR can't see."""


@dataclass(frozen=True)
class LimitConfig:
    """Leashes that keep Gaussians sane where no camera saw them."""

    offset_m: float = 0.003
    """Largest distance of a face Gaussian from its triangle."""
    hair_offset_m: float = 0.01
    """Largest distance that a hair Gaussian may gain from where it was seeded."""
    map_norm_m: float = 0.0024
    """Largest norm of a face Gaussian's linear map."""
    hair_map_norm_m: float = 0.02
    """The same for hair, which hangs and swings."""
    map_smoothing: float = 0.1
    """Pull of a map towards the mean of its neighbours at each constraint: skin moves together."""
    map_prior_frames: float = 30.0
    """Over the number of training frames, the share by which linear maps shrink at each constraint: what the mesh
    explains, they should not, and a short clip says little about the rest."""
    max_map_shrinkage: float = 0.1
    """The largest such share."""
    color_pull: float = 0.01
    """Share by which the colour of skin returns at each step to its median over the clip, where it started: what a
    Gaussian learns far beyond it is some frame's shadow or background, and shows as a blotch in another view."""
    side_color_pull: float = 0.1
    """The same for skin that hardly faces the camera in any training frame."""
    hair_color_pull: float = 0.2
    """The same for hair: a strand is never where it was."""
    torso_color_pull: float = 0.02
    """The same for clothes and for hair on the shoulders."""
    min_scale_m: float = 3e-4
    min_hair_scale_m: float = 0.003
    """Hair is never where it was: strands finer than this turn into specks in a pose that was not seen."""
    max_scale_m: float = 0.008
    max_torso_scale_m: float = 0.02


@dataclass(frozen=True)
class FitConfig:
    """Fit an avatar to a capture."""

    minutes: float = 5.0
    """Time budget of the optimisation; rates are scheduled by it, or by `max_passes` if that comes first."""
    steps: int | None = None
    """Fixed number of steps instead of a time budget: reproducible on any machine."""
    max_passes: float = 10.0
    """A fit ends before its minutes are over when it saw every training frame this often: more passes over a short clip
    learn it by heart, and held-out frames get worse."""
    long_side: int = 256
    """Resolution that is fitted, pixels."""
    head_gaussians: int = 12_000
    core_gaussians: int = 3_000
    """Opaque ones under the skin, which learn only their colour: what is behind never shows through a gap."""
    hair_gaussians: int = 4_000
    torso_gaussians: int = 6_000
    expression_rank: int = 16
    """Number of expression components that drive the linear maps."""
    field: str = "visavis"
    """What makes the Gaussians move, see `avatar.fields.presets`."""
    precision: Precision = "int8"
    """How the finished avatar is stored, see `avatar.stored`; the fit itself computes and resumes in float32."""
    seed: int = 0
    checkpoint_seconds: float = 20.0
    """At most this much work is lost when the process is killed."""
    frame_cache_mb: int = 512
    """Decoded frames kept in memory."""
    split: SplitConfig = SplitConfig()
    rates: RateConfig = RateConfig()
    losses: LossConfig = LossConfig()
    limits: LimitConfig = LimitConfig()
