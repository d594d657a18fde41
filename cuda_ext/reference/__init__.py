"""The kernels again in plain torch: any float dtype, differentiable to any order, slow. The tests compare both."""

from cuda_ext.reference.photometric import photometric_loss, ssim
from cuda_ext.reference.raster import project, rasterize
from cuda_ext.reference.rig import bind, matrix_to_quats, multiply_quats, rotation_matrices, triangle_frames

__all__ = [
    "bind", "matrix_to_quats", "multiply_quats", "photometric_loss", "project", "rasterize", "rotation_matrices",
    "ssim", "triangle_frames",
]  # fmt: skip
