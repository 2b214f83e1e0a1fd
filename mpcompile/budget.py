"""Limits on the time and the memory of the analysis of one spec.

Whoever starts an analysis opens a budget (`within`), and every loop of every analysis asks it (`tick`) whether to go on.
A step that would take long or much memory at once, where no loop can ask, says so before (`reserve`). What runs out
raises `OutOfBudget`, and its caller answers "not decided within ...". Time is the processor time of this thread, so
that a busy machine changes no answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from threading import Event
from time import thread_time

#: Memory is looked at when this many seconds have passed since the last look.
LOOK = 0.005


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of the analysis of one spec: seconds of processor time, and bytes beside what the process held."""

    seconds: float = 60.0
    memory: int = 4_000_000_000


class OutOfBudget(Exception):
    """An analysis that takes longer, or more memory, than it may. The text is the limit, such as `60 s` or `4 GB`."""


class _Meter:
    """The limits that hold now, and the budget that they come from."""

    __slots__ = ("before", "budget", "deadline", "looked", "part", "stop")

    def __init__(
        self, budget: Budget, deadline: float, before: int, part: str = "", stop: Event | None = None
    ) -> None:
        self.looked = thread_time()
        self.budget, self.deadline, self.before, self.part, self.stop = budget, deadline, before, part, stop

    def tick(self) -> None:
        now = thread_time()
        if now > self.deadline or (self.stop is not None and self.stop.is_set()):
            raise OutOfBudget(f"{self.part}{self.budget.seconds:.6g} s")
        if now - self.looked > LOOK:
            self.looked = now
            self.reserve(0)

    def reserve(self, size: float) -> None:
        if resident() - self.before + size > self.budget.memory:
            raise OutOfBudget(memory_text(self.budget.memory))

    def refused(self) -> OutOfBudget:
        """Return what the system refused: more than the budget, or less memory than the budget counts on."""
        most = self.budget.memory
        taken = resident() - self.before
        return OutOfBudget(memory_text(most) if taken > most / 2 else "the memory that the system gives")


_METER: ContextVar[_Meter | None] = ContextVar("meter", default=None)


@contextmanager
def within(budget: Budget, stop: Event | None = None) -> Iterator[None]:
    """Open a budget for what runs inside. What the process holds already, such as a user's data, is not counted.

    Another thread may set `stop`: from then on nothing is left of the budget.
    """
    with _metered(_Meter(budget, thread_time() + budget.seconds, resident(), stop=stop)):
        yield


@contextmanager
def ensured() -> Iterator[None]:
    """Open the default budget for what runs inside, unless one is open."""
    if _METER.get() is None:
        with within(Budget()):
            yield
    else:
        yield


@contextmanager
def share(part: float = 0.5) -> Iterator[None]:
    """Allow what runs inside a part of the time that is left, so that others of its kind get an answer too."""
    meter = _METER.get()
    if meter is None:
        yield
        return
    now = thread_time()
    left = max(0.0, meter.deadline - now)
    with _metered(_Meter(meter.budget, now + left * part, meter.before, "its share of ", meter.stop)):
        yield


@contextmanager
def _metered(meter: _Meter) -> Iterator[None]:
    """Memory that Python or numpy does not get runs out of the budget too."""
    token = _METER.set(meter)
    try:
        yield
    except MemoryError as full:
        raise meter.refused() from full
    finally:
        _METER.reset(token)


def tick() -> None:
    """Raise `OutOfBudget` when the time or memory of the open budget is used up. Every loop of an analysis calls this."""
    meter = _METER.get()
    if meter is not None:
        meter.tick()


def reserve(size: float) -> None:
    """Raise `OutOfBudget` when `size` more bytes are not left: to be asked before a large array is made."""
    meter = _METER.get()
    if meter is not None and size > 1 << 20:
        meter.reserve(size)


def memory_text(size: float) -> str:
    """Format a number of bytes as people write it: `500 MB`, `4 GB`."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


@cache
def _pages() -> int | None:
    """An open file that tells the pages of this process; None where the system has none."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def resident() -> int:
    """Return the bytes of memory that this process has now, or the most it ever had where the system does not tell."""
    pages = _pages()
    if pages is not None:
        return int(os.pread(pages, 64, 0).split()[1]) * _page_size()
    try:
        import resource
    except ImportError:  # neither Linux nor a Unix: the time alone is limited
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@cache
def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE")


@contextmanager
def capped(memory: int) -> Iterator[None]:
    """Limit this process to `memory` new bytes, where the system can: a net below `reserve`."""
    try:
        import resource
    except ImportError:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = resident() + memory + (1 << 28)  # what is mapped and not touched counts too
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
