"""The CPU kernels as torch operations with gradients. All tensors are float32 on the CPU; others are refused.

Tensors that are not contiguous are copied. Results do not depend on the number of threads, to the bit.
"""

from cuda_ext.ops.adam import Adam, AdamRates, adam_step
from cuda_ext.ops.fit_step import AdamMoments, FitOutcome, FitStep, FitTarget
from cuda_ext.ops.kan import kan_layer
from cuda_ext.ops.photometric import photometric_loss, ssim
from cuda_ext.ops.raster import get_memory_limit, rasterize, set_memory_limit
from cuda_ext.ops.rig import rig
from cuda_ext.ops.threads import get_threads, set_threads
from cuda_ext.ops.tracking import Alignment, ColoredSurface, Views, align, alignment_cost, normal_matrix
from cuda_ext.ops.triplane import hash_triplane

__all__ = [
    "Adam", "AdamMoments", "AdamRates", "Alignment", "ColoredSurface", "FitOutcome", "FitStep", "FitTarget", "Views",
    "adam_step", "align", "alignment_cost", "get_memory_limit", "get_threads", "hash_triplane", "kan_layer",
    "normal_matrix", "photometric_loss", "rasterize", "rig", "set_memory_limit", "set_threads", "ssim",
]  # fmt: skip
