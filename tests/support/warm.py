"""Code run in a process of its own that has imported the command line already, under limits.

Most of the time of a short `mpcompile check` goes into imports. A server imports them once, and forks.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: What `check` imports when it needs it.
LOADED = """
    cli._guard cli.check api lowering.model frontend.assemble frontend.build frontend.unused analysis.claims
    analysis.findings analysis.prove bijectors distributions layers specialize diagnostics.codes
"""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"mpcompile.{name}" for name in LOADED.split()])


@dataclass(frozen=True)
class Done:
    """What a process left: its exit status (negative: the signal that ended it), both texts, and seconds it took."""

    status: int
    out: str
    err: str
    cpu: float
    wall: float


def run(task: Callable[..., int], *arguments: str, folder: Path, megabytes: int, seconds: int) -> Done:
    """Run a function of a module that can be imported; it gives the exit status."""
    start = time.monotonic()
    process = FORKS.Process(target=_child, args=(task, arguments, str(folder), megabytes, seconds))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "still running after two minutes"
    out, err = ((folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    cpu = folder / "cpu"
    return Done(
        process.exitcode,
        out,
        err,
        float(cpu.read_text()) if cpu.exists() else seconds,
        time.monotonic() - start,
    )


def _child(
    task: Callable[..., int], arguments: tuple[str, ...], folder: str, megabytes: int, seconds: int
) -> None:
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = 1
    try:
        status = task(*arguments)
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        Path("cpu").write_text(f"{used.ru_utime + used.ru_stime}")
        sys.stdout.flush()
        sys.stderr.flush()
    sys.exit(status)


def command(*arguments: str) -> int:
    """`mpcompile` with these arguments."""
    from mpcompile.cli import main

    sys.argv = ["mpcompile", *arguments]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def parsed(path: str) -> int:
    """Print what the front end finds wrong in a file: code, line, column, message."""
    from mpcompile.frontend import SpecError, parse

    try:
        parse(Path(path))
    except SpecError as problem:
        for d in problem.diagnostics:
            print(d.code, d.span.line, d.span.column, d.message[:200])
        return 1
    return 0
