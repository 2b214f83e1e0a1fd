"""`LoopBuilder` lays out what a `Scan` asks for, whatever the order in which formals are declared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Symbolic, Type, bitsets, float_type, symbol
from mpcompile.ops import Add, Cast, Equal, LoopBuilder, Mul, Scan, Where

ROOT = Path(__file__).parents[2]


def _sums(reverse: bool, carry_first: bool) -> Graph:
    """s' = s + scale x + step, y = s'."""
    g = Graph("sums")
    b = Builder(g)
    n, t = symbol("N"), symbol("time")
    start, xs = b.input("start", float_type(n, 2)), b.input("xs", float_type(n, t, 2))
    scale = b.input("scale", float_type(2))
    loop = LoopBuilder(b, reverse=reverse)
    late = [
        lambda: loop.scan("x", xs), lambda: loop.carry("s", start), lambda: loop.capture("factor", scale)
    ]  # fmt: skip
    if carry_first:
        s, x, factor = late[1](), late[0](), late[2]()
    else:
        factor, x, s = late[2](), late[0](), late[1]()
    step = loop.body.emit(Cast(DType.FLOAT), loop.step)
    grown = loop.body.emit(Add(), loop.body.emit(Add(), s, loop.body.emit(Mul(), factor, x)), step)
    (last,), (ys,) = loop.close([grown], {"y": grown})
    g.outputs = {"last": last, "ys": ys}
    return g


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("carry_first", [False, True])
def test_formals_may_be_declared_in_any_order(reverse: bool, carry_first: bool) -> None:
    g = _sums(reverse, carry_first)
    op = next(n.op for n in g.nodes() if isinstance(n.op, Scan))
    assert [list(part) for part in op.formals[:3]] == [["s"], ["x"], ["factor"]]
    assert op.reads_step
    rng = np.random.default_rng(0)
    start, xs, scale = rng.normal(size=(3, 2)), rng.normal(size=(3, 5, 2)), rng.normal(size=2)
    found = interpret(g, {}, {"start": start, "xs": xs, "scale": scale})
    order = list(range(5))[:: -1 if reverse else 1]
    steps = xs[:, order] * scale + np.array(order)[None, :, None]
    sums = start[:, None] + np.cumsum(steps, 1)
    np.testing.assert_allclose(found["last"], sums[:, -1], atol=1e-12)
    np.testing.assert_allclose(found["ys"][:, order], sums, atol=1e-12)


def test_what_the_body_captures_has_a_name_of_its_own() -> None:
    b = Builder(Graph("f"))
    x, y = b.input("x", float_type(2)), b.input("y", float_type(2))
    loop = LoopBuilder(b, length=3)
    first = loop.carry("h", x)
    loop.capture("captured_1", x)
    following = loop.body.emit(Add(), first, y)  # would be the second captured value, by its number
    loop.close([following])
    op = next(n.op for n in b.graph.nodes() if isinstance(n.op, Scan))
    assert list(op.formals.captured) == ["captured_1", "captured_2"]


@pytest.mark.parametrize("name", ["h", "step"])
def test_a_formal_is_declared_once(name: str) -> None:
    b = Builder(Graph("f"))
    loop = LoopBuilder(b, length=3)
    loop.carry("h", b.input("x", float_type(2)))
    with pytest.raises(ValueError, match=name):
        loop.carry(name, b.input("x", float_type(2)))


def test_nobody_else_counts_the_inputs_of_a_loop() -> None:
    """The layout is the business of `Scan` and `LoopBuilder`: everyone else takes its parts by name."""
    counted = re.compile(
        r"carries \+ \w*\.?scanned|\[: ?\w+\.carries|\.carries :|\bScan\(\s*(body|inner|b)\b"
    )
    own = ROOT / "mpcompile/ops/control.py"
    guilty = [
        f"{path.relative_to(ROOT)}:{n}"
        for folder in ("mpcompile", "backends")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != own
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if counted.search(line)
    ]
    assert guilty == []


@pytest.mark.parametrize(("length", "env"), [(0, {}), (symbol("time"), {"time": 0})])
def test_a_loop_of_no_steps_has_no_results(length: int | Symbolic, env: dict[str, int]) -> None:
    b = Builder(Graph("f"))
    loop = LoopBuilder(b, length=length)
    h = loop.carry("h", b.input("x", float_type(2)))
    (b.graph.outputs["y"],), _ = loop.close([loop.body.emit(Add(), h, h)])
    with pytest.raises(ValueError, match="no steps"):
        interpret(b.graph, {}, {"x": np.ones(2)}, env)


def test_a_step_that_reads_its_number_is_not_taken_for_the_one_before() -> None:
    """Facts of the carries stay the same from step to step, and step 1 alone reads x."""
    body = Graph("body")
    inside = Builder(body)
    h, x = inside.input("h", float_type(2)), inside.input("x", float_type(2))
    step = inside.input("step", Type(DType.INT, ()))
    now = inside.emit(Equal(), step, inside.constant(1))
    body.outputs = {"h": h, "y": inside.emit(Where(), now, x, inside.constant(0.0))}
    loop = Scan(body, carries=1, length=3, axis=0)
    domain = bitsets(1)
    start = domain.constant(np.zeros(2))
    reads = domain.make((2,), np.ones((2, domain.words), np.uint64))
    _, ys = loop.depend(domain, start, reads)
    assert ys.full()[..., 0].astype(bool).tolist() == [[False] * 2, [True] * 2, [False] * 2]
