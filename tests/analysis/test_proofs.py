"""Laws of verdicts: what is proved holds at every length, what is refuted shows at the length that is named."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from random_sequences import leaks, sequence
from specs_under_test import NAMES, module

from mpcompile import api, ops
from mpcompile.analysis import Status, Verdict, prove
from mpcompile.analysis.claims.autoregressive import leak_at
from mpcompile.analysis.dependence import interpret, tau, witness
from mpcompile.analysis.horizon import horizon, search
from mpcompile.analysis.mixing import mixing_sets
from mpcompile.analysis.paths import distances, positions_of, reach
from mpcompile.analysis.stencils import at_every_length, elements, expanded
from mpcompile.analysis.verdict import free_symbols
from mpcompile.diagnostics import Source, Span
from mpcompile.frontend import parse_text
from mpcompile.ir import (
    Builder,
    Claim,
    Graph,
    Module,
    NoRule,
    Ordering,
    Symbolic,
    availability,
    float_type,
    symbol,
)
from mpcompile.lowering import lower
from mpcompile.text import parse

LENGTHS = (1, 2, 3, 5, 8, 17, 43)


def lowered(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def only(text: str, kind: str = "autoregressive") -> Verdict:
    """The verdict on the claim of one kind."""
    (found,) = [v for v in api.verdicts(lowered(text)) if v.claim.kind == kind]
    return found


def time_of(verdict: Verdict) -> int:
    return {k: n for k, n in verdict.at.items() if k != "N"}["time"]


# --- autoregressive ---


@pytest.mark.parametrize("seed", range(40))
def test_a_proof_holds_in_numbers_and_a_refutation_shows(seed: int) -> None:
    spec = sequence(seed)
    m = spec.module()
    verdict = prove(m)[0]
    if verdict.status is Status.PROVED:
        assert not any(leaks(m, spec.subject, dict.fromkeys(spec.symbols, n), 1) for n in LENGTHS), spec.text
        return
    assert verdict.status is Status.REFUTED, verdict.how
    at = {k: n for k, n in verdict.at.items() if k != "N"}
    for name, n in at.items():
        assert n == 1 or not leaks(m, spec.subject, {**at, name: n - 1}, 1), spec.text
    if max(at.values()) <= 12:  # farther effects may vanish in float64
        assert leaks(m, spec.subject, at, 3), spec.text


SEQUENCE = """model m
input x: category(4)[time]
x ~ autoregressive(likelihood = categorical) {{ embedding(4) -> {net} -> dense(4) }}
"""


@pytest.mark.parametrize(
    ("net", "length"),
    [
        ("shift(9) -> lstm(3, bidirectional = true)", 10),
        ("shift(16) -> attention(1)", 17),
        ("shift(9) -> group_norm(1)", 10),
        ("shift(40) -> last -> over(time)", 41),
        ("shift -> attention(1, mask = causal) -> conv1d(4, 3, dilation = 20, pad = same)", 21),
        ("last -> over(time) -> shift(20) -> attention(1)", 21),
    ],
)
def test_a_leak_behind_a_long_shift_is_found_at_the_shortest_length(net: str, length: int) -> None:
    verdict = only(SEQUENCE.format(net=net))
    assert verdict.status is Status.REFUTED and time_of(verdict) == length
    assert not verdict.status.accepted


def test_small_lengths_are_tried_too() -> None:
    """A leak may be there at short lengths alone, so the search begins with them."""
    graph = module("transformer").programs["conditionals"]
    found = search(graph, lambda sizes: sizes["time"] if sizes["time"] == 2 else None)
    assert found.found == 2 and found.at["time"] == 2
    clean = search(graph, lambda sizes: None)
    assert [s["time"] for s in clean.checked][:5] == [1, 2, 3, 5, 8]
    assert clean.complete and clean.checked[-1]["time"] == horizon(graph)["time"]


VECTOR = """model m
input x: real[4]
condition c: real[time, 4]
x ~ autoregressive(order = natural) {{ over(time) -> shift({k}) -> add(c) -> last -> dense(8) }}
"""


@pytest.mark.parametrize("k", [1, 9, 30])
def test_a_vector_beside_a_sequence_is_searched_at_its_lengths(k: int) -> None:
    verdict = only(VECTOR.format(k=k))
    assert verdict.status is Status.REFUTED and time_of(verdict) == k + 1
    (finding,) = verdict.diagnostics
    assert finding.path and any(f"time = {k + 1}" in note for note in finding.notes)
    graph = lowered(VECTOR.format(k=k)).programs["conditionals"]
    for length in (8, 11, 40):  # as the rules themselves say at numbers
        assert (leak_at(graph, verdict.claim, {"N": 1, "time": length}) is not None) == (length > k)


def test_a_vector_that_reads_a_sequence_by_masks_is_proved_for_every_length() -> None:
    text = """model m
input x: binary[6]
condition c: real[time, 3]
mask up = degrees(order = natural, hidden = 12, seed = 0)
x ~ autoregressive(order = natural) {
  dense(12, mask = up) -> add(c -> gru(12, output = state)) -> tanh -> dense(6, mask = strict(up))
}
"""
    verdict = only(text)
    assert verdict.status is Status.PROVED and str(verdict.scope) == "every length"


FLOW = """model m
input x: real[4]
condition c: real[time, 2]
x ~ flow(base = normal) {{ coupling(mask = checkerboard, net = over(time) -> shift({k}) -> add(c) -> last -> dense(4)) }}
check {{ jacobian(x) is {kind} }}
"""


@pytest.mark.parametrize("k", [1, 9, 40])
def test_a_jacobian_beside_a_sequence_is_searched_at_its_lengths(k: int) -> None:
    verdict = only(FLOW.format(k=k, kind="diagonal"), "jacobian")
    assert verdict.status is Status.REFUTED and time_of(verdict) == k + 1
    triangular = only(FLOW.format(k=k, kind="triangular"), "jacobian")
    assert triangular.status is Status.PROVED and str(triangular.scope) == "every length"


IMAGE = """model m
input x: binary[{c}, {size}, {size}]
x ~ autoregressive(order = {order}, seed = 2) {{
  conv({hidden}, 3, pad = same, mask = causal2d(type = A{groups})) -> tanh
  conv({c}, 1, mask = causal2d(type = B{groups}))
}}
"""


@pytest.mark.parametrize("order", ["natural", "pixel", "reverse", "random"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_size_is_said_of_an_order_by_its_name(order: str, channels: int) -> None:
    groups = ", channels = rgb" if channels == 3 else ""
    texts = [
        IMAGE.format(c=channels, size=n, order=order, hidden=2 * channels, groups=groups) for n in (1, 2, 3)
    ]
    found = [only(text) for text in texts]
    scopes = {str(v.scope) for v in found}
    wanted = order == "pixel" or (order == "natural" and channels == 1)
    assert ("every size" in scopes) == wanted
    if "every size" in scopes:
        assert all(v.status is Status.PROVED for v in found)
    assert found[0].status is Status.PROVED or channels > 1


def test_a_random_order_that_looks_like_rows_is_proved_for_its_size_alone() -> None:
    text = """model m
input x: binary[1, 1, 2]
x ~ autoregressive(order = random, seed = 2) {
  conv(4, [3, 3], pad = same, mask = causal2d(type = A)) -> tanh -> conv(1, 1)
}
"""
    verdict = only(text)
    assert verdict.status is Status.PROVED and str(verdict.scope) == "the declared sizes"


def test_a_dense_network_that_goes_through_a_sequence_is_blamed_and_warned_of() -> None:
    text = """model m
input x: real[5]
condition c: real[time, 4]
mask up = degrees(order = natural, hidden = 8, seed = 0)
x ~ autoregressive(order = natural) {
  dense(8, mask = up) -> over(time) -> add(c -> dense(8))
  conv1d(8, 3, pad = same)
  last -> dense(10)
}
"""
    m = lowered(text)
    verdict, *_ = api.verdicts(m)
    assert verdict.status is Status.REFUTED and time_of(verdict) == 1
    assert verdict.diagnostics[0].span.line == 7
    assert api.warnings(m) == []


def test_paths_that_cancel_are_no_counterexample() -> None:
    """p - p is constant; so is a norm over one element, which is known of it, and over four steps it is not."""
    sequence = "model m\ninput x: real[time, 1]\nx ~ autoregressive {{ {} -> dense(2) }}\n"
    alone = only(sequence.format("dense(1) as p -> (p - p)"))
    assert alone.status is Status.UNDECIDED and "cancels" in alone.how
    assert only(sequence.format("layer_norm")).status is Status.PROVED
    pooled = only(
        "model m\ninput x: real[time, 1]\nx ~ autoregressive { shift(3) -> group_norm(1) -> dense(2) }\n"
    )
    assert pooled.status is Status.REFUTED and time_of(pooled) == 4
    fixed = "model m\ninput x: real[1]\nx ~ autoregressive {{ {} -> dense(2) }}\n"
    assert only(fixed.format("dense(1) as p -> (p - p)")).status is Status.UNDECIDED
    assert only(fixed.format("layer_norm")).status is Status.PROVED


def test_undecided_names_the_primitive_that_is_known_from_above_only() -> None:
    """The first step behind a pad is zero, which "all elements alike" does not tell."""
    g = Graph("conditionals")
    b = Builder(g)
    n, time = symbol("N"), symbol("time")
    x = b.input("x", float_type(n, 3))
    steps = b.emit(ops.BroadcastTo((n, time, 3)), b.emit(ops.Reshape((n, 1, 3)), x))
    late = b.emit(ops.Add(), steps, b.input("c", float_type(n, time, 3)))
    padded = b.emit(ops.Slice(1, 0, time), b.emit(ops.Pad((0, 1, 0), (0, 0, 0)), late))
    g.outputs["loc"] = b.emit(ops.Reshape((n, 3)), b.emit(ops.Slice(1, 0, 1), padded))
    claim = Claim(
        "autoregressive", "x", "conditionals", Span.none(),
        order=Ordering(np.arange(3), None, "natural"),
    )  # fmt: skip
    verdict = prove(Module("m", Source("m", ""), programs={"conditionals": g}, claims=[claim]))[0]
    assert verdict.status is Status.UNDECIDED and verdict.primitive in ("pad", "slice")
    assert {"time": 1, "N": 1} in verdict.checked and len(verdict.checked) >= 4


# --- witnesses ---


@pytest.mark.parametrize(
    ("shape", "net"),
    [
        ("[4]", "dense(8)"), ("[1]", "dense(2)"), ("[2, 5]", "conv(4, 3, pad = same)"),
        ("[2, 3, 3]", "conv(4, 3, pad = same)"), ("[1, 2, 2, 3]", "conv(2, 3, pad = same)"),
        ("[time]", "dense(2)"), ("[time, 3]", "rnn(6)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("condition", ["", "condition c: real[frames, 3]\n"])
def test_every_refutation_has_a_witness(shape: str, net: str, condition: str) -> None:
    """Subjects of rank 1 to 4, with and without a condition of any length."""
    try:
        m = lowered(f"model m\ninput x: real{shape}\n{condition}x ~ autoregressive {{ {net} }}\n")
    except api.SpecError:
        m = lowered(f"model m\ninput x: category(3){shape}\n{condition}"
                    "x ~ autoregressive(likelihood = categorical) { embedding(3) -> dense(3) }\n")  # fmt: skip
    verdict = api.verdicts(m)[0]
    assert verdict.status is Status.REFUTED
    (finding,) = verdict.diagnostics
    assert finding.code == "MP301" and len(finding.path) >= 2
    assert "is number 1, x" not in " ".join(finding.notes) or "itself" not in finding.message


@pytest.mark.parametrize("k", range(3))
def test_a_witness_goes_through_the_elements_that_are_read(k: int) -> None:
    """Others of the same value are as late, and are not on the path."""
    graph = parse(f"""
    program f(x: float[N, 1]) -> (y: float[N, 1]) {{
      %p = concat(%x, %x, %x) {{axis: 1}}
      %i = constant [{k}]
      %y = gather(%p, %i) {{axis: 1}}
      return y = %y
    }}
    """)
    memory = tau(graph, "x", np.zeros(1, int), {"N": 1})
    path = witness(graph, memory, {"N": 1}, graph.outputs["y"], (0, 0))
    assert [step.index for step in path] == [(0, 0), (0, k), (0, 0)]


def test_an_element_that_reads_itself_is_said_to() -> None:
    verdict = only(SEQUENCE.format(net="tanh"))
    assert verdict.diagnostics[0].message == "output x[0] reads the element x[0] itself"
    assert not any("is number" in note for note in verdict.diagnostics[0].notes)


def test_the_caret_is_on_the_layer_that_mixes_up_the_colours() -> None:
    text = """model m
input x: binary[3, 4, 4]
x ~ autoregressive(order = pixel) {
  conv(6, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> relu
  conv(6, 1) -> relu
  conv(3, 1, mask = causal2d(type = B, channels = rgb))
}
"""
    assert only(text).diagnostics[0].span.line == 5


# --- path lengths ---


PATHS = {
    "attention(1, mask = causal)": 1,
    "residual(attention(1, mask = causal)) -> residual(attention(1, mask = causal))": 1,
    "attention(1, mask = causal) -> dense(3) -> attention(1, mask = causal)": 2,
}


@pytest.mark.parametrize("net", PATHS)
def test_a_proved_path_length_is_that_of_the_shortest_paths(net: str) -> None:
    def text(op: str) -> str:
        return SEQUENCE.format(net=f"shift -> {net}") + f"check {{ path_length(x) {op} {longest} }}\n"

    longest = PATHS[net]
    m = lowered(text("=="))
    verdict = next(v for v in api.verdicts(m) if v.claim.kind == "path_length")
    assert verdict.status is Status.PROVED and str(verdict.scope) == "every length"
    assert max(reach(m, "x", n).longest for n in (8, 64, 150)) == longest
    assert only(text("<"), "path_length").status is Status.REFUTED
    assert only(text(">"), "path_length").status is Status.REFUTED


@pytest.mark.parametrize(
    ("net", "op", "bound", "status"),
    [
        ("shift", "<=", 1, "refuted"),  # joins each step to the one before, and nothing else
        ("shift -> residual(conv1d(4, 70)) -> relu -> residual(conv1d(4, 70))", "<=", 1, "refuted"),
        ("shift -> residual(conv1d(4, 70)) -> relu -> residual(conv1d(4, 70))", "<=", 9, "refuted"),
        ("shift -> residual(conv1d(4, 70)) -> relu -> residual(conv1d(4, 70))", "==", 2, "refuted"),
        ("shift -> residual(conv1d(4, 70)) -> relu -> residual(conv1d(4, 70))", ">=", 2, "proved"),
        ("shift -> residual(conv1d(4, 70)) -> relu -> residual(conv1d(4, 70))", ">=", 3, "refuted"),
        ("shift -> gru(4)", "<=", 20, "refuted"),
        ("shift -> gru(4)", ">=", 20, "proved"),
        ("shift(40) -> attention(1, mask = causal)", "<=", 1, "refuted"),
    ],
)
def test_path_lengths_are_decided_at_every_length(net: str, op: str, bound: int, status: str) -> None:
    verdict = only(SEQUENCE.format(net=net) + f"check {{ path_length(x) {op} {bound} }}\n", "path_length")
    assert str(verdict.status) == status, verdict.how


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ("conv1d(2, 3)", "no path leads more than 2 positions back"),
        ("conv1d(2, 3, pad = same)", "no path leads at offset -2, among others"),
    ],
)
def test_offsets_that_no_path_leads_over_are_named(net: str, said: str) -> None:
    """All on one side of a bound, or the nearest of those on both sides."""
    text = f"model m\ninput x: real[time, 2]\ntarget y: real[time, 2]\ny ~ normal(x -> {net}, 1)\n"
    verdict = only(text + "check { path_length(x) <= 2 }\n", "path_length")
    assert verdict.diagnostics[0].message.startswith(said)


@pytest.mark.parametrize(
    "net",
    [
        "shift -> gru(3)", "shift -> conv1d(4, 3, dilation = 2) -> tanh -> conv1d(4, 2) -> rnn(3)",
        "residual(shift(7)) -> shift -> rnn(3)", "shift(5) -> rnn(3) -> rnn(3)", "shift -> attention(1, mask = causal)",
        "shift -> residual(conv1d(4, 3)) -> residual(conv1d(4, 3, dilation = 3)) -> layer_norm",
    ],
)  # fmt: skip
def test_offsets_by_count_are_the_shortest_paths_inside(net: str) -> None:
    """At a place that is far from the start, up to the cap; a pair without a path has no count."""
    cap, length, place = 4, 34, 33
    m = lowered(SEQUENCE.format(net=net))
    graph = m.programs["conditionals"]
    env = {"N": 1, "time": length}
    table = distances(graph, "x", env, positions_of(graph, "x", env))
    sets = mixing_sets(graph, "x", cap)
    for name, value in graph.outputs.items():
        stencil = sets.of(value)
        assert stencil.exact
        counts = [(k, s) for _, found in elements(expanded(stencil)) for k, s in found]
        for j in range(14, length):  # what is nearer to the start, its end may shorten
            joined = [k for k, s in counts if s.window([j - place], [1])[0]]
            longest = int(table[name][0].reshape(length, -1, length)[place, :, j].max())
            assert (min(joined) if joined else -1) == min(longest, cap)


def test_what_joins_nothing_is_refuted() -> None:
    text = """model m
input x: real[time, 2]
mask nothing = band(lower = -9, upper = -9)
x ~ autoregressive { dense(4, mask = nothing) }
check { path_length(x) <= 4 }
"""
    verdict = only(text, "path_length")
    assert verdict.status is Status.REFUTED
    assert "joins" in verdict.diagnostics[0].message


# --- rules ---


@pytest.mark.parametrize("op", [ops.Less(), ops.LessEqual(), ops.Equal()], ids=lambda op: op.name)
@pytest.mark.parametrize("side", [0, 1])
def test_a_comparison_with_minus_infinity_depends_on_a_side_that_may_be_it(op: ops.Less, side: int) -> None:
    """Whatever the other side is, minus infinity included."""
    domain = availability()
    bound = domain.constant(np.array([-np.inf]))
    free = domain.make((1,), np.ones((1, 1), np.int32))
    (found,) = op.depend(domain, *((bound, free) if side == 0 else (free, bound)))
    answers = set()
    for other in (-np.inf, -1.0, 0.0, np.inf):
        pair = (np.array([-np.inf]), np.array([other]))
        answers.add(bool(op.evaluate(*(pair if side == 0 else pair[::-1]))[0][0]))
    assert bool(found.facts.any()) == (len(answers) > 1)


def _holds(graph: Graph, lengths: Mapping[str, int]) -> None:
    """Facts at every length are no less than those at some numbers, for every value that has a rule."""
    seeds = {v: np.ones((1,) * (v.type.rank + 1), np.int32) for v in graph.inputs.values()}
    upper = at_every_length(graph, availability(), seeds)
    for name, value in graph.inputs.items():
        upper_one = at_every_length(graph, availability(), {value: seeds[value]})
        sizes = {"N": 1, **lengths}
        ones = np.ones((*value.type.concrete(sizes), 1), np.int32)
        exact = interpret(graph, availability(), {name: ones}, sizes)
        for v, known in upper_one.items():
            if isinstance(known, NoRule):
                continue
            facts, bound = exact[v].full()[..., 0], known.full()[..., 0]
            for axis, size in enumerate(v.shape):
                if isinstance(size, Symbolic):  # all alike, so one stands for all
                    facts, bound = facts.max(axis, keepdims=True), bound.take([0], axis)
            assert (facts <= bound).all(), (name, graph.node(v).op.name)
            zero = np.broadcast_to(known.zero, known.shape)
            for axis, size in enumerate(v.shape):
                zero = zero.take([0], axis) if isinstance(size, Symbolic) else zero
            assert not (zero & ~np.broadcast_to(exact[v].zero, exact[v].shape)).any()
    assert upper


@pytest.mark.parametrize("seed", range(0, 40, 2))
@pytest.mark.parametrize("length", [1, 2, 7])
def test_facts_at_every_length_bound_those_at_each(seed: int, length: int) -> None:
    spec = sequence(seed)
    _holds(spec.module().programs["conditionals"], dict.fromkeys(spec.symbols, length))


@pytest.mark.parametrize("name", [n for n in NAMES if any(map(free_symbols, module(n).programs.values()))])
def test_facts_at_every_length_bound_those_of_every_spec(name: str) -> None:
    for program in ("conditionals", "predict", "log_prob"):
        graph = module(name).programs.get(program)
        if graph is not None and free_symbols(graph):
            _holds(graph, dict.fromkeys(free_symbols(graph), 5))
