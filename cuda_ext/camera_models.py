"""The camera models that the rasterisers know."""

CAMERA_MODELS = ("pinhole", "fisheye", "orthographic")
"""Equidistant fisheye: OpenCV's without distortion, a field of view below 180 degrees. Orthographic: fx and fy in
pixels per metre. In this order the numbers of the C++ enum."""
MAX_SIDE = 16384
"""Pixels along an image's side."""
