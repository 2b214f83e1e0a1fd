"""`--init` from files of others: names are mapped, shapes compared, masks applied, and everything is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner import checkpoint
from mpcompile.runner.initial import initial
from mpcompile.runner.loop import Options, train

TEXT = """model m
input x: real[4]
target y: real[2]
mask near = band(1, 1)
net encoder = standardise -> dense(8) -> tanh -> dense(8, mask = near)
y ~ normal(loc = encoder(x) -> dense(2), scale = 1)
train { optimizer: sgd(0.1), batch: 8, steps: 1 }
"""


@pytest.fixture
def made(tmp_path: Path) -> Module:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(3, 2, size=(16, 4)), y_train=rng.normal(size=(16, 2)))
    return lower(parse_text(TEXT, "m.mp", "mp"), Source("m.mp", TEXT), {})


def begun(m: Module, folder: Path, source: Path, names: Any = None) -> tuple[dict[str, Array], list[str]]:
    """The weights before the first step, and what was said."""
    said = list[str]()
    path = None
    if names is not None:
        path = folder / "names.json"
        path.write_text(names if isinstance(names, str) else json.dumps(names))
    options = Options(backend="torch", data=str(folder / "d.npz"), steps=0, init=source, init_names=path)
    train(m, folder / "run", options, say=said.append)
    found = checkpoint.newest(folder / "run" / "checkpoints")
    assert found is not None
    prefix = "parameter/"
    return {k.removeprefix(prefix): v for k, v in found.state.items() if k.startswith(prefix)}, said


def test_a_state_dict_of_others_is_taken_by_a_file_of_names(made: Module, tmp_path: Path) -> None:
    other = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Linear(8, 3)
    )
    torch.save({"state_dict": other.state_dict(), "epoch": 3}, tmp_path / "other.pt")
    names = {"encoder.dense_0": "0", "encoder.dense_1": "2", "y.dense_0": "3"}
    weights, said = begun(made, tmp_path, tmp_path / "other.pt", names)
    theirs = {k: v.numpy() for k, v in other.state_dict().items()}
    assert np.array_equal(weights["encoder.dense_0.weight"], theirs["0.weight"])
    assert np.array_equal(weights["encoder.dense_0.bias"], theirs["0.bias"])
    live = made.parameters["encoder.dense_1.weight"].support
    assert live is not None
    assert np.array_equal(weights["encoder.dense_1.weight"], np.where(live.stored, theirs["2.weight"], 0))
    assert np.array_equal(weights["y.dense_0.weight"], initial(made)["y.dense_0.weight"])
    text = "\n".join(said)
    assert "4 of 8 parameters loaded, 2 of its 6 arrays left out" in text
    assert "start anew: encoder.standardise_0.mean" in text
    assert "'y.dense_0.weight' is [3, 8] there, [2, 8] here" in text
    assert f"{(~live.stored).sum()} elements that masks remove were not zero" in text
    # what was not loaded begins as it does without --init: the statistics are those of the data
    x = np.load(tmp_path / "d.npz")["x_train"]
    mean = next(k for k in weights if k.endswith(".mean"))
    np.testing.assert_allclose(weights[mean], x.mean(0), rtol=1e-5)


def test_a_safetensors_file_is_taken_by_its_names_and_a_run_by_paths(made: Module, tmp_path: Path) -> None:
    some = {n: a + 1 for n, a in initial(made, 5).items() if n.startswith("encoder.dense_0")}
    save_file(some | {"more": np.zeros(3)}, tmp_path / "w.safetensors")
    weights, _ = begun(made, tmp_path, tmp_path / "w.safetensors")
    assert all(np.array_equal(weights[n], a) for n, a in some.items())
    (tmp_path / "run").rename(tmp_path / "first")
    again, said = begun(made, tmp_path, tmp_path / "first", {"encoder": "encoder"})
    assert {n for n in weights if np.array_equal(weights[n], again[n])} >= {
        n for n in weights if "encoder" in n
    }
    assert "6 of 8 parameters loaded" in "\n".join(said)
    whole, said = begun(made, tmp_path, tmp_path / "first")
    assert all(np.array_equal(weights[n], a) for n, a in whole.items())


FAULTS: dict[str, tuple[Any, str]] = {
    "of ours": ({"encodr": "0"}, "names 'encodr', which the model has not"),
    "of theirs": ({"encoder.dense_0": "00"}, "names '00' for 'encoder.dense_0', which the weights have not"),
    "no object": ("[1]", "is no object of names"),
    "no JSON": ("{", "is not JSON"),
    "empty": ({}, "is no object of names"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_names_are_named(made: Module, tmp_path: Path, fault: str) -> None:
    save_file({"0.weight": np.ones((8, 4), np.float32)}, tmp_path / "w.safetensors")
    names, text = FAULTS[fault]
    with pytest.raises(SpecError, match=f"MP529.*{text}"):
        begun(made, tmp_path, tmp_path / "w.safetensors", names)
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_used_are_refused(made: Module, tmp_path: Path) -> None:
    for name, arrays, text in (
        ("none", {"0.weight": np.ones((8, 4), np.float32)}, "has no weight for a parameter"),
        ("bad", {"encoder.dense_0.bias": np.full(8, np.nan, np.float32)}, "MP526.*is not finite"),
        ("whole", {"encoder.dense_0.bias": np.ones(8, np.int64)}, "has no weight for a parameter"),
    ):
        save_file(arrays, tmp_path / f"{name}.safetensors")
        with pytest.raises(SpecError, match=text):
            begun(made, tmp_path, tmp_path / f"{name}.safetensors")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(SpecError, match="MP529"):
            begun(made, tmp_path, tmp_path / name)
        with pytest.raises(SpecError, match=r"MP529.*no such file"):
            begun(made, tmp_path, tmp_path / f"not_{name}")
    assert not (tmp_path / "run").exists()
