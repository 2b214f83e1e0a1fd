"""Broken masks are found: every single entry of every mask of the specs, opened towards the future."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from specs_under_test import NAMES, SPECS, module

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.analysis.dependence import environment_for, interpret
from mpcompile.ir import Claim, Constant, FlowStep, Graph, Input, Module, Type, Value, availability
from mpcompile.ops import Gather, Slice
from mpcompile.ops import build as F

#: In a flow of a graph another entry may keep to the order: `follows` finds it, in `test_adjacency.py`.
FLOWS = [n for n in NAMES if "forward" in module(n).programs and n != "dag_flow"]

#: Sizes at which all entries are tried, of the specs that have masks. The mask of a kernel closes the same taps for every
#: pair of channels of a group, so one channel a group has every kind of entry; `gated_pixelcnn` has several.
SMALL: dict[str, dict[str, str | int | float]] = {
    "fvsbn": {"pixels": 6},
    "gated_pixelcnn": {"width": 2, "layers": 1},
    "pixel_rnn": {"width": 1, "layers": 1},
    "pixel_transformer": {},
    "rgb_pixelcnn": {"size": 3, "width": 3},
    "vae_ar_decoder": {"pixels": 6, "hidden": 8},
    "made": {"pixels": 6, "hidden": 8},
    "pixelcnn": {"width": 1, "layers": 2},
    "transformer": {"width": 4, "heads": 2, "layers": 2, "longest": 8, "characters": 5},
}
LENGTH = 6
#: The zeros and ones of a known first state are no mask: none of them closes a path from an element.
FIRST_STATES = {"hmm"}


@dataclass(frozen=True)
class Case:
    """A spec at fixed sizes, with the masks of its network."""

    module: Module
    masks: dict[Value, np.ndarray]

    @property
    def graph(self) -> Graph:
        return self.module.programs["conditionals"]

    def broken(self, mask: Value, entry: tuple[int, ...], to: bool) -> Module:
        """The module with one entry of a mask changed."""
        array = self.masks[mask].copy()
        array[entry] = to
        constant = Constant.of(array)
        graph = self.graph.rebuild(lambda b, n, _: (b.emit(constant),) if n.id == mask.node else None)
        return replace(self.module, programs={**self.module.programs, "conditionals": graph})


def fixed(graph: Graph, length: int) -> Graph:
    """One example, and sequences of a fixed length: so a mask that the graph computes can be a constant."""
    env = environment_for(graph, length)

    def bind(b, node, inputs):  # type: ignore[no-untyped-def]
        if not isinstance(node.op, Input):
            return b.emit_all(node.op.bind(env), *inputs)
        return (b.emit(Input(node.op.path, Type(node.types[0].dtype, node.types[0].concrete(env)))),)

    return graph.rebuild(bind, retype=True)


@cache
def case(name: str, length: int = LENGTH) -> Case:
    larger = {"longest": length} if "longest" in SMALL[name] and length > LENGTH else {}
    m = api.load(next(p for p in SPECS if p.stem == name), SMALL[name] | larger)
    graph = fixed(m.programs["conditionals"], length)
    claim = next(c for c in m.claims if c.kind == "autoregressive")
    shape = graph.inputs[claim.subject].type.concrete({})[1:]
    if claim.ordering.ranks is None:  # a sequence of a fixed length has an order like any other variable
        claim = replace(claim, order=replace(claim.ordering, ranks=np.arange(shape[0])))
    m = replace(m, programs={**m.programs, "conditionals": graph}, claims=[claim])
    return Case(m, masks(m))


def masks(m: Module) -> dict[Value, np.ndarray]:
    """Constants of zeros and ones, of more than one axis, that are multiplied with or chosen by."""
    graph = m.programs["conditionals"]
    memory = interpret(graph, availability(), {}, environment_for(graph, LENGTH))
    found = {}
    for node in graph.nodes():
        operands = {"mul": node.inputs, "where": node.inputs[:1]}.get(node.op.name, ())
        for value in operands:
            constant = memory[value].constant
            if constant is not None and constant.ndim > 1 and set(np.unique(constant)) == {0.0, 1.0}:
                found[value] = constant
    return found


def ahead(array: np.ndarray) -> np.ndarray:
    """Zero entries that open a path to the future: all of a matrix; of a kernel, the taps that lie ahead."""
    closed = np.argwhere(array == 0)
    if array.ndim != 4:
        return closed
    row, column = closed[:, 2] - array.shape[2] // 2, closed[:, 3] - array.shape[3] // 2
    strict = array[0, 0, array.shape[2] // 2, array.shape[3] // 2] == 0
    return closed[(row > 0) | ((row == 0) & (column > 0)) | (strict & (row == 0) & (column == 0))]


def entries(name: str) -> Iterator[tuple[Value, tuple[int, ...]]]:
    for mask, array in case(name).masks.items():
        for entry in ahead(array):
            yield mask, tuple(int(i) for i in entry)


@pytest.mark.parametrize("length", [17, 64])
def test_masks_of_long_sequences_opened_towards_the_future_are_found(length: int) -> None:
    """Entries next to the diagonal, in the corner, and some between."""
    long = case("transformer", length)
    rng = np.random.default_rng(length)
    for mask, array in long.masks.items():
        closed = ahead(array)
        picked = [closed[0], closed[-1], *closed[rng.permutation(len(closed))[:3]]]
        far = closed[np.abs(closed[:, -1] - closed[:, -2]).argmax()]
        for entry in (*picked, far):
            (verdict,) = prove(long.broken(mask, tuple(int(i) for i in entry), True))
            assert verdict.status == "refuted", (mask, entry)
            assert verdict.diagnostics[0].path


def test_every_spec_with_a_mask_is_tried() -> None:
    autoregressive = [n for n in NAMES if "conditionals" in module(n).programs]
    assert {n for n in autoregressive if masks(module(n))} - FIRST_STATES == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_the_originals_raise_nothing(name: str) -> None:
    (verdict,) = prove(case(name).module)
    assert verdict.status == "proved" and not verdict.diagnostics


@pytest.mark.parametrize("name", SMALL)
def test_every_mask_opened_towards_the_future_is_found(name: str) -> None:
    """Each mutant is refuted by the proof that a build runs, at a place and by a path from an input to an output."""
    tried = 0
    for mask, entry in entries(name):
        (verdict,) = prove(case(name).broken(mask, entry, True))
        assert verdict.status == "refuted", (mask, entry)
        (finding,) = verdict.diagnostics
        assert finding.code == "MP301" and finding.span.line > 0
        assert finding.path[0].text.startswith(f"{verdict.claim.subject}[")
        assert len(finding.path) >= 3
        tried += 1
    assert tried >= 15


@pytest.mark.parametrize("name", SMALL)
def test_every_mask_closed_by_one_entry_raises_nothing(name: str) -> None:
    """To see less is no leak: no false alarm on any mutant towards the past."""
    rng = np.random.default_rng(0)
    for mask, array in case(name).masks.items():
        opened = np.argwhere(array)
        for entry in opened[rng.permutation(len(opened))[:12]]:
            (verdict,) = prove(case(name).broken(mask, tuple(entry), False))
            assert verdict.status == "proved" and not verdict.diagnostics


@pytest.mark.parametrize("name", FLOWS)
def test_a_coupling_that_shows_the_net_what_it_transforms_is_found(name: str) -> None:
    """Every coupling mask, opened by one entry, and every half that a net reads, moved on by one element: the
    log-determinant would be wrong, and the proof says so."""
    m = module(name)
    subject = next(s for s in m.flow_steps if s in m.fields)
    claim = replace(next(c for c in m.claims if c.kind == "jacobian" and c.subject == subject), structure="")
    tried = 0
    for step in m.flow_steps[subject]:
        found = [
            (n.id, n.op.array)
            for n in step.graph.nodes()
            if isinstance(n.op, Constant)
            and n.op.array.ndim >= 1
            and set(np.unique(n.op.array)) == {0.0, 1.0}
        ]
        for node_id, array in found:
            broken = array.copy()
            broken[tuple(np.argwhere(array == 0)[0])] = 1.0
            constant = Constant.of(broken)

            def rewrite(b, node, ins, node_id=node_id, constant=constant):  # type: ignore[no-untyped-def]
                return (b.emit(constant),) if node.id == node_id else None

            refuted(m, claim, step, rewrite)
            tried += 1
        seen = step.graph.inputs.get("seen")
        halves = [
            n.id for n in step.graph.nodes() if isinstance(n.op, Slice | Gather) and n.inputs[0] == seen
        ]
        for node_id in halves:

            def read_elsewhere(b, node, ins, node_id=node_id):  # type: ignore[no-untyped-def]
                if node.id != node_id:
                    return None
                first, rest = F.slice_axis(b, ins[0], 1, 0, 1), F.slice_axis(b, ins[0], 1, 1)
                return (b.emit(node.op, F.concat(b, [rest, first], 1), *ins[1:]),)

            refuted(m, claim, step, read_elsewhere)
            tried += 1
    assert tried >= max(2, sum("coupling" in step.name for step in m.flow_steps[subject]))


def refuted(m: Module, claim: Claim, step: FlowStep, rewrite: object) -> None:
    mutant = replace(step, graph=step.graph.rebuild(rewrite))
    (verdict,) = prove(replace(m, flow_steps={claim.subject: [mutant]}, claims=[claim]))
    assert verdict.status == "refuted" and verdict.diagnostics[0].span == step.span, step.name
