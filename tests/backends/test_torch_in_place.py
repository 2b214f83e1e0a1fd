"""What the torch backend writes in place: only what nobody can tell from a new tensor."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mpcompile import ops
from mpcompile.diagnostics import Source
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Module, Type, Value
from mpcompile.ops import build as F
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model

SIZE = 5

#: A statement that replaces a stretch.
WRITE = r"\w\[[^\]]*:[^\]]*\] = "


def looped(kind: str) -> Graph:
    """A loop that fills a buffer, and reads it in various ways."""
    g = Graph("sample")
    b = Builder(g)
    noise = b.input("noise", Type(DType.FLOAT, (2, SIZE)))
    start = b.emit(ops.BroadcastTo((2, SIZE)), b.constant(0.0))
    body = Builder(Graph("body"), outer=b)
    buffer = body.input("buffer", Type(DType.FLOAT, (2, SIZE)))
    last = body.input("last", Type(DType.FLOAT, (2, SIZE if kind == "escapes whole" else 1)))
    step = body.input("step", Type(DType.INT, ()))
    now = body.emit(ops.SliceAt(1, 1), noise, step)
    total = body.emit(ops.Sum((1,), True), buffer)
    slab = F.add(body, now, F.mul(body, total, body.constant(0.5)))
    y: Value = slab
    if kind == "reads late":  # the old buffer, after the update
        made = body.emit(ops.UpdateAt(1), buffer, slab, step)
        y = F.add(body, body.emit(ops.Sum((1,), True), made), body.emit(ops.Exp(), total))
        y = F.add(body, y, body.emit(ops.Sum((1,), True), F.mul(body, buffer, buffer)))
        following = body.emit(ops.Exp(), y)
    elif kind == "views late":  # a view of the old one, at the place that is written
        old = body.emit(ops.SliceAt(1, 1), buffer, step)
        made = body.emit(ops.UpdateAt(1), buffer, slab, step)
        y, following = F.sub(body, slab, old), slab
    elif kind == "escapes":  # a view of the new one, which later iterations write to
        made = body.emit(ops.UpdateAt(1), buffer, slab, body.constant(0))
        y = body.emit(ops.SliceAt(1, 1), made, body.constant(0))
        following = slab
    elif kind == "escapes whole":  # the old one goes on as another carry
        made = body.emit(ops.UpdateAt(1), buffer, slab, step)
        following = buffer
        y = body.emit(ops.SliceAt(1, 1), last, step)
    elif kind == "views between":  # the old one, after the first of two updates
        first = body.emit(ops.SliceAt(1, 1), buffer, body.constant(0))
        made = body.emit(ops.UpdateAt(1), buffer, slab, body.constant(0))
        y = F.add(body, first, slab)
        made = body.emit(ops.UpdateAt(1), made, y, step)
        following = slab
    elif kind == "twice":
        made = body.emit(ops.UpdateAt(1), buffer, slab, body.constant(0))
        y = body.emit(ops.Exp(), body.emit(ops.SliceAt(1, 1), made, body.constant(0)))
        made = body.emit(ops.UpdateAt(1), made, body.emit(ops.Tanh(), y), step)
        following = slab
    else:
        made = body.emit(ops.UpdateAt(1), buffer, slab, step)
        following = F.add(body, slab, last)
    body.graph.outputs = {"buffer": made, "last": following, "y": y}
    body.graph.inputs["step"] = body.graph.inputs.pop("step")
    if kind == "starts from an input":
        start = noise
    begin = start if kind == "escapes whole" else b.emit(ops.SliceAt(1, 1), noise, b.constant(1))
    scan = ops.Scan(body=body.graph, carries=2, axis=1, length=SIZE)
    # captured values are inputs of the body after its carries, the step is the last one
    order = list(body.graph.inputs)
    names = ["buffer", "last", *(n for n in order if n.startswith("captured")), "step"]
    body.graph.inputs = {n: body.graph.inputs[n] for n in names}
    made_all = b.emit_all(scan, start, begin, *body.captured)
    g.outputs = {"buffer": made_all[0], "last": made_all[1], "ys": made_all[2], "noise": F.add(b, noise, 0.0)}
    return g


KINDS = {
    "plain": 1, "reads late": 0, "views late": 0, "escapes": 0, "escapes whole": 0, "views between": 0,
    "twice": 2, "starts from an input": 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_buffer_is_written_in_place_only_where_nobody_sees_it(kind: str) -> None:
    graph = looped(kind)
    emitted = emit_module(Module("m", Source("m.mp", ""), {"sample": graph}))
    assert len(re.findall(WRITE, emitted.sampling)) == KINDS[kind]
    assert ("@torch.no_grad()" in emitted.sampling) == bool(KINDS[kind])
    noise = np.random.default_rng(0).normal(size=(2, SIZE))
    expected = interpret(graph, {}, {"noise": noise})
    given = torch.tensor(noise)
    found = build_model(emitted, {}, torch.float64).sample(given)  # type: ignore[operator]  # a method of emitted code
    assert np.array_equal(given.numpy(), noise)  # what it was given is as it was
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-12, err_msg=name)


def test_what_is_differentiated_is_not_written_in_place() -> None:
    graph = looped("plain")
    emitted = emit_module(Module("m", Source("m.mp", ""), {"loss": graph}))
    assert not re.search(WRITE, emitted.text)
    noise = torch.randn(2, SIZE, dtype=torch.float64, requires_grad=True)
    model = build_model(emitted, {}, torch.float64)
    assert torch.autograd.gradcheck(lambda x: model.loss(x)["buffer"], noise)  # type: ignore[operator]  # as above
