"""Runs inputs one after the other and keeps what goes wrong: exceptions, time, memory.

A finding does not end the run. Counts and findings go to a JSON file, the input that runs now to a file beside it, so
that a process which dies still says on what.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

#: Seconds of processor time that an input may take, and the seconds after which it is stopped.
SLOW, STOPPED = 2.0, 10.0
#: Bytes of memory that an input may add.
HEAVY = 500_000_000
MOST = 1 << 14


class Hang(BaseException):
    """An input that did not end."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang


class Watch:
    """Runs a target on inputs, counts, and keeps what went wrong."""

    def __init__(
        self, name: str, folder: Path, run: Callable[[bytes], str], inputs: int, seconds: float
    ) -> None:
        self.name, self.folder, self.most, self.seconds = name, folder, inputs, seconds
        self.count, self.peak, self.slowest = 0, 0, 0.0
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[str, dict[str, Any]] = {}
        self.start = time.monotonic()
        self.told = 0.0
        self.run = run
        self.pages = os.open("/proc/self/statm", os.O_RDONLY)
        file = open(folder / f"{name}.input", "w+b")  # noqa: SIM115
        file.truncate(MOST * 4 + 4)
        self.now = mmap.mmap(file.fileno(), 0)
        signal.signal(signal.SIGVTALRM, _stop)

    def resident(self) -> int:
        return int(os.pread(self.pages, 64, 0).split()[1]) * resource.getpagesize()

    def __call__(self, data: bytes) -> None:
        self.now[: 4 + len(data)] = len(data).to_bytes(4, "little") + data
        before, start = self.resident(), time.thread_time()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_VIRTUAL, STOPPED)
        try:
            self.outcomes[self.run(data)] += 1
        except Hang:
            self.keep("hang", f"stopped after {STOPPED:.0f} s", data)
        except (Exception, RecursionError) as fault:
            frames = traceback.extract_tb(fault.__traceback__)[-3:]
            at = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
            self.keep("exception", f"{type(fault).__name__} at {at}", data, traceback.format_exc(limit=-12))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        spent = time.thread_time() - start
        self.slowest = max(self.slowest, spent)
        if spent > SLOW:
            self.keep("hang", f"{spent:.0f} s", data)
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if now > most:
            self.peak = max(self.peak, now * 1024 - before)
            if now * 1024 - before > HEAVY:
                self.keep("memory", f"{(now * 1024 - before) / 1e9:.1f} GB", data)
        self.count += 1
        clock = time.monotonic()
        if self.count >= self.most or clock - self.start > self.seconds:
            self.tell()
            os._exit(0)
        if clock - self.told > 2:
            self.told = clock
            self.tell()

    def keep(self, kind: str, text: str, data: bytes, trace: str = "") -> None:
        found = self.findings.setdefault(f"{kind}: {text}", {"kind": kind, "count": 0})
        found["count"] += 1
        if found["count"] == 1:
            path = self.folder / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            found |= {"input": str(path), "trace": trace}

    def tell(self) -> None:
        facts = {
            "inputs": self.count,
            "seconds": time.monotonic() - self.start,
            "peak": self.peak,
            "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "slowest": self.slowest,
            "outcomes": dict(self.outcomes.most_common(25)),
            "findings": self.findings,
        }
        aside = self.folder / f"{self.name}.tmp"
        aside.write_text(json.dumps(facts), encoding="utf-8")
        aside.replace(self.folder / f"{self.name}.json")
