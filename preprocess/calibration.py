"""Landmark calibration of a head model; the work is in `avatar.head.calibration`, as converting heads needs it too."""

from __future__ import annotations

from avatar.head.calibration import INNER_LIPS, IRISES, OUTER_LIPS, calibrate

__all__ = ["INNER_LIPS", "IRISES", "OUTER_LIPS", "calibrate"]
