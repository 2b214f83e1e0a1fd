"""A pass is a class and a row: one is defined here, selected by name with its option, and run in the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from specs_under_test import inputs, module, weights
from text_passes import assert_becomes

from mpcompile import ops
from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import InternalError
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.ops.traits import View
from mpcompile.passes import pipeline
from mpcompile.passes.base import Pass
from mpcompile.passes.running import Pipeline
from mpcompile.passes.selection import selected
from mpcompile.text import parse, printed


@dataclass(frozen=True)
class NegateProducts(Pass):
    """Graph to graph: x y becomes (-x) (-y), `most` times at most, but where an operand is a view."""

    name: ClassVar[str] = "negate_products"
    most: int = 1000

    def call(self, graph: Graph) -> Graph:
        left = [n.id for n in graph.nodes() if isinstance(n.op, ops.Mul) and not _of_views(graph, n)][
            : self.most
        ]

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.id not in left:
                return None
            return b.emit_all(ops.Mul(), *(b.emit(ops.Neg(), v) for v in inputs))

        return graph.rebuild(rewrite)


def _of_views(graph: Graph, node: Node) -> bool:
    return any(isinstance(graph.node(v).op, View) for v in node.inputs)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pipeline.PASSES, "negate_products", NegateProducts)
    shipped = replace(pipeline.SHIPPED, passes=(*pipeline.SHIPPED.passes, NegateProducts(most=2)))
    monkeypatch.setattr(pipeline, "SHIPPED", shipped)


TEXT = "program f(x: float[N], y: float[N]) -> (z: float[N]) {\n LINES\n return z = %z\n}"


def test_text_in_text_out() -> None:
    before, after = "%z = mul(%x, %y)", "%a = neg(%x)\n %b = neg(%y)\n %z = mul(%a, %b)"
    assert_becomes(NegateProducts(), TEXT.replace("LINES", before), TEXT.replace("LINES", after))


@pytest.mark.usefixtures("registered")
def test_it_is_selected_by_name_and_its_failure_names_it() -> None:
    line = selected("cse,negate_products{most: 0},negate_products")
    assert line.passes[1:] == (NegateProducts(most=0), NegateProducts())
    graph = parse(TEXT.replace("LINES", "%z = mul(%x, %y)"))
    assert printed(line.run(graph).graph).count("neg(") == 2
    wrong = Pipeline("wrong", (NegateProducts("two"),))  # type: ignore[arg-type]  # no number
    with pytest.raises(
        InternalError, match=r"^MP901 pass `negate_products.most: .two..` failed on `f`: TypeError"
    ):
        wrong.run(graph)


@pytest.mark.usefixtures("registered")
def test_it_runs_in_the_pipeline_and_on_every_backend() -> None:
    """What is emitted computes the same."""
    m = module("made")
    made = pipeline.optimise(m)
    assert [s.name for s in made.steps if s.program == "log_prob"][-1] == "negate_products{most: 2}"
    found = made.module.programs["log_prob"]
    assert any(isinstance(n.op, ops.Neg) for n in found.nodes())
    data, w = inputs(m, "log_prob", 3), weights(m)
    expected = interpret(m.programs["log_prob"], w, data)["log_prob"]
    np.testing.assert_array_equal(interpret(found, w, data)["log_prob"], expected)
    for backend in installed():
        session = find_backend(backend).session(made.module, w)
        np.testing.assert_allclose(session.run("log_prob", data)["log_prob"], expected, rtol=1e-4)
