"""A bar on a terminal for what takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Told how much is done, of how much in all (None: nobody knows), and what is done now.
Watch = Callable[[float, "float | None", str], None]


@contextmanager
def late_bar() -> Iterator[Watch | None]:
    """Show a bar on stderr after two seconds, and remove it in the end; yield None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from threading import Timer

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from mpcompile.report.terminal import Terminal

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=Terminal(stderr=True), transient=True)
    task = bar.add_task("", total=None)
    late = Timer(2.0, bar.start)
    late.daemon = True
    late.start()
    try:
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
    finally:
        late.cancel()
        late.join()
        bar.stop()
