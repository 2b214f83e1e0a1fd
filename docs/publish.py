"""Build the site: `python docs/publish.py OUT`, or `make docs`.

The pages of this folder are read on a forge as they are. For the site they are copied into a folder of build/ with what
only a site has: the gallery, the reference of the Python package, pages that stand elsewhere in the repository, and the
tables of contents. Links are led there. Sphinx then builds that folder, and each of its warnings is an error.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import gallery

DOCS = Path(__file__).parent
ROOT = DOCS.parent
#: Pages that stand elsewhere, by the page of the site.
ELSEWHERE = {
    "CHANGELOG.md": "project/changelog.md", "CONTRIBUTING.md": "project/contributing.md",
    "benchmarks/README.md": "project/benchmarks.md", "grammar/README.md": "project/grammar.md",
    "SECURITY.md": "project/security.md", "CODE_OF_CONDUCT.md": "project/conduct.md",
    "README.md": "index.md", "docs/README.md": "index.md",
}  # fmt: skip
#: The table of contents: pages by the heading of their part, `*` for all of a folder.
CONTENTS = {
    "Start": ("start", "tutorials/*", "howto/*", "ci", "editors"),
    "Language": ("language", "networks", "convolutional", "recurrent", "latents", "autoregressive", "flows", "training",
                 "data", "runs", "distributed"),
    "Reference": ("reference/*", "codes/index", "api"),
    "Gallery": ("gallery/index",),
    "Explanation": ("notes", "proofs", "laws", "foreign", "import", "passes", "backends", "architecture",
                    "reliability", "scale", "comparison", "glossary", "left-out"),
    "Project": ("project/*", "*"),
}  # fmt: skip
#: Pages of a folder that stand under a page of their own, in the table of contents and below it.
UNDER = {
    "language": "language/*",
    "reference/index": "reference/*",
    "tutorials/index": "tutorials/*",
    "howto/index": "howto/*",
}
#: Folders whose pages are many, and linked from their first page alone.
APART = ("codes/", "decisions/", "gallery/")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")


def stage(target: Path, specs: Collection[Path] | None = None) -> None:
    """Write the sources of the site into a folder; of the gallery these specs alone, or all."""
    shown = gallery.specs() if specs is None else list(specs)
    made = {str(p.relative_to(DOCS)): p.read_text(encoding="utf-8") for p in DOCS.rglob("*.md")}
    pages = {
        place(f"docs/{name}"): rewritten(f"docs/{name}", text, shown)
        for name, text in made.items()
        if name != "README.md"
    }
    for name, page in ELSEWHERE.items():
        if page != "index.md" and (ROOT / name).is_file():
            pages[page] = rewritten(name, (ROOT / name).read_text(encoding="utf-8"), shown)
    pages |= {f"gallery/{name}": text for name, text in gallery.pages(shown).items()}
    pages["api.md"] = api()
    contents(pages)
    for name, text in pages.items():
        write(target / name, text.encode())
    for path in (DOCS / "images").iterdir():
        write(target / "images" / path.name, path.read_bytes())
    for path in target.rglob("*.md"):
        if str(path.relative_to(target)) not in pages:
            path.unlink()


def write(path: Path, data: bytes) -> None:
    """Write a file, unless it has these bytes: Sphinx reads again what is newer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


def place(name: str) -> str:
    """Return the page of the site of a page of the repository: `docs/codes/README.md` is `codes/index.md`."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    return re.sub(r"(^|/)README\.md$", r"\1index.md", name.removeprefix("docs/"))


def rewritten(name: str, text: str, specs: Collection[Path]) -> str:
    """Return a page with its links led to the pages of the site. A link to a file that is no page is left as its text."""
    here = Path(place(name)).parent
    shown = {str(s.relative_to(ROOT)): f"gallery/{s.stem}.md" for s in specs}

    def led(link: re.Match[str]) -> str:
        bang, words, path, anchor = link[1], link[2], link[3], link[4] or ""
        target = os.path.normpath(Path(name).parent / path)
        if target in shown:
            return f"[{words}]({os.path.relpath(shown[target], here)})"
        if target.startswith("docs/images/"):
            return f"{bang}[{words}]({os.path.relpath(target.removeprefix('docs/'), here)})"
        page = target in ELSEWHERE or (target.startswith("docs/") and target.endswith(".md"))
        if page and (ROOT / target).is_file():
            return f"[{words}]({os.path.relpath(place(target), here)}{anchor})"
        if (ROOT / target).exists() or target in ELSEWHERE:
            return words
        raise ValueError(f"{name}: a link leads to {path}, which is not there")

    parts = re.split(r"(^ *```.*?^ *```)", text, flags=re.M | re.S)
    return "".join(part if i % 2 else LINK.sub(led, part) for i, part in enumerate(parts))


def contents(pages: dict[str, str]) -> None:
    """Add the tables of contents, and mark the pages that stand in none."""
    names = {name.removesuffix(".md") for name in pages}
    listed: set[str] = {"index"}
    for parent, pattern in UNDER.items():
        inside = [n for n in matched(pattern, names) if n not in (parent, *CONTENTS["Reference"])]
        named = [link[3] for link in LINK.finditer(pages[f"{parent}.md"])]
        order = {
            name: next((i for i, k in enumerate(named) if f"{name}.md".endswith(k)), len(named))
            for name in inside
        }
        found = sorted(inside, key=order.__getitem__)  # in the order in which the first page names them
        pages[f"{parent}.md"] += toctree("", found)
        listed |= set(found)
    parts = []
    for heading, patterns in CONTENTS.items():
        found = [n for pattern in patterns for n in matched(pattern, names) if n not in listed]
        listed |= set(found)
        parts.append(toctree(heading, found))
    pages["index.md"] += "".join(parts)
    for name in names - listed:
        pages[f"{name}.md"] = f"---\norphan: true\n---\n\n{pages[f'{name}.md']}"


def matched(pattern: str, names: Collection[str]) -> list[str]:
    """Return the pages of a pattern, the first page of a folder first."""
    if not pattern.endswith("*"):
        return [pattern] if pattern in names else []
    folder = pattern.removesuffix("*")
    inside = [n for n in names if n.startswith(folder) and "/" not in n.removeprefix(folder)]
    if not folder:  # what is left, with the first pages of folders
        inside += [n for n in names if n.endswith("/index")]
    return sorted(inside, key=lambda n: (not n.endswith("/index"), n))


def toctree(heading: str, names: Collection[str]) -> str:
    caption = f":caption: {heading}\n" if heading else ""
    listed = "".join(f"/{name}\n" for name in names)
    return f"\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n{caption}\n{listed}```\n"


def api() -> str:
    """Return the page of the public names of the package."""
    import mpcompile

    lines = ["# Python", "", "What `import mpcompile` gives. Everything else may change in any release.", ""]
    for name in sorted(n for n in mpcompile.__all__ if n != "__version__"):
        kind = "class" if isinstance(getattr(mpcompile, name), type) else "function"
        members = "\n   :members:\n   :undoc-members:" if kind == "class" else ""
        lines += [f"## {name}", "", "```{eval-rst}", f".. auto{kind}:: mpcompile.{name}{members}", "```", ""]
    return "\n".join(lines)


def sphinx(sources: Path, out: Path, *options: str, files: Sequence[str] = ()) -> int:
    """Run Sphinx over staged sources, and write these files alone if any are given, without the index of search.

    Warnings are errors where all files are written, and all of them are shown.
    """
    from sphinx.cmd.build import main as build

    strict = [] if files else ["-W", "--keep-going"]
    return build(["-q", *strict, "-c", str(DOCS), *options, str(sources), str(out), *files])


def arguments() -> Iterator[str]:
    yield from sys.argv[1:] or [str(ROOT / "build" / "site")]


def main() -> None:
    """Stage and build the site into the folder that the command names, build/site without one."""
    out = Path(next(arguments()))
    sources = out.parent / f"{out.name}-pages"
    stage(sources)
    status = sphinx(sources, out, "-j", "auto", "-b", "html", "-d", str(out.parent / f"{out.name}-doctrees"))
    if not status:
        print(f"wrote {out}/index.html")
    sys.exit(status)


if __name__ == "__main__":
    main()
