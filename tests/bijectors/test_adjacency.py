"""`adjacency = m` and `follows(x, m)`: random graphs, held to numeric Jacobians; cycles named; files bounded."""

from __future__ import annotations

from itertools import pairwise
from math import pi
from pathlib import Path

import flows_under_test as flows
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stated import answers

from mpcompile import api
from mpcompile.bijectors.adjacency import Parents
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.incremental import DeriveSamplers


def made(matrix: str, chain: str, size: int, type: str = "real", base: str = "normal") -> Module:
    text = (f"model m\ninput x: {type}[{size}]\nmask m = {matrix}\nx ~ flow(base = {base}) {{ {chain} }}\n"
            "check { follows(x, m) }\n")  # fmt: skip
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))


def written(matrix: Array) -> str:
    return str(matrix.astype(int).tolist())


@st.composite
def graphs(draw: st.DrawFn) -> Array:
    """A directed acyclic graph, in an order that is not that of its elements."""
    size = draw(st.integers(1, 6))
    order = draw(st.permutations(range(size)))
    edges = draw(st.lists(st.booleans(), min_size=size * size, max_size=size * size))
    lower_ = np.tril(np.reshape(edges, (size, size)), -1)
    return np.asarray(lower_[np.ix_(order, order)], bool)


@settings(max_examples=12, deadline=None)
@given(
    graphs(),
    st.sampled_from(["affine", "spline(bins = 3, bound = 2)", "monotone(units = 2)"]),
    st.integers(0, 99),
)
def test_a_random_graph_is_what_the_density_reads(matrix: Array, law: str, seed: int) -> None:
    """Derivatives are zero off the graph and not on it, the proof holds, and the sampler undoes the density."""
    size = len(matrix)
    m = made(
        written(matrix),
        f"autoregressive(adjacency = m, hidden = [2 * {size} + 2, {size} + 1], law = {law})",
        size,
    )
    w = {k: v + 0.05 * (v == 0) for k, v in flows.weights(m, seed).items()}
    x = np.random.default_rng(seed).uniform(-1, 1, (6, size))
    moved = np.abs(flows.jacobians(m, w, {"x": x})).max(0)
    assert (moved[~(matrix | np.eye(size, dtype=bool))] < 1e-9).all()
    assert {str(v.claim): v.status for v in answers(m)} | {"follows(x, m)": "proved"} == {
        str(v.claim): "proved" for v in answers(m)
    }
    z, log_det = flows.forward(m, w, {"x": x})
    np.testing.assert_allclose(log_det, np.linalg.slogdet(flows.jacobians(m, w, {"x": x}))[1], atol=1e-5)
    np.testing.assert_allclose(flows.backward(m, w, z, {}), x, atol=1e-8)
    if "monotone" not in law:
        derived = DeriveSamplers()(m.programs["inverse"])
        assert not (
            derived.refused and matrix.any()
        )  # without edges the reference is one pass an element as well
        np.testing.assert_allclose(interpret(derived.graph, w, {"z": z})["x"], x, atol=1e-8)


def test_a_layer_with_fewer_units_than_sets_is_refused() -> None:
    matrix = np.tril(np.ones((5, 5)), -1)
    made(written(matrix), "autoregressive(adjacency = m, hidden = [4, 6])", 5)
    with pytest.raises(
        SpecError, match="4 different sets of parents need as many units a layer, and there are 3"
    ):
        made(written(matrix), "autoregressive(adjacency = m, hidden = [6, 3])", 5)


def test_every_edge_is_read_by_a_net_as_wide_as_its_sets() -> None:
    matrix = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], bool)
    m = made(written(matrix), "autoregressive(adjacency = m, hidden = [9, 9])", 4)
    reads = np.zeros((4, 4))
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((8, 4))
        reads = np.maximum(reads, np.abs(flows.jacobians(m, flows.weights(m, seed), {"x": x})).max(0))
    np.testing.assert_array_equal(reads > 1e-6, matrix | np.eye(4, dtype=bool))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_another_order_is_not_refused_and_a_cycle_is_named(order: list[int]) -> None:
    chain = np.zeros((3, 3), bool)
    chain[order[1], order[0]] = chain[order[2], order[1]] = True
    ranks = Parents.of(chain).ranks
    assert ranks[order].tolist() == [0, 1, 2]
    chain[order[0], order[2]] = True
    with pytest.raises(SpecError) as caught:
        made(written(chain), "autoregressive(adjacency = m, hidden = [4])", 3)
    (found,) = caught.value.diagnostics
    named = [int(n) for n in found.message.split(": ")[-1].split(" -> ")]
    assert found.code == "MP206" and named[0] == named[-1] and len(named) == 4
    assert all(chain[child, parent] for parent, child in pairwise(named))


def test_a_dependence_beyond_the_matrix_is_found_with_its_path() -> None:
    matrix = np.tril(np.ones((4, 4), bool), -1)
    matrix[3, 1] = False
    chain = "autoregressive(hidden = [8])"
    (found,) = [v for v in answers(made(written(matrix), chain, 4)) if v.claim.kind == "follows"]
    assert found.status == "refuted" and [d.code for d in found.diagnostics] == ["MP313"]
    assert "x[3] reads x[1]" in found.diagnostics[0].message and found.diagnostics[0].path
    matrix[3, 1] = True
    assert {v.status for v in answers(made(written(matrix), chain, 4))} == {"proved"}
    both = f"{chain} -> autoregressive(adjacency = m, hidden = [8])"
    assert {v.status for v in answers(made(written(matrix), both, 4))} == {"proved"}
    permuted = f"{chain} -> permute(reverse)"
    assert {v.status for v in answers(made(written(matrix), permuted, 4))} == {"proved"}


def test_the_law_of_an_element_is_that_of_the_latent_that_it_becomes() -> None:
    """The first latent is made of the last element, whose law reads the second one: no row of the first allows it."""
    chain = "coupling(mask = [1, 1, 0], net = dense(6)) -> permute(reverse)"
    for row, status in (([1, 0, 0], "refuted"), ([1, 1, 0], "proved")):
        matrix = np.array([[0, 1, 1], [0, 0, 0], row])
        (found,) = [v for v in answers(made(written(matrix), chain, 3)) if v.claim.kind == "follows"]
        assert found.status == status, found.how
        assert all("x[2] reads x[1]" in d.message and d.path for d in found.diagnostics)


def test_an_autoregressive_density_may_follow_a_matrix() -> None:
    def claimed(matrix: str) -> str:
        text = (f"model m\ninput x: binary[3]\nmask m = {matrix}\nmask up = degrees\n"
                "x ~ autoregressive { dense(8, mask = up) -> relu -> dense(3, mask = strict(up)) }\n"
                "check { follows(x, m) }\n")  # fmt: skip
        module = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))
        return next(v.status for v in answers(module) if v.claim.kind == "follows")

    assert claimed("[[0, 0, 0], [1, 0, 0], [1, 1, 0]]") == "proved"
    assert claimed("[[0, 0, 0], [1, 0, 0], [1, 0, 0]]") == "refuted"


def test_angles_follow_a_graph_as_well() -> None:
    law = "law = spline(bins = 3, circular = true)"
    m = made("[[0, 1], [0, 0]]", f"autoregressive(adjacency = m, hidden = [4], {law})", 2, "angle", "uniform")
    assert {v.status for v in answers(m)} == {"proved"}
    x = np.random.default_rng(0).uniform(-pi, pi, (5, 2))
    j = np.abs(flows.jacobians(m, flows.weights(m), {"x": x})).max(0)
    assert j[1, 0] < 1e-9 < 1e-4 < j[0, 1]


def test_a_mask_of_a_file_is_a_mask_written_out(tmp_path: Path) -> None:
    matrix = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    spec = ('model m\ninput x: real[3]\nmask m = file("m.npy")\nx ~ flow(base = normal) { autoregressive(adjacency = m, '
            "hidden = [4]) }\ncheck { follows(x, m) }\n")  # fmt: skip
    path = tmp_path / "m.mp"
    path.write_text(spec, encoding="utf-8")

    def code() -> str:
        try:
            return "" if not api.check(api.load(path)) else "found"
        except SpecError as fault:
            return fault.diagnostics[0].code

    assert code() == "MP204"
    for array, wanted in ((matrix, ""), (matrix.astype(float), ""), (matrix * 2, "MP204"), (matrix[:2], "MP206"),
                          (matrix[None], "MP204"), (matrix + matrix.T, "MP206")):  # fmt: skip
        np.save(tmp_path / "m.npy", array)
        assert code() == wanted, array
    np.save(tmp_path / "m.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    assert code() == "MP204"


def test_what_the_claim_needs_is_said() -> None:
    def code(
        check: str, law: str = "flow(base = normal) { autoregressive(adjacency = m, hidden = [4]) }"
    ) -> str:
        text = f"model m\ninput x: real[2]\nmask m = [[0, 0], [1, 0]]\nx ~ {law}\ncheck {{ {check} }}\n"
        with pytest.raises(SpecError) as caught:
            lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))
        return caught.value.diagnostics[0].code

    assert (
        code("follows(x)") == "MP123"
        and code("follows(x, m, m)") == "MP128"
        and code("follows(x, n)") == "MP110"
    )
    assert code("follows(x, m)", "normal(0, 1)") == "MP132"
    mixed = "flow(base = mixture(components = 2)) { autoregressive(adjacency = m, hidden = [4]) }"
    assert code("follows(x, m)", mixed) == "MP132"
    assert (
        code("jacobian(x)", "flow { autoregressive(adjacency = m, order = reverse, hidden = [4]) }")
        == "MP205"
    )
    assert code("jacobian(x)", "flow { autoregressive(adjacency = [1, 0], hidden = [4]) }") == "MP206"
