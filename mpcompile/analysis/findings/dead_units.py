"""MP326: units that see nothing, units that nothing reads, outputs that see nothing, conditions that reach nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import interpret
from mpcompile.analysis.needed import needed
from mpcompile.analysis.order import allowed, ranks_of
from mpcompile.analysis.stencils import at_every_length
from mpcompile.analysis.verdict import free_symbols
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import (
    Abstract,
    Array,
    Claim,
    Constant,
    Graph,
    Module,
    Node,
    NoRule,
    Parameter,
    Value,
    availability,
)
from mpcompile.ops.traits import Product


def dead_units(module: Module) -> Iterator[Diagnostic]:
    """Find units that masks cut off, and declared values that have no effect.

    Exactly, for weights in general position, and where lengths are symbolic at every one of them: a unit of a masked
    dense layer inside an autoregressive network on which no input has an effect, or that has none on any output; an
    output of such a network on which no input has an effect, though elements come before it in the order (unless
    `complete` is claimed, which says so); and an input or condition that a program reads and whose every element is cut
    off by masks from all of its outputs.
    """
    complete = {c.subject for c in module.claims if c.kind == "complete"}
    for claim in module.claims:
        if claim.kind == "autoregressive":
            yield from _network(module.programs[claim.program], claim, claim.subject in complete)
    yield from _conditions(module)


def _network(graph: Graph, claim: Claim, complete: bool) -> Iterator[Diagnostic]:
    hidden = _below_products(graph)
    masked = [n for n in graph.nodes() if n.id in hidden and _masked_dense(graph, n)]
    ends = None if masked else set(graph.outputs.values())
    facts = _facts(graph, {name: _ones(v) for name, v in graph.inputs.items()}, ends)
    masked = [n for n in masked if n.outputs[0] in facts]
    read = needed(graph, facts, {n.id for n in masked}, None if free_symbols(graph) else {"N": 1})
    for node in masked:
        blind = ~_sees(facts[node.outputs[0]])
        unread = ~np.logical_or.reduce(read[node.id].reshape(-1, blind.size), 0)
        if blind.any() or unread.any():
            yield _units(node, blind, unread)
    if complete or claim.subject not in graph.inputs or not all(v in facts for v in graph.outputs.values()):
        return
    if free_symbols(
        graph
    ):  # how many places see nothing depends on the length; whether any sees something does not
        if not any(facts[v].facts.any() for v in graph.outputs.values()):
            message = f"the outputs of {claim.subject} see nothing: their distribution is a constant"
            yield Diagnostic("MP326", message, claim.span, Severity.WARNING, help=WIDEN)
        return
    ranks = ranks_of(graph, claim, {"N": 1})
    late = ranks > ranks.min()
    sees = np.zeros(ranks.shape, bool)
    for value in graph.outputs.values():
        of = allowed(ranks, facts[value], claim.ordering.axis)[0].reshape(-1)
        seen = (facts[value].full()[0, ..., 0] > 0).reshape(-1)
        sees |= np.isin(ranks, of[seen])
    if (late & ~sees).any():
        first = [int(i) for i in np.argwhere(late & ~sees)[0]]
        yield Diagnostic(
            "MP326",
            f"{int((late & ~sees).sum())} outputs of {claim.subject} see nothing, {claim.subject}{first} the first: "
            "their distribution is a constant",
            claim.span,
            Severity.WARNING,
            help=WIDEN,
        )


WIDEN = "widen the masked layers, or their kernels"


def _ones(value: Value) -> Array:
    return np.ones((1,) * (value.type.rank + 1), np.int32)


def _facts(graph: Graph, seeds: Mapping[str, Array], kept: Collection[Value] | None) -> dict[Value, Abstract]:
    """Facts of every value, or of those to be kept, from those of inputs, with one element along axes that are alike.

    Upper bounds at every length where lengths are symbolic; a value without a rule for that is left out.
    """
    if free_symbols(graph):
        found = at_every_length(graph, availability(), {graph.inputs[n]: s for n, s in seeds.items()})
        return {v: x for v, x in found.items() if not isinstance(x, NoRule)}
    return interpret(graph, availability(), seeds, {"N": 1}, kept)


def _sees(x: Abstract) -> Array:
    """Return, for each unit (last axis), whether any of its elements sees anything."""
    units: Array = (x.full()[..., 0] > 0).reshape(-1, x.shape[-1])
    seen: Array = np.logical_or.reduce(units, 0)
    return seen


def _below_products(graph: Graph) -> set[int]:
    """Nodes that some later product reads: what a network has of hidden layers. The last layer's units are outputs."""
    found: set[int] = set()
    for node in reversed(graph.nodes()):
        if node.id in found or isinstance(node.op, Product | ops.Scan):
            found.update(v.node for v in node.inputs)
    return found


def _masked_dense(graph: Graph, node: Node) -> bool:
    """A product with a weight that a constant multiplies."""
    if not isinstance(node.op, ops.MatMul):
        return False
    weight = graph.node(node.inputs[1])
    while isinstance(weight.op, ops.Transpose):
        weight = graph.node(weight.inputs[0])
    sides = [graph.node(v).op for v in weight.inputs]
    return isinstance(weight.op, ops.Mul) and any(isinstance(s, Constant) for s in sides) and any(
        isinstance(s, Parameter) for s in sides
    )  # fmt: skip


def _units(node: Node, blind: Array, unread: Array) -> Diagnostic:
    total, parts = blind.size, []
    if blind.any():
        parts.append(f"{int(blind.sum())} of {total} units see no input")
    if unread.any():
        parts.append(f"{int(unread.sum())} of {total} units have no effect on any output")
    return Diagnostic(
        "MP326",
        f"{' and '.join(parts)}: they cannot learn anything",
        node.scope[-1].span if node.scope else node.span,
        Severity.WARNING,
        label=f"the first is unit {int(np.flatnonzero(blind | unread)[0])}",
        help="the masks of this layer and its neighbours leave these units no path; check their degrees and widths",
    )


def _conditions(module: Module) -> Iterator[Diagnostic]:
    modelled = {c.subject for c in module.claims if c.kind in ("autoregressive", "jacobian")}
    for name, declared in module.fields.items():
        programs = [g for n, g in module.programs.items() if name in g.inputs and n.startswith(_CONDITIONED)]
        if name in modelled or declared.role == "target" or not programs:
            continue
        if not any(_reaches(graph, name) for graph in programs):
            yield Diagnostic(
                "MP326",
                f"{name} has no effect: masks cut it off from every output",
                declared.span,
                Severity.WARNING,
                help="leave it out, or let the masked layers see it",
            )


#: Programs that say what a model gives for its inputs and conditions.
_CONDITIONED = ("conditionals", "predict", "forward", "encode", "reconstruct")


def _reaches(graph: Graph, name: str) -> bool:
    facts = _facts(graph, {name: _ones(graph.inputs[name])}, set(graph.outputs.values()))
    return any(v not in facts or facts[v].facts.any() for v in graph.outputs.values())
