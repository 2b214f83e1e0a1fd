"""Files of before layers of a `repeat` were elements of lists are read under the names of today."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layered import LAYERED, lowered

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Module
from mpcompile.runner.checkpoint import Checkpoint
from mpcompile.runner.initial import initial
from mpcompile.runner.renames import renamed
from mpcompile.runner.resume import restore
from mpcompile.runner.run import Run, fit
from mpcompile.runner.settings import settings

SPECS = Path(__file__).parents[2] / "specs"
COUPLINGS = {f"x.coupling.{i}": f"x.coupling_{i}" for i in range(12)}
#: How names of today begin, and how those of before did. Layers in and outside of a repeat were counted together.
BEGINNINGS = {
    "beside others": {**{f"y.dense.{i}": f"y.dense_{i + 1}" for i in range(4)}, "y.dense_1": "y.dense_5"},
    "wider first": {**{f"y.dense.{i}": f"y.dense_{i}" for i in range(5)}, "y.dense_0": "y.dense_5"},
    "two repeats": {f"y.dense.{i}": f"y.dense_{i}" for i in range(6)},
    "twice of one name": {f"y.dense.{i}": f"y.dense_{i}" for i in range(8)},
    "block": {f"y.deep.{i}": f"y.deep_{i}" for i in range(4)},
    "realnvp.yaml": COUPLINGS | {
        f"{now}.net.resnet_0.block.{k}.{ab}": f"{before}.net.resnet_0.block_{k}_{ab}"
        for now, before in COUPLINGS.items() for k in range(2) for ab in "ab"
    },
}  # fmt: skip


def load(name: str) -> Module:
    return lowered(LAYERED[name][0]) if name in LAYERED else api.load(SPECS / name)


def former(name: str, beginnings: dict[str, str]) -> str:
    found = max((b for b in beginnings if name.startswith(f"{b}.")), key=len, default="")
    return f"{beginnings[found]}{name[len(found) :]}" if found else name


@pytest.mark.parametrize("name", BEGINNINGS)
def test_every_weight_knows_its_name_of_before(name: str) -> None:
    found = {p.name: p.former or p.name for p in load(name).parameters.values()}
    assert found == {n: former(n, BEGINNINGS[name]) for n in found}
    assert len(set(found.values())) == len(found)


def test_a_checkpoint_of_before_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("beside others")  # where one name stands for a layer today, and stood for another one
    session = find_backend("torch").session(module, initial(module, 1), settings(module).optimizer)
    state = {k: v + 1 if v.dtype.kind == "f" else v for k, v in session.state().items()}
    old: dict[str, Any] = {}
    for key, array in state.items():
        what, mark, name = key.rpartition("/")
        old[f"{what}{mark}{former(name, BEGINNINGS['beside others'])}"] = array
    assert old.keys() != state.keys()
    found = Checkpoint(old, {"step": 7}, tmp_path)
    restore(session, module, found)
    after = session.state()
    assert after.keys() == state.keys() and all(np.array_equal(after[k], state[k]) for k in state)

    monkeypatch.setattr(Run, "trained", lambda self, module: found)
    weights, step = Run(tmp_path, {"settings": {"optimizer": {}}}).parameters(module)
    assert step == 7 and all(np.array_equal(weights[n], state[f"parameter/{n}"]) for n in module.parameters)

    lacking = {k: v for k, v in old.items() if k != "parameter/y.dense_5.bias"}
    with pytest.raises(SpecError, match="MP521"):
        restore(session, module, Checkpoint(lacking, {}, tmp_path))


def test_names_of_today_stay() -> None:
    module = load("beside others")
    weights = initial(module, 1)
    assert renamed(weights, module).keys() == weights.keys()
    old = {former(n, BEGINNINGS["beside others"]): v for n, v in weights.items()}
    fit(renamed(old, module), module, "here")
    assert all(np.array_equal(v, weights[n]) for n, v in renamed(old, module).items())
