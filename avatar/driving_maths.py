"""The arithmetic of the driving space (see `avatar.driving`), in numpy: playback needs no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from avatar.motion.audio_windows import audio_windows, cepstra
from avatar.motion.encoders.base import Encoding
from avatar.tracks import Motion

TORSO_SMOOTHING_SECONDS = (0.08, 0.33)
"""Shoulders follow the head late and softly: the torso map sees the head pose at two temporal scales."""
CLAMP_MARGIN = 0.15
"""How far beyond the training range a driving feature may softly go, as a share of the range."""
EXPRESSION_RANGE = (-0.15, 1.15)
"""ARKit actions of a foreign driver: a tracker's rest lies a little below 0 where a person's neutral differs."""


class Statistics(NamedTuple):
    """One person's training motion; the fields of `avatar.driving.DrivingSpace`, float32."""

    mean_expression: Float[np.ndarray, "52"]
    rest_expression: Float[np.ndarray, "52"]
    mesh_actions: Float[np.ndarray, "52"]
    basis: Float[np.ndarray, "52 r"]
    mean_rotation: Float[np.ndarray, "3 3"]
    mean_translation: Float[np.ndarray, "3"]
    pose_scale: Float[np.ndarray, "6"]
    speech_mean: Float[np.ndarray, " w"]
    speech_basis: Float[np.ndarray, "w a"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    mean_torso: Float[np.ndarray, "3"]
    torso_weights: Float[np.ndarray, "kt 3"]


class Features(NamedTuple):
    """What drives an avatar's linear maps and its torso, for each frame of a motion."""

    features: Float[np.ndarray, "t k"]
    torso_features: Float[np.ndarray, "t kt"]
    torso: Float[np.ndarray, "t 3"]


def soft_clamp(
    x: Float[np.ndarray, "*b k"], low: Float[np.ndarray, " k"], high: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "*b k"]:
    """Identity inside [low, high]; outside it approaches `CLAMP_MARGIN` of the range smoothly (slope 1 at the edge)."""
    margin = CLAMP_MARGIN * np.maximum(high - low, 1e-6)
    inside = np.clip(x, low, high)
    return (inside + margin * np.tanh((x - inside) / margin)).astype(np.float32)


def rotations(motion: Motion):
    """The rotations world <- head of all frames, as scipy's `Rotation`."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(motion.quats_wxyz, scalar_first=True)


def pose_features(space: Statistics, motion: Motion) -> Float[np.ndarray, "t 6"]:
    """Axis-angle and translation around the mean pose, in units of `pose_scale`."""
    from scipy.spatial.transform import Rotation

    turned = (Rotation.from_matrix(space.mean_rotation).inv() * rotations(motion)).as_rotvec()
    return np.concatenate([turned, motion.translation - space.mean_translation], -1) / space.pose_scale


def heard(space: Statistics, audio: Path | None) -> Encoding | None:
    """What an avatar's maps hear of a sound file; None if there is none, or they do not listen.

    Raises:
        BadInput: the file can't be read.
    """
    if audio is None or not space.speech_basis.shape[1]:
        return None
    from avatar.motion.audio import load_audio

    return cepstra(load_audio(audio))


def speech_features(space: Statistics, motion: Motion, speech: Encoding | None) -> Float[np.ndarray, "t a"]:
    """What is said around each frame, in components of the training windows; 0, their mean, if nothing is heard."""
    if speech is None or not space.speech_basis.shape[1]:
        return np.zeros((len(motion), space.speech_basis.shape[1]), np.float32)
    windows = audio_windows(speech, motion.timestamps_seconds).reshape(len(motion), -1)
    return (windows - space.speech_mean) @ space.speech_basis


def raw_features(space: Statistics, motion: Motion, speech: Encoding | None = None) -> Float[np.ndarray, "t k"]:
    """Expression coefficients, speech and standardised pose, not clamped."""
    coefficients = (motion.expression - space.mean_expression) @ space.basis
    parts = [coefficients, speech_features(space, motion, speech), pose_features(space, motion)]
    return np.concatenate(parts, -1).astype(np.float32)


def mesh_motion(space: Statistics, motion: Motion) -> Motion:
    """The motion of the mesh that Gaussians ride on: what it does not follow stays at the mean."""
    expression = space.mean_expression + space.mesh_actions * (motion.expression - space.mean_expression)
    return motion if space.mesh_actions.all() else replace(motion, expression=expression)


def prepare(space: Statistics, motion: Motion, speech: Encoding | None = None) -> Features:
    """Clamped driving features, and where the shoulders are: predicted from the head where the motion does not say."""
    from scipy.ndimage import gaussian_filter1d

    raw = raw_features(space, motion, speech)
    smooth = [gaussian_filter1d(raw[:, -6:], s * motion.fps, axis=0, mode="nearest") for s in TORSO_SMOOTHING_SECONDS]
    limits = [np.tile(limit[-6:], len(smooth)) for limit in (space.low, space.high)]
    torso_features = soft_clamp(np.concatenate(smooth, 1), *limits)
    known = motion.torso.any()
    torso = motion.torso if known else space.mean_torso + torso_features @ space.torso_weights
    return Features(soft_clamp(raw, space.low, space.high), torso_features, torso.astype(np.float32))


def retarget(space: Statistics, motion: Motion, *, expression_is_relative: bool = True) -> Motion:
    """See `avatar.driving.DrivingSpace.retarget`."""
    from scipy.spatial.transform import Rotation

    R, expression = rotations(motion), motion.expression
    if expression_is_relative and len(motion) > 1:
        expression = expression - expression.mean(0) + space.mean_expression
    moved = Rotation.from_matrix(space.mean_rotation) * R.mean().inv() * R
    translation = motion.translation - motion.translation.mean(0) + space.mean_translation
    return replace(
        motion,
        expression=np.clip(expression, *EXPRESSION_RANGE).astype(np.float32),
        quats_wxyz=moved.as_quat(scalar_first=True).astype(np.float32),
        translation=translation.astype(np.float32),
        torso=motion.torso - motion.torso.mean(0) + space.mean_torso if motion.torso.any() else motion.torso,
    )
