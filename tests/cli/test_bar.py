"""The bar on a terminal for what takes longer than two seconds."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from mpcompile.cli._bar import late_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_comes_up_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before: with a clock that a test holds."""
    waiting: list[threading.Timer] = []

    class Held(threading.Timer):
        def __init__(self, interval: float, function: object) -> None:
            super().__init__(interval, function)  # type: ignore[arg-type]
            assert interval == 2.0
            waiting.append(self)

        def start(self) -> None: ...

        def join(self, timeout: float | None = None) -> None: ...

    monkeypatch.setattr(threading, "Timer", Held)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with late_bar() as watch:
        assert watch is not None
        watch(3, 10, "samples")
        assert "samples" not in sys.stderr.getvalue()
        waiting[0].function()
        watch(7, 10, "samples")
    assert "samples" in sys.stderr.getvalue() and "70%" in sys.stderr.getvalue()


def test_no_bar_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with late_bar() as watch:
        assert watch is None
