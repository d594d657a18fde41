"""Landmark tracking of a whole clip: one identity and focal length, pose and expression of every frame."""

from preprocess.tracking.torso import track_torso
from preprocess.tracking.tracker import track_clip
from preprocess.tracking.types import Observations, TrackConfig, TrackResult

__all__ = ["Observations", "TrackConfig", "TrackResult", "track_clip", "track_torso"]
