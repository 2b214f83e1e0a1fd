"""Training that diverges: what is kept, what is said, and that nothing is computed from what it left."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.runner import checkpoint
from mpcompile.runner.divergence import told
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, train
from mpcompile.runner.resume import reached
from mpcompile.runner.run import open_run

OPTIONS = Options(backend="fake", seed=3, steps=12, checkpoint_every=4)


def backend(fake: ModuleType, step: int, change: Callable[[Any], None]) -> Any:
    """A session to which something happens in its update number `step`."""

    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def step(self, inputs: Any, rate: float, norm: bool = True) -> dict[str, float]:
            out: dict[str, float] = super().step(inputs, rate)
            if self.count == step:
                change(self)
            return out

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Session(parameters, optimizer, 0.0)

    return Backend()


def infinite(session: Any) -> None:
    session.values["w"] = session.values["w"] * np.float32("inf")


def huge(session: Any) -> None:
    """Finite weights whose loss is not."""
    session.values["w"] = session.values["w"] + np.float32(1e30)


def unvalidated(tmp_path: Path, scale: float = 1.0) -> str:
    """Data without a validation split."""
    x = (np.random.default_rng(0).standard_normal((64, 3)) * scale).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=x[:, :1])
    return str(tmp_path / "d.npz")


def diverged(fake: ModuleType, out: Path, options: Options, made: Any = None, by: Any = None) -> Diagnostic:
    with pytest.raises(SpecError, match="MP530") as said:
        train(made or fake.module(), out, options, backend=by or fake.FakeBackend())
    (found,) = said.value.diagnostics
    return found


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_run_that_diverged_says_so_until_it_passed_that_step(fake: ModuleType, tmp_path: Path) -> None:
    diverged(fake, tmp_path / "run", OPTIONS, by=backend(fake, 6, infinite))
    run = open_run(tmp_path / "run")
    line = told(run)
    assert line is not None and str(run.folder) in line and "at step 6" in line
    assert reached(run.facts, []).endswith("diverged: the validation loss is nan at step 6")
    heard: list[str] = []
    train(
        fake.module(), run.folder, replace(OPTIONS, resume=True), backend=fake.FakeBackend(), say=heard.append
    )
    assert line in heard and told(open_run(run.folder)) is None


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("change", [infinite, huge])
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("step", range(1, 13))
def test_the_last_finite_checkpoint_is_kept(
    fake: ModuleType, tmp_path: Path, step: int, validated: bool, change: Any
) -> None:
    """At whatever step an update explodes, the last one included, with and without a validation split."""
    options = OPTIONS if validated else replace(OPTIONS, data=unvalidated(tmp_path))
    found = diverged(fake, tmp_path / "run", options, by=backend(fake, step, change))
    recorded = open_run(tmp_path / "run").facts["diverged"]
    assert found.message == f"training diverged: {recorded['what']}" and step <= recorded["step"] <= 12
    kept = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert kept is not None and kept.record["step"] == (step - 1) // 4 * 4
    assert all(np.isfinite(v).all() for v in kept.state.values())
    if kept.record["step"]:
        loss = kept.record["progress"]["loss"]
        assert f"step {kept.record['step']} (loss {loss:.5g})" in found.notes[-1]
        assert f"--init {tmp_path / 'run'}" in found.help
    elif not (tmp_path / "run" / "best").exists():
        assert found.notes[-1] == "no step of training is kept, only the weights it began with"
        assert "--init" not in found.help
    weights, _ = open_run(tmp_path / "run").parameters(fake.module())
    assert all(np.isfinite(v).all() and np.abs(v).max() < 1e20 for v in weights.values())
    same = backend(
        fake, step, change
    )  # what a resume goes on from leads there again: it is a function of the step
    resumed = replace(options, resume=True)
    with pytest.raises(SpecError, match="MP530"):
        train(fake.module(), tmp_path / "run", resumed, backend=same)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_the_likely_cause_is_named(fake: ModuleType, tmp_path: Path) -> None:
    """The scale of the data where it is large, else the rate."""
    large = replace(OPTIONS, data=unvalidated(tmp_path, 1e4))
    found = diverged(fake, tmp_path / "a", large, fake.module(optimizer={"kind": "sgd", "rate": 5.0}))
    assert found.notes[0].startswith("'x' of the data lies in [-") and "e+04" in found.notes[0]
    deviation = float(found.notes[0].split("standard deviation ")[1])
    assert deviation == pytest.approx(1e4, rel=0.2)
    assert found.help.startswith("scale 'x' of the data to a standard deviation of about 1")
    small = replace(OPTIONS, data=unvalidated(tmp_path), steps=400)
    found = diverged(fake, tmp_path / "b", small, fake.module(optimizer={"kind": "sgd", "rate": 1e6}))
    assert "the rate was 1e+06 (sgd)" in found.notes and found.help.startswith("lower the rate, or clip")


@pytest.mark.parametrize("where", ["best", "checkpoints/last-000000012"])
def test_weights_that_are_not_finite_are_refused(fake: ModuleType, tmp_path: Path, where: str) -> None:
    """Every command reads weights through one door; a run of an earlier release may hold such."""
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    found = checkpoint.load(tmp_path / "run" / where)
    assert found is not None
    if where != "best":
        shutil.rmtree(tmp_path / "run" / "best")
    for value in (np.nan, np.inf, -np.inf):
        state = {**found.state, "parameter/b": np.full(1, value, np.float32)}
        checkpoint.save(found.folder, state, found.record)
        with pytest.raises(SpecError, match=r"MP526 .*weight 'b' is not finite"):
            open_run(tmp_path / "run").parameters(fake.module())


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_figures_that_are_not_finite_are_refused(fake: ModuleType, tmp_path: Path) -> None:
    """Finite weights can be too large for their data."""
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    found = checkpoint.load(tmp_path / "run" / "best")
    assert found is not None
    state = {**found.state, "parameter/w": np.full((3, 1), 1e30, np.float32)}
    checkpoint.save(found.folder, state, found.record)
    with pytest.raises(SpecError, match="MP530 the log likelihood of 2000 of 2000 examples is not finite"):
        evaluate(open_run(tmp_path / "run"), fake.module(), backend=fake.FakeBackend())


def test_a_sum_that_is_not_finite_survives_a_resume(fake: ModuleType, tmp_path: Path) -> None:
    """An infinite scalar is left out of the metrics, also where a checkpoint falls within its window."""

    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def step(self, inputs: Any, rate: float, norm: bool = True) -> dict[str, float]:
            out: dict[str, float] = super().step(inputs, rate)
            return {**out, "excess": np.inf if self.count == 3 else 0.0}

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Session(parameters, optimizer, 0.0)

    made = fake.module(log_every=6)
    train(made, tmp_path / "run", replace(OPTIONS, steps=4, checkpoint_every=3), backend=Backend())
    found = checkpoint.load(sorted((tmp_path / "run" / "checkpoints").glob("last-*3"))[-1])
    assert found is not None and found.record["progress"]["window"]["excess"] is None
    train(made, tmp_path / "run", replace(OPTIONS, resume=True), backend=Backend())
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
