"""Kernels: rasterise Gaussians, image losses, rigged heads. `ops` is native, `reference` its twin in plain torch."""
