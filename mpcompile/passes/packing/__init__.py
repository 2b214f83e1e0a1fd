"""Mask fusion: weights under masks are stored and read without the elements that masks remove."""

from mpcompile.passes.packing.fuse import FuseMasks
from mpcompile.passes.packing.layout import Layout, Packed
from mpcompile.passes.packing.module import fuse
from mpcompile.passes.packing.plan import plan

__all__ = ["FuseMasks", "Layout", "Packed", "fuse", "plan"]
