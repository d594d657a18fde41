"""Reading of videos: opening and refusing files, upright pictures with square pixels, and their true times."""

from preprocess.video.decoding import VideoInfo, frames, probe, require_length

__all__ = ["VideoInfo", "frames", "probe", "require_length"]
