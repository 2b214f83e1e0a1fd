"""Pages whose blocks `tests/docs/test_pages.py` runs from the top to the bottom, and the commands that it leaves out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: By their place below docs/.
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
    "distributed",
    "foreign",
    "import",
    "migration",
    *sorted(
        f"{folder}/{p.stem}"
        for folder in ("tutorials", "howto", "language")
        for p in (ROOT / "docs" / folder).glob("[a-z]*.md")
    ),
]
#: The same as paths in the repository.
PATHS = frozenset("README.md" if p == "README" else f"docs/{p}.md" for p in ["README", *PAGES])
ALL = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
)
#: Pages with commands to type. Commands on pages of codes belong to examples of a finding.
TYPED = [page for page in ALL if not page.startswith("docs/codes/")]
#: Pages whose commands another test runs, on sources of its own.
ELSEWHERE = {"docs/ci.md": "test_ci.py", "docs/data.md": "test_data.py"}

#: `make docs-commands` runs the commands of `LONG` too.
EVERY = os.environ.get("MPCOMPILE_EVERY_COMMAND") == "1"
#: Commands of followed pages that take too long for the suite: a part of each.
LONG = (
    "mpcompile fmt --upgrade",
    "mpcompile report ",
    "--processes",
    "--backend jax --out",
    "--out runs/two",
)
#: Commands that no test runs: their page, how they begin, and why.
UNRUN = [
    ("CONTRIBUTING.md", "make ", "CI runs lint, the suite, the fuzzers and the smoke test"),
    ("README.md", "make ", "makes an environment from a network, and takes minutes"),
    ("README.md", "pip install ", "needs a network; `make smoke` installs the wheel with each extra"),
    (
        "benchmarks/README.md",
        "python benchmarks/",
        "measures for minutes to hours, many on data that are not here",
    ),
    ("benchmarks/README.md", "mpcompile verify ", "measures all backends at full size, for minutes and more"),
    ("benchmarks/README.md", "... ", "continues the command above"),
    ("benchmarks/README.md", "git worktree add ", "changes the repository"),
    ("docs/distributed.md", "torchrun --nnodes 2 ", "needs two machines with GPUs"),
    ("docs/editors.md", "npm ", "needs a network"),
    ("docs/foreign.md", "python benchmarks/", "takes an hour, and needs transformers"),
    ("docs/release.md", "make smoke", "takes ten minutes; CI runs it"),
    ("docs/release.md", "python tests/release/smoke.py", "takes half an hour"),
    ("docs/start.md", "pip install ", "needs a network; `make smoke` installs the wheel with each extra"),
    ("docs/tutorials/two-processes.md", "torchrun --nnodes 2 ", "needs two machines with GPUs"),
]

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
#: What starts a line that is a command, in a block whose commands have no `$ ` before them.
COMMAND = re.compile(r"^\s*(?:\$ )?(?:mpcompile|make|python|pip|pytest|torchrun|npm|npx) ", re.MULTILINE)


def fences(page: str) -> Iterator[tuple[list[str], str]]:
    """The words behind the opening of every block of a page, and the block."""
    for _, words, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
        yield words.split(), block


def typed(words: list[str], block: str) -> list[str]:
    """The commands of a block, each in one line, without a comment behind it."""
    if words[:1] not in ([], ["console"], ["sh"], ["bash"]):
        return []
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    behind = [line[2:] for line in lines if line.startswith("$ ")]
    found = behind or [line.strip() for line in lines if COMMAND.match(line)]
    return [re.sub(r"\s+# .*", "", line) for line in found]


def unrun(page: str, command: str) -> list[str]:
    """Why no test runs a command of a page."""
    return [why for where, begins, why in UNRUN if where == page and command.startswith(begins)]


def too_long(command: str) -> bool:
    return any(part in command for part in LONG)
