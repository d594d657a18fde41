"""The way from noise to motion: how much of each there is at a level, and one step along it. numpy or torch."""

from __future__ import annotations

from typing import Any, Literal

Schedule = Literal["flow", "ddpm"]
"""`flow`: straight paths (Lipman et al. 2023). `ddpm`: paths of constant variance with the cosine schedule (Nichol and
Dhariwal 2021, here as the smooth step, nowhere further than .01 from it), walked without new noise (DDIM, Song et al.
2021)."""
_LEAST_NOISE = 0.05


def mix_of(level: Any, schedule: Schedule) -> tuple[Any, Any]:
    """Shares of motion and of noise at levels from 0 (noise) to 1 (motion)."""
    if schedule == "flow":
        return level, 1 - level
    power = level * level * (3 - 2 * level)
    return power**0.5, abs(1 - power) ** 0.5


def balance_of(level: Any, slow: Any, schedule: Schedule) -> tuple[Any, Any, Any]:
    """What of clean motion is what is there, the share that a network adds to it, and the scale at which it sees it.

    The balance of Karras et al. 2022 (Elucidating the design space, section 5) for motion and noise of unit deviation
    and one spectrum: what there is to learn is as large at every level. Numbers that are not slow (`slow` is 0) are
    predicted outright.
    """
    motion, noise = mix_of(level, schedule)
    square = motion**2 + noise**2
    root = square**0.5
    return slow * motion / square, 1 + slow * (noise / root - 1), 1 + slow * (1 / root - 1)


def advanced(x: Any, clean: Any, level: Any, step: Any, schedule: Schedule) -> Any:
    """What is at `level`, a step further on the way to where the network says that motion is."""
    motion, noise = mix_of(level, schedule)
    motion_after, noise_after = mix_of(level + step, schedule)
    return motion_after * clean + noise_after / noise.clip(_LEAST_NOISE) * (x - motion * clean)
