"""`mpcompile check --jobs N`: several specs at once, each in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any


def mapped(
    work: Callable[..., dict[str, Any]], specs: Sequence[Path], jobs: int, *rest: Any
) -> list[dict[str, Any]]:
    """Call `work(spec, *rest)` for every spec in `jobs` processes, and return its results in the order of the specs.

    A process that dies, for want of memory for example, costs its own spec alone: `{"died": True}` stands for its result.
    """
    found: dict[int, dict[str, Any]] = {}
    _gather(work, dict(enumerate(specs)), jobs, rest, found)
    for number, spec in enumerate(specs):  # those that another one's process took along are tried alone
        if number not in found:
            _gather(work, {number: spec}, 1, rest, found)
    return [found.get(number, {"died": True}) for number in range(len(specs))]


def _gather(
    work: Callable[..., dict[str, Any]],
    specs: dict[int, Path],
    jobs: int,
    rest: tuple[Any, ...],
    found: dict[int, dict[str, Any]],
) -> None:
    """Add the results of specs by number to `found`; one whose process died is left out."""
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(jobs, get_context(method), _begin) as pool:
        futures: dict[Future[dict[str, Any]], int] = {}
        try:
            futures = {pool.submit(work, spec, *rest): number for number, spec in specs.items()}
            for future in as_completed(futures):
                found[futures[future]] = future.result()
        except BrokenProcessPool:
            for future, number in futures.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    found[number] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    """Let Ctrl-C end a process at once, without a traceback: the command says that it was interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


__all__ = ["mapped"]
