"""Measuring motion against motion: a driver's takes beside the truth's, without any trained yardstick."""
