"""The kernels again in plain torch: any float dtype, differentiable to any order, slow. The tests compare both."""

from cuda_ext.reference.adam import adam_step
from cuda_ext.reference.kan import kan_layer
from cuda_ext.reference.photometric import photometric_loss, ssim
from cuda_ext.reference.projection import project
from cuda_ext.reference.raster import rasterize
from cuda_ext.reference.rig import (
    matrix_to_quats,
    multiply_quats,
    posed_mesh,
    rig,
    rotation_matrices,
    triangle_frames,
)
from cuda_ext.reference.tracking import align, alignment_cost, normal_matrix
from cuda_ext.reference.triplane import hash_triplane

__all__ = [
    "adam_step", "align", "alignment_cost", "hash_triplane", "kan_layer",
    "matrix_to_quats", "multiply_quats", "normal_matrix", "photometric_loss", "posed_mesh", "project", "rasterize",
    "rig", "rotation_matrices", "ssim", "triangle_frames",
]  # fmt: skip
