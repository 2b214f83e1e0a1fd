"""Checkpoints in several files: what one file holds, read from many, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Array
from mpcompile.lowering import lower
from mpcompile.runner import checkpoint
from mpcompile.runner.parts import INDEX, STATE, largest, split
from mpcompile.runner.run import _OURS
from mpcompile.runner.weights import start

RECORD = {
    "step": 3, "epoch": 0, "cursor": 3, "seed": 0, "spec_hash": "0" * 64, "metrics_bytes": 0, "progress": {"step": 3},
}  # fmt: skip
NAMES = [f"state-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Array]]:
    """A checkpoint in three files: arrays of 400, 400, 1200 and 8 bytes, of which 600 fit into one."""
    state: dict[str, Array] = {
        "parameter/a": np.arange(100, dtype=np.float32), "parameter/b": np.ones((10, 10), np.float32),
        "parameter/c": np.full((300,), 2.0, np.float32), "optimizer/step": np.asarray(3, np.int64),
    }  # fmt: skip
    monkeypatch.setenv("MPCOMPILE_FILE_GIB", str(600 / 2**30))
    checkpoint.save(tmp_path / "last-3", state, RECORD)
    return tmp_path / "last-3", state


def test_a_state_is_read_from_the_files_of_its_index(saved: tuple[Path, dict[str, Array]]) -> None:
    folder, state = saved
    assert sorted(p.name for p in folder.iterdir()) == sorted([*NAMES, INDEX, "manifest.json"])
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    assert places.keys() == state.keys()
    for name, file in places.items():  # what any reader of such an index does
        np.testing.assert_array_equal(load_file(folder / file)[name], state[name])
    found = checkpoint.load(folder)
    assert found is not None and found.state.keys() == state.keys()
    for name, array in state.items():
        assert found.state[name].dtype == array.dtype and np.array_equal(found.state[name], array)
    assert all(_OURS.fullmatch(f"checkpoints/last-3/{p.name}") for p in folder.iterdir())
    checkpoint.discard(folder)
    assert not folder.exists()


def test_what_fits_is_one_file(tmp_path: Path) -> None:
    assert largest() == 5 * 2**30
    assert list(split({"a": np.zeros(4), "b": np.zeros(4)}, 64)) == [STATE]
    assert len(split({"a": np.zeros(4), "b": np.zeros(4)}, 63)) == 3


Damage = Callable[[Path], object]
FAULTS: dict[str, tuple[Damage, str]] = {
    "gone": (lambda f: (f / NAMES[1]).unlink(), "no such file"),
    "changed": (lambda f: (f / NAMES[2]).write_bytes((f / NAMES[1]).read_bytes()), "not the file that its manifest"),
    "torn": (lambda f: (f / NAMES[0]).write_bytes((f / NAMES[0]).read_bytes()[:-1]), "not the file that its manifest"),
    "without index": (lambda f: (f / INDEX).unlink(), "no such file"),
    "link": (lambda f: ((f / NAMES[0]).rename(f.parent / "x"), (f / NAMES[0]).symlink_to(f.parent / "x")), "is a link"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_seen(fault: str, saved: tuple[Path, dict[str, Array]]) -> None:
    folder, _ = saved
    damage, reason = FAULTS[fault]
    damage(folder)
    why: list[str] = []
    assert checkpoint.load(folder, why=why) is None
    assert reason in why[0]


def test_too_much_is_not_read(saved: tuple[Path, dict[str, Array]]) -> None:
    why: list[str] = []
    assert checkpoint.load(saved[0], limit=1500, why=why) is None
    assert "more than" in why[0]


def test_a_wrong_limit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("0", "-1", "nan", "inf", "much"):
        monkeypatch.setenv("MPCOMPILE_FILE_GIB", text)
        with pytest.raises(SpecError, match="MPCOMPILE_FILE_GIB"):
            largest()


def test_training_starts_from_an_index_of_others(tmp_path: Path) -> None:
    text = "model m\ninput x: real[3]\ntarget y: real[2]\ny ~ normal(x -> dense(2), scale = 1)\n"
    module = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})
    weight, bias = module.parameters
    arrays = {weight: np.full(module.parameters[weight].shape, 3, np.float32), bias: np.zeros(2, np.float32)}
    places = {}
    for number, (name, array) in enumerate(arrays.items(), 1):
        places[name] = f"model-{number:05}-of-00002.safetensors"
        save_file({name: array}, tmp_path / places[name])
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": places}))
    found = start(index, None, module, 0, lambda text: None)
    assert found.loaded == arrays.keys() and np.array_equal(found.weights[weight], arrays[weight])
    for wrong in ({**places, bias: "../x.safetensors"}, {**places, bias: places[weight]}, {}, {bias: 3}):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(SpecError) as refused:
            start(index, None, module, 0, lambda text: None)
        assert refused.value.diagnostics[0].code == "MP529"
    index.write_text(json.dumps({"weight_map": {**places, bias: "gone.safetensors"}}))
    with pytest.raises(SpecError, match=r"names gone.safetensors, which cannot be read: no such file"):
        start(index, None, module, 0, lambda text: None)
