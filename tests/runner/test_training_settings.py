"""Means of weights and skipped steps in a run: what is evaluated, counted, said, and continued."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpcompile.backend import find_backend
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.runner import checkpoint
from mpcompile.runner.averages import averaged
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import open_run

TEXT = """model m
input x: real[3]
target y: real[2]
y ~ normal(loc = x -> dense(4) -> tanh -> dense(2), scale = 1)
"""
STEPS = 16


def made(train: str) -> Module:
    text = f"{TEXT}train {{ optimizer: sgd(0.2), batch: 4, steps: {STEPS}, valid_every: 3, log_every: 3{train} }}\n"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


class Watched:
    """A backend that keeps the state after each step that changed something."""

    def __init__(self, kept: list[dict[str, Any]]) -> None:
        self.kept = kept

    def session(self, *arguments: Any, **options: Any) -> Any:
        session = find_backend("torch").session(*arguments, **options)
        step = session.step

        def watched(*of: Any, **more: Any) -> Any:
            told = step(*of, **more)
            if not told["skipped"]:
                self.kept.append(session.state())
            return told

        session.step = watched  # type: ignore[method-assign]
        return session


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Rows of which one is far away, so that each epoch of eight steps has a step with a large gradient."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 2))
    y[5] = 1e4
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_valid=x[6:14], y_valid=y[6:14])
    return str(tmp_path / "d.npz")


def last(folder: Path) -> bytes:
    return (sorted((folder / "checkpoints").glob("last-*"))[-1] / "state.safetensors").read_bytes()


def test_a_run_evaluates_means_counts_skips_and_resumes(data: str, tmp_path: Path) -> None:
    m, said = made(", ema: 0.8, skip: 100"), list[str]()
    options = Options(backend="torch", data=data)
    weights = list[dict[str, Any]]()
    train(m, tmp_path / "whole", options, backend=Watched(weights), say=said.append)
    run = open_run(tmp_path / "whole")
    lines = read_metrics(run.metrics)
    counts = [line["skipped"] for line in lines if line["split"] == "train"]
    assert sum(counts) == 2 == sum("changed nothing: loss" in text for text in said)
    assert f"2 of {STEPS} steps changed nothing" in said
    found = checkpoint.newest(run.checkpoints)
    assert found is not None and found.state["optimizer/step"] == STEPS - 2
    assert len(weights) == STEPS - 2
    shares = 0.8 ** np.arange(len(weights) - 1, -1, -1.0)
    means = averaged(found.state, 0.8)
    for key in [k for k in found.state if k.startswith("parameter/")]:
        want = np.tensordot(shares / shares.sum(), np.stack([w[key] for w in weights]), 1)
        np.testing.assert_allclose(means[key], want, rtol=1e-5, atol=1e-6)
    # validation and evaluation take it
    best = min(lines, key=lambda line: line["loss"] if line["split"] == "valid" else np.inf)
    valid = evaluate(run, m, split="valid")
    assert -valid["nats"]["mean"] == pytest.approx(best["loss"], rel=1e-5)
    # resumed, and resumed on another backend
    train(m, tmp_path / "half", replace(options, steps=5))
    train(m, tmp_path / "half", replace(options, resume=True, steps=STEPS))
    assert last(tmp_path / "half") == last(tmp_path / "whole")
    train(m, tmp_path / "other", replace(options, steps=5))
    train(m, tmp_path / "other", replace(options, resume=True, steps=STEPS, backend="onnx"))
    there = checkpoint.newest(tmp_path / "other" / "checkpoints")
    assert there is not None
    for key, array in found.state.items():
        np.testing.assert_allclose(there.state[key], array, rtol=1e-4, atol=1e-5, err_msg=key)
    optimizer = json.loads((run.folder / "run.json").read_text())["settings"]["optimizer"]
    assert (optimizer["ema"], optimizer["skip"]) == (0.8, 100.0)


def test_a_run_in_which_every_step_is_skipped_fails(data: str, tmp_path: Path) -> None:
    m = made(", skip: 1e-6")
    with pytest.raises(SpecError, match="100 steps in succession were skipped, up to step 100") as caught:
        train(m, tmp_path / "run", Options(backend="torch", data=data, steps=200))
    assert caught.value.diagnostics[0].code == "MP530"
