"""A check answers within its budget of time and memory, and says what it did not decide."""

from __future__ import annotations

import importlib
import mmap
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.analysis import findings as registry
from mpcompile.analysis import prove
from mpcompile.analysis.claims import KINDS
from mpcompile.analysis.findings import FINDINGS, findings
from mpcompile.analysis.prove import unproven
from mpcompile.budget import Budget, OutOfBudget, ensured, reserve, share, tick, within
from mpcompile.diagnostics import Severity
from mpcompile.diagnostics.report import counts
from mpcompile.ops._windows import Windows

prover = importlib.import_module("mpcompile.analysis.prove")  # `mpcompile.analysis.prove` is the function too

SPEC = """model m
input x: binary[6]
mask up = degrees(order = natural)
x ~ autoregressive { dense(8, mask = up) -> relu -> dense(6, mask = strict(up)) }
check { complete(x); parameters <= 1000; no_blind_spot(x); path_length(x) <= 2 }
"""


def spin() -> None:
    while True:
        tick()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "m.mp"
    path.write_text(SPEC)
    return path


def test_a_loop_ends_when_its_time_is_over() -> None:
    with pytest.raises(OutOfBudget, match=r"^0\.05 s$"), within(Budget(seconds=0.05)):
        spin()


def test_a_share_leaves_the_others_time() -> None:
    with within(Budget(seconds=0.4)):
        for _ in range(3):
            with pytest.raises(OutOfBudget, match=r"^its share of 0\.4 s$"), share():
                spin()
        tick()


def test_without_a_budget_nothing_ends() -> None:
    tick()
    reserve(1e18)
    with share():
        reserve(1e18)


def test_memory_is_refused_before_it_is_taken() -> None:
    with within(Budget(memory=10**10)), pytest.raises(OutOfBudget, match=r"^10 GB$"):
        reserve(1.1e10)
    with pytest.raises(OutOfBudget, match=r"^10 MB$"), within(Budget(memory=10**7)):
        taken = mmap.mmap(-1, 1 << 26)  # new pages, where an array may be given what the process freed
        taken.write(bytes(1 << 26))
        spin()
    taken.close()


def test_memory_that_a_process_held_before_is_not_counted() -> None:
    """As that of a notebook with a user's data."""
    held = mmap.mmap(-1, 1 << 26)
    held.write(bytes(1 << 26))
    with within(Budget(seconds=60, memory=4 * 10**7)):
        reserve(2e7)
        for _ in range(1000):
            tick()
    held.close()


def test_memory_that_the_system_refuses_is_out_of_budget() -> None:
    with pytest.raises(OutOfBudget, match="the memory that the system gives"), within(Budget()):
        raise MemoryError


def test_the_default_budget_is_opened_once() -> None:
    with within(Budget(seconds=0.02)), pytest.raises(OutOfBudget, match=r"^0\.02 s$"), ensured():
        spin()


def test_every_kind_of_claim_that_runs_out_is_not_proven(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = api.load(spec)

    def endless(*_: object) -> None:
        spin()

    monkeypatch.setattr(prover, "KINDS", {name: replace(kind, rule=endless) for name, kind in KINDS.items()})
    with within(Budget(seconds=0.3)):
        verdicts = prove(module)
    assert len(verdicts) == 6
    assert unproven(verdicts) == verdicts
    for verdict in verdicts:
        (finding,) = verdict.diagnostics
        assert (
            finding.code == "MP310"
            and finding.help
            and "is not decided within its share of 0.3 s" in finding.message
        )
        assert counts(finding)


def test_every_kind_of_warning_that_runs_out_is_a_note(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = api.load(spec)

    def endless(_: object) -> list[object]:
        spin()
        return []

    monkeypatch.setattr(registry, "FINDINGS", dict.fromkeys(FINDINGS, endless))
    with within(Budget(seconds=0.3)):
        found = findings(module)
    assert [d.code for d in found] == ["MP310"] * len(FINDINGS)
    assert {d.severity for d in found} == {Severity.NOTE} and not any(map(counts, found))


def test_one_endless_claim_leaves_the_others_decided(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object) -> None:
        spin()

    monkeypatch.setitem(KINDS, "complete", replace(KINDS["complete"], rule=endless))
    checked = api.examine(spec, budget=Budget(seconds=2))
    undecided = [p.name for p in checked.properties if not p.holds]
    assert undecided == ["complete(x)"]
    assert not checked.holds


def test_a_spec_that_takes_too_long_to_read_has_a_place(spec: Path) -> None:
    checked = api.examine(spec, budget=Budget(seconds=1e-9))
    (finding,) = checked.findings
    assert finding.code == "MP310" and finding.span.line == 1 and finding.help
    assert not checked.holds


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpcompile", *arguments], capture_output=True, text=True, timeout=60,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_command_answers_instead_of_hanging(tmp_path: Path) -> None:
    path = tmp_path / "deep.mp"
    path.write_text(
        "model m\ninput x: binary[64]\nmask up = degrees(order=natural)\n"
        "x ~ autoregressive { repeat i in 1..1000 { dense(64, mask=up) -> relu } -> dense(64, mask=strict(up)) }\n"
    )
    start = time.process_time()
    done = command("check", str(path), "--time-budget", "0.2", "--output-format", "concise")
    assert done.returncode == 1, done.stderr
    assert "MP310" in done.stdout and "Traceback" not in done.stderr
    assert time.process_time() - start < 5


@pytest.mark.parametrize("given", ["0", "much", "-1GB", "4TB", "nan"])
def test_a_size_of_another_form_is_wrong_usage(spec: Path, given: str) -> None:
    done = command("check", str(spec), f"--memory-budget={given}")
    assert done.returncode == 2 and "such as 500MB or 4GB" in done.stderr


@pytest.mark.parametrize("verb", ["check", "build", "inspect"])
def test_commands_that_prove_take_a_budget(spec: Path, verb: str, tmp_path: Path) -> None:
    out = ["-o", str(tmp_path / "out")] if verb == "build" else []
    done = command(verb, str(spec), *out, "--time-budget", "0.0001")
    assert done.returncode == 1 and "within 0.0001 s" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_kernel_of_many_taps_asks_between_them() -> None:
    windows = Windows((400, 400), (400, 400), (1, 1), ((0, 399), (0, 399)), (1, 1))
    with pytest.raises(OutOfBudget), within(Budget(seconds=0)):
        next(windows.taps())
