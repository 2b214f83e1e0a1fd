"""Structural dependence is the support of the Jacobian: on every spec and on random graphs of all primitives.

The Jacobian is numeric: the numpy oracle runs in float64 with one input element changed at a time. Where an element
is not read, the same operations run on the same numbers, so the result is the same to the last bit; no tolerance is
needed to tell a dependence from none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_graphs import Sample, derived, graphs, jacobian
from random_sequences import changes, sequence
from specs_under_test import NAMES, inputs, module, weights

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for, support, tau
from mpcompile.analysis.field import reached, values_of
from mpcompile.analysis.order import ranks_of
from mpcompile.interpret import interpret as evaluate
from mpcompile.ir import (
    Builder,
    Constant,
    Domain,
    DType,
    Graph,
    Input,
    Module,
    Node,
    Parameter,
    Value,
    availability,
    bitsets,
    float_type,
)
from mpcompile.ir.facts import SORTED, staircase
from mpcompile.layers.base import MaskUse
from mpcompile.layers.masks import Degrees, mask_constant
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.specialize import member


def repeated(examples: int) -> settings:
    """The same examples in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=slow
    )


# --- random graphs ---


def check_tau(sample: Sample, found: dict[str, np.ndarray]) -> None:
    """tau is the maximum over the row of the Jacobian, under an order that has nothing to do with the layout."""
    size = int(np.prod(sample.shape))
    ranks = np.random.default_rng(size).permutation(size)
    memory = tau(sample.graph, "x", ranks.reshape(sample.shape[1:]), {})
    for name, value in sample.graph.outputs.items():
        latest = np.max(np.where(found[name], ranks + 1, 0), -1)
        np.testing.assert_array_equal(memory[value].full()[..., 0], latest, err_msg=name)


def used(graph: Graph, seen: Counter[str]) -> None:
    seen.update({n.op.name for n in graph.nodes() if not isinstance(n.op, Input | Parameter | Constant)})


#: They choose or round, so that what they depend on need not show; `test_primitives.py` holds each to its law.
STEPS = {
    "abs", "arg_max", "floor", "max", "max_pool", "max_pool_grad", "maximum", "minimum", "modulo", "relu", "sign"
}  # fmt: skip


def test_random_graphs_are_exact() -> None:
    """At every value of 500 smooth graphs; together they use every primitive that does not choose."""
    seen: Counter[str] = Counter()

    @repeated(500)
    @given(graphs())
    def law(sample: Sample) -> None:
        used(sample.graph, seen)
        structural, numeric = derived(sample), jacobian(sample, 1)
        if any((structural[k] != numeric[k]).any() for k in numeric):
            numeric = jacobian(sample, 4)  # one point may be flat, or the change too small to show
        for name, found in numeric.items():
            np.testing.assert_array_equal(structural[name], found, err_msg=name)
        check_tau(sample, numeric)

    law()
    assert set(ops.PRIMITIVES) - set(seen) == STEPS


def test_what_chooses_or_cancels_is_an_upper_bound() -> None:
    """x - x, maxima, rounding and comparisons: nothing changes that was not said to depend."""
    seen: Counter[str] = Counter()

    @repeated(150)
    @given(graphs(smooth=False))
    def law(sample: Sample) -> None:
        used(sample.graph, seen)
        structural = derived(sample)
        for name, found in jacobian(sample, 2).items():
            assert not (found & ~structural[name]).any(), name

    law()
    assert set(seen) >= STEPS


# --- specs ---

#: Programs whose outputs are real functions of the data.
PROGRAMS = [
    (name, program)
    for name in NAMES
    for program in ("conditionals", "forward", "predict", "encode", "decode")
    if program in module(name).programs
    and name not in ("perceptron", "ctc")  # which give a class, and a text
    and not any(v.dtype is DType.INT for v in module(name).programs[program].outputs.values())  # codes
    and not any(
        recognise(node) for node in module(name).programs[program].nodes()
    )  # nor does a draw change smoothly
]


def smooth(b: Builder, node: Node, ins: Sequence[Value]) -> tuple[Value, ...] | None:
    """Rectifiers and maxima replaced, so that no unit is dead and no element of a window loses."""
    if isinstance(node.op, ops.Relu):
        return (b.emit(ops.Softplus(), *ins),)
    if isinstance(node.op, ops.MaxPool):
        mean = b.emit(ops.AvgPool(node.op.kernel, node.op.stride, node.op.padding), *ins)
        return mean, b.emit(ops.BroadcastTo(node.types[1].shape), b.constant(0))
    return None


#: Elements of the data that the lower bound is compared for.
LOWER = 24


def positive_weights(m: Module) -> dict[str, np.ndarray]:
    """Positive, so that nothing cancels; scaled by the fan-in, so that no gate saturates, and data stay in their unit.

    A row of a table is read alone, so its fan-in is one: a chain of states that are all alike would forget its past.
    """
    rng = np.random.default_rng(1)

    def fan_in(name: str, shape: tuple[int, ...]) -> float:
        if ".embedding_" in name:
            return 1.0
        return max(1.0, float(np.prod(shape[1:]))) if len(shape) > 1 else 10.0

    return {
        k: np.ones(v.shape)
        if k.endswith(".deviation")
        else rng.uniform(0.5, 1.5, v.shape) / fan_in(k, v.shape)
        for k, v in weights(m).items()
    }


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
def test_specs_are_exact(name: str, program: str) -> None:
    """The derived support equals what changes when one element of the data at a time is changed; tau is its maximum.

    The batch holds one changed example for each of up to 80 elements.
    """
    m = member(module(name), 1)
    graph = m.programs[program].rebuild(smooth)
    given = {
        k: np.where(np.isnan(v), 1, v) for k, v in inputs(m, program, 1).items()
    }  # a change of a hole is none
    subject = next(k for k in graph.inputs if k not in m.noise[program])
    x = given[subject]
    which = np.random.default_rng(2).permutation(x.size)[:80]
    length = x.shape[1] if x.ndim > 1 else 1
    given |= {n: np.full_like(given[n], length) for n in given if n in m.fields and m.fields[n].counts}
    batch = np.repeat(x.reshape(1, -1), len(which) + 1, axis=0)
    declared = m.fields.get(subject) or m.latents.get(subject)
    levels = declared.classes or 2 if declared is not None and declared.base != "real" else None
    # a deep convolutional net averages a corner of its field away, and is linear far out; what saturates is not
    saturates = {"tanh", "sigmoid", "exp", "softplus"} & {n.op.name for n in graph.nodes()}
    step = 0.37 if saturates else 1e9
    for row, j in enumerate(which, 1):
        batch[row, j] = batch[row, j] + step if levels is None else (batch[row, j] + 1) % levels
    feed = {k: np.repeat(v, len(batch), axis=0) for k, v in given.items()}
    out = evaluate(graph, positive_weights(m), feed | {subject: batch.reshape(-1, *x.shape[1:])})
    env = environment_for(graph, length)
    ranks = np.random.default_rng(3).permutation(x.size)
    memory = tau(graph, subject, ranks.reshape(x.shape[1:]), env)
    for key, y in out.items():
        flat = y.reshape(len(batch), -1)
        changed = (np.abs(flat[1:] - flat[:1]) > 1e-15).T
        rows = support(graph, subject, key, env).value
        np.testing.assert_array_equal(rows[:, which], changed, err_msg=key)
        some = np.isin(np.arange(x.size), which[:LOWER])
        lower = reached(graph, subject, env, values_of(m, env), rows & some, outputs=(key,))
        np.testing.assert_array_equal(lower.seen, rows & some, err_msg=f"{key}, from below")
        latest = np.max(np.where(rows, ranks + 1, 0), -1, initial=0)
        np.testing.assert_array_equal(memory[graph.outputs[key]].full()[..., 0].reshape(-1), latest)
        parts = support(graph, subject, key, env, over=1).value if y.ndim > 1 else rows
        whole = rows.reshape(*y.shape[1:], -1).any(0).reshape(parts.shape) if y.ndim > 1 else rows
        np.testing.assert_array_equal(parts, whole)


# --- sequences ---


@pytest.mark.parametrize("seed", range(100, 112))
@pytest.mark.parametrize(("length", "examples"), [(1, 1), (2, 3), (9, 2), (64, 3)])
def test_sequences_read_no_more_than_what_is_derived(seed: int, length: int, examples: int) -> None:
    """Shifts to 40, dilations, loops in both directions, one channel: nothing changes that availability leaves out.

    Availability is the same for every example of a batch.
    """
    spec = sequence(seed)
    m, sizes = spec.module(), dict.fromkeys(spec.symbols, length)
    graph, claim = m.programs["conditionals"], m.claims[0]
    env = {"N": examples, **sizes}
    ranks = ranks_of(graph, claim, env)
    memory = tau(graph, spec.subject, ranks, env)
    latest = np.zeros((examples, len(ranks)), int)
    for value in graph.outputs.values():
        found, axis = memory[value].full()[..., 0], claim.ordering.axis
        found = found if axis is None else np.moveaxis(found, axis, -1)
        latest = np.maximum(latest, found.reshape(examples, len(ranks), -1).max(-1))
    assert (latest == latest[:1]).all()
    (changed,) = changes(m, spec.subject, sizes)
    when = np.arange(len(changed)) // (len(changed) // len(ranks)) + 1
    assert (np.max(np.where(changed, when[:, None], 0), 0) <= latest[0]).all()


# --- large masks ---


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("domain", [availability(), bitsets(130)], ids=["tau", "bits"])
def test_large_masks_contract_as_small_ones_do(domain: Domain, nested: bool) -> None:
    """Nested columns are joined in one run, anything else in full; against a join written out, column by column."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        rows, columns = rng.integers(0, 40, 40), rng.integers(0, 40, 33)
        live = rows[:, None] <= columns[None, :]
        if not nested:
            live[tuple(rng.integers(0, s) for s in live.shape)] ^= True
        assert live.size >= SORTED
        facts = rng.integers(0, 50, (3, 40, domain.words)).astype(domain.dtype)
        found = domain.contract(facts, live)
        for j in range(live.shape[1]):
            wanted = domain.join.reduce(facts[:, live[:, j]], axis=1, initial=0)
            np.testing.assert_array_equal(np.broadcast_to(found, (3, 33, domain.words))[:, j], wanted)


def test_staircases_are_those_with_nested_columns() -> None:
    """Against the definition, over every 0/1 matrix of 3 x 3."""
    for number in range(512):
        live = (number >> np.arange(9) & 1).astype(bool).reshape(3, 3)
        nested = all((a <= b).all() or (b <= a).all() for a in live.T for b in live.T)
        found = staircase(live)
        assert (found is not None) == nested
        if found is not None:
            order, counts = found
            for j, column in enumerate(live.T):
                assert set(order[: counts[j]]) == set(np.flatnonzero(column))


def test_a_mask_takes_a_byte_an_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant of zeros and ones is stored as bools, and means and proves the same as the floats."""
    truth = np.random.default_rng(5).random((4, 3)) < 0.5
    wide, small = Constant.of(truth.astype(float)), Constant.mask(truth)
    assert wide == small and hash(wide) == hash(small) and small.stored.nbytes == 12
    np.testing.assert_array_equal(small.evaluate()[0], truth.astype(float))
    assert small.infer() == (float_type(4, 3),)
    assert not Constant.of(np.array([[-0.0, 1.0]])).compact  # 1 / -0.0 is not 1 / 0.0
    assert Constant.of(truth) != small
    whole = small.depend(availability())[0]
    monkeypatch.setattr("mpcompile.ir.leaves.WIDENED", 1)
    (large,) = small.depend(availability())
    assert whole.constant is not None and large.constant is None
    np.testing.assert_array_equal(whole.zero, large.zero)


def test_programs_share_a_mask() -> None:
    """One array for the same mask at the same use, another one for another order."""
    up = Degrees()
    use = MaskUse("dense", (8, 5), None, np.arange(5))
    assert mask_constant(up, use) is mask_constant(Degrees(), replace(use, order=np.arange(5)))
    assert mask_constant(up, use) != mask_constant(up, replace(use, order=np.arange(5)[::-1].copy()))
    arrays = [
        {
            id(n.op.stored)
            for n in module("made").programs[p].nodes()
            if isinstance(n.op, Constant) and n.op.compact
        }
        for p in ("loss", "conditionals")
    ]
    assert arrays[0] == arrays[1] and len(arrays[0]) == 3
