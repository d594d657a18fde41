"""Tracking of a clip, by landmarks and then by pixels: one identity and focal length, all poses and expressions."""

from preprocess.tracking.torso import track_torso
from preprocess.tracking.tracker import track_clip
from preprocess.tracking.types import Observations, PhotometricConfig, TrackConfig, TrackResult

__all__ = ["Observations", "PhotometricConfig", "TrackConfig", "TrackResult", "track_clip", "track_torso"]
