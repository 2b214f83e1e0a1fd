"""A resume inherits all that a run was trained with; what it cannot go on from, it leaves as it is."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.ir import Constant
from mpcompile.runner import checkpoint
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.resume import reached
from mpcompile.runner.run import open_run
from mpcompile.runner.settings import Settings, describe
from mpcompile.runner.signals import signals

OPTIONS = Options(backend="fake", seed=3, steps=40, checkpoint_every=10)
ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Told:
    """A backend that remembers what it was asked for."""

    def __init__(self, fake: ModuleType) -> None:
        self.inner, self.asked = fake.FakeBackend(), {}

    def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
        self.asked = options
        return self.inner.session(module, parameters, optimizer, **options)


INHERITED: dict[str, Any] = {
    "backend": "other", "device": "cuda", "precision": "float64", "mixed": True, "trackers": ["csv"], "unproven": True,
    "checkpoint_every": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", INHERITED)
def test_every_option_is_inherited(fake: ModuleType, tmp_path: Path, name: str) -> None:
    chosen = replace(OPTIONS, **{name: INHERITED[name]})
    train(fake.module(), tmp_path / "run", chosen, backend=Told(fake))
    before = (tmp_path / "run" / "run.json").read_bytes()
    told, said = Told(fake), []
    train(fake.module(), tmp_path / "run", Options(resume=True), backend=told, say=said.append)
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert not [text for text in said if "changed" in text]
    facts = open_run(tmp_path / "run").facts
    assert (facts["settings"] if name == "checkpoint_every" else facts)[name] == INHERITED[name]
    if name in told.asked:
        assert told.asked[name] == INHERITED[name]


@pytest.mark.parametrize("name", INHERITED)
def test_a_change_is_said_and_recorded(fake: ModuleType, tmp_path: Path, name: str) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=Told(fake))
    said: list[str] = []
    changed = replace(Options(resume=True), **{name: INHERITED[name]})
    train(fake.module(), tmp_path / "run", changed, backend=Told(fake), say=said.append)
    shown = f"settings.{name}" if name == "checkpoint_every" else name
    assert any(f"{shown}, from " in text and f" to {INHERITED[name]}" in text for text in said)
    (entry,) = open_run(tmp_path / "run").facts["history"]
    assert entry["step"] == 40 and entry["changes"][shown][1] == INHERITED[name]
    again: list[str] = []
    train(fake.module(), tmp_path / "run", Options(resume=True), backend=Told(fake), say=again.append)
    assert not [text for text in again if "changed" in text], "a change is kept"


def test_fewer_steps_than_were_taken_are_refused(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    before = contents(tmp_path / "run")
    for steps in (39, 0):
        with pytest.raises(SpecError, match=f"MP511.*taken 40 steps, and --steps {steps}"):
            train(
                fake.module(), tmp_path / "run", Options(resume=True, steps=steps), backend=fake.FakeBackend()
            )
    for same in (40, None):
        train(fake.module(), tmp_path / "run", Options(resume=True, steps=same), backend=fake.FakeBackend())
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("plan", "lines", "told"),
    [
        ({"steps": 9}, [(3, 0.5), (9, 1.5)], "9 of 9 steps"),
        ({"epochs": 2}, [(1, 1 / 7), (13, 13 / 7)], "13 of 14 steps"),
        ({"epochs": 2, "steps": 10}, [(5, 5 / 7)], "5 of 10 steps"),
        ({"epochs": 3}, [], "0 steps of 3 epochs"),
        ({"steps": 4}, [], "0 of 4 steps"),
        ({}, [(8, 1.0)], "8 of 2000 steps"),
    ],
)
def test_how_far_a_run_is_from_its_plan(
    plan: dict[str, Any], lines: list[tuple[int, float]], told: str
) -> None:
    facts = {"settings": describe(Settings(**plan))}
    assert reached(facts, [{"step": step, "epoch": epoch} for step, epoch in lines]) == told


def test_settings_are_those_of_the_run_not_of_todays_defaults(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(valid_every=8, log_every=4), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    other = fake.module(valid_every=5, log_every=3, batch=16)  # the same text, read by another version
    train(other, tmp_path / "run", Options(resume=True, steps=80), backend=fake.FakeBackend())
    facts = open_run(tmp_path / "run").facts
    assert (facts["settings"]["batch"], facts["settings"]["valid_every"]) == (32, 8)
    valid = [
        line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "valid"
    ]
    assert valid == list(range(8, 81, 8))


@pytest.mark.parametrize(("change", "code"), [({"seed": 9}, "MP521"), ({"data": "moons"}, "MP50|MP523")])
def test_what_cannot_change_is_refused(fake: ModuleType, tmp_path: Path, change: Any, code: str) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    before = contents(tmp_path / "run")
    with pytest.raises(SpecError, match=code):
        train(
            fake.module(),
            tmp_path / "run",
            replace(Options(resume=True), **change),
            backend=fake.FakeBackend(),
        )
    assert contents(tmp_path / "run") == before


def test_data_may_move_but_not_change(fake: ModuleType, tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    x = r.standard_normal((64, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=x[:, :1])
    np.savez(tmp_path / "c.npz", x=x + 1, y=x[:, :1])
    chosen = replace(OPTIONS, data=str(tmp_path / "a.npz"))
    train(fake.module(), tmp_path / "run", chosen, backend=fake.FakeBackend())
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    moved = Options(resume=True, data=str(tmp_path / "b.npz"), steps=50)
    assert train(fake.module(), tmp_path / "run", moved, backend=fake.FakeBackend()).step == 50
    assert open_run(tmp_path / "run").facts["data"] == str(tmp_path / "b.npz")
    before = contents(tmp_path / "run")
    for data in (str(tmp_path / "c.npz"), "line"):
        with pytest.raises(SpecError, match="MP523"):
            train(fake.module(), tmp_path / "run", replace(moved, data=data), backend=fake.FakeBackend())
    assert contents(tmp_path / "run") == before


def test_a_longer_schedule_says_what_happens_to_the_rate(fake: ModuleType, tmp_path: Path) -> None:
    made = fake.module(schedule={"kind": "cosine"})
    train(made, tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    said: list[str] = []
    train(made, tmp_path / "run", Options(resume=True, steps=80), backend=fake.FakeBackend(), say=said.append)
    (text,) = [t for t in said if "schedule" in t]
    assert text == (
        "the cosine schedule now ends at step 80, not 40: the rate goes from 7.71e-05 to 0.025 at step 40"
    )
    rates = {
        line["step"]: line["learning_rate"]
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if line["split"] == "train"
    }
    assert rates[40] == pytest.approx(7.71e-05, rel=1e-3) and rates[41] == pytest.approx(0.025)


# Checkpoints that do not verify -----------------------------------------------------------------------


def damage(folder: Path, how: str) -> None:
    """Damage a checkpoint."""
    state, manifest = folder / checkpoint.STATE, folder / checkpoint.MANIFEST
    match how:
        case "a bit":
            data = bytearray(state.read_bytes())
            data[-1] ^= 1
            state.write_bytes(data)
        case "cut":
            state.write_bytes(state.read_bytes()[:-9])
        case "empty":
            state.write_bytes(b"")
        case "no state":
            state.unlink()
        case "no manifest":
            manifest.unlink()
        case "manifest cut":
            manifest.write_bytes(manifest.read_bytes()[:40])
        case "gone":
            shutil.rmtree(folder)


DAMAGES = ("a bit", "cut", "empty", "no state", "no manifest", "manifest cut", "gone")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_run_without_a_sound_checkpoint_is_left_as_it_is(
    fake: ModuleType, tmp_path: Path, how: str
) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    for folder in (tmp_path / "run" / "checkpoints").iterdir():
        damage(folder, how)
    before = contents(tmp_path / "run")
    with pytest.raises(SpecError, match="MP522") as said:
        train(fake.module(), tmp_path / "run", Options(resume=True, steps=60), backend=fake.FakeBackend())
    assert contents(tmp_path / "run") == before
    help = said.value.diagnostics[0].help
    assert "best/ holds step" in help and f"--init {tmp_path / 'run'}" in help
    train(
        fake.module(), tmp_path / "new", replace(OPTIONS, init=tmp_path / "run"), backend=fake.FakeBackend()
    )
    damage(tmp_path / "run" / "best", how)
    with pytest.raises(SpecError, match="MP522") as said:
        train(fake.module(), tmp_path / "run", Options(resume=True), backend=fake.FakeBackend())
    assert "best/" not in said.value.diagnostics[0].help


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s: {**s, "parameter/w": s["parameter/w"][:2]}, "MP521"),
        (lambda s: {**s, "parameter/w": s["parameter/w"].astype(np.int64)}, "MP521"),
        (lambda s: {**s, "parameter/w": np.float32("nan") * s["parameter/w"]}, "MP526"),
        (lambda s: {k: v for k, v in s.items() if k != "parameter/b"}, "MP521"),
        (lambda s: {**s, "parameter/more": s["parameter/b"]}, "MP521"),
        (lambda s: {k: v for k, v in s.items() if k != "optimizer/momentum/b"}, "MP521"),
        (lambda s: {**s, "optimizer/momentum/b": s["parameter/w"]}, "MP521"),
        (lambda s: {**s, "optimizer/step": np.array(1.5)}, "MP521"),
        (lambda s: {**s, "optimizer/more": s["parameter/w"]}, "MP521"),
    ],
)
def test_a_state_of_another_model_is_refused(
    fake: ModuleType, tmp_path: Path, change: Any, code: str
) -> None:
    """With the right hashes: whoever hands a run on can make those."""
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    found = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found is not None
    checkpoint.save(found.folder, change(found.state), found.record)
    before = contents(tmp_path / "run")
    with pytest.raises(SpecError, match=code):
        train(fake.module(), tmp_path / "run", Options(resume=True, steps=60), backend=fake.FakeBackend())
    assert contents(tmp_path / "run") == before
    best = checkpoint.load(tmp_path / "run" / "best")
    assert best is not None
    state = change(best.state)
    checkpoint.save(best.folder, state, best.record)
    if changed(state) != changed(best.state):
        with pytest.raises(SpecError, match=code):
            open_run(tmp_path / "run").parameters(fake.module())


def changed(state: Any) -> dict[str, bytes]:
    """The parameters of a state, to compare."""
    return {k: v.dtype.str.encode() + v.tobytes() for k, v in state.items() if k.startswith("parameter/")}


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"\xff" + b[1:],
        lambda b: b.replace(b'"step"', b'"stop"', 1),
        lambda b: b.replace(b"\n", b"", 1),
        lambda b: b.replace(b"{", b"[" * 100_000, 1),
        lambda b: b"\0" * len(b),
        lambda b: b.replace(b'"loss": ', b'"loss": NaN, "nats": ', 1),
    ],
)
def test_metrics_that_training_did_not_write_are_left(fake: ModuleType, tmp_path: Path, change: Any) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(change(path.read_bytes()))
    before = contents(tmp_path / "run")
    with pytest.raises(SpecError, match=r"MP520 .*metrics.jsonl"):
        train(fake.module(), tmp_path / "run", Options(resume=True, steps=60), backend=fake.FakeBackend())
    assert contents(tmp_path / "run") == before
    path.unlink()
    said: list[str] = []
    train(
        fake.module(),
        tmp_path / "run",
        Options(resume=True, steps=60),
        backend=fake.FakeBackend(),
        say=said.append,
    )
    assert "metrics.jsonl is gone: it begins again at step 40" in said


# Signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_signal_saves(tmp_path: Path, name: str) -> None:
    script = Path(__file__).with_name("kill_loop.py")
    command = [sys.executable, str(script), "--child", str(tmp_path / "run"), "--slow"]
    number = getattr(signal, name)
    # a suite under `nohup` ignores SIGHUP, which a child would inherit
    process = subprocess.Popen(
        [*command, "--steps", "100000", "--every", "100000"],
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and len(read_metrics(metrics)) < 3:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 0
    found = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found is not None and found.record["step"] > 0
    assert found.record["metrics_bytes"] == metrics.stat().st_size


@pytest.mark.parametrize("ignored", [False, True])
def test_a_hangup_that_is_ignored_stays_ignored(ignored: bool) -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught == ([] if ignored else [signal.SIGHUP])
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_went_away_stops_no_training(fake: ModuleType, tmp_path: Path) -> None:
    def gone(value: object) -> None:
        raise OSError(5, os.strerror(5))

    result = train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend(), say=gone, watch=gone)
    assert result.step == 40


def test_the_command_line_inherits(tmp_path: Path) -> None:
    """Also `--set`, and what the spec could not be proven for."""
    spec = tmp_path / "m.yaml"
    spec.write_text((ROOT / "specs" / "made.yaml").read_text().replace("strict(up)", "up"))
    base = [sys.executable, "-m", "mpcompile", "train", str(spec), "--out", str(tmp_path / "run")]
    options = [
        "--steps",
        "2",
        "-b",
        "onnx",
        "--precision",
        "float64",
        "--set",
        "hidden=32",
        "--allow-unproven",
    ]
    first = subprocess.run([*base, *options], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    facts = open_run(tmp_path / "run").facts
    again = subprocess.run([*base, "--resume", "--steps", "3"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "changed since this run began: steps, from 2 to 3" in again.stderr
    now = open_run(tmp_path / "run").facts
    assert {k: now[k] for k in ("backend", "precision", "overrides", "unproven")} == {
        k: facts[k] for k in ("backend", "precision", "overrides", "unproven")
    }


def test_elements_that_masks_remove_are_said_and_zero(fake: ModuleType, tmp_path: Path) -> None:
    """Of a run to start from, and of a checkpoint to go on from."""
    plain, masked = fake.module(), fake.module()
    train(plain, tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    name, spec = next((n, p) for n, p in masked.parameters.items() if p.size > 1)
    support = np.ones(spec.shape, bool).reshape(-1)
    support[0] = False
    masked.parameters[name] = replace(spec, support=Constant.mask(np.atleast_2d(support.reshape(spec.shape))))
    text = f"1 elements that masks remove were not zero, and are now ({name})"
    for options in (replace(OPTIONS, init=tmp_path / "run", steps=0), Options(resume=True, steps=41)):
        said: list[str] = []
        backend, out = fake.FakeBackend(), tmp_path / ("run" if options.resume else "new")
        train(masked, out, options, backend=backend, say=said.append)
        assert [line for line in said if text in line]
    assert not open_run(tmp_path / "new").parameters(masked)[0][name].reshape(-1)[0]
