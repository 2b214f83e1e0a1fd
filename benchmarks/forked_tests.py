"""Tests in forks of one warm process: which lines each of them executes, and whether a selection of them passes.

The parent has imported what tests import, but not `mpcompile`. Each child imports the package anew, from the folder that
it is told, so a child costs what its tests cost. Children write no bytecode, and hypothesis draws the same in each.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
#: Imported before the first fork, where they are installed.
PRELOADED = (
    "numpy", "scipy.stats", "networkx", "pydantic", "lark", "rich.console", "typer", "yaml", "safetensors.numpy",
    "hypothesis", "hypothesis.strategies", "hypothesis.extra.numpy", "torch", "jax.numpy", "optax", "onnx",
    "onnxruntime", "sklearn.datasets",
)  # fmt: skip
#: For children and whatever they start. One thread: threads do not survive a fork.
ENVIRONMENT = {"CI": "1", "PYTHONDONTWRITEBYTECODE": "1"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
#: Bytes of address space of a child: a changed size must not take the machine down.
MEMORY = 16 * 2**30

Masks = dict[str, int]  # file of the package -> executed lines, bit by bit


@dataclass
class Traced:
    """What one test took and executed."""

    seconds: float
    passed: bool
    lines: Masks = field(default_factory=dict)


@dataclass
class File:
    """A file of tests: the seconds and the lines of all that is no test (imports, collection), and its tests."""

    seconds: float
    lines: Masks
    tests: dict[str, Traced]

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(text: str) -> File:
        raw = json.loads(text)
        return File(raw["seconds"], raw["lines"], {k: Traced(**v) for k, v in raw["tests"].items()})


def warm() -> None:
    """Import what children would. To be called before anything else has imported a numeric library."""
    os.environ.update(ENVIRONMENT)
    sys.dont_write_bytecode = True
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    warnings.filterwarnings(
        "ignore", message=".*fork.*"
    )  # jax has threads once it computes, which the parent never does
    gc.freeze()


def forked(work: Callable[[], str], limit: float) -> tuple[str | None, float]:
    """Return what `work` gives in a child, and its processor seconds. None: it crashed, or took more than `limit`."""
    with tempfile.NamedTemporaryFile("r+", encoding="utf-8") as file:
        pid = os.fork()
        if pid == 0:
            _child(work, file.name, int(limit) + 1)
        ends = time.monotonic() + 10 * limit + 60  # of the clock: a child may wait for what never comes
        while (ended := os.wait4(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the child has started and left
        return file.read() or None, ended[2].ru_utime + ended[2].ru_stime


def _child(work: Callable[[], str], path: str, limit: int) -> None:
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        Path(path).write_text(work(), encoding="utf-8")
    finally:
        os._exit(0)


def _pytest(package: Path, files: Sequence[str], plugin: object, *options: str) -> None:
    """Run pytest on files of tests, with `mpcompile` from the folder `package`. For children."""
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(package)  # of processes that tests start
    sys.path[0] = str(package)
    assert "mpcompile" not in sys.modules
    fixed = ("-q", "-n", "0", "--tb=no", "-p", "no:cacheprovider")
    pytest.main([*fixed, *options, *(str(ROOT / f) for f in files)], plugins=[plugin])
    used = getattr(sys.modules.get("mpcompile"), "__file__", None)
    if used is not None and not used.startswith(str(package)):
        raise SystemExit(f"the tests imported {used}, not the copy")


# --- a selection of tests ---


def failing(
    package: Path, tests: Sequence[str], limit: float, stop: bool = True
) -> tuple[list[str] | None, float]:
    """The tests of a selection that fail (the first alone, with `stop`), and processor seconds.

    An error of a collection has the name of its file. None: the child crashed, or took more than `limit`.
    """

    def work() -> str:
        chosen = Chosen(tests)
        with contextlib.suppress(
            SystemExit
        ):  # pytest's way to refuse a plugin or conftest that it cannot import
            _pytest(package, list(dict.fromkeys(t.partition("::")[0] for t in tests)), chosen, *["-x"] * stop)
        return json.dumps(chosen.failed if chosen.collected else chosen.failed or ["collection"])

    found, seconds = forked(work, limit)
    return None if found is None else json.loads(found), seconds


class Chosen:
    """A plugin of pytest that keeps the tests of a selection, in its order, and what fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {name: i for i, name in enumerate(tests)}
        self.failed: list[str] = []
        self.collected = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid in self.place]
        items[:] = sorted(kept, key=lambda item: self.place[item.nodeid])
        self.collected = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


# --- which lines a test executes ---


def traced(package: Path, folders: Sequence[str], file: str, slow: float) -> File | None:
    """Run every test of a file, none longer than `slow` seconds, and watch some folders. None: it crashed."""

    def work() -> str:
        record = Record(package, folders, slow)
        record.lines.on()
        begin = _seconds()
        _pytest(package, [file], record)
        record.lines.off()
        inside = sum(test.seconds for test in record.tests.values())
        return File(_seconds() - begin - inside, record.lines.whole, record.tests).text()

    text, _ = forked(work, 3600)
    return None if text is None else File.of_text(text)


def _seconds() -> float:
    """Processor seconds of this process and those it waited for."""
    return sum(os.times()[:4])


class Lines:
    """The lines of files below some folders of the package that are executed between `on` and `off`."""

    def __init__(self, package: Path, folders: Sequence[str]) -> None:
        self.folder = f"{package}/"
        self.watched = tuple(f"{package}/{folder}/" for folder in folders)
        self.known: dict[CodeType, frozenset[int]] = {}
        self.left: dict[CodeType, set[int]] = {}  # not executed yet; a code without any is not traced further
        self.whole: Masks = {}

    def on(self) -> None:
        self.left = {}
        threading.settrace(self._called)
        sys.settrace(self._called)

    def off(self) -> Masks:
        sys.settrace(None)
        found: Masks = {}
        for code, left in self.left.items():
            if done := self.known[code] - left:
                name = code.co_filename.removeprefix(self.folder)
                found[name] = found.get(name, 0) | sum(1 << line for line in done)
        for name, mask in found.items():
            self.whole[name] = self.whole.get(name, 0) | mask
        return found

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        left = self.left.get(code)
        if left is None:
            if code not in self.known:
                ours = code.co_filename.startswith(self.watched)
                self.known[code] = frozenset(n for *_, n in code.co_lines() if n) if ours else frozenset()
            left = self.left[code] = set(self.known[code])
        left.discard(frame.f_lineno)
        return self._line if left else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        left = self.left.get(frame.f_code, set())  # none: the frame is older than `on`
        left.discard(frame.f_lineno)
        return self._line if left else None


class Slow(BaseException):
    """Ends a test. No exception that code under test would catch."""


class Record:
    """A plugin of pytest that keeps what each test takes and executes."""

    def __init__(self, package: Path, folders: Sequence[str], slow: float) -> None:
        self.lines = Lines(package, folders)
        self.slow = slow
        self.tests: dict[str, Traced] = {}
        signal.signal(signal.SIGPROF, self._end)

    def _end(self, *_: object) -> None:
        raise Slow

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.lines.off()
        self.lines.on()
        begin, test = _seconds(), Traced(0.0, True)
        self.tests[item.nodeid] = test
        try:
            return (yield)
        finally:
            test.seconds = round(_seconds() - begin, 3)
            test.lines = self.lines.off()
            self.lines.on()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        signal.setitimer(
            signal.ITIMER_PROF, self.slow, 1
        )  # again each second: hypothesis runs a failing test again
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:  # a test that is skipped says nothing
            self.tests[report.nodeid].passed = False
