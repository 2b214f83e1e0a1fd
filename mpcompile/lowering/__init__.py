"""AST -> Module: layers, distributions and bijectors expand to primitives, programs are derived."""

from mpcompile.lowering.model import lower

__all__ = ["lower"]
