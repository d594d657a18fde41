"""The backend "cuda": `GpuOps` on real GPUs. It has been tested on the CPU only (see `cuda_ext/README.md`)."""

from cuda_ext.gpu.device import check_available, launcher_of
from cuda_ext.gpu.ops import GpuOps

_ops = GpuOps(launcher_of)
rasterize = _ops.rasterize
photometric_loss = _ops.photometric_loss
ssim = _ops.ssim
rig = _ops.rig
draw_rig = _ops.draw_rig

__all__ = ["check_available", "draw_rig", "photometric_loss", "rasterize", "rig", "ssim"]
