"""Other processes that make the inputs of training steps: each is told a step, and knows nothing of the others.

A step's inputs are a function of its number. Order, noise and a resume are therefore the same for any number of workers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Protocol

from mpcompile.diagnostics import Diagnostic, Span, SpecError, error
from mpcompile.ir import Array

#: Steps that each worker has in hand or waiting.
_AHEAD = 3
#: The most workers that can be asked for.
MOST_WORKERS = 256


class Maker(Protocol):
    """Makes the inputs of a step, and says how it travels to another process."""

    def at(self, step: int) -> dict[str, Array]: ...

    def stored(self) -> Maker: ...

    def restored(self) -> Maker: ...


@contextmanager
def made_by(count: int, maker: Maker) -> Iterator[Callable[[int, int], Generator[dict[str, Array], None, None]]]:
    """Start `count` processes, and give the function that yields the inputs of steps `start` to `stop` in order.

    Raises `SpecError`: MP506 where data fail, MP528 where a worker ended by itself.
    """
    spawn = get_context("spawn")  # the frameworks have threads, which do not survive a fork
    pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_begin, initargs=(maker.stored(),))

    def made(start: int, stop: int) -> Generator[dict[str, Array], None, None]:
        ahead: deque[Future[dict[str, Array] | tuple[Diagnostic, ...]]] = deque()
        step = start
        while step < stop or ahead:
            while step < stop and len(ahead) < _AHEAD * count:
                ahead.append(pool.submit(_make, step))
                step += 1
            found = ahead.popleft().result()
            if isinstance(found, tuple):
                raise SpecError(found)
            yield found

    try:
        yield made
    except BrokenProcessPool as fault:
        raise error(
            "MP528", "a worker that makes batches ended by itself", Span.none(),
            help="each worker holds the data that are not mapped; --resume goes on, with fewer --workers",
        ) from fault
    finally:
        pool.shutdown(cancel_futures=True)


_maker: Maker | None = None
_fault: tuple[Diagnostic, ...] = ()


def _begin(maker: Maker) -> None:
    """Take in what makes the steps. Signals are the first process's to heed, and with it a worker ends."""
    global _maker, _fault
    try:
        _maker = maker.restored()
    except SpecError as fault:
        _fault = fault.diagnostics
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(step: int) -> dict[str, Array] | tuple[Diagnostic, ...]:
    """Make the inputs of a step; findings travel as values."""
    if _maker is None:
        return _fault
    try:
        return _maker.at(step)
    except SpecError as fault:
        return fault.diagnostics


__all__ = ["MOST_WORKERS", "Maker", "made_by"]
