"""The moods of a face, as what they add to it at full strength."""

from __future__ import annotations

EMOTIONS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.6, "cheekSquint": 0.5, "eyeSquint": 0.2, "browOuterUp": 0.1, "mouthFrown": -1.0},
    "sad": {"mouthFrown": 0.5, "browInnerUp": 0.75, "mouthShrugLower": 0.25, "eyeSquint": 0.1, "mouthSmile": -0.8},
    "angry": {
        "browDown": 0.85, "eyeWide": 0.2, "eyeSquint": 0.3, "mouthPress": 0.4, "noseSneer": 0.2, "mouthFrown": 0.2,
        "mouthSmile": -0.9, "browInnerUp": -0.8,
    },
    "surprised": {"browInnerUp": 0.85, "browOuterUp": 0.85, "eyeWide": 0.6, "jawOpen": 0.22, "browDown": -1.0},
    "disgusted": {
        "noseSneer": 0.8, "mouthUpperUp": 0.4, "browDown": 0.4, "eyeSquint": 0.3, "mouthFrown": 0.3, "mouthSmile": -0.8,
    },
    "afraid": {
        "browInnerUp": 0.85, "browOuterUp": 0.3, "browDown": 0.25, "eyeWide": 0.7, "mouthStretch": 0.5, "jawOpen": 0.1,
        "mouthSmile": -0.8,
    },
    "contempt": {"mouthSmileLeft": 0.35, "mouthDimpleLeft": 0.6, "mouthPressLeft": 0.3, "browDown": 0.15,
                 "eyeSquint": 0.2},
    "calm": {
        "mouthSmile": 0.12, "eyeSquint": 0.05, "browDown": -0.7, "browInnerUp": -0.5, "eyeWide": -0.8,
        "noseSneer": -0.8, "mouthPress": -0.3,
    },
}  # fmt: skip
"""ARKit actions by name (without a side: both); below 0: the share that is taken away. Loosely after the
action units of Ekman & Friesen's EMFACS (1983)."""
