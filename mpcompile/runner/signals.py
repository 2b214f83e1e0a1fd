"""Signals during a training: they end it after the step it is in; a terminal that goes away does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP, so that a step is finished and saved; a second signal acts at once.

    A SIGHUP that is ignored, as under `nohup`, stays ignored.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {s: signal.getsignal(s) for s in numbers}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        for s, handler in before.items():
            signal.signal(s, handler)

    for s in before:
        signal.signal(s, note)
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def heedless(tell: Callable[[T], None]) -> Callable[[T], None]:
    """Ignore the error of a terminal that went away, or a pipe that was closed, so that it stops no training."""

    def told(value: T) -> None:
        with suppress(OSError):
            tell(value)

    return told
