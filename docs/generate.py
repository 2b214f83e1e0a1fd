"""Writes the pages that are made from tables of the code: `docs/codes/` and `docs/reference/`. A test compares them."""

from __future__ import annotations

from pathlib import Path

from mpcompile.diagnostics.codes import CODES
from mpcompile.reference import KINDS, entry
from mpcompile.runner.answers import NOUNS
from mpcompile.runner.scores import METRICS, OF_DRAWS

DOCS = Path(__file__).parent
GROUPS = {
    "MP0": "Intake", "MP1": "Syntax and names", "MP2": "Shapes and types", "MP3": "Dependence and proofs",
    "MP4": "Flows and Jacobians", "MP5": "Training and data", "MP6": "Certificates", "MP7": "Foreign models",
    "MP9": "Faults of the compiler",
}  # fmt: skip


def reference() -> dict[str, str]:
    """Every page of `docs/reference/` by file name: a page a kind, with a section a name."""
    index = [
        "# Reference",
        "",
        "Every name of the language, from the tables of the compiler: `mpcompile list NAME` prints the same.",
        "",
    ]
    made = {}
    for title, kind in KINDS.items():
        heading = title.replace("_", " ").capitalize()
        names = sorted(kind.rows())
        linked = ", ".join(f"[{name}]({title}.md#{name})" for name in names)
        index.append(f"- [{heading}]({title}.md): {linked}")
        lines = [f"# {heading}"]
        for name in names:
            each = entry(kind, name)
            columns = any("  " in line.strip() for line in each.about)
            about = ["```text", *each.about, "```"] if columns else each.about
            lines += ["", f"## {name}", "", f"`{each.usage}`", "", *about]
            pairs = [f"- `{word}`: {text}" for word, text in each.arguments]
            facts = [f"- {word}: {text}" for word, text in each.facts]
            lines += ["", *facts, *pairs] if facts or pairs else []
            lines += ["", "```mp", *each.example.splitlines(), "```"]
        made[f"{title}.md"] = "\n".join(lines) + "\n"
    index.append("- [Metrics](metrics.md): what `mpcompile eval` computes of targets")
    return made | {"metrics.md": metrics(), "README.md": "\n".join(index) + "\n"}


def metrics() -> str:
    """The page of the metrics of targets, from their table."""
    lines = [
        "# Metrics",
        "",
        "`mpcompile eval RUN` computes these of each target from the program `predict`, streaming over batches. Which",
        "of them a target has follows from its type and its law. Elements whose truth is missing, or that lie behind the",
        "end of a sequence, count for nothing. Standard errors are over examples.",
        "",
        "| metric | of | definition |",
        "| --- | --- | --- |",
    ]
    for row in METRICS:
        of = ", ".join(name for name in NOUNS if name in row.kinds)
        of += " with probabilities" if row.certain else ""
        lines += [f"| `{name}`{' (also in validation)' if row.cheap else ''} | {of} | {about} |"
                  for name, about in row.metrics.items()]  # fmt: skip
    lines += [f"| `{name}` | levels, quantity; `--samples K` | {about} |" for name, about in OF_DRAWS.items()]
    return "\n".join([*lines, "", *(f"- {name}: {about}" for name, about in NOUNS.items())]) + "\n"


def codes() -> dict[str, str]:
    """Every page of `docs/codes/` by file name."""
    made = {f"{code.code}.md": code.page() for code in CODES.values()}
    index = ["# Diagnostic codes", "", "`mpcompile explain CODE` prints the same pages."]
    for prefix, title in GROUPS.items():
        rows = [c for c in CODES.values() if c.code.startswith(prefix)]
        if rows:
            index += ["", f"## {title}", ""]
            index += [f"- [{c.code}]({c.code}.md) {c.name}" for c in rows]
    return made | {"README.md": "\n".join(index) + "\n"}


def main() -> None:
    """Write what differs and remove what is no page any more."""
    for folder, made in (("codes", codes()), ("reference", reference())):
        (DOCS / folder).mkdir(exist_ok=True)
        for path in (DOCS / folder).glob("*.md"):
            if path.name not in made:
                path.unlink()
        for name, text in made.items():
            (DOCS / folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
