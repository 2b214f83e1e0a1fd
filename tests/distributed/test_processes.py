"""Several processes on this machine: the same model as one, to the bit with shards, whoever is killed when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from specs_under_test import ROOT

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.runner.loop import Options, train

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")

#: More specs, more processes and another end than the suite has the seconds for.
EVERY = os.environ.get("MPCOMPILE_EVERY_SPEC") == "1"
#: Kinds of models with noise, statistics of the batch, a start from data, weights under masks and recurrences.
SPECS = ["vae", "unet", *(["glow", "made_ensemble", "lstm_stacked", "nsf", "transformer"] if EVERY else [])]
SHARDED = [
    "made", "vae", *(["made_ensemble", "pixel_transformer", "lstm_stacked", "realnvp", "maf", "nade", "mlp", "cnn",
    "gru", "vq_vae"] if EVERY else []),
]  # fmt: skip
#: Statistics of the batch, a start from data, and weights that programs read in several places.
CUT = ["unet", *(["glow", "transformer"] if EVERY else [])]
#: How many processes have the bits of one.
SIZES = [2, 4] if EVERY else [2]
#: The signal that ends a run, and how many processes go on.
ENDS = {"killed": ("SIGKILL", 1)} | ({"stopped": ("SIGTERM", 4)} if EVERY else {})
SPEC = ROOT / "specs" / "vae.yaml"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """The answers of all groups of processes, and the folder of their runs."""
    folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=(rng.random((96, 64)) < 0.3).astype(np.float32))
    usual = {
        "data": str(folder / "data.npz"), "steps": 60, "checkpoint_every": 10, "shards": 4,
    }  # fmt: skip

    def run(out: str, end: str = "", **more: Any) -> tuple[str, dict[str, Any]]:
        return "run", {"spec": str(SPEC), "out": str(folder / out), "options": {**usual, **more}, "end": end}

    bits = {"names": SHARDED, "steps": 2}
    plan: dict[Any, Any] = {
        "equal": (2, [("equal", {"names": SPECS, "steps": 2}), ("without_one_sum", {"name": "unet"})]),
        "sharded": (
            2,
            [
                ("equal", {"names": CUT, "steps": 2, "layout": "sharded"}),
                run("cut", layout="sharded", steps=30),
            ],
        ),
        "sharded, resumed": (1, [run("cut", resume=True, layout="replicated")]),
        1: (1, [("bits", bits), ("bits", {**bits, "swap": True}), run("whole")]),
        **{size: (size, [("bits", bits)]) for size in SIZES},
        "differ": (2, [("differ", run("differ")[1])]),
    }
    for name, (sent, size) in ENDS.items():
        plan[name] = (2, [run(name, sent)])
        plan[f"{name}, resumed"] = (size, [run(name, resume=True)])
    script = Path(__file__).with_name("together.py")
    given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests" / "support")}
    command = [sys.executable, str(script), str(folder), json.dumps(list(plan.values()))]
    done = subprocess.run(command, env=given, timeout=400, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    answers: dict[Any, Any] = {"folder": folder}
    for number, (name, (size, _)) in enumerate(plan.items()):
        paths = [folder / f"{number}-{rank}.json" for rank in range(size)]
        answers[name] = [json.loads(p.read_text()) if p.exists() else None for p in paths]
    return answers


@pytest.mark.parametrize("name", SPECS)
def test_two_processes_train_the_model_of_one(told: dict[Any, Any], name: str) -> None:
    first, second = (answers[0][name] for answers in told["equal"])
    assert first == second
    assert first < 1e-10


@pytest.mark.parametrize("name", CUT)
def test_weights_that_are_cut_train_the_model_of_one_process(told: dict[Any, Any], name: str) -> None:
    first, second = (answers[0][name] for answers in told["sharded"])
    assert first == second
    assert first < 1e-10


def test_a_run_with_cut_weights_goes_on_in_one_process(told: dict[Any, Any]) -> None:
    assert [answers[1]["step"] for answers in told["sharded"]] == [30, 30]
    assert told["sharded, resumed"] == [[{"reason": "finished", "step": 60, "signal": 0}]]
    cut, whole = (
        load_file(told["folder"] / run / "checkpoints" / "last-000000060" / "state.safetensors")
        for run in ("cut", "whole")
    )
    assert cut.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(cut[name], array, rtol=0, atol=0.05, err_msg=name)  # adam, in float32


def test_statistics_of_a_batch_need_every_sum_over_processes(told: dict[Any, Any]) -> None:
    assert told["equal"][0][1]["unet"] > 1e-6


@pytest.mark.parametrize("name", SHARDED)
def test_the_bits_are_those_of_any_number_of_processes(told: dict[Any, Any], name: str) -> None:
    found = {answers[0][name] for size in (1, *SIZES) for answers in told[size]}
    assert len(found) == 1
    assert told[1][0][1][name] not in found, "two shards that change places give other bits"


def kept(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The last state of a run, and its metrics without seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    state = run / "checkpoints" / "last-000000060" / "state.safetensors"
    return state.read_bytes(), [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("end", ENDS)
def test_any_number_of_processes_goes_on(told: dict[Any, Any], end: str) -> None:
    """A signal saves and ends all processes; one that is killed ends the others."""
    first, second = told[end]
    if end == "killed":
        assert first == [{"code": "MP531"}] and second is None
    else:
        assert first == second
        assert (first[0]["reason"], first[0]["signal"]) == ("interrupted", 15) and 20 <= first[0]["step"] < 60
    finished = {"reason": "finished", "step": 60, "signal": 0}
    assert told[f"{end}, resumed"] == [[finished]] * ENDS[end][1]
    assert kept(told["folder"] / end) == kept(told["folder"] / "whole")


def test_processes_of_one_training_are_given_the_same(told: dict[Any, Any]) -> None:
    assert told["differ"] == [[{"code": "MP535"}], [{"code": "MP535"}]]
    assert not (told["folder"] / "differ").exists()


def test_a_resume_keeps_the_shards(told: dict[Any, Any]) -> None:
    facts = json.loads((told["folder"] / "killed" / "run.json").read_text())
    assert facts["settings"]["shards"] == 4
    with pytest.raises(SpecError, match="was started with 4 shards, not 2") as refused:
        train(api.load(SPEC), told["folder"] / "killed", Options(resume=True, shards=2))
    assert refused.value.diagnostics[0].code == "MP521"


@pytest.mark.parametrize(
    ("environment", "shards", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "3"}, None, "the number of shards is a power of two, not 3"),
        ({"RANK": "0", "WORLD_SIZE": "3"}, 4, "3 processes cannot hold 4 shards"),
        (
            {"RANK": "2", "WORLD_SIZE": "2"},
            None,
            "RANK=2 and WORLD_SIZE=2 in the environment name no process",
        ),
        ({"RANK": "x"}, None, "RANK=x and WORLD_SIZE=1 in the environment name no process"),
        ({}, 3, "the number of shards is a power of two, not 3"),
        ({}, 128, "a batch of 64 cannot be cut into 128 shards of one size"),
    ],
)
def test_shards_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    shards: int | None,
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=message) as refused:
        train(api.load(SPEC), tmp_path / "run", Options(shards=shards))
    assert refused.value.diagnostics[0].code == "MP534"
    assert not (tmp_path / "run").exists()
