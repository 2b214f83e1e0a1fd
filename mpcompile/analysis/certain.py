"""Reads that are certain, by the cheapest argument that decides them, and the answer where none does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.bounds import AtLeast
from mpcompile.analysis.colouring import Colouring
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.few import neutral
from mpcompile.analysis.field import MOST_WORK, Reached, reached, row_work, values_of
from mpcompile.analysis.findings.single import normalised_alone
from mpcompile.analysis.horizon import horizon
from mpcompile.analysis.rising import rises
from mpcompile.analysis.verdict import GENERIC, Sizes, Verdict, sizes_text
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, Unsettled, Value, symbols
from mpcompile.ir.field import PRIME

#: Lengths between which a sequence is run for a lower bound.
LEAST, LONGEST = 8, 1 << 12
#: Elements of a long sequence that are redrawn.
COLUMNS = 128
#: Lengths below the full one at which what is not seen is looked for.
SHORTER = 24
#: Assumptions of a proof that rests on a run over the prime field.
IDENTITIES = (
    GENERIC,
    "nothing cancels by exp(a + b) = exp(a) exp(b), sqrt(v)^2 = v or log(u v) = log u + log v alone",
)


@dataclass(frozen=True)
class Certain:
    """A lower bound [output elements, source elements] of the pairs that were asked for.

    method       the argument
    assumptions  what it takes for granted
    unseen       bool, like the bound: what was asked for and not seen
    reached      the run over the field; None where none was needed
    open         why what is unseen may be there all the same
    """

    bound: AtLeast[Array]
    method: str
    assumptions: tuple[str, ...]
    unseen: Array
    reached: Reached | None = None
    open: str = ""


#: The answer where nothing on the way is subtracted: the upper bound, whatever it is.
RISING = Certain(
    AtLeast(np.ones((1, 1), bool)), "nothing on the way is subtracted", (GENERIC,), np.zeros((1, 1), bool)
)


def certain(
    module: Module,
    graph: Graph,
    source: str,
    env: Mapping[str, int],
    wanted: Array,
    over: int | None = None,
    outputs: tuple[str, ...] | None = None,
    rows: Array | None = None,
    groups: Sequence[Array] | None = None,
) -> Certain:
    """Decide which of the wanted pairs are certainly read; they must lie within the upper bound.

    Where nothing on the way is subtracted all are; else the program runs over a prime field. Raises `TooLarge`,
    `NoRule`.
    """
    if rises(module, graph, source):
        return replace(RISING, bound=AtLeast(wanted))
    if not neutral(graph, env):
        raise Unsettled
    found = reached(graph, source, env, values_of(module, env), wanted, over, outputs, rows, groups)
    for shorter in _lengths(
        module, graph, env
    ):  # a place may show only where an example ends before it, or at it
        left = wanted & ~found.seen
        if not left.any():
            break
        if not neutral(graph, shorter):
            raise Unsettled
        more = reached(graph, source, env, values_of(module, shorter), left, over, outputs, rows, groups)
        found.seen = found.seen | more.seen
    unseen = wanted & ~found.seen
    open_ = (
        "more lengths of examples than were run may show it"
        if unseen.any() and _more(module, graph, env)
        else ""
    )
    return Certain(AtLeast(found.seen), f"a run modulo {PRIME}", IDENTITIES, unseen, found, open_)


def _counted(module: Module, graph: Graph) -> set[str]:
    """The symbols of which examples state how much is real."""
    return {f.counts for name in graph.inputs if (f := module.fields.get(name)) is not None and f.counts}


def _more(module: Module, graph: Graph, env: Mapping[str, int]) -> bool:
    """Whether there are more lengths than `_lengths` gives."""
    return any(env[c] - 1 > SHORTER for c in _counted(module, graph))


def _lengths(module: Module, graph: Graph, env: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Sizes with each smaller number for the lengths that examples state, at most `SHORTER` of them."""
    counted = _counted(module, graph)
    most = max((env[c] for c in counted), default=1)
    for n in range(most - 1, max(0, most - 1 - SHORTER), -1):
        yield {**env, **{c: min(n, env[c]) for c in counted}}


def far(graph: Graph, source: str) -> int:
    """Return a length of a source at which everything along it shows. Raises `TooLarge` for one beyond `LONGEST`."""
    limits = horizon(graph)
    own = [limits[s] for size in graph.inputs[source].type.shape for s in sorted(symbols(size) - {"N"})]
    needed = max([LEAST, *own])
    if needed > LONGEST:
        raise TooLarge(
            f"a cancellation may need {needed} steps to show, more than the {LONGEST} that are run"
        )
    return needed


def short(graph: Graph, source: str, length: int) -> dict[str, int]:
    """Return sizes: one example, `length` for the symbols of a source, 3 for others, so that they are told apart."""
    own = {s for size in graph.inputs[source].type.shape for s in symbols(size)}
    return {s: 1 if s == "N" else length if s in own else 3 for s in graph.symbols()}


def sampled(graph: Graph, env: Mapping[str, int], wanted: Array, first: int) -> Array:
    """Keep the wanted pairs of at most `COLUMNS` columns, or of as many as a run can afford.

    Those of the `first` columns, the elements of the first step, are kept: with all outputs they have every offset. The
    others are evenly spread.
    """
    columns = np.flatnonzero(wanted.any(0))
    most = max(first, min(COLUMNS, int(MOST_WORK / max(1, row_work(graph, env))) - 1))
    if len(columns) <= most:
        return wanted
    kept = np.zeros(wanted.shape[1], bool)
    kept[columns[np.linspace(0, len(columns) - 1, most - first + 2).astype(int)]] = True
    kept[:first] = True
    return wanted & kept


def doubt(found: Certain) -> str:
    """Return why pairs that were not seen are undecided; empty where they cancel, up to the chance of the trials."""
    run = found.reached
    assert run is not None
    if found.open:
        return found.open
    if (run.undefined & found.unseen).any():
        return "the outputs have no value modulo a prime (an infinite one is multiplied or subtracted)"
    if run.steps:
        return f"{run.steps[0]} is constant but for steps, so that a dependence may not have shown"
    return ""


def cancels(
    claim: Claim,
    graph: Graph,
    found: Certain,
    env: Sizes,
    code: str,
    what: str,
    shape: tuple[int, ...],
    by: Colouring | None = None,
) -> Verdict:
    """Judge pairs of the upper bound that the field does not show: refuted, or undecided with the reason.

    `what` says what is wrong with the claim: {0} is the place of the output, {1} that of the element, {2} the output's
    number. Columns are colours where there is a colouring.
    """
    reason, run = doubt(found), found.reached
    assert run is not None
    if reason:
        return Verdict.undecided(claim, reason, run.steps[0] if run.steps else "", [env])
    i, j = (int(k[0]) for k in np.nonzero(found.unseen))
    j = j if by is None else int(by.elements(i, i + 1)[0, j])
    of, to = (list(map(int, np.unravel_index(k % int(np.prod(shape)), shape))) for k in (i, j))
    count, trials = int(found.unseen.sum()), run.trials
    finding = Diagnostic(
        code,
        what.format(f"{claim.subject}{of}", f"{claim.subject}{to}", i) + sizes_text([env]),
        claim.span,
        notes=(
            f"{count} dependencies cancel: paths lead there, and nothing changes in {trials} trials modulo {PRIME}",
            f"the chance that one of them is there all the same is about {count / float(PRIME) ** trials:.0e}",
        ),
        help=cause(graph) or "something is subtracted from, or divided by, itself on the way",
    )
    return Verdict.refuted(claim, found.method, env, [finding], {"cancel": count})


def cause(graph: Graph) -> str:
    """Return what is known to cancel: a normalisation over one element, or a value less itself."""
    alone = next(normalised_alone(graph), None)
    if alone is not None:
        layer, why = alone
        return (
            f"`{layer}` {why}, which makes a constant of it: leave it out, or give it more than one element"
        )
    for node in graph.nodes():
        if isinstance(node.op, ops.Sub | ops.Div) and _same(graph, *node.inputs):
            where = node.scope[-1].label if node.scope else node.op.name
            sign = "-" if isinstance(node.op, ops.Sub) else "/"
            return f"`{where}` computes v {sign} v of one value v, which is a constant"
    return ""


def _same(graph: Graph, x: Value, y: Value) -> bool:
    """Whether two values are made by the same operations of the same values."""
    if x == y:
        return True
    a, b = graph.node(x), graph.node(y)
    return bool(a.inputs) and a.op == b.op and x.index == y.index and a.inputs == b.inputs


__all__ = [
    "IDENTITIES",
    "RISING",
    "Certain",
    "cancels",
    "cause",
    "certain",
    "doubt",
    "far",
    "sampled",
    "short",
]
