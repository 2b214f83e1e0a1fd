"""Graphs as text: `printed` writes one, `parse` reads it back.

The form is described in `docs/passes.md`. What is printed is deterministic, and `parse` gives the same graph again
(`mpcompile.ir.same`): nodes in their order, every attribute, every constant bit for bit.
"""

from mpcompile.text.mermaid import mermaid
from mpcompile.text.parsing import parse, parse_all
from mpcompile.text.printing import Style, printed, printed_all
from mpcompile.text.tokens import TextError

__all__ = ["Style", "TextError", "mermaid", "parse", "parse_all", "printed", "printed_all"]
