"""Several orders and sets of masks (Germain et al. 2015, sections 4.2, 4.3): a mixture of densities that share weights.

Oracles: members of one order each, lowered on their own; all binary vectors, counted out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from derived import optimised
from scipy.special import expit, logsumexp
from stated import answers

from mpcompile.backend import DOUBLE, find_backend
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Constant, Module
from mpcompile.layers.masks import permutation, ranks
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.specialize import member, member_count

PIXELS = 7
HEAD = f"model m\ninput x: binary[{PIXELS}]\nmask up = degrees(hidden = 9, seed = 3)\n"
NETS = {
    "made": """((x -> dense(9, mask = up) -> tanh -> dense(9, mask = up) -> tanh -> dense(7, mask = strict(up)))
               + (x -> dense(7, mask = strict(up))))""",
    "nade": "nade(5)",
}
KINDS = {
    "agnostic": ("made", "order = random, seed = 5, orders = 3, masks = 2", 6),
    "connectivity": ("made", "masks = 3", 3),
    "orders": ("made", "order = random, orders = 2", 2),
    "eonade": ("nade", "order = random, orders = 4", 4),
}


def lowered(net: str, options: str) -> Module:
    law = f"x ~ autoregressive({options}) {{ {NETS[net]} }}\ncheck {{ autoregressive(x); complete(x) }}"
    text = HEAD + law if net == "made" else HEAD.replace("mask up", "# mask up") + law
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


@cache
def mixture(kind: str) -> Module:
    net, options, _ = KINDS[kind]
    return lowered(net, options)


def weights(m: Module) -> dict[str, np.ndarray]:
    return example_weights(m, spread=0.7)


EVERY = np.array(list(product((0.0, 1.0), repeat=PIXELS)))


def member_scores(m: Module) -> np.ndarray:
    """log p_k(x) of every binary vector: [members, 2 ** PIXELS], from the parameters of the conditionals."""
    w, rows = weights(m), []
    for k in range(member_count(m)):
        (logits,) = interpret(m.programs["conditionals"], w, {"x": EVERY, "member": np.asarray(k)}).values()
        p = expit(logits)
        rows.append(np.log(np.where(EVERY == 1, p, 1 - p)).sum(1))
    return np.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_mean_of_the_densities_of_its_members(kind: str) -> None:
    m = mixture(kind)
    assert member_count(m) == KINDS[kind][2]
    scores = member_scores(m)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1)
    assert np.ptp(scores, 0).max() > 1e-3  # they are not one density
    found = interpret(m.programs["log_prob"], weights(m), {"x": EVERY})["log_prob"]
    np.testing.assert_allclose(found, logsumexp(scores, 0) - np.log(len(scores)), atol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(), 1)
    for k, row in enumerate(scores):  # the loss is that of the member that it is given
        loss = interpret(m.programs["loss"], weights(m), {"x": EVERY, "member": np.asarray(k)})["loss"]
        np.testing.assert_allclose(loss, -row.mean())


def test_a_member_is_the_density_of_its_order_and_its_masks() -> None:
    """Member k: order k modulo 3, hidden degrees k modulo 2; the first is the model without orders and masks."""
    m, alone = mixture("agnostic"), lowered("made", "order = random, seed = 5")
    one = member(m, 0)
    assert not member_count(alone) > 1 and "member" not in one.programs["sample"].inputs
    for name in ("conditionals", "loss"):
        inputs = example_inputs(alone, name, 4)
        expected, found = (interpret(o.programs[name], weights(m), inputs) for o in (alone, one))
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])
    orders = m.claims[0].ordering.members
    for k in range(6):
        np.testing.assert_array_equal(orders[k], ranks("random", PIXELS, 5, k % 3))
    masks = [
        {n.op.stored.tobytes() for n in member(m, k).programs["conditionals"].nodes() if isinstance(n.op, Constant)}
        for k in range(6)
    ]  # fmt: skip
    assert len({frozenset(s) for s in masks}) == 6
    assert not np.array_equal(permutation(9, 3), permutation(9, 3, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_proof_is_one_for_every_member(kind: str) -> None:
    """And what is proven is so: changing an element changes later parameters, all of them and no others."""
    m = mixture(kind)
    for verdict in answers(m):
        assert verdict.status == "proved" and f"each of {member_count(m)} orders and masks" in verdict.how
    w = {k: np.abs(v) + 0.1 for k, v in weights(m).items()}  # no unit is dead and nothing cancels
    moved = np.concatenate([np.full((1, PIXELS), 0.2), 0.2 + np.eye(PIXELS) * 0.3])
    for k in range(member_count(m)):
        (y,) = interpret(m.programs["conditionals"], w, {"x": moved, "member": np.asarray(k)}).values()
        order = np.asarray(m.claims[0].ordering.members[k])
        np.testing.assert_array_equal(np.abs(y[1:] - y[:1]).T > 0, order[:, None] > order[None, :])


def test_a_fault_in_any_mask_of_any_member_is_found() -> None:
    """A closed entry that leads ahead, opened in one mask of one member alone."""
    m = mixture("agnostic")
    graph = m.programs["conditionals"]
    stacks = [
        n for n in graph.nodes() if isinstance(n.op, Constant) and n.op.compact and n.types[0].rank == 3
    ]
    assert len(stacks) == 4
    rng = np.random.default_rng(0)
    for node, k in product(stacks, range(6)):
        array = node.op.stored.copy()  # type: ignore[attr-defined]
        array[(k, *rng.choice(np.argwhere(~array[k])))] = True
        broken = graph.rebuild(
            lambda b, n, _, node=node, array=array: (b.emit(Constant.mask(array)),) if n is node else None
        )
        programs = {**m.programs, "conditionals": broken}
        (verdict,) = answers(replace(m, programs=programs, claims=m.claims[:1]))
        assert verdict.status == "refuted"
        (finding,) = verdict.diagnostics
        assert finding.notes[-1] == f"member {k} of 6 orders and masks"


def test_a_member_is_sampled_by_a_derived_sampler() -> None:
    """With the same noise it draws what the reference sampler of the mixture draws with that member."""
    m = mixture("agnostic")
    w, inputs = weights(m), example_inputs(m, "sample", 5)
    assert optimise(m).refusals.keys() == {"sample"}
    for k in range(member_count(m)):
        one = optimised(member(m, k))
        expected = interpret(m.programs["sample"], w, inputs | {"member": np.asarray(k)})["x"]
        noise = {"noise_x": inputs["noise_x"]}
        np.testing.assert_array_equal(interpret(one.module.programs["sample"], w, noise)["x"], expected)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_orders_and_degrees_of_more_than_a_byte(backend: str) -> None:
    """Levels of masks beyond 255 are stored in two bytes."""
    text = (
        "model m\ninput x: binary[300]\nmask up = degrees(seed = 1)\n"
        "x ~ autoregressive(order = random) { dense(301, mask = up) -> relu -> dense(300, mask = strict(up)) }"
    )
    m = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})
    w, inputs = weights(m), example_inputs(m, "log_prob", 2)
    found = find_backend(backend).session(m, w, options=DOUBLE).run("log_prob", inputs)["log_prob"]
    np.testing.assert_allclose(found, interpret(m.programs["log_prob"], w, inputs)["log_prob"], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("orders = 2", "several orders are random ones"),
        ("masks = 0", "`masks` of autoregressive must be at least 1"),
        ("order = random, orders = 17, masks = 16", "do not make 1 to 256 members"),
    ],
)
def test_options_that_do_not_fit(options: str, message: str) -> None:
    with pytest.raises(SpecError, match="MP205") as caught:
        lowered("made", options)
    assert message in str(caught.value.diagnostics[0].message)
