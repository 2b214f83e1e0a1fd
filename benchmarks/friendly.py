"""Every spec by every use of a compiled model: one row a spec, one column a use.

    python benchmarks/friendly.py

The uses are those of `tests/backends/test_friendly.py`, of which the suite runs a part. A cell is `ok`, `-` where the use
has no meaning, the reason why it is not possible, which `docs/backends.md` explains, or `FAILED`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1] / "tests" / "backends" / "test_friendly.py"


class Table:
    """Answers of the tests, by spec and use."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take the answer of a test."""
        spec, _, use = report.nodeid.partition("[")[2].rstrip("]").partition("-")
        if report.failed:
            self.cells.setdefault(spec, {})[use] = "FAILED"
        elif report.when == "call":
            self.cells.setdefault(spec, {})[use] = dict(report.user_properties).get("answer", "ok")

    def text(self) -> str:
        """The table in Markdown."""
        uses = list(next(iter(self.cells.values()), {}))
        rows = [["spec", *uses], ["---"] * (len(uses) + 1)]
        rows += [[spec, *(answers.get(use, "") for use in uses)] for spec, answers in self.cells.items()]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Run every use of every spec, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-k", default="", help="these specs or uses alone, as pytest takes them")
    chosen = parser.parse_args().k
    os.environ["MPCOMPILE_EVERY_SPEC"] = "1"
    table = Table()
    code = pytest.main(["-q", "--tb=short", str(TESTS), *(["-k", chosen] if chosen else [])], plugins=[table])
    print(table.text())
    raise SystemExit(int(code))


if __name__ == "__main__":
    main()
