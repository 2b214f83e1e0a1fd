"""Runs of several seeds: each is the run of its seed, and the table has their mean and deviation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import open_run
from mpcompile.runner.seeds import table, train_seeds

OPTIONS = Options(backend="fake", seed=3, steps=20)


def test_each_run_is_that_of_its_seed(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = fake.FakeBackend()
    monkeypatch.setattr("mpcompile.backend.find_backend", lambda name: backend)
    said = list[str]()
    results = train_seeds(fake.module(), tmp_path / "all", OPTIONS, 3, said.append)
    assert [seed for seed, _ in results] == [3, 4, 5]
    train(fake.module(), tmp_path / "one", replace(OPTIONS, seed=4))
    best = [
        (folder / "best" / "state.safetensors").read_bytes()
        for folder in (tmp_path / "all" / "seed-4", tmp_path / "one")
    ]
    assert best[0] == best[1]
    lines = [line.split() for line in table(results)]
    assert [line[0] for line in lines] == ["seed", "3", "4", "5", "mean", "deviation"]
    losses = np.array([float(line[3]) for line in lines[1:4]])
    assert float(lines[4][2]) == pytest.approx(losses.mean(), rel=1e-4)
    assert float(lines[5][2]) == pytest.approx(losses.std(ddof=1), rel=1e-2)
    again = train_seeds(
        fake.module(), tmp_path / "all", replace(OPTIONS, resume=True, steps=25), 3, said.append
    )
    assert [r.step for _, r in again] == [25] * 3
    with pytest.raises(SpecError, match=r"MP520.*it holds 3 runs of seeds") as caught:
        open_run(tmp_path / "all")
    assert caught.value.diagnostics[0].help == f"name one of them, as {tmp_path / 'all' / 'seed-3'}"
    with pytest.raises(SpecError, match="MP524"):
        train_seeds(fake.module(), tmp_path / "one", OPTIONS, 2)
