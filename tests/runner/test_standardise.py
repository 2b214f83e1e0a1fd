"""`standardise`: statistics of the whole training split, and densities of the data in their own unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.freeze import freeze
from mpcompile.runner.batches import Batches
from mpcompile.runner.beginning import Moments, begin
from mpcompile.runner.data import load_data
from mpcompile.runner.examples import example_weights


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


class Oracle:
    """A session of the interpreter, with the state of untrained weights."""

    def __init__(self, module: Module) -> None:
        self.module, self.weights = module, dict(example_weights(module, 0, spread=0.3))

    def run(self, program: str, inputs: dict[str, Array]) -> dict[str, Array]:
        return interpret(self.module.programs[program], self.weights, inputs)

    def state(self) -> dict[str, Array]:
        return {f"parameter/{k}": np.asarray(v, np.float64) for k, v in self.weights.items()}

    def load_state(self, state: dict[str, Array]) -> None:
        self.weights = {k.removeprefix("parameter/"): v for k, v in state.items()}


def begun(module: Module, tmp_path: Path, batch: int = 16, **columns: Array) -> tuple[Oracle, list[str]]:
    path = tmp_path / "d.npz"
    np.savez(path, **{f"{k}_train": v for k, v in columns.items()})  # type: ignore[arg-type]
    session, said = Oracle(module), list[str]()
    batches = Batches(module, load_data(module, str(path)).splits["train"], batch, 0)
    start: Any = begin
    start(session, batches, "float64", said.append)
    return session, said


TABLE = """model m
input x: real[3]?
input y: real[2]
input s: real[time, 2]?
condition c: real(0..)
condition length: integer(1..time)

net early = standardise -> dense(3)
u = s -> WRAP

latent z ~ normal(concat(standardise(fill(x, 0)), early(y), y -> standardise) -> dense(4)) prior normal(0, 1)
y ~ flow(base = normal(z -> dense(4))) { standardise -> affine }
x ~ normal(concat(z, log(c + 1) -> standardise) -> dense(6))
recurrence over time {
  carry h[2] = 0
  s ~ normal(concat(h, c) -> dense(4))
  h = gru(fill(s, 0), h)
}
minimise squared(u) weight 0.1
"""


def test_statistics_are_those_of_the_whole_split_without_holes_and_padding(tmp_path: Path) -> None:
    """Of several batches of unequal size, a function of a variable, and a value used by two layers."""
    module = module_of(TABLE.replace("s -> WRAP", "standardise(fill(s, 7))"))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)) * [1, 10, 100] + [0, 1990, -5], rng.normal(size=(50, 2)) + 40
    s, c, length = rng.normal(size=(50, 6, 2)) + 3, rng.gamma(2, size=50), rng.integers(1, 7, 50)
    x[rng.random(x.shape) < 0.3] = s[rng.random(s.shape) < 0.2] = np.nan
    session, said = begun(module, tmp_path, x=x, y=y, s=s, c=c, length=length)
    there = np.arange(6) < length[:, None]
    wanted = {"x": np.log(c + 1)[:, None], "y": y, "early": y, "z": x, "u": s[there]}
    found = {k: v for k, v in session.weights.items() if "standardise" in k}
    assert not said and len(found) == 12
    for path in {k.rpartition(".")[0] for k in found}:
        values = wanted[path.partition(".")[0]] if path != "z.standardise_1" else y
        values = values.astype(np.float32).astype(float)  # as the columns come
        np.testing.assert_allclose(found[f"{path}.mean"], np.nanmean(values, 0), rtol=1e-6)
        np.testing.assert_allclose(found[f"{path}.deviation"], np.nanstd(values, 0), rtol=1e-6)
    assert {v.status for v in prove(module)} == {"proved"}
    assert not any(module.parameters[k].trainable for k in found)
    assert "statistics" not in freeze(module, session.weights).module.programs


def test_a_net_for_two_values_has_the_statistics_of_both(tmp_path: Path) -> None:
    module = module_of(
        "model m\ncondition a: real[2]\ncondition b: real[2]\ntarget y: real\nnet f = standardise -> dense(1)\n"
        "y ~ normal(f(a) + f(b), 1)\n"
    )
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) * 4 + 9
    session, _ = begun(module, tmp_path, batch=7, a=a, b=b, y=np.zeros(20))
    both = np.concatenate([a, b])
    np.testing.assert_allclose(session.weights["f.standardise_0.mean"], both.mean(0), rtol=1e-6)
    np.testing.assert_allclose(session.weights["f.standardise_0.deviation"], both.std(0), rtol=1e-6)


SHAPES = {"real[3]": (3,), "real[3, 4, 4]": (3, 4, 4), "real[1]": (1,)}


@pytest.mark.parametrize("kind", SHAPES)
def test_nats_are_about_the_data_in_their_own_unit(kind: str, tmp_path: Path) -> None:
    """log p(x) is that of the same flow of data that were standardised by hand, less the logarithms of the deviations;
    the inverse and the draws are in the unit of the data."""
    tail = "affine" if kind != "real[3]" else "autoregressive(hidden = [8])"
    text = f"model m\ninput x: {kind}\nx ~ flow(base = laplace) {{ standardise -> {tail} }}\n"
    module, plain = module_of(text), module_of(text.replace("standardise -> ", ""))
    shape = SHAPES[kind]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, *shape)) * 7 + 30
    session, _ = begun(module, tmp_path, x=x)
    first = "x.standardise_0" if "x.standardise_0.mean" in session.weights else "x.standardise"
    each = (-1, *(1,) * (len(shape) - 1))
    mean, deviation = (session.weights[f"{first}.{k}"].reshape(each) for k in ("mean", "deviation"))
    by_place = dict(zip(plain.parameters, (k for k in module.parameters if first not in k), strict=True))
    weights = {k: session.weights[v] for k, v in by_place.items()}
    want = interpret(plain.programs["log_prob"], weights, {"x": (x - mean) / deviation})["log_prob"]
    shift = np.broadcast_to(np.log(deviation), shape).sum()
    np.testing.assert_allclose(session.run("log_prob", {"x": x})["log_prob"], want - shift, rtol=1e-9)
    z = session.run("forward", {"x": x})["z"]
    np.testing.assert_allclose(session.run("inverse", {"z": z})["x"], x, rtol=1e-9)
    assert {v.status for v in prove(module)} == {"proved"}


def test_moments_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) * 3 + 1e4
    found = Moments(np.zeros(2), np.zeros(2), np.zeros(2))
    for part in np.split(x, [1, 1, 2, 90]):  # of sizes 1, 0, 1, 88, 210
        n = np.full(2, len(part))
        mean = part.mean(0) if len(part) else np.zeros(2)
        found.add(Moments(n, mean, ((part - mean) ** 2).sum(0)))
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, x.std(0), rtol=1e-12)


def test_a_channel_without_spread(tmp_path: Path) -> None:
    """A layer passes it on, and says so; a flow has no density of it."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[:, 1] = 5
    layer = module_of(
        "model m\ncondition x: real[3]\ntarget y: real\ny ~ normal(x -> standardise -> dense(1), 1)\n"
    )
    session, said = begun(layer, tmp_path, x=x, y=np.zeros(40))
    assert len(said) == 1 and "channel 1 " in said[0]
    (name,) = (k for k in session.weights if k.endswith("deviation"))
    assert session.weights[name][1] == 1 and (session.weights[name][[0, 2]] != 1).all()
    flow = module_of("model m\ninput x: real[3]\nx ~ flow(base = normal) { standardise -> affine }\n")
    with pytest.raises(SpecError, match=r"MP513.*channel 1: all its training values are the same"):
        begun(flow, tmp_path, x=x)
    holes = module_of(
        "model m\ninput x: real[2]?\ntarget y: real\nx ~ normal(0, 1)\n"
        "y ~ normal(standardise(fill(x, 0)) -> dense(1), 1)\n"
    )
    with pytest.raises(SpecError, match=r"MP513.*channel 0: no value"):
        begun(holes, tmp_path, x=np.array([[np.nan, i] for i in range(40)]), y=np.zeros(40))


REFUSED = {
    "what weights make": "y ~ normal(x -> dense(3) -> standardise -> dense(1), 1)\n",
    "a second use in a chain": "target w: real[2]\nw ~ flow(base = normal) { standardise -> affine -> standardise }\n"
    "y ~ normal(x -> dense(1), 1)\n",
    "a latent": "latent z ~ normal(x -> dense(4)) prior normal(0, 1)\ny ~ normal(z -> standardise -> dense(1), 1)\n",
    "a step": "input s: real[time, 2]\nrecurrence over time {\n  carry h[2] = 0\n"
    "  s ~ normal(x -> standardise -> dense(4))\n}\ny ~ normal(x -> dense(1), 1)\n",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_values_that_training_changes_are_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of("model m\ncondition x: real[3]\ntarget y: real\n" + text)
    (found,) = caught.value.diagnostics
    assert found.code == "MP217" and found.help and "standardise" in found.message


def test_a_run_begins_with_statistics_and_keeps_them(tmp_path: Path) -> None:
    """The first checkpoint has them, a resume does not take them again, and a frozen state still reads them."""
    from mpcompile.runner.loop import Options, train

    text = (
        "model m\ncondition x: real[2]\ntarget y: real\ny ~ normal(x -> standardise -> dense(1), 1)\n"
        "train { optimizer: sgd(0.01), batch: 8, steps: 2 }\n"
    )
    (tmp_path / "m.mp").write_text(text)
    x = np.random.default_rng(0).normal(size=(30, 2)) * 9 + 100
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.zeros(30))
    module, data = api.load(tmp_path / "m.mp"), str(tmp_path / "d.npz")

    def mean(folder: Path) -> Array:
        from safetensors.numpy import load_file

        state = load_file(next(folder.rglob("state.safetensors")))
        (found,) = (v for k, v in state.items() if k.endswith("standardise_0.mean"))
        return np.asarray(found)

    train(module, tmp_path / "run", Options("torch", data, 0))
    first = mean(min((tmp_path / "run" / "checkpoints").iterdir()))
    np.testing.assert_allclose(first, x.mean(0), rtol=1e-6)
    train(module, tmp_path / "run", Options("torch", data, steps=4, resume=True))
    np.testing.assert_array_equal(mean(tmp_path / "run" / "best"), first)
