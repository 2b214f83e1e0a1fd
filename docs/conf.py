"""Settings of Sphinx for the site; `docs/publish.py` builds it.

Nothing is fetched: no intersphinx, no fonts, no scripts of others.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from mpcompile.highlighting import SpecLexer

project = html_title = "mpcompile"
version = release = version_of("mpcompile")
author = project_copyright = "the mpcompile maintainers"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
smartquotes_action = "qe"  # two dashes begin an option
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: tables of aligned words stay as they are, in a literal block."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    found: list[str] = []
    for text in filter(str.strip, paragraphs):
        aligned = re.search(r"^\s*\w[\w, ]* {2,}\S", text, re.M)
        rows = text.splitlines()
        found += (
            ["::", "", *(f"    {row}" for row in rows), ""]
            if aligned
            else [re.sub(r"`([^`]+)`", r"``\1``", row.strip()) for row in rows] + [""]
        )
    lines[:] = found


#: What the theme's HTML lacks (WCAG 2.1.1, 1.3.1): the keyboard reaches blocks and tables that scroll, headings of
#: the table of contents have a level, and landmarks of one role have a name each.
REPAIRS = {
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer': '<aside aria-label="This page" class="toc-drawer',
}


def repair(app: Any, problem: Exception | None) -> None:
    """Mend the written pages by the table above."""
    for path in [] if problem or app.builder.format != "html" else Path(app.outdir).rglob("*.html"):
        text = found = path.read_text(encoding="utf-8")
        for lacking, mended in REPAIRS.items():
            text = text.replace(lacking, mended)
        if text != found:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    """Connect the above, with the lexer of specs."""
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("build-finished", repair)
    app.add_lexer("mp", SpecLexer)
