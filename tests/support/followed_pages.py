"""Pages whose blocks `tests/docs/test_pages.py` runs from the top to the bottom, by their place below docs/."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    "training",
    "runs",
    "networks",
    "convolutional",
    "recurrent",
    "latents",
    "autoregressive",
    "flows",
    "notes",
    "start",
    *sorted(
        f"{folder}/{p.stem}"
        for folder in ("tutorials", "howto")
        for p in (ROOT / "docs" / folder).glob("[a-z]*.md")
    ),
]
#: The same as paths in the repository.
PATHS = frozenset("README.md" if p == "README" else f"docs/{p}.md" for p in ["README", *PAGES])
