"""A layer, a mask, a bijector, a law of couplings, a schedule and a data format are one class and one row each.

`CONTRIBUTING.md` says what adding one touches. Each is defined here, registered as in its table, and used in a spec: it
is checked, proven, and runs on every backend as the oracle says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mpcompile import api, ops
from mpcompile.analysis.verdict import Status
from mpcompile.backend import find_backend, installed
from mpcompile.bijectors import BIJECTORS, LAWS, Bijector, Law
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module, Value
from mpcompile.ir.training import SCHEDULES, Schedule
from mpcompile.layers import LAYERS, MASKS, Context, Layer, MaskUse
from mpcompile.lowering import lower
from mpcompile.ops import build as F
from mpcompile.ranges import Count, Positive
from mpcompile.runner.data import load_data
from mpcompile.runner.data.dataset import Raw
from mpcompile.runner.data.files import READERS, Known
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.runner.settings import describe, schedule_of, settings


@dataclass(frozen=True)
class Snake(Layer):
    """x + x^2 / (1 + a x^2)."""

    keyword: ClassVar[str] = "snake"
    merges: ClassVar[str] = "it falls before it rises"
    sharpness: Positive = 1.0

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        square = F.mul(b, x, x)
        return F.add(b, x, F.div(b, square, F.add(b, F.mul(b, square, self.sharpness), 1.0)))


@dataclass(frozen=True)
class Nearest:
    """Each unit reads the inputs at most `reach` places before it."""

    reach: Count

    def array(self, use: MaskUse) -> Array:
        rows, columns = np.indices(use.shape[:2])
        before = rows % use.shape[1] - columns
        return (before > 0) & (before <= self.reach)


@dataclass(frozen=True)
class Doubled(Bijector):
    """y = factor x."""

    keyword: ClassVar[str] = "doubled"
    fixed: ClassVar[bool] = True
    factor: Positive = 2.0

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        each = F.add(ctx.b, ctx.zeros(x.shape), log(self.factor))
        return F.mul(ctx.b, x, self.factor), F.event_sum(ctx.b, each)

    def inverse(self, ctx: Context, y: Value) -> Value:
        return F.mul(ctx.b, y, 1.0 / self.factor)


class Crooked(Doubled):
    """The same, which mixes elements and does not say so."""

    keyword: ClassVar[str] = "crooked"

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        y, log_det = super().apply(ctx, x, seen)
        return F.add(ctx.b, y, ctx.b.emit(ops.Flip(1), seen)), log_det


class Stretched(Law):
    """y = x exp(s) for one raw parameter s of each element."""

    keyword: ClassVar[str] = "stretched"

    def count(self) -> int:
        return 1

    def forward(self, ctx: Context, x: Value, raw: Value, moved: Array | None) -> tuple[Value, Value | None]:
        s = raw if moved is None else F.mul(ctx.b, raw, ctx.b.constant(moved.astype(float)))
        return F.mul(ctx.b, x, ctx.b.emit(ops.Exp(), s)), s

    def inverse(self, ctx: Context, y: Value, raw: Value, moved: Array | None) -> Value:
        s = raw if moved is None else F.mul(ctx.b, raw, ctx.b.constant(moved.astype(float)))
        return F.mul(ctx.b, y, ctx.b.emit(ops.Exp(), F.neg(ctx.b, s)))


@dataclass(frozen=True)
class Sawtooth(Schedule):
    """The rate starts anew after each `every` steps, and falls in between."""

    keyword: ClassVar[str] = "sawtooth"
    every: Count = 100

    def rate(self, base: float, step: int, total: int) -> float:
        return base * (1 - step % self.every / self.every)


def dots(path: Path, known: Known) -> Raw:
    """Bits as lines of `.` and `#`."""
    rows = [[c == "#" for c in line] for line in path.read_text().split()]
    return Raw(
        {"train": {(known.names and next(iter(known.names))) or "x": np.array(rows, float)}}, fixed=False
    )


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "snake", Snake)
    monkeypatch.setitem(MASKS, "nearest", Nearest)
    monkeypatch.setitem(BIJECTORS, "doubled", Doubled)
    monkeypatch.setitem(BIJECTORS, "crooked", Crooked)
    monkeypatch.setitem(LAWS, "stretched", Stretched)
    monkeypatch.setitem(SCHEDULES, "sawtooth", Sawtooth)
    monkeypatch.setitem(READERS, ".dots", dots)


def made(text: str) -> Module:
    text = f"model m\n{text}\n"
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


@pytest.mark.parametrize(
    "text",
    [
        "input x: real[4]\ntarget y: real[2]\ny ~ normal(loc = x -> dense(4) -> snake(0.5) -> dense(2))",
        "input x: binary[4]\nx ~ autoregressive { dense(4, mask = nearest(2)) }",
        "input x: real[4]\nx ~ flow { doubled(3) -> coupling(mask = checkerboard, net = dense(4), law = stretched) }",
        "input x: real[4]\nx ~ flow { inverse(doubled) -> affine }",
    ],
    ids=["layer", "mask", "bijector and law", "inverse"],
)
def test_is_proven_and_runs_everywhere(text: str) -> None:
    m = made(text)
    assert all(v.status is Status.PROVED for v in api.verdicts(m))
    weights = example_weights(m, spread=0.3)
    for backend in installed():
        session = find_backend(backend).session(m, weights)
        for program in ("loss", "sample"):
            given = example_inputs(m, program, 3)
            found, expected = session.run(program, given), interpret(m.programs[program], weights, given)
            for name, value in expected.items():
                np.testing.assert_allclose(
                    found[name], value, rtol=2e-4, atol=2e-5, err_msg=f"{backend} {name}"
                )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ normal(loc = x -> snake(0) -> dense(2))", "MP205 `sharpness` of snake must be positive"),
        ("y ~ normal(loc = x -> snake(1, 2) -> dense(2))", "MP128 `snake` takes no argument `2`"),
        ("x ~ flow { snake }", "MP407 `snake` is not injective: it falls before it rises"),
        ("x ~ flow { doubled(factor = -1) }", "MP205 `factor` of doubled must be positive"),
        ("x ~ autoregressive { dense(8, mask = nearest) }", "MP123 `nearest` needs `reach`"),
    ],
)
def test_is_refused_in_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        made(f"input x: real[4]\ntarget y: real[2]\n{text}")
    first = caught.value.diagnostics[0]
    assert f"{first.code} {first.message}".startswith(message) and first.span.line == 4


def test_a_wrong_jacobian_from_outside_is_refuted() -> None:
    m = made("input x: real[4]\nx ~ flow { crooked }")
    (verdict,) = [v for v in api.verdicts(m) if v.claim.kind == "jacobian"]
    assert verdict.status is Status.REFUTED and verdict.diagnostics[0].code == "MP402"


def test_what_a_neighbour_mask_leaves_out_is_incomplete() -> None:
    m = made("input x: binary[4]\nx ~ autoregressive { dense(4, mask = nearest(2)) }\ncheck { complete(x) }")
    (verdict,) = [v for v in api.verdicts(m) if v.claim.kind == "complete"]
    assert verdict.status is Status.REFUTED
    assert "output x[3] never sees x[0]" in verdict.diagnostics[0].message


def test_a_schedule_is_stated_and_recorded() -> None:
    m = made("input x: real[4]\nx ~ flow { affine }\ntrain { schedule: sawtooth(every = 4) }")
    found = settings(m)
    assert [found.schedule.rate(1.0, step, 9) for step in range(5)] == [1, 0.75, 0.5, 0.25, 1]
    assert schedule_of(describe(found)["schedule"]) == Sawtooth(4)
    with pytest.raises(SpecError, match="MP511 `every` of sawtooth"):
        made("input x: real[4]\nx ~ flow { affine }\ntrain { schedule: sawtooth(0) }")


def test_a_data_format_is_read(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((40, 4)) < 0.5
    (tmp_path / "bits.dots").write_text("\n".join("".join(".#"[int(b)] for b in row) for row in bits))
    m = made("input x: binary[4]\nx ~ autoregressive { dense(4, mask = nearest(2)) }")
    data = load_data(m, str(tmp_path / "bits.dots"))
    assert sum(len(s) for s in data.splits.values()) == 40
    train = data.splits["train"].take(np.arange(len(data.splits["train"])))["x"]
    assert {tuple(row) for row in train.astype(bool)} <= {tuple(row) for row in bits}
    with pytest.raises(SpecError, match=r"data are .*\.dots or a folder"):
        (tmp_path / "bits.abc").write_text("x")
        load_data(m, str(tmp_path / "bits.abc"))
