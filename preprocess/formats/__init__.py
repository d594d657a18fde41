"""Captures in the layouts that other systems read and write; one module per layout, one protocol (`layout.Layout`)."""

from __future__ import annotations

from preprocess.formats.convert import LAYOUTS, export_capture, import_capture
from preprocess.formats.layout import Layout, ReadOptions

__all__ = ["LAYOUTS", "Layout", "ReadOptions", "export_capture", "import_capture"]
