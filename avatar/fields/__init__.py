"""Deformation fields: what moves the Gaussians of a head beside the mesh that they ride on; see `presets`."""
