"""What the infrastructure of passes holds every pass to, and how it tells whose fault a failure is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import ClassVar

import pytest
from specs_under_test import module, weights

from mpcompile.budget import OutOfBudget
from mpcompile.diagnostics import InternalError, Span, SpecError, error
from mpcompile.ir import Builder, Graph, Input, Node, Parameter, Value, float_type
from mpcompile.ir.verify import IllFormed, faults, verify_graph, verify_module
from mpcompile.ops import Neg, Reshape, Sum
from mpcompile.passes.base import LIVE, WITHOUT_REPEATS, BrokenContract, Condition, Pass
from mpcompile.passes.pipeline import INFERENCE, PASSES, PIPELINES, SHIPPED, optimise
from mpcompile.passes.running import Pipeline, verified
from mpcompile.text import parse

TEXT = """
program f(x: float[N, 4]) -> (y: float[N, 4]) {
  scope net "dense(3)" in "m.mp":3:5-3:9 at "m.mp":3:5-3:9
  %a = neg(%x)
  %y = exp(%a)
  return y = %y
}
"""


@dataclass(frozen=True)
class Does(Pass):
    """A pass that does what it is told."""

    name: ClassVar[str] = "does"
    what: Callable[[Graph], Graph]

    def call(self, graph: Graph) -> Graph:
        return self.what(graph)


@dataclass(frozen=True)
class Live(Does):
    name: ClassVar[str] = "live"
    requires: ClassVar[tuple[Condition, ...]] = (LIVE,)
    ensures: ClassVar[tuple[Condition, ...]] = (LIVE,)


def dead(graph: Graph) -> Graph:
    """A copy with a node that nothing reads."""
    made = graph.rebuild(lambda b, n, i: None)
    Builder(made).emit(Neg(), made.inputs["x"])
    return made


def renamed(graph: Graph) -> Graph:
    made = graph.rebuild(lambda b, n, i: None)
    made.outputs = {"z": made.outputs["y"]}
    return made


def test_a_pass_that_changes_nothing_gives_the_graph_itself() -> None:
    graph = parse(TEXT)
    result = Does(lambda g: g.rebuild(lambda b, n, i: None))(graph)
    assert result.graph is graph and not result.changed
    assert Does(dead)(graph).changed


def test_conditions_hold_before_and_behind_a_pass() -> None:
    graph = parse(TEXT)
    with pytest.raises(BrokenContract, match="requires a graph that is live: nothing reads neg"):
        Live(lambda g: g)(dead(graph))
    with pytest.raises(BrokenContract, match="ensures a graph that is live: nothing reads neg"):
        Live(dead)(graph)
    with pytest.raises(BrokenContract, match="another signature"):
        Does(renamed)(graph)


def test_repeats_are_seen() -> None:
    twice = parse(TEXT.replace("%y = exp(%a)", "%b = neg(%x)\n %y = add(%a, %b)"))
    assert WITHOUT_REPEATS.fault(parse(TEXT)) is None
    assert WITHOUT_REPEATS.fault(twice) == "net.neg is computed twice"


def failing(fault: Exception) -> Callable[[Graph], Graph]:
    def fail(graph: Graph) -> Graph:
        raise fault

    return fail


@pytest.mark.parametrize("fault", [
    KeyError("x"), error("MP201", "shapes do not fit in dense(3)", Span("m.mp", 3, 5, 3, 9)),
    InternalError("MP903", "in `f`"), BrokenContract("ensures"),
], ids=lambda f: type(f).__name__)  # fmt: skip
def test_a_failure_names_the_pass_and_those_before_it(fault: Exception) -> None:
    """And is the developer's, not a finding at a line of the user's."""
    line = Pipeline("line", (PASSES["simplify"](), PASSES["dce"](), Does(failing(fault))))
    with pytest.raises(
        InternalError, match=r"^MP901 pass `does.*` failed on `f` after `simplify`, `dce`: "
    ) as told:
        line.run(parse(TEXT))
    assert told.value.code == "MP901" and told.value.__cause__ is fault


@pytest.mark.parametrize(
    "fault", [OutOfBudget("60 s"), MemoryError(), error("MP112", "too large", Span.none())]
)
def test_limits_of_the_machine_and_of_the_language_stay_what_they_are(fault: Exception) -> None:
    with pytest.raises(type(fault)) as told:
        Pipeline("line", (Does(failing(fault)),)).run(parse(TEXT))
    assert told.value is fault


def stretched(graph: Graph) -> Graph:
    """A copy one of whose nodes states a type that its primitive does not give."""
    made = graph.rebuild(lambda b, n, i: None)
    node = made.node(made.node(made.outputs["y"]).inputs[0])
    # the builder would refuse it
    made._nodes[node.id] = replace(node, types=(float_type(3),))
    return made


def test_an_ill_formed_graph_is_found_behind_the_pass_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Pipeline("line", (PASSES["dce"](), Does(stretched)))
    with (
        verified(),
        pytest.raises(
            InternalError, match=r"MP902 pass `does.*` is ill formed on `f` after `dce`: .*net.neg"
        ),
    ):
        line.run(parse(TEXT))
    monkeypatch.delenv("MPCOMPILE_VERIFY_EACH")
    line.run(parse(TEXT))


def test_a_rewrite_keeps_types() -> None:
    def flat(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return (b.emit(Sum((1,)), *inputs),) if isinstance(node.op, Neg) else None

    with pytest.raises(
        InternalError, match=r"MP903 in `f` net.neg gives float\[N, 4\]; its replacement gives float\[N\]"
    ):
        parse(TEXT).rebuild(flat)
    assert parse(TEXT).rebuild(flat, retype=True).outputs["y"].type.rank == 1


# --- the verifier ---


def with_node(change: Callable[[Node], Node]) -> Graph:
    """The graph with its last node changed."""
    graph = parse(TEXT)
    node = graph.node(graph.outputs["y"])
    graph._nodes[node.id] = change(node)
    return graph


def stray() -> Graph:
    graph = parse(TEXT)
    graph.add(Input("z", float_type()), (), Span.none(), ())
    return graph


def misnamed() -> Graph:
    graph = parse(TEXT)
    graph.inputs = {"w": graph.inputs["x"]}
    return graph


def foreign() -> Graph:
    graph = parse(TEXT)
    graph.outputs = {"y": parse(TEXT).outputs["y"]}
    return graph


def circular() -> Graph:
    graph = parse(TEXT)
    node = graph.node(graph.node(graph.outputs["y"]).inputs[0])
    graph._nodes[node.id] = replace(node, inputs=(graph.outputs["y"],))
    return graph


def two_kinds_of_frame() -> Graph:
    return parse(TEXT.replace("%y =", "scope net function\n %y ="))


def reads_a_parameter() -> Graph:
    return parse("""
    program f(x: float[N]) -> (c: float[N]) {
      %c = scan(%x) {carries: 1, length: 3}
        body step(c: float[N], step: int[]) -> (c: float[N]) {
          %w = parameter w : float[]
          %d = mul(%c, %w)
          return c = %d
        }
      return c = %c
    }
    """)


BROKEN = {
    "a type": (lambda: with_node(lambda n: replace(n, types=(float_type(3),))), r"net.exp is stated to give float\[3\]"),
    "an operand": (lambda: with_node(lambda n: replace(n, op=Reshape((3,)))), "net.reshape does not take what it reads"),
    "operands": (lambda: with_node(lambda n: replace(n, inputs=())), "net.exp does not take what it reads"),
    "a stray input": (stray, "z is not in its signature"),
    "a name": (misnamed, "its input w is no leaf of this name"),
    "a foreign output": (foreign, "its output y is no value of it"),
    "a cycle": (circular, "net.neg reads what stands behind it"),
    "a frame": (two_kinds_of_frame, "net.exp stands in net, which is a function and is none"),
    "a body": (reads_a_parameter, "scan: its body reads the parameter w"),
}  # fmt: skip


@pytest.mark.parametrize("law", BROKEN)
def test_the_verifier_finds_what_is_broken(law: str) -> None:
    make, reason = BROKEN[law]
    with pytest.raises(IllFormed, match=reason):
        verify_graph(make())


def test_programs_fit_their_module() -> None:
    m = module("made")
    verify_module(m)
    graph = m.programs["log_prob"].rebuild(lambda b, n, i: None)
    graph.add(Parameter("other", float_type(3)), (), Span.none(), ())
    with pytest.raises(IllFormed, match="`log_prob`: reads the parameter other, which the module has not"):
        verify_module(replace(m, programs={"log_prob": graph}))


@pytest.mark.parametrize("name", ["made", "glow", "vrnn", "transformer", "made_ensemble"])
def test_lowering_gives_well_formed_graphs(name: str) -> None:
    """Also the steps of flows; the suite verifies every program before, between and behind passes."""
    m = module(name)
    verify_module(m)
    assert [f for found in m.flow_steps.values() for p in found for f in faults(p.graph)] == []


# --- the pipeline ---


def test_passes_are_frozen_and_named() -> None:
    for name, cls in PASSES.items():
        assert cls.name == name and (cls.__doc__ or "").startswith("Graph to graph: ")
        with pytest.raises(FrozenInstanceError):
            cls().name = "other"  # type: ignore[misc]  # frozen
    assert {type(p) for line in PIPELINES.values() for p in line.passes} <= {*PASSES.values()}


def test_the_pipeline_is_timed_pass_by_pass() -> None:
    m = module("made")
    steps = optimise(m, weights(m)).steps
    names = [s.name for s in steps if s.program == "sample"]
    assert names == [str(p) for p in (*SHIPPED.passes, *INFERENCE.passes)]
    assert all(s.seconds >= 0 and (s.before == s.after or s.changed) for s in steps)


def test_a_spec_error_is_no_internal_error() -> None:
    assert not issubclass(InternalError, SpecError)
