"""Other processes that make the inputs of training steps: each is told its steps, and knows nothing of the others.

A step's inputs are a function of its number. Order, noise and a resume are therefore the same for any number of workers.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Protocol, Self

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array


class Maker(Protocol):
    """Makes the inputs of a step, and says how it travels to another process."""

    def at(self, step: int) -> dict[str, Array]: ...

    def stored(self) -> Self: ...

    def restored(self) -> Self: ...


def made_by(count: int, maker: Maker, start: int, stop: int) -> Generator[dict[str, Array], None, None]:
    """Yield the inputs of steps `start` to `stop` in order, made by `count` processes that work ahead.

    Worker i makes every count-th step from `start + i` on, and waits with one in its hand until that is taken.
    Raises `SpecError`: MP506 where data fail, MP528 where a worker ended by itself.
    """
    spawn = get_context("spawn")  # the frameworks have threads, which do not survive a fork
    told, workers = maker.stored(), []
    try:
        for first in range(start, min(start + count, stop)):
            here, there = spawn.Pipe(duplex=False)
            worker = spawn.Process(target=_work, args=(there, told, range(first, stop, count)), daemon=True)
            worker.start()
            there.close()
            workers.append((worker, here))
        for step in range(start, stop):
            yield _taken(workers[(step - start) % count][1])
    finally:
        for worker, here in workers:
            here.close()
            worker.kill()  # it holds nothing that has to be put away
            worker.join()


def _taken(here: Connection) -> dict[str, Array]:
    try:
        found = here.recv()
    except (EOFError, OSError) as fault:
        raise error(
            "MP528", "a worker that makes batches ended by itself", Span.none(),
            help="each worker holds the data that are not mapped; --resume goes on, with fewer --workers",
        ) from fault  # fmt: skip
    if isinstance(found, tuple):
        raise SpecError(found)
    return dict(found)


def _work(there: Connection, maker: Maker, steps: range) -> None:
    """Make some steps, until nobody takes them; findings travel as values. Signals are for the first process to heed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        try:
            made = maker.restored()
            for step in steps:
                there.send(made.at(step))
        except SpecError as fault:
            there.send(fault.diagnostics)


__all__ = ["Maker", "made_by"]
