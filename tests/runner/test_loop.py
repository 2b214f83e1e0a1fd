"""Training: order of data, schedules, metrics, early stopping, resume and kills, all on the fake backend."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mpcompile.backend import Scalars
from mpcompile.diagnostics import SpecError
from mpcompile.runner import checkpoint
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import open_run
from mpcompile.runner.sampling import sample

OPTIONS = Options(backend="fake", seed=3, steps=120, checkpoint_every=25)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(folder / "metrics.jsonl")
    ]


def last_state(folder: Path) -> bytes:
    return (sorted((folder / "checkpoints").glob("last-*"))[-1] / "state.safetensors").read_bytes()


def test_loss_falls_and_everything_is_written(fake: ModuleType, tmp_path: Path) -> None:
    result = train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    assert (result.reason, result.step) == ("finished", 120)
    written = lines(tmp_path / "run")
    valid = [line["loss"] for line in written if line["split"] == "valid"]
    assert valid[-1] < valid[0] and result.best == min(valid)
    assert all({"step", "split", "loss"} <= set(line) for line in written)
    assert {"learning_rate", "gradient_norm"} <= set(written[0])
    assert (tmp_path / "run" / "spec.yaml").read_text() == fake.TEXT
    run = open_run(tmp_path / "run")
    assert run.facts["data"] == "line" and run.facts["seed"] == 3
    weights, step = run.parameters(fake.module())
    assert step == result.best_step and weights["w"].shape == (3, 1)


def test_batches_are_a_function_of_seed_and_step(fake: ModuleType, tmp_path: Path) -> None:
    one, two, other = fake.FakeBackend(), fake.FakeBackend(), fake.FakeBackend()
    train(fake.module(), tmp_path / "a", OPTIONS, backend=one)
    train(fake.module(), tmp_path / "b", OPTIONS, backend=two)
    train(fake.module(), tmp_path / "c", replace(OPTIONS, seed=4), backend=other)
    first, second, third = (b.sessions[0].seen for b in (one, two, other))
    for a, b in zip(first, second, strict=True):
        assert all((a[k] == b[k]).all() for k in ("x", "y", "epsilon"))
    assert not (first[0]["x"] == third[0]["x"]).all()
    assert not (first[0]["epsilon"] == first[1]["epsilon"]).all()


def test_an_epoch_sees_every_example_once(fake: ModuleType, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=np.arange(96).reshape(32, 3), y_train=np.arange(32)[:, None])
    backend = fake.FakeBackend()
    options = replace(OPTIONS, data=str(tmp_path / "d.npz"), steps=8)
    train(
        fake.module(batch=8, optimizer={"kind": "sgd", "rate": 0}), tmp_path / "run", options, backend=backend
    )
    seen = [batch["y"].ravel().tolist() for batch in backend.sessions[0].seen]
    epochs = [[y for batch in part for y in batch] for part in (seen[:4], seen[4:])]
    assert all(sorted(epoch) == list(range(32)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert checkpoint.load(tmp_path / "run" / "best") is not None  # nothing to validate on: the last one


@pytest.mark.parametrize("stop", [1, 24, 25, 60, 119])
def test_resume_is_bit_for_bit(fake: ModuleType, tmp_path: Path, stop: int) -> None:
    train(fake.module(valid_every=20, log_every=7), tmp_path / "whole", OPTIONS, backend=fake.FakeBackend())

    class Killed(Exception):
        pass

    class Dying(fake.FakeSession):  # type: ignore[name-defined,misc]
        def step(self, inputs: Any, rate: float, norm: bool = True) -> dict[str, float]:
            if self.count == stop:
                raise Killed
            result: dict[str, float] = super().step(inputs, rate)
            return result

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Dying(parameters, optimizer, 0.0)

    parted = tmp_path / "parted"
    with pytest.raises(Killed):
        train(fake.module(valid_every=20, log_every=7), parted, OPTIONS, backend=Backend())
    resumed = Options(backend="fake", resume=True, checkpoint_every=25)
    result = train(fake.module(valid_every=20, log_every=7), parted, resumed, backend=fake.FakeBackend())
    assert result.step == 120
    assert lines(parted) == lines(tmp_path / "whole")
    assert last_state(parted) == last_state(tmp_path / "whole")
    best = "best/state.safetensors"
    assert (parted / best).read_bytes() == (tmp_path / "whole" / best).read_bytes()


def test_corrupt_checkpoint_falls_back(fake: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(fake.module(log_every=7), tmp_path / "whole", OPTIONS, backend=fake.FakeBackend())
    train(fake.module(log_every=7), out, OPTIONS, backend=fake.FakeBackend())
    newest = sorted((out / "checkpoints").glob("last-*"))
    assert [p.name for p in newest] == ["last-000000100", "last-000000120"]
    state = newest[-1] / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\x01")
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "spl')
    said: list[str] = []
    resumed = replace(OPTIONS, resume=True)
    train(fake.module(log_every=7), out, resumed, backend=fake.FakeBackend(), say=said.append)
    assert said == ["resumed at step 100"]
    assert lines(out) == lines(tmp_path / "whole")
    assert last_state(out) == last_state(tmp_path / "whole")


def test_resume_refuses_another_spec_and_seed(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    again = replace(OPTIONS, resume=True)
    with pytest.raises(SpecError, match="MP521"):
        train(fake.module(fake.TEXT + "# more\n"), tmp_path / "run", again, backend=fake.FakeBackend())
    with pytest.raises(SpecError, match="MP521"):
        train(fake.module(), tmp_path / "run", replace(again, seed=9), backend=fake.FakeBackend())


def test_a_run_starts_from_the_best_weights_of_another(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "first", OPTIONS, backend=fake.FakeBackend())
    there, _ = open_run(tmp_path / "first").parameters(fake.module())
    backend = fake.FakeBackend()
    options = replace(OPTIONS, init=tmp_path / "first", steps=0)
    train(fake.module(), tmp_path / "second", options, backend=backend)
    assert all((backend.sessions[0].values[k] == v).all() for k, v in there.items())
    shutil.rmtree(tmp_path / "first")  # a run holds all that a resume needs
    train(fake.module(), tmp_path / "second", replace(OPTIONS, resume=True, steps=0), backend=backend)
    assert all((backend.sessions[-1].values[k] == v).all() for k, v in there.items())
    assert open_run(tmp_path / "second").facts["init"] == str(tmp_path / "first")
    train(fake.module(), tmp_path / "first", OPTIONS, backend=fake.FakeBackend())
    wider = fake.module()
    wider.parameters["w"] = replace(wider.parameters["w"], shape=(4, 1))
    with pytest.raises(SpecError, match=r"MP521 .*'w' is \(3, 1\), here \(4, 1\)"):
        train(wider, tmp_path / "third", options, backend=backend)
    with pytest.raises(SpecError, match="MP520"):
        train(fake.module(), tmp_path / "third", replace(options, init=tmp_path / "none"), backend=backend)


def test_a_complete_run_stays_and_more_steps_continue_it(fake: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    again = replace(OPTIONS, resume=True)
    train(fake.module(), tmp_path / "run", again, backend=fake.FakeBackend(), say=said.append)
    assert said[-1] == "this run is complete (finished at step 120)"
    result = train(fake.module(), tmp_path / "run", replace(again, steps=150), backend=fake.FakeBackend())
    assert result.step == 150
    steps = [line["step"] for line in lines(tmp_path / "run")]
    assert steps == sorted(steps)


def test_a_new_run_moves_the_old_one_aside(fake: ModuleType, tmp_path: Path) -> None:
    for _ in range(2):
        train(fake.module(), tmp_path / "run", replace(OPTIONS, steps=3), backend=fake.FakeBackend())
    assert (tmp_path / "run.old" / "run.json").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(SpecError, match="MP524"):
        train(fake.module(), tmp_path / "mine", OPTIONS, backend=fake.FakeBackend())
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_what_cannot_begin_leaves_the_old_run_in_place(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "run", replace(OPTIONS, steps=3), backend=fake.FakeBackend())

    class Absent:
        def session(self, *args: Any, **kwargs: Any) -> None:
            raise SpecError([])

    with pytest.raises(SpecError):
        train(fake.module(), tmp_path / "run", OPTIONS, backend=Absent())
    assert not (tmp_path / "run.old").exists() and open_run(tmp_path / "run").facts["steps"] == 3


def test_patience_stops_early_and_keeps_the_best(fake: ModuleType, tmp_path: Path) -> None:
    made = fake.module(optimizer={"kind": "sgd", "rate": 0.0}, patience=3, valid_every=5)
    result = train(made, tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    assert (result.reason, result.step, result.best_step) == ("patience", 20, 5)
    again = replace(OPTIONS, resume=True)
    assert train(made, tmp_path / "run", again, backend=fake.FakeBackend()).reason == "patience"


def test_data_dependent_start(fake: ModuleType, tmp_path: Path) -> None:
    """A program `initialize` sees the first batch, and its `state/...` outputs are where training begins."""
    made = fake.module()
    made.programs["initialize"] = fake.graph(
        "initialize", {"state/b": (1,)}, y=made.programs["loss"].inputs["y"].type
    )

    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def run(self, program: str, inputs: Any) -> Any:
            return (
                {"state/b": inputs["y"].mean(0)} if program == "initialize" else super().run(program, inputs)
            )

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            self.sessions.append(Session(parameters, optimizer, 0.0))
            return self.sessions[-1]

    backend = Backend()
    train(made, tmp_path / "run", replace(OPTIONS, steps=0), backend=backend)
    first = fake.FakeBackend()
    train(fake.module(), tmp_path / "plain", replace(OPTIONS, steps=1), backend=first)
    expected = first.sessions[0].seen[0]["y"].mean(0)
    np.testing.assert_allclose(backend.sessions[0].values["b"], expected)


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_is_a_finding(fake: ModuleType, tmp_path: Path) -> None:
    made = fake.module(optimizer={"kind": "sgd", "rate": 1e6})
    with pytest.raises(SpecError, match="MP530"):
        train(made, tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path / "run"))


def test_a_model_without_a_program_is_refused_by_the_command_that_runs_it(
    fake: ModuleType, tmp_path: Path
) -> None:
    backend, untrained = fake.FakeBackend(), fake.module()
    del untrained.programs["loss"]
    with pytest.raises(SpecError, match="MP512"):
        train(untrained, tmp_path / "none", OPTIONS, backend=backend)
    assert not (tmp_path / "none").exists()
    train(fake.module(), tmp_path / "run", replace(OPTIONS, steps=1), backend=backend)
    run, silent = open_run(tmp_path / "run"), fake.module()
    assert sample(run, silent, 2, backend=backend).values["y"].shape == (2, 1)
    for program in ("sample", "predict"):
        del silent.programs[program]
    with pytest.raises(SpecError, match="MP540") as caught:
        sample(run, silent, 2, backend=backend)
    assert "state a law" in caught.value.diagnostics[0].help


def test_unknown_settings(fake: ModuleType) -> None:
    """Settings that a program states have the ranges of those that a spec states."""
    with pytest.raises(SpecError, match="MP510 train has no setting 'bacth'") as caught:
        fake.module(bacth=32)
    assert caught.value.diagnostics[0].help == "did you mean `batch`?"
    for key, value in {
        "batch": 0,
        "patience": 1.5,
        "optimizer": "adan",
        "clip": -1,
        "schedule": "cosin",
    }.items():
        with pytest.raises(SpecError, match="MP511"):
            fake.module(**{key: value})


def test_interrupt_saves_and_resumes(fake: ModuleType, tmp_path: Path) -> None:
    folder = Path(__file__).parent
    command = [sys.executable, str(folder / "kill_loop.py"), "--child", str(tmp_path / "run"), "--slow"]
    process = subprocess.Popen([*command, "--steps", "100000", "--every", "100000"])
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and len(read_metrics(metrics)) < 3:
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0  # the command line makes 130 of it
    found = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found is not None and 0 < found.record["step"] < 100000
    assert found.record["metrics_bytes"] == metrics.stat().st_size


def test_kills_at_random_moments() -> None:
    script = Path(__file__).with_name("kill_loop.py")
    done = subprocess.run(
        [sys.executable, script, "--kills", "1", "--steps", "60"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_manifest_says_where_it_was(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "run", replace(OPTIONS, steps=300), backend=fake.FakeBackend())
    folder = sorted((tmp_path / "run" / "checkpoints").glob("last-*"))[-1]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["files"]) == ["state.safetensors"]
    record = manifest["record"]
    assert (record["step"], record["epoch"], record["cursor"]) == (300, 1, 50)  # 8000 // 32 = 250 an epoch


def test_scalars_of_a_step_are_read_when_a_line_is_due(fake: ModuleType, tmp_path: Path) -> None:
    """Nothing waits for a step; a line has the means of the steps since the last, and the norm of its own."""
    reads: list[tuple[int, int]] = []
    asked: list[int] = []

    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def step(self, inputs: Any, rate: float, norm: bool = True) -> Any:
            out, number = super().step(inputs, rate), self.count
            asked.extend([number] * norm)
            told = out if norm else {"loss": out["loss"]}

            def fetch() -> list[float]:
                reads.append((number, self.count))
                return list(told.values())

            return Scalars(list(told), fetch)

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Session(parameters, optimizer, 0.0)

    made = fake.module(log_every=6, valid_every=20)
    options = replace(OPTIONS, steps=30, checkpoint_every=100)
    train(made, tmp_path / "lazy", options, backend=Backend())
    due = [1, 6, 12, 18, 20, 24, 30]
    assert reads == [(number, next(d for d in due if d >= number)) for number in range(1, 31)]
    assert asked == [1, 6, 12, 18, 24, 30]
    train(made, tmp_path / "plain", options, backend=fake.FakeBackend())
    assert lines(tmp_path / "lazy") == lines(tmp_path / "plain")


def test_a_loss_that_is_read_late_names_its_own_step(fake: ModuleType, tmp_path: Path) -> None:
    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def step(self, inputs: Any, rate: float, norm: bool = True) -> Any:
            out = super().step(inputs, rate)
            return {**out, "loss": np.nan} if self.count >= 9 else out

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Session(parameters, optimizer, 0.0)

    made = fake.module(log_every=50, valid_every=50)
    with pytest.raises(SpecError, match="MP530 training diverged: the loss is nan at step 9"):
        train(made, tmp_path / "run", replace(OPTIONS, checkpoint_every=4), backend=Backend())
    assert [line["step"] for line in lines(tmp_path / "run")] == [1]
    assert all(step < 8 for step in checkpoint.steps(tmp_path / "run" / "checkpoints"))
