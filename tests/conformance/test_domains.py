"""The domains of dependence agree with what changes, and with each other, on every example of every primitive.

One sweep: an element is changed in floats (`evaluate`) and modulo a prime (`over_field`). Upper bounds of both are sets
(`depend`), offset sets without a moving axis (`stencil` over the same facts), and offset sets along each axis that may be
a length. All operands are free; one of several is a constant; some elements are known to be zero or minus infinity; axes
have one element.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product
from operator import mul

import numpy as np
import pytest
from one_node import LEAVES
from placed import over_channels, predicted
from trials import Trial, bits_of, rounds, trials

from mpcompile.analysis.stencils import offset_sets, spatial_axes
from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    Example,
    Graph,
    NoRule,
    Symbolic,
    Type,
    TypeMismatch,
    bitsets,
    substitute,
    symbol,
)
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import Lattice, still
from mpcompile.ops import PRIMITIVES
from mpcompile.ops._base import type_of
from mpcompile.ops._reshape import _blocks as blocks
from mpcompile.ops._reshape import _symbolic_blocks as symbolic_blocks

CASES = [
    pytest.param(example, id=f"{name}-{i}")
    for name, primitive in PRIMITIVES.items()
    for i, example in enumerate(primitive.examples())
]
FIELDS = [Field(2), Field(5)]


def narrow(example: Example) -> Iterator[Example]:
    """The example with one element along each axis in turn, where its attributes allow it."""
    for axis in range(max((x.ndim for x in example.inputs), default=0)):
        size = {x.shape[axis] for x in example.inputs if x.ndim > axis}
        cut = tuple(x.take([0], axis) if x.ndim > axis else x for x in example.inputs)
        if size == {1}:
            continue
        try:
            if example.op.infer(*map(type_of, cut)) == tuple(type_of(y) for y in example.op.evaluate(*cut)):
                yield Example(example.op, cut, example.differentiable)
        except (TypeMismatch, ValueError, IndexError):
            continue


@pytest.mark.parametrize("example", CASES)
def test_the_domains_agree_with_what_changes(example: Example) -> None:
    for one in (example, *narrow(example)):
        whole = one is example
        for n, trial in enumerate(trials(one)):
            domain = bitsets(len(trial.free))
            with np.errstate(all="raise"):
                results = one.op.depend(domain, *trial.abstract(domain))
            claimed = [bits_of(r, len(trial.free)) for r in results]
            changed, seen = trial.support(rounds(one) if whole else 2, claimed)
            shown = modulo(trial)
            held_to_numbers(one, trial, results, changed, shown, seen, all_shown=whole)
            agrees(one, trial, domain, results)
            if n == 0:
                along_lengths(one, trial, changed)


def modulo(trial: Trial) -> list[Array]:
    """What changes modulo a prime in one of two trials."""
    if trial.op.name in LEAVES:
        return []
    runs = [trial.over_field(f) for f in FIELDS]
    return [np.logical_or(*each) for each in zip(*runs, strict=True)]


def held_to_numbers(
    example: Example, trial: Trial, results: tuple[Abstract, ...], changed: list[Array], shown: list[Array],
    seen: list[list[Array]], all_shown: bool,
) -> None:  # fmt: skip
    """Sets have what changes, and nothing else; what is known to be zero, minus infinity or a constant is."""
    for k, (result, support) in enumerate(zip(results, changed, strict=True)):
        assert result.shape == support.shape[:-1]
        claimed = bits_of(result, len(trial.free))
        assert not (support & ~claimed).any(), "an element changed that was not said to depend"
        if shown:
            assert not (shown[k] & ~claimed).any(), (
                "an element changed modulo a prime that was not said to depend"
            )
        if all_shown and not example.op.conservative:
            assert not (claimed & ~support).any(), "an element was said to depend and never changed"
        if shown and not example.op.steps and not any(x.dtype.kind != "f" for x in example.inputs):
            assert not (support & ~shown[k]).any(), "an element changed in floats and not modulo a prime"
        for outputs in seen:
            y = np.asarray(outputs[k])
            zeros = y[np.broadcast_to(result.zero, y.shape)]
            assert ((zeros == 0) | np.isnan(zeros)).all()  # softmax over nothing but minus infinity is NaN
            bottoms = y[np.broadcast_to(result.neginf, y.shape)]
            assert (np.isneginf(bottoms) | np.isnan(bottoms)).all()
            if result.constant is not None:
                np.testing.assert_array_equal(outputs[k], result.constant)


def agrees(example: Example, trial: Trial, domain: Domain, results: tuple[Abstract, ...]) -> None:
    """Without a moving axis, the rule of offset sets gives the sets, or more where it says that it is not exact."""
    lattice = Lattice(0, domain)
    cells = [still(type_of(x), a) for x, a in zip(example.inputs, trial.abstract(domain), strict=True)]
    try:
        stencils = example.op.stencil(lattice, *cells)
    except NoRule:
        assert example.op.name == "max_pool_grad"  # any other rule needs no more than `depend`
        return
    for stencil, result in zip(stencils, results, strict=True):
        exact, said = bits_of(result, len(trial.free)), bits_of(stencil.cell, len(trial.free))
        assert not (exact & ~np.broadcast_to(said, exact.shape)).any(), "offset sets have less than sets"
        if stencil.exact:
            np.testing.assert_array_equal(np.broadcast_to(said, exact.shape), exact)


def lengths(example: Example) -> Iterator[Graph]:
    """The primitive with axes of its inputs as one length, in every way that fits."""
    kinds = [type_of(x) for x in example.inputs]
    for axes in product(*([None, *range(1, t.rank)] for t in kinds)):
        if len({t.shape[a] for t, a in zip(kinds, axes, strict=True) if a is not None}) != 1:
            continue
        g = Graph("g")
        b = Builder(g)
        values = [
            b.input(f"x{i}", Type(t.dtype, tuple(symbol("time") if a == n else s for n, s in enumerate(t.shape))))
            for i, (t, a) in enumerate(zip(kinds, axes, strict=True))
        ]  # fmt: skip
        try:
            node = g.add(example.op, values, b.span, ())
        except (TypeMismatch, ValueError):
            continue
        g.outputs = {f"y{k}": v for k, v in enumerate(node.outputs)}
        yield g


def along_lengths(example: Example, trial: Trial, changed: list[Array]) -> None:
    """Offset sets about each input, put down at its size, have what changes; axes of fixed sizes are places as well."""
    graphs = list(lengths(example)) if example.op.name not in LEAVES else []
    if example.op.name not in LEAVES:
        g = Graph("g")
        b = Builder(g)
        node = g.add(
            example.op, [b.input(f"x{i}", type_of(x)) for i, x in enumerate(example.inputs)], b.span, ()
        )
        g.outputs = {f"y{k}": v for k, v in enumerate(node.outputs)}
        graphs.append(g)
    for g in graphs:
        for i, x in enumerate(example.inputs):
            own = np.array([j for j, (source, _) in enumerate(trial.free) if source == i], int)
            axes = spatial_axes(g.inputs[f"x{i}"].type)
            if not axes or x.dtype.kind != "f":
                continue
            sets = offset_sets(g, f"x{i}")
            for k, value in enumerate(g.outputs.values()):
                try:
                    stencil = sets.of(value)
                except NoRule:
                    continue
                true = over_channels(changed[k].reshape(-1, len(trial.free))[:, own], x.shape, axes)
                said = predicted(stencil, x.shape, axes, changed[k].shape[:-1])
                assert not (true & ~said).any(), (g.inputs, value)


#: Of how many operands, one axis of each of which is a length or a place, offset sets are known of each primitive.
KNOWN = {
    "neg": 3, "exp": 3, "log": 3, "tanh": 3, "sigmoid": 3, "relu": 3, "softplus": 3, "sqrt": 3, "abs": 3,
    "sign": 3, "floor": 3, "erf": 3, "sin": 3, "cos": 3, "logical_not": 1, "stop_gradient": 3, "all_sum": 3, "cast": 4,
    "add": 5, "sub": 5, "mul": 5, "div": 5, "maximum": 5, "minimum": 5, "less": 6, "less_equal": 6,
    "equal": 6, "logical_and": 1, "logical_or": 1, "where": 7, "transpose": 6, "slice": 7, "pad": 4,
    "concat": 5, "flip": 3, "gather": 5, "take_along": 5, "scatter_along": 3, "one_hot": 1, "sum": 7,
    "max": 7, "log_sum_exp": 7, "softmax": 5, "log_softmax": 5, "cum_sum": 5, "arg_max": 4, "mat_mul": 22,
    "conv": 9, "conv_transpose": 21, "max_pool": 12, "avg_pool": 6, "scan": 6,
}  # fmt: skip


def test_no_fewer_offset_sets_are_known() -> None:
    """Of operands with a length in every way that fits. A rule that gets weaker refuses more."""
    found = dict.fromkeys(KNOWN, 0)
    examples = (case.values[0] for case in CASES)
    for example in (e for e in examples if e.op.name not in LEAVES):
        for g in lengths(example):
            for name, v in g.inputs.items():
                if spatial_axes(v.type):
                    sets = offset_sets(g, name)
                    known = [x for x in g.outputs.values() if not isinstance(sets.values[x], NoRule)]
                    found[example.op.name] = found.get(example.op.name, 0) + len(known)
    assert {k: n for k, n in found.items() if n < KNOWN.get(k, 0)} == {}


ATOMS = (symbol("a"), symbol("b"), 2, 3, 6)


@pytest.mark.parametrize("seed", range(40))
def test_axes_with_symbols_fall_into_the_blocks_of_those_in_numbers(seed: int) -> None:
    """Two ways to cut a product into axes of more than one element, with primes for the symbols."""
    rng, env = np.random.default_rng(seed), {"a": 101, "b": 103}
    atoms = [ATOMS[i] for i in rng.integers(0, len(ATOMS), rng.integers(1, 7))]

    def cut() -> tuple[int | Symbolic, ...]:
        axes, start = list[int | Symbolic](), 0
        while start < len(atoms):
            stop = start + int(rng.integers(1, 4))
            axes.append(reduce(mul, atoms[start:stop]))
            start = stop
        return tuple(axes)

    old, new = cut(), cut()
    assert symbolic_blocks(old, new) == blocks(
        [substitute(s, env) for s in old], [substitute(s, env) for s in new]
    )
