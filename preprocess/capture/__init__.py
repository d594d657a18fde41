"""The capture on disk: its folder, the files in it with their checks, and its pictures and masks."""

from preprocess.capture.folder import CaptureFolder

__all__ = ["CaptureFolder"]
