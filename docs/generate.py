"""Writes the pages that are made from tables of the code: `docs/codes/`. A test compares them."""

from __future__ import annotations

from pathlib import Path

from mpcompile.diagnostics.codes import CODES

FOLDER = Path(__file__).parent / "codes"
GROUPS = {
    "MP0": "Intake", "MP1": "Syntax and names", "MP2": "Shapes and types", "MP3": "Dependence and proofs",
    "MP4": "Flows and Jacobians", "MP5": "Training and data", "MP6": "Certificates",
    "MP9": "Faults of the compiler",
}  # fmt: skip


def pages() -> dict[str, str]:
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
    wanted = pages()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
