"""Numbers of landmarks in the detector's face mesh (MediaPipe: 468 of the face, 10 of the irises).

Left and right are the person's own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

N_LANDMARKS = 478

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIPS = OUTER_LIPS + INNER_LIPS
LIP_MIDDLES = (13, 14)
"""Inner edge of the upper and of the lower lip."""

RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
EYES = RIGHT_EYE + LEFT_EYE
OUTER_EYE_CORNERS = (33, 263)
"""Right, left."""
RIGHT_IRIS, LEFT_IRIS = tuple(range(468, 473)), tuple(range(473, 478))
IRISES = RIGHT_IRIS + LEFT_IRIS

RIGID = (10, 109, 338, 151, 108, 337, 9, 8, 168, 6, 197, 195, 5, 4, 122, 351, 196, 419, 3, 248, 51, 281, 45, 275, 1)
"""Bridge and tip of the nose and forehead: what expressions move least."""

IBUG_CONTOUR = (127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356)
_IBUG_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_IBUG_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_IBUG_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_IBUG_MOUTH = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
IBUG_INNER = (*_IBUG_BROWS, *_IBUG_NOSE, *_IBUG_EYES, *_IBUG_MOUTH)
"""The landmarks that lie where iBUG's points 17 to 67 do (Sagonas et al. 2013)."""
IBUG_68 = (*IBUG_CONTOUR, *IBUG_INNER)
"""All 68 of iBUG's points: contour from the right ear to the left, brows, nose, eyes, mouth."""


def lip_opening(landmarks: Float[np.ndarray, "*t 478 d"]) -> Float[np.ndarray, "*t"]:
    """Distance between the inner edges of the lips at their middle, in the unit of the landmarks."""
    upper, lower = (landmarks[..., k, :] for k in LIP_MIDDLES)
    return np.linalg.norm(upper - lower, axis=-1)


def eye_distance(landmarks: Float[np.ndarray, "*t 478 d"]) -> Float[np.ndarray, "*t"]:
    """Distance of the outer eye corners, in the unit of the landmarks."""
    right, left = (landmarks[..., k, :] for k in OUTER_EYE_CORNERS)
    return np.linalg.norm(left - right, axis=-1)
