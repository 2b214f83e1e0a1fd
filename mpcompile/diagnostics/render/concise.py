"""`concise`: a line for each finding, as compilers print them and editors read them."""

from __future__ import annotations

from mpcompile.diagnostics.render._text import printable
from mpcompile.diagnostics.report import Report


def concise(report: Report, colour: bool = False) -> str:
    """Render `path:line:col: CODE message`, one line each; nothing when there is nothing to say."""
    return "".join(f"{printable(str(d.span))}: {d.code} {printable(d.message)}\n" for d in report.diagnostics)


__all__ = ["concise"]
