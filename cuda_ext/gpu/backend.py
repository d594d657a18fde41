"""The backend "cuda": `GpuOps` on real GPUs. It has been tested on the CPU only (see `cuda_ext/README.md`)."""

from cuda_ext.gpu.device import check_available, launcher_of
from cuda_ext.gpu.ops import GpuOps

_ops = GpuOps(launcher_of)
rasterize = _ops.rasterize
photometric_loss = _ops.photometric_loss
ssim = _ops.ssim
rig = _ops.rig
draw_rig = _ops.draw_rig
hash_triplane = _ops.hash_triplane
kan_layer = _ops.kan_layer
adam_step = _ops.adam_step

__all__ = [
    "adam_step", "check_available", "draw_rig", "hash_triplane", "kan_layer", "photometric_loss", "rasterize", "rig",
    "ssim",
]  # fmt: skip
