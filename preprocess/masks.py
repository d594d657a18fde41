"""Person masks: a confidence per pixel from MediaPipe's selfie segmentation."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from avatar.assets import find_asset


class PersonSegmenter:
    """Context manager around one ImageSegmenter; not thread-safe."""

    def __init__(self) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(find_asset("selfie_segmentation.tflite"))),
            output_confidence_masks=True,
            output_category_mask=False,
        )
        self._segmenter = vision.ImageSegmenter.create_from_options(options)

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self._segmenter.close()

    def mask(self, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """How sure the network is that a pixel shows a person: 0 to 255."""
        import mediapipe as mp

        result = self._segmenter.segment(mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(rgb)))
        # The mask's memory belongs to the result: it is rounded into our own before that goes away.
        confidence = result.confidence_masks[-1].numpy_view().reshape(rgb.shape[:2])
        return np.rint(confidence * 255).astype(np.uint8)
