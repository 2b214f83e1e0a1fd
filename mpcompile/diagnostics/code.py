"""A row of the table of diagnostic codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One diagnostic code and the page about it."""

    code: str
    name: str
    what: str
    why: str
    example: str = ""
    instead: str = ""

    def page(self) -> str:
        """The whole page, as Markdown."""
        parts = [
            f"# {self.name} ({self.code})",
            f"## What it does\n\n{self.what}",
            f"## Why it is bad\n\n{self.why}",
        ]
        if self.example:
            parts.append(f"## Example\n\n```\n{self.example}\n```")
        if self.instead:
            parts.append(f"## Use instead\n\n```\n{self.instead}\n```")
        return "\n\n".join(parts) + "\n"
