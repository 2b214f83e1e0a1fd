"""The fuzzers notice what they are there for, and continuous integration runs them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "fuzz"))
    before = signal.getsignal(signal.SIGVTALRM)
    yield import_module
    signal.signal(signal.SIGVTALRM, before)


def _raises(data: bytes) -> str:
    raise KeyError(data)


def _spins(data: bytes) -> str:
    while True:
        pass


def _sleepy(data: bytes) -> str:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    return "slow"


@pytest.mark.parametrize(("run", "kind"), [(_raises, "exception"), (_spins, "hang"), (_sleepy, "hang")])
def test_what_goes_wrong_is_kept(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Any, kind: str
) -> None:
    watch = module("watch")
    monkeypatch.setattr(watch, "SLOW", 0.05)
    monkeypatch.setattr(watch, "STOPPED", 0.15)
    seen = watch.Watch("t", tmp_path, run, 10, 1e9)
    seen(b"input")
    assert {f["kind"] for f in seen.findings.values()} == {kind}
    assert {Path(f["input"]).read_bytes() for f in seen.findings.values()} == {b"input"}
    seen.run, known = lambda data: "fine", len(seen.findings)
    seen(b"other")
    assert seen.outcomes["fine"] == 1 and len(seen.findings) == known and seen.count == 2


def test_memory_is_kept(module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watch = module("watch")
    seen = watch.Watch("t", tmp_path, lambda data: "fine", 10, 1e9)
    for added, kinds in ((watch.HEAVY - 10**6, set()), (watch.HEAVY + 10**6, {"memory"})):
        before = seen.resident()
        most = iter((before // 1024, (before + added) // 1024))
        usage = SimpleNamespace(
            getrusage=lambda who, m=most: SimpleNamespace(ru_maxrss=next(m)), RUSAGE_SELF=0
        )
        monkeypatch.setattr(watch, "resource", usage)
        monkeypatch.setattr(seen, "resident", lambda before=before: before)
        monkeypatch.setattr(seen, "tell", lambda: None)
        seen(b"input")
        monkeypatch.undo()
        assert {f["kind"] for f in seen.findings.values()} == kinds


def test_a_name_that_becomes_code_is_seen(module: Any) -> None:
    tree = module("emitted").tree
    text = "import math\ndef f(x):\n    {} = math.exp(x)\n    return {}\n"
    assert tree(text.format("y", "y")) == tree(text.format("torch", "torch"))
    assert tree(text.format("y", "y")) != tree(text.format("y", "y(x)"))
    assert tree(text.format("y", "y"))[1] != tree(text.format("y", "exec"))[1]


def test_every_target_accepts_one_of_its_seeds(module: Any, tmp_path: Path) -> None:
    """Or nothing that lies behind the first refusal is fuzzed."""
    targets = module("targets").TARGETS
    good = {"accepted", "same", "examined", "read", "fitted", "Manifest"}
    for name, target in targets.items():
        if not name.startswith("emit-"):  # they start a framework; their seeds are those of `check`
            (tmp_path / name).mkdir()
            run = target.prepare(tmp_path / name)
            assert any(run(seed) in good for seed in target.seeds()), name


def test_ci_runs_it() -> None:
    assert "make fuzz" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tests/fuzz/run.py" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("power", [30, 200, 300, 400, 4299, 6000])
def test_a_number_that_no_float_holds_is_told(power: int) -> None:
    """Found by the target `set`."""
    text = "model m(k = 4)\ninput x: real[k]\ntarget y: real[1]\ny ~ normal(x -> dense(1), 1)\n"
    for sign in (1, -1):
        with pytest.raises(SpecError, match="MP113 `k` is set to"):
            lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {"k": sign * 10**power})
