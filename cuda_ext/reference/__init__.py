"""The kernels again in plain torch: any float dtype, differentiable to any order, slow. The tests compare both."""

from cuda_ext.reference.photometric import photometric_loss, ssim
from cuda_ext.reference.raster import project, rasterize
from cuda_ext.reference.rig import (
    matrix_to_quats,
    multiply_quats,
    posed_mesh,
    rig,
    rotation_matrices,
    triangle_frames,
)

__all__ = [
    "matrix_to_quats", "multiply_quats", "photometric_loss", "posed_mesh", "project", "rasterize", "rig",
    "rotation_matrices", "ssim", "triangle_frames",
]  # fmt: skip
