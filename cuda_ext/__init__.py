"""Kernels: rasterise Gaussians, image losses, mesh binding. `ops` is native, `reference` its twin in plain torch."""
