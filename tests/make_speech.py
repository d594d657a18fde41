"""Sound for tests: babble with the mouth that goes with it, and what is no speech."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def babble(seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Speech-like sound (16 kHz mono) and how far the mouth is open, 100 values per second in [0, 1].

    Syllables of random length and loudness: a buzz whose upper harmonics come with the opening, after a hiss.
    """
    rng = np.random.default_rng(seed)
    opening = np.zeros(int(seconds * 100))
    at = 0
    while at < len(opening):
        length = int(rng.integers(12, 32))
        syllable = rng.uniform(0.2, 1) * np.sin(np.linspace(0, np.pi, length)) ** 2
        part = opening[at : at + length]
        part += syllable[: len(part)]
        at += length + (int(rng.integers(20, 60)) if rng.random() < 0.2 else int(rng.integers(0, 6)))
    t = np.arange(int(seconds * RATE)) / RATE
    open_now = np.interp(t, np.arange(len(opening)) / 100, opening)
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) * open_now ** (1 + k / 12) / k for k in range(1, 30))
    hiss = rng.standard_normal(len(t)) * np.clip(np.gradient(open_now) * RATE / 20, 0, 0.3)
    sound = 0.2 * buzz + 0.1 * hiss + 1e-3 * rng.standard_normal(len(t))
    return sound.astype(np.float32), opening


def mouth_landmarks(opening: np.ndarray, seconds: np.ndarray, seed: int = 0) -> np.ndarray:
    """Detector points (t, 478, 2) of a still face whose lips follow `opening`, with the detector's noise."""
    points = np.random.default_rng(seed).normal(0, 0.25, (len(seconds), 478, 2)).astype(np.float32)
    now = np.interp(seconds, np.arange(len(opening)) / 100, opening)[:, None]
    for index, still, moved in (
        (33, (-45, 0), (0, 0)), (263, (45, 0), (0, 0)), (61, (-25, 70), (3, 0)), (291, (25, 70), (-3, 0)),
        (13, (0, 68), (0, -1)), (14, (0, 70), (0, 20)), (0, (0, 60), (0, -2)), (17, (0, 80), (0, 18)),
    ):  # fmt: skip
        points[:, index] += np.array(still) + now * np.array(moved)
    return points + np.float32(200)


def delayed(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The sound that much later (negative: earlier), of the same length."""
    shift = round(seconds * RATE)
    out = np.zeros_like(samples)
    if shift >= 0:
        out[shift:] = samples[: len(samples) - shift]
    else:
        out[:shift] = samples[-shift:]
    return out


def music(seconds: float, seed: int = 0) -> np.ndarray:
    """Plucked notes over a beat."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros(len(t))
    for beat in np.arange(0, seconds, 0.25):
        after = t[(t >= beat) & (t < beat + 1)] - beat
        hz = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        note = sum(np.sin(2 * np.pi * hz * k * after) / k for k in range(1, 5)) * np.exp(-6 * after)
        begin = round(beat * RATE)
        out[begin : begin + len(after)] += 0.1 * (note + rng.standard_normal(len(after)) * np.exp(-40 * after))
    return out.astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """White noise."""
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)
