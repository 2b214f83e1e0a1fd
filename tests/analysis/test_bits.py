"""Matrices of bits are the bool matrices that they pack, and Jacobians of many elements stay small."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile.analysis.bits import BitMatrix, columns_set
from mpcompile.analysis.jacobian import Structure, classify, coupling_structure
from mpcompile.ir import Array

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (3, 5), (64, 64), (65, 63), (130, 200), (5, 129)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_packed_is_the_matrix(shape: tuple[int, int]) -> None:
    rows, columns = shape
    for share in (0.02, 0.3, 1.0):
        m, other = (RNG.random(shape) < share for _ in range(2))
        bits = BitMatrix.of(m)
        assert bits.shape == shape and BitMatrix.of(bits) is bits
        assert np.array_equal(bits.unpack(), m)
        assert np.array_equal((bits | BitMatrix.of(other)).unpack(), m | other)
        assert bits.any() == m.any()
        assert np.array_equal(bits.counts(), m.sum(1))
        some = RNG.permutation(columns)[: columns // 2]
        words = columns_set(some, bits.words.shape[1])
        assert np.array_equal(bits.counts(words), m[:, some].sum(1))
        assert all(np.array_equal(bits.column(j), m[:, j]) for j in range(columns))
        full = np.flatnonzero(m.any(1))
        assert np.array_equal(bits.first(full), m[full].argmax(1))
        rest = m.copy()
        rest[:, some] = False
        full = np.flatnonzero(rest.any(1))
        assert np.array_equal(bits.first(full, words), rest[full].argmax(1))
        assert np.array_equal(
            bits.at(np.arange(rows), np.arange(rows) % columns), m[np.arange(rows), np.arange(rows) % columns]
        )
        for each in (m, np.tril(m), np.tril(m, -1)):  # rows of nothing among them
            assert BitMatrix.of(each).lower() == (not np.triu(each, 1).any())
        beside = np.argwhere(m & ~np.eye(rows, columns, dtype=bool))
        assert bits.beside_the_diagonal() == (tuple(beside[0]) if beside.size else None)


def slow(matrix: Array) -> str:
    """The kind of a Jacobian, one row after the other."""
    left, gone = matrix.copy(), 0
    if (matrix.sum(1) == 1).all() and (matrix.sum(0) == 1).all():
        return "diagonal"
    while (ready := np.flatnonzero(left.sum(1) == 1)).size:
        column = left[ready[0]].argmax()
        if (left.sum(1)[left[:, column]] == 1).sum() > 1:
            return "dense"
        left[:, column] = False
        gone += 1
    return "triangular" if gone == len(matrix) else "dense"


def test_structures_are_those_of_peeling_row_by_row() -> None:
    kinds = set()
    for n in (1, 2, 3, 5, 9, 70):
        for _ in range(60):
            triangle = np.tril(RNG.random((n, n)) < RNG.random()) | np.eye(n, dtype=bool)
            m = triangle[RNG.permutation(n)][:, RNG.permutation(n)] ^ (
                RNG.random((n, n)) < RNG.choice([0, 0.02])
            )
            found = classify(m)
            kinds.add(found.kind)
            assert found.kind == slow(m), m
            if found.kind == "dense":
                continue
            outputs, inputs = (list(p) for p in zip(*found.pivots, strict=True))
            assert sorted(outputs) == sorted(inputs) == list(range(n))
            ordered = m[np.ix_(outputs, inputs)]
            assert ordered.diagonal().all() and not np.triu(ordered, 1).any()
    assert kinds == {"diagonal", "triangular", "dense"}


def test_a_lower_triangular_matrix_keeps_the_order_of_memory() -> None:
    m = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    assert classify(m) == Structure("triangular", ((0, 0), (1, 1), (2, 2))) and classify(m).natural


def test_what_a_coupling_transforms_and_shows_at_once_is_found() -> None:
    direct, seen = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    seen[2:, :2] = True
    assert coupling_structure(direct, seen)[1] is None
    seen[3, 3] = True
    assert coupling_structure(direct, seen)[1] == (3, 3)
    seen[3, 3], seen[0, 3] = False, True
    assert coupling_structure(direct, seen)[1] == (0, 3)
