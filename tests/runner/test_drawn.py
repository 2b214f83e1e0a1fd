"""Runs without data: every batch is one of draws, and every figure one of the target's log Z."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.runner.evaluate import evaluate, to_text
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import open_run
from mpcompile.runner.sampling import sample

#: A Gaussian posterior of two elements: precision 1 + 1 / 0.36 and mean 1.5 / 1.36.
TEXT = """model m
weight m: real[channel: 2] = normal(0.1)
weight s: real[channel: 2] = normal(0.1)
latent z: real[2] ~ normal(loc = m, log_scale = s) prior normal(0, 1)
minimise sum(square(z - 1.5), over = channel) weight 0.5 / 0.36
train { optimizer: adam(0.05), schedule: cosine, batch: 64, steps: 150, log_every: 50, valid_every: 50 }
"""
LOG_Z = np.log(0.36 / 1.36) - 1.5**2 / 1.36


def test_a_posterior_is_fitted_evaluated_and_drawn_without_data(tmp_path: Path) -> None:
    m = lowered(TEXT)
    train(m, tmp_path / "whole", Options(backend="torch"))
    run = open_run(tmp_path / "whole")
    assert run.facts["data"] == run.facts["data_digest"] == ""
    weights, _ = run.parameters(m)
    np.testing.assert_allclose(weights["m.weight"], 1.5 / 1.36, atol=0.02)
    np.testing.assert_allclose(weights["s.weight"], 0.5 * np.log(0.36 / 1.36), atol=0.03)
    found = evaluate(run, m, samples=5)
    assert found["quantity"] == "normalizer_bound" and "data" not in found and "baselines" not in found
    nats, tighter = found["nats"], found["importance_weighted"]["nats"]
    assert LOG_Z - 0.01 < nats["mean"] < LOG_Z + 4 * nats["standard_error"]
    assert (
        nats["mean"] - 4 * nats["standard_error"] <= tighter["mean"] < LOG_Z + 4 * tighter["standard_error"]
    )
    assert " (10000 draws)\n  lower bound of log Z " in to_text(found)
    few, many = (sample(run, m, n).values["z"] for n in (3, 500))
    np.testing.assert_array_equal(few, many[:3])
    assert abs(many.mean() - 1.5 / 1.36) < 0.1 and abs(many.std() - np.sqrt(0.36 / 1.36)) < 0.05


def test_a_run_without_data_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    m = lowered(TEXT.replace("schedule: cosine, ", ""))
    train(m, tmp_path / "whole", Options(backend="torch", steps=12))
    train(m, tmp_path / "parted", Options(backend="torch", steps=5))
    train(m, tmp_path / "parted", Options(resume=True, steps=12))
    best = "best/state.safetensors"
    assert (tmp_path / "whole" / best).read_bytes() == (tmp_path / "parted" / best).read_bytes()
    assert [line["step"] for line in read_metrics(tmp_path / "parted" / "metrics.jsonl")][-1] == 12


def test_data_are_refused_where_none_are_read(tmp_path: Path) -> None:
    m = lowered(TEXT)
    train(m, tmp_path / "run", Options(backend="torch", steps=1))
    run = open_run(tmp_path / "run")
    for use in (
        lambda: train(m, tmp_path / "other", Options(backend="torch", data="moons")),
        lambda: train(m, tmp_path / "run", Options(data="moons", resume=True)),
        lambda: evaluate(run, m, data="moons"),
    ):
        with pytest.raises(SpecError) as caught:
            use()
        assert caught.value.diagnostics[0].code == "MP514" and not (tmp_path / "other").exists()
