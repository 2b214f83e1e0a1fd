"""`mpcompile check --watch`: check again what changes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mpcompile.cli._out import echo, page
from mpcompile.cli._specs import specs_of

if TYPE_CHECKING:
    from mpcompile.diagnostics.report import Checked, Report

#: Seconds between two looks at the files. A look is one `stat` a file, which costs microseconds.
INTERVAL = 0.3

#: What tells one state of a file from another; None where there is no file.
Stamp = tuple[int, int, int] | None


def watch(
    paths: Iterable[Path], examine: Callable[[Path], Checked], publish: Callable[[Report], None]
) -> None:
    """Check all specs, then those that changed, or whose masks did, until Ctrl-C; publish after every change.

    Folders are searched anew each time, so that new specs are found and removed ones forgotten.
    """
    from mpcompile.diagnostics.report import Report

    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts background jobs with Ctrl-C ignored
    given = list(paths)
    known: dict[Path, tuple[dict[Path, Stamp], Checked]] = {}
    shown: list[Path] | None = None
    try:
        while True:
            specs = [spec for spec in specs_of(given) if spec.exists() or spec in given]
            changed = [
                spec for spec in specs if spec not in known or known[spec][0] != _stamps(known[spec][0])
            ]
            for spec in changed:
                before = _stamps(
                    _read_by(spec)
                )  # taken first: a change during the check shows in the next round
                known[spec] = before, examine(spec)
            if changed or specs != shown:
                shown = specs
                _clear()
                publish(Report(tuple(known[spec][1] for spec in specs)))
                echo(f"watching {len(specs)} spec{'s' if len(specs) != 1 else ''}; Ctrl-C stops", err=True)
            time.sleep(INTERVAL)
    except KeyboardInterrupt:
        return


def _clear() -> None:
    """Clear the screen, where stdout is one."""
    if sys.stdout.isatty():
        page("\033[2J\033[1;1H")


def _read_by(spec: Path) -> list[Path]:
    """A spec and every path that it may read."""
    from mpcompile.diagnostics import SpecError
    from mpcompile.frontend import parse
    from mpcompile.frontend.reads import named

    try:
        return [spec, *named(parse(spec)[0], spec)]
    except SpecError:
        return [spec]


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


__all__ = ["watch"]
