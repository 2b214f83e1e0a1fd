"""Verdicts held to numbers: for each kind of claim, what a proof and a refutation say of runs in float64.

`judge` returns a sentence for every disagreement. An upper bound proves that nothing changes, so one changed bit is a
disagreement. A lower bound proves that something changes for weights in general position: some trial must show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import numpy as np
from numeric_reading import EVERY, GENTLE, ROUNDING, NoSuchLength, Reads, inputs, weights

from mpcompile.analysis import Status, Verdict
from mpcompile.analysis.certain import far
from mpcompile.analysis.constants import without_constants
from mpcompile.analysis.jacobian import classify
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.paths import distances, positions_of, program_of, reach
from mpcompile.analysis.stencils import spatial_axes
from mpcompile.analysis.verdict import free_symbols
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Claim, Graph, Module, symbols
from mpcompile.ir.claims import HOLDS
from mpcompile.specialize import member, member_claim

#: Lengths at which proofs are held to numbers, and those that every search tries first.
LENGTHS, FIRST = (1, 2, 3, 5, 8, 17, 40), (1, 2, 3, 5, 8)
#: Trials for something that must show, and a change that is certainly more than what cancels leaves.
TRIALS, SURE = 6, 1e-11
#: Lengths beyond which a change may be too small for float64, through loops.
NEAR = 8
Sizes = dict[str, int]
Judge = Callable[[Module, Verdict, Claim], Iterator[str]]


def judge(module: Module, verdict: Verdict) -> list[str]:
    """Disagreements of one verdict with numbers. A verdict that decides nothing has none."""
    rule = RULES.get(verdict.claim.kind)
    if rule is None or verdict.status not in (Status.PROVED, Status.REFUTED):
        return []
    orders = None if verdict.claim.order is None else verdict.claim.order.members
    if orders is None:
        return _until(rule(module, verdict, verdict.claim))
    found = [
        _until(rule(member(module, k), verdict, member_claim(verdict.claim, k))) for k in range(len(orders))
    ]
    if verdict.status is Status.PROVED:
        return [w for each in found for w in each]
    return found[0] if all(found) else []  # some member shows it


def _until(found: Iterator[str]) -> list[str]:
    """All of them, up to a length that the model does not have."""
    kept = list[str]()
    with suppress(NoSuchLength):
        kept.extend(found)
    return kept


def sizes_of(graph: Graph, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Sizes]:
    """Every symbol at the same numbers; of several symbols each one long beside short others as well."""
    names = sorted(free_symbols(graph))
    if not names:
        yield {}
        return
    for n in lengths:
        yield dict.fromkeys(names, n)
    if len(names) > 1:
        for long in names:
            yield {k: max(lengths) if k == long else 2 for k in names}


def named(verdict: Verdict) -> Sizes:
    return {k: n for k, n in verdict.at.items() if k != "N"}


def _table(reads: Reads, sizes: Sizes, trial: int, claim: Claim) -> tuple[Array, Array]:
    """Changed elements, and [those, elements of the subject]: the largest change of any parameter of an element."""
    found, axis = reads.at(sizes, trial), None if claim.order is None else claim.order.axis
    size, table = _count(reads, sizes), None
    for y in found.outputs.values():
        joined = y if axis is None else y.max(axis)
        flat = joined.reshape(len(found.elements), -1)
        assert flat.shape[1] == size, (y.shape, size)
        table = flat if table is None else np.maximum(table, flat)
    assert table is not None
    return found.elements, table


def _count(reads: Reads, sizes: Sizes) -> int:
    return int(np.prod(reads.graph.inputs[reads.subject].type.concrete({"N": 1, **sizes})[1:]))


# --- orders ---


def _late(reads: Reads, claim: Claim, sizes: Sizes, trial: int, least: float = 0) -> bool:
    """Whether a parameter changes with its own element or a later one."""
    at, table = _table(reads, sizes, trial, claim)
    ranks = ranks_of(reads.graph, claim, {"N": 1, **sizes}).reshape(-1)
    return bool(((table > least) & (ranks[at][:, None] >= ranks[None, :])).any())


def autoregressive(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    graph = module.programs[claim.program]
    if claim.subject not in graph.inputs:
        return
    reads = Reads(module, graph, claim.subject)
    if verdict.status is Status.PROVED:
        for trial, sizes in enumerate(sizes_of(graph)):
            if _late(reads, claim, sizes, trial):
                yield f"proved, and reads ahead at {sizes}"
        return
    at = named(verdict)
    if not any(_late(reads, claim, at, t) for t in range(2 * TRIALS)):
        yield f"refuted at {at}, and nothing ahead is read there"
    for symbol, n in at.items():
        for less in {*FIRST, n - 1}:
            if 0 < less < n and any(_late(reads, claim, {**at, symbol: less}, t, ROUNDING) for t in range(2)):
                yield f"refuted at {at}, and leaks at {symbol} = {less} already"


def complete(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    graph = module.programs[claim.program]
    if claim.subject not in graph.inputs:
        return
    reads = Reads(module, graph, claim.subject)

    def lacking(sizes: Sizes, least: float) -> int:
        """Pairs that the order allows, and that no trial shows."""
        missing: Array | None = None
        for t in (*range(TRIALS), *(GENTLE // 2 + t for t in range(TRIALS))):
            if claim.order is not None:
                at, table = _table(reads, sizes, 2 * t, claim)
                ranks = ranks_of(graph, claim, {"N": 1, **sizes}).reshape(-1)
                need = ranks[at][:, None] < ranks[None, :]
            else:
                table = reads.at(sizes, 2 * t).outputs["z"]
                need = np.ones_like(table, bool)
            gone = need & ~(table > least)
            missing = gone if missing is None else missing & gone
            if not missing.any():
                return 0
        assert missing is not None
        return int(missing.sum())

    if verdict.status is Status.PROVED:
        for sizes in sizes_of(graph, FIRST):
            if number := lacking(sizes, 0):
                yield f"proved, and {number} pairs do not show at {sizes}"
    elif _count(reads, named(verdict)) <= 96 and not lacking(named(verdict), SURE):
        yield f"refuted at {named(verdict)}, and every pair shows there"


# --- fields ---


def _extent(reads: Reads, sizes: Sizes, trials: int, least: float, gentle: int = 0) -> int:
    """The most places from the first to the last that an output element reads, along any axis."""
    type = reads.graph.inputs[reads.subject].type
    shape = type.concrete({"N": 1, **sizes})[1:]
    found = reads.several(sizes, trials, gentle)
    axes = [a - 1 for a in spatial_axes(type)] or list(range(len(shape)))
    places, most = np.unravel_index(found.elements, shape), 0
    for y in found.outputs.values():
        seen = y.reshape(len(y), -1) > least
        for axis in axes:
            place = places[axis][:, None]
            high, low = np.where(seen, place, -1).max(0), np.where(seen, place, shape[axis]).min(0)
            most = max(most, int(np.where(seen.any(0), high - low + 1, 0).max(initial=0)))
    return most


def receptive_field(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    graph = program_of(module, claim.subject)
    if graph is None or claim.bound is None:
        return
    reads = Reads(module, graph, claim.subject)
    op, bound = claim.limit.op, claim.limit.number
    longest = 0
    for sizes in sizes_of(graph):
        size = _extent(reads, sizes, 1, 0)
        longest = max(longest, size)
        certainly = size if size <= longest else _extent(reads, sizes, 1, SURE)
        if (
            verdict.status is Status.PROVED
            and op in ("<=", "<", "==")
            and not HOLDS["<" if op == "<" else "<="](size, bound)
        ):
            yield f"proved, and {size} places are read at {sizes}"
            return
        if (
            verdict.status is Status.REFUTED
            and op in (">=", ">")
            and HOLDS[op](_extent(reads, sizes, 1, SURE) if HOLDS[op](certainly, bound) else 0, bound)
        ):
            yield f"refuted, and {size} places are read at {sizes}"
            return
    fixed = not free_symbols(graph)
    if verdict.status is Status.PROVED and op in (">=", ">", "=="):
        if not fixed and not HOLDS[op](longest, bound):
            longest = _longest(reads, (40, 80, min(200, far(graph, claim.subject) + max(NEAR, bound))))
        elif fixed:
            longest = _extent(reads, {}, TRIALS, 0, TRIALS)
        if not HOLDS[">=" if op == "==" else op](longest, bound):
            yield f"proved, and {longest} places are read"
    if verdict.status is Status.REFUTED and op in ("<=", "<"):
        if HOLDS[op](longest, bound):
            longest = _longest(reads, (40, 100, min(200, far(graph, claim.subject) + max(NEAR, bound))))
        if HOLDS[op](longest, bound):
            yield f"refuted, and {longest} places are read"
    if verdict.status is Status.REFUTED and op == "==" and longest == bound:
        longest = max(_extent(reads, s, 3, SURE) for s in sizes_of(graph, (40, 100)))
        if longest == bound:
            yield f"refuted, and {longest} places are read"


def _longest(reads: Reads, lengths: tuple[int, ...]) -> int:
    """The most places that show in ordinary trials, and in those in which a change lasts and examples end anywhere."""
    return max(_extent(reads, s, 3, 0, 2 * TRIALS) for s in sizes_of(reads.graph, lengths))


def no_blind_spot(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    graph = program_of(module, claim.subject)
    if graph is None:
        return
    reads = Reads(module, graph, claim.subject)
    ordered = claim.order is not None
    if not symbols(graph.inputs[claim.subject].shape[1]):
        return
    names, away, looked = sorted(free_symbols(graph)), verdict.status is Status.PROVED, False
    inside = far(graph, claim.subject) if away else 0
    for n in (17, 40, 2 * inside + 8) if away else (17, 40, 90):
        sizes = dict.fromkeys(names, n)
        if _count(reads, sizes) > EVERY:
            continue
        looked, hole = True, _hole(reads, sizes, ordered, inside)
        if away and hole is not None and _hole(reads, sizes, ordered, inside, 2 * TRIALS) is not None:
            yield f"proved, and {hole} at {sizes}"
        if not away and (
            hole is not None or not any(y.any() for y in reads.several(sizes, 2).outputs.values())
        ):
            return
    yield from ["refuted, and no hole shows"] if looked and not away else []


def _hole(reads: Reads, sizes: Sizes, ordered: bool, inside: int, trials: int = 2) -> str | None:
    """A place between two that are read (or one and its own), and that is not; of results so far `inside` alone."""
    lengths = max((sizes[f.counts] for f in reads.module.fields.values() if f.counts in sizes), default=0)
    found = reads.several(sizes, trials, *((trials, EVERY, lengths) if trials > 2 else (0, EVERY)))
    type = reads.graph.inputs[reads.subject].type
    shape = type.concrete({"N": 1, **sizes})[1:]
    step = int(np.prod(shape[1:]))
    for name, y in found.outputs.items():
        if y.ndim < 2 or not symbols(reads.graph.outputs[name].shape[1]):
            continue
        table = y.reshape(shape[0], step, y.shape[1], -1).max((1, 3))
        seen, sure = (
            table > 0,
            table > (ROUNDING if inside else 0),
        )  # what has faded may vanish here and there
        times = y.shape[1] / shape[0]
        for place in range(seen.shape[1]):
            at = int(place / times)
            own = seen[:at, place] if ordered else seen[:, place]
            hit = np.flatnonzero(own & (sure[:at, place] if ordered else sure[:, place]))
            cut = at < inside or at + inside >= shape[0]
            if not hit.size or (inside and (cut or hit[0] == 0 or (not ordered and hit[-1] == shape[0] - 1))):
                continue
            within = own[hit[0] :] if ordered else own[hit[0] : hit[-1] + 1]
            if not within.all():
                gap = int(hit[0] + within.argmin())
                return f"{name}[{place}] does not read {gap}, and reads {hit[0]}"
    return None


def path_length(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    """By the shortest paths at lengths; what is read in numbers must be joined.

    Norms of one element carry nothing, so paths are those of the model without them; numbers are the model's own.
    """
    numbers, module = module, without_constants(module)
    graph = program_of(module, claim.subject)
    if graph is None:
        return
    own = program_of(numbers, claim.subject)
    assert own is not None
    op, bound, name = claim.limit.op, claim.limit.number, claim.subject
    names = sorted(free_symbols(graph))
    found = [reach(module, name, n) for n in (LENGTHS if names else LENGTHS[:1])]
    longest = max(r.longest for r in found)
    if verdict.status is Status.PROVED:
        if op in ("<=", "<", "=="):
            if not HOLDS["<" if op == "<" else "<="](longest, bound):
                yield f"proved, and a pair is {longest} apart"
            if any(r.missing for r in found):
                yield "proved, and a pair is not joined"
        if op in (">=", ">", "==") and not HOLDS[">=" if op == "==" else op](longest, bound):
            longest = max([longest, *(reach(module, name, n).longest for n in (64, 100) if names)])
            if not HOLDS[">=" if op == "==" else op](longest, bound):
                yield f"proved, and no pair is more than {longest} apart"
    elif verdict.method.startswith("a run modulo"):  # what paths join cancels
        env = {"N": 1, **named(verdict)}
        where = positions_of(graph, name, env)
        changed = Reads(numbers, own, name).several(named(verdict), 4)
        for output, table in distances(graph, name, env, where).items():
            paths = np.moveaxis(table[0], -1, 0)[where.reshape(-1)[changed.elements]]
            there = changed.outputs[output] > SURE  # what cancels leaves roundings
            if op in ("<=", "<") and not ((paths >= 0) & ~there).any():
                yield "refuted by what cancels, and every pair that paths join is read"
            if op in (">=", ">") and (HOLDS[op](paths, bound) & there).any():
                yield "refuted by what cancels, and a pair so far apart is read"
    elif op in ("<=", "<"):
        at = next(iter(named(verdict).values()), 8)
        one = reach(module, name, at)
        if HOLDS[op](one.longest, bound) and not one.missing and one.joined == one.pairs:
            yield f"refuted at {at}, and all pairs are at most {one.longest} apart there"
    elif op in (">=", ">") and HOLDS[op](longest, bound):
        yield f"refuted, and a pair is {longest} apart"
    reads = Reads(numbers, own, name)
    for sizes in sizes_of(graph, (5,)):
        env = {"N": 1, **sizes}
        where = positions_of(graph, name, env)
        joined, changed = distances(graph, name, env, where), reads.at(sizes, 1)
        for output, y in changed.outputs.items():
            paths = np.moveaxis(joined[output][0], -1, 0)[where.reshape(-1)[changed.elements]]
            if ((y > 0) & (paths < 0)).any():
                yield f"no path joins a pair that is read at {sizes}"


# --- flows ---


def jacobian(module: Module, verdict: Verdict, claim: Claim) -> Iterator[str]:
    graph = module.programs["forward"]
    reads = Reads(module, graph, claim.subject)
    if verdict.status is Status.REFUTED:
        if claim.structure and not any(d.code == "MP402" for d in verdict.diagnostics):
            kind = classify(reads.several(named(verdict), 4).outputs["z"].T > 0).kind
            if _RANKING.index(kind) <= _RANKING.index(claim.structure):
                yield f"refuted at {named(verdict)}, and it is {kind}"
        elif all(_determinant(module, graph, claim.subject, named(verdict), t) < 1e-4 for t in range(4)):
            yield f"refuted at {named(verdict)}, and the log-determinant is right"
        return
    for trial, sizes in enumerate(sizes_of(graph)):
        if claim.structure:
            kind = classify(reads.several(sizes, 2).outputs["z"].T > 0).kind
            if _RANKING.index(kind) > _RANKING.index(claim.structure):
                yield f"proved, and it is {kind} at {sizes}"
        if trial < 4 or not sizes:
            far = min(_determinant(module, graph, claim.subject, sizes, t) for t in (trial, trial + 1))
            if far > 1e-3:
                yield f"proved, and the log-determinant is {far:.1e} from that of the Jacobian at {sizes}"


_RANKING = ["diagonal", "triangular", "dense"]


def _determinant(module: Module, graph: Graph, name: str, sizes: Sizes, trial: int) -> float:
    """How far the log-determinant of a program is from that of its numeric Jacobian."""
    given, own = inputs(module, graph, sizes, trial), {k: 0.5 * v for k, v in weights(module, trial).items()}
    x, step = given[name], 1e-6
    many = x.size
    rows = np.repeat(x, 2 * many + 1, 0)
    for j in range(many):
        rows[1 + j, j] += step
        rows[1 + many + j, j] -= step
    feed = {k: np.repeat(v, len(rows), 0) for k, v in given.items()} | {name: rows}
    with np.errstate(all="ignore"):
        out = interpret(graph, own, feed)
        z = out["z"].reshape(len(rows), -1)
        slope = (z[1 : many + 1] - z[many + 1 :]) / (2 * step)
        sign, value = np.linalg.slogdet(slope)
    return (
        float(abs(value - out["log_det"][0])) / max(1.0, abs(float(value)))
        if sign and np.isfinite(value)
        else 0.0
    )


# --- every program ---


def independent(module: Module, verdict: Verdict | None = None, claim: Claim | None = None) -> Iterator[str]:
    """Rows together are rows alone, in every program but those that are about a whole batch."""
    for name, graph in module.programs.items():
        if name.split("_")[0] in ("loss", "initialize", "statistics", "update") or not all(
            "N" in {s for d in v.shape for s in symbols(d)} for v in graph.outputs.values()
        ):
            continue
        sizes = dict.fromkeys(sorted(free_symbols(graph)), 3)
        given, own = inputs(module, graph, sizes, 1, rows=3), weights(module, 1)
        for k, v in given.items():
            noise = module.noise[name].get(k)
            if noise is not None and noise.kind == "uniform":
                given[k] = np.clip(np.abs(v) % 1, 0.05, 0.95)
        with np.errstate(all="ignore"):
            together = interpret(graph, own, given)
            for row in range(3):
                alone = interpret(
                    graph,
                    own,
                    {
                        k: v[row : row + 1]
                        if graph.inputs[k].shape and symbols(graph.inputs[k].shape[0])
                        else v
                        for k, v in given.items()
                    },
                )
                for output, y in together.items():
                    if not np.allclose(y[row : row + 1], alone[output], rtol=1e-9, atol=1e-9, equal_nan=True):
                        yield f"{output} of {name} reads other examples"


def padding(module: Module, verdict: Verdict | None = None, claim: Claim | None = None) -> Iterator[str]:
    """Neither the contents behind a length nor how much there is changes what stands before it."""
    counted = next((f for f in module.fields.values() if f.counts), None)
    if counted is None:
        return
    for name, graph in module.programs.items():
        if name not in ("log_prob", "predict", "conditionals") or counted.name not in graph.inputs:
            continue
        time = counted.counts
        assert time is not None
        for real, trial in ((1, 1), (4, 2)):
            base, own = None, weights(module, trial)
            for pad in (0, 1, 6):
                sizes = {**dict.fromkeys(free_symbols(graph), 3), time: real + pad}
                given = inputs(module, graph, sizes, trial + 10 * pad)
                given[counted.name] = np.full_like(given[counted.name], real)
                exact = inputs(module, graph, {**sizes, time: real}, trial)
                for k, v in graph.inputs.items():
                    if len(v.shape) > 1 and k != counted.name and symbols(v.shape[1]) == {time}:
                        given[k][:, : exact[k].shape[1]] = exact[k]
                    elif k != counted.name:
                        given[k] = exact[k]
                with np.errstate(all="ignore"):
                    found = interpret(graph, own, given)
                cut = {
                    k: y[:, : y.shape[1] * real // (real + pad)]
                    if y.ndim > 1 and symbols(graph.outputs[k].shape[1])
                    else y
                    for k, y in found.items()
                }
                base = cut if base is None else base
                for k, y in cut.items():
                    if not np.allclose(y, base[k], rtol=1e-9, atol=1e-9, equal_nan=True):
                        yield f"{k} of {name} changes with what is behind the length ({real} of {real + pad})"


RULES: Mapping[str, Judge] = {
    "autoregressive": autoregressive, "complete": complete, "receptive_field": receptive_field,
    "no_blind_spot": no_blind_spot, "path_length": path_length, "jacobian": jacobian,
}  # fmt: skip
