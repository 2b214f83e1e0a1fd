"""A graph that is printed and read is the same graph; what is no graph is refused at its line."""

from __future__ import annotations

import numpy as np
import pytest
from derived import optimised
from hypothesis import given, settings
from one_node import EXAMPLES, one_node
from random_graphs import Sample, graphs
from specs_under_test import NAMES, fresh, module

from mpcompile.diagnostics import Span
from mpcompile.ir import Builder, Constant, DType, Example, Frame, Graph, Type, float_type, symbol
from mpcompile.ir.same import ValueNumbers, graph_key, same_graph
from mpcompile.ops import PRIMITIVES, Add, Cast, Pad, Reshape
from mpcompile.text import Style, TextError, mermaid, parse, parse_all, printed, printed_all


def assert_same(graph: Graph) -> None:
    """Read back, with and without scopes, and printed again."""
    text = printed(graph)
    read = parse(text)
    assert same_graph(graph, read) and read.name == graph.name
    assert printed(read) == text


@pytest.mark.parametrize("name", NAMES)
def test_programs_read_back(name: str) -> None:
    """Of every spec one program, its sampler where it has one."""
    programs = module(name).programs
    graph = programs.get("sample", next(iter(programs.values())))
    assert same_graph(graph, parse(printed(graph, Style(scopes=False))), places=False)


@pytest.mark.parametrize("name", ["made", "pixelcnn", "transformer", "maf"])
def test_derived_samplers_read_back(name: str) -> None:
    program = "inverse" if name == "maf" else "sample"
    assert_same(optimised(module(name), program).module.programs[program])


@pytest.mark.parametrize("name", ["made", "vrnn"])
def test_scopes_and_spans_read_back(name: str) -> None:
    for graph in module(name).programs.values():
        assert_same(graph)


def test_text_is_deterministic() -> None:
    """Two lowerings number their nodes differently, and print the same."""
    assert printed_all(fresh("vrnn").programs) == printed_all(fresh("vrnn").programs)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("constants", [False, True])
def test_every_primitive_reads_back(example: Example, constants: bool) -> None:
    """With its attributes, bodies of loops among them."""
    m, _, _ = one_node(example, constants)
    assert_same(m.programs["apply"])


def test_examples_hold_every_primitive() -> None:
    assert {e.values[0].op.name for e in EXAMPLES} == set(PRIMITIVES)  # type: ignore[attr-defined]  # pytest's param


@settings(max_examples=25, deadline=None)
@given(graphs(smooth=False))
def test_random_graphs_read_back(sample: Sample) -> None:
    assert_same(sample.graph)


CONSTANTS = [
    np.array(0.1), np.array(-0.0), np.array(np.inf), np.array(np.nan), np.array(True), np.array(-3), np.zeros((2, 3)),
    np.zeros((0, 3)), np.full((3, 4), -0.0), np.array([0.0, -0.0]), np.eye(3), np.eye(20), np.ones((4, 4)), np.arange(40),
    np.arange(40)[::-1], np.arange(5) * 3 - 7, np.linspace(0, 1, 50), np.array([np.nan, 1.0]), np.full(9, np.nan),
    np.array([True, False] * 20), np.array([2**62, -(2**63)]), np.nextafter(np.linspace(0, 1, 6), 2),
]  # fmt: skip


@pytest.mark.parametrize("array", CONSTANTS, ids=range(len(CONSTANTS)))
def test_constants_read_back_bit_for_bit(array: np.ndarray) -> None:
    b = Builder(Graph("f"))
    b.graph.outputs = {
        "y": b.constant(array),
        "z": b.emit(Constant(np.array(array, np.float64), DType.FLOAT)),
    }
    read = parse(printed(b.graph))
    for name, value in b.graph.outputs.items():
        expected, found = b.graph.node(value).op, read.node(read.outputs[name]).op
        assert isinstance(expected, Constant) and isinstance(found, Constant)
        assert found.key == expected.key and not found.stored.flags.writeable


WORDS = [
    "true",
    "none",
    "inf",
    "function",
    "role",
    "at",
    "in",
    "return",
    "scope",
    "a b",
    "é",
    '"',
    "a\nb",
    "%x",
]


@pytest.mark.parametrize("name", WORDS)
def test_any_name_reads_back(name: str) -> None:
    b = Builder(Graph(name))
    span = Span(name, 1, 2, 3, 4)
    with b.frame(Frame("net", "net", span)), b.frame(Frame(name, name + "(3)", span, True, name)):
        n = symbol(name)
        x = b.input(name, float_type(n, n * 2 - 3 * n * symbol("k") + 1))
        b.graph.outputs = {name: b.emit(Reshape((n * 2 - 3 * n * symbol("k") + 1, n)), x)}
    assert_same(b.graph)


def test_kinds_of_attributes_are_told_apart() -> None:
    """1, 1.0 and true are three attributes, and a kind is no symbol."""
    b = Builder(Graph("f"))
    x = b.input("x", Type(DType.INT, (symbol("float"),)))
    y = b.emit(Cast(DType.FLOAT), x)
    b.graph.outputs = {"y": b.emit(Pad((0,), (1,), -np.inf), y)}
    text = printed(b.graph)
    assert "dtype: !float" in text and "before: [0], after: [1], value: -inf" in text
    assert_same(b.graph)


def test_what_differs_is_not_the_same() -> None:
    """Equality of graphs, which every test here rests on, sees attributes, constants, operands, names and places."""
    text = """
    program f(x: float[N, 4]) -> (y: float[N, 4]) {
      scope net "dense(3)"
      %c = constant [1.0, 2.0, 3.0, 4.0]
      %a = add(%x, %c)
      %s = sub(%a, %x)
      return y = %s
    }
    """
    graph = parse(text)
    assert same_graph(graph, parse(text)) and graph_key(graph) == graph_key(parse(text))
    for old, new in (
        ("4.0]", "5.0]"),
        ("sub(%a, %x)", "sub(%x, %a)"),
        ("add", "mul"),
        ("(y:", "(z:"),
        ("= %s", "= %a"),
    ):
        other = parse(text.replace(old, new).replace("return y", "return z" if new == "(z:" else "return y"))
        assert not same_graph(graph, other) and graph_key(graph) != graph_key(other)
    moved = parse(text.replace("dense(3)", "dense(4)"))
    assert not same_graph(graph, moved) and same_graph(graph, moved, places=False)


FAULTS = {
    "": "expected one program",
    "program f() -> () {": "line 1: expected a value, scope, return or }, found 'the end'",
    "program f() -> () {\n %y = ad()\n}": "line 2: no primitive is named 'ad'",
    "program f(x: float[2]) -> () {\n %y = add(%x)\n}": "line 2: add: ",
    "program f(x: float[2]) -> () {\n %y = neg(%z)\n}": "line 2: %z is not there yet",
    "program f(x: float[2]) -> () {\n %x = neg(%x)\n}": "line 2: %x is there already",
    "program f(x: float[2]) -> () {\n %y = neg(%x) : float[3]\n}": "line 2: neg gives float[2]",
    "program f(x: float[2]) -> () {\n %y = neg(%x) {axis: 1}\n}": "line 2: neg: ",
    "program f(x: float[2]) -> () {\n %y, %z = neg(%x)\n}": "line 2: neg has 1 results",
    "program f(x: float[2]) -> (y: float[3]) {\n return y = %x\n}": "line 2: the results are not those",
    "program f(x: float[2], x: float[2]) -> () {}": "line 1: expected names that differ",
    "program f(x: text[2]) -> () {}": "line 1: expected float, int or bool",
    "program f() -> () {\n %w = parameter w\n}": "line 2: a leaf needs its type",
    "program f() -> () {\n %c = constant @0123456789abcdef : float[99]\n}": "line 2: constant: the text has no data",
    "program f() -> () {\n %c = constant fill 0.0 : float[99999999999]\n}": "line 2: constant: no constant is of type",
    "program f() -> () {\n %c = constant [1.0] : float[2]\n}": "line 2: constant: an array of shape [1]",
    "program f() -> () {\n %c = constant " + "[" * 99 + "\n}": "line 2: expected fewer brackets",
    "program f() -> ()\n § {}": "line 2: cannot read '§",
    'data {\n @0123456789abcdef = "AAAA"\n}': "line 3: expected the data of @0123456789abcdef",
    'data {\n @0123456789abcdef = "A"\n}': "line 2: ",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
def test_what_is_no_graph_is_refused_at_its_line(text: str) -> None:
    with pytest.raises(TextError) as refused:
        parse(text)
    assert FAULTS[text] in str(refused.value) and str(refused.value).startswith("line ")


def test_large_constants_have_one_row_for_all_programs() -> None:
    programs = module("made").programs
    text = printed_all(programs)
    assert text.count("data {") == 1 and text.count('= "') <= len(set(_constants(programs)))
    read = parse_all(text)
    assert list(read) == list(programs) and all(same_graph(g, read[k]) for k, g in programs.items())


def _constants(programs: dict[str, Graph]) -> list[Constant]:
    found = []
    for graph in programs.values():
        for node in graph.nodes():
            found += [node.op] if isinstance(node.op, Constant) else []
            found += [n.op for body in node.op.bodies() for n in body.nodes() if isinstance(n.op, Constant)]
    return found


def test_a_page_says_where_each_layer_stands() -> None:
    page = printed(module("made").programs["log_prob"], Style(data=False, scopes=False))
    assert "# x.net.dense_0: dense(hidden, mask = up)" in page and "%dense_0.mat_mul = mat_mul(" in page
    assert max(map(len, page.splitlines())) < 160


def test_a_chart_has_a_box_for_every_node_and_an_arrow_for_every_use() -> None:
    graph = module("made").programs["log_prob"]
    shown = [n for n in graph.nodes() if not isinstance(n.op, Constant)]
    chart = mermaid(graph)
    assert chart.count("-->|") == sum(
        not isinstance(graph.node(v).op, Constant) for n in shown for v in n.inputs
    )
    assert chart.count("subgraph") == chart.count("  end") > 0
    b = Builder(Graph("f"))
    b.graph.outputs = {'"]; click': b.emit(Add(), *[b.input("x", float_type())] * 2)}
    assert '"]; click' not in mermaid(b.graph)


def test_equal_computations_have_one_number_in_all_graphs() -> None:
    """Whatever ids, scopes and the order of nodes are; a weight of another name has another one."""
    text = """
    program f() -> (y: float[2]) {
      %w = parameter w : float[2]
      %c = constant [1.0, 2.0]
      %a = mul(%w, %c)
      %y = exp(%a)
      return y = %y
    }
    """
    other = text.replace("%a =", "scope net\n %z = neg(%c)\n %a =")
    numbers = ValueNumbers()
    found = [
        numbers.of(g, g.outputs["y"])
        for g in map(parse, (text, other, text.replace("parameter w", "parameter v")))
    ]
    assert found[0] == found[1] != found[2]
