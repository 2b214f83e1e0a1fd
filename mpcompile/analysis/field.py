"""Lower bounds: which elements an output certainly depends on.

The program runs over a prime field (`mpcompile.ir.field`) with random weights, once for a batch whose row j has element j
of the source redrawn. An output that differs from that of the unchanged row depends on the element: the difference shows
that the expression is not constant. Only *no difference* is random: it has a chance of about one in the prime for a
dependence that is there, so pairs without one are tried again with other tables, weights and inputs.

What this cannot see: a cancellation through an identity that the tables do not keep is taken for a dependence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis.cost import work
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.narrowed import narrowed
from mpcompile.budget import reserve, tick
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    DType,
    Graph,
    Module,
    Node,
    Parameter,
    Primitive,
    Symbolic,
    Type,
    Value,
    substitute,
)
from mpcompile.ir.field import Field
from mpcompile.ops import Gather, Scan
from mpcompile.ops.traits import Movement

#: Trials of pairs in which no difference is seen, and of those behind a primitive that is constant but for steps.
TRIALS, STEP_TRIALS = 3, 24
#: Operations of a whole run, an elementwise one counted `EACH` times: some seconds of one core.
MOST_WORK, EACH = 2e10, 100
#: Draws of an element until it is another one; what has one value only stays.
REDRAWS = 64
#: Rows in which one element must equal another, and where something chooses by sign, with a chance of one half each.
FEW_ROWS, ROWS = 3, 40
#: Elements of the values of one node that are computed at once.
ELEMENTS = 1 << 20


@dataclass
class Reached:
    """The dependence on one source that runs over a field have shown.

    seen       bool [output elements, source elements]: the output certainly depends on the source's element
    trials     how many times each unseen pair was tried, at least
    undefined  bool, like `seen`: unseen pairs whose output has a value in too few runs to say that nothing changes
    steps      names of the primitives behind the source that are constant but for steps
    """

    seen: Array
    trials: int
    undefined: Array
    steps: tuple[str, ...]


#: How an input is drawn: the field, its name, type and shape, and which of several draws of it.
Values = Callable[[Field, str, Type, tuple[int, ...], int], Array]


def values_of(module: Module, env: Mapping[str, int]) -> Values:
    """Return how inputs are drawn: as what they are declared to be, lengths as the full length, all else at random."""

    def draw(f: Field, name: str, type: Type, shape: tuple[int, ...], again: int) -> Array:
        declared, key = module.fields.get(name), f"input {name} {again}"
        if declared is not None and declared.counts:
            out: Array = np.full(shape, env[declared.counts])
        elif declared is not None and declared.base != "real":
            levels = 2 if declared.base == "binary" else declared.classes or 2
            out = f.draw(key, shape) % levels + declared.low
        else:
            kinds = [n[name] for n in module.noise.values() if name in n]
            choices = max((k.classes for k in kinds if k.kind == "choice"), default=2)
            out = f.draw(key, shape)
            out = out if type.dtype is DType.FLOAT else out % choices
        if type.dtype is DType.FLOAT:
            return f.canon(np.asarray(out, np.float64))
        return out.astype(np.int64 if type.dtype is DType.INT else np.bool_)

    return draw


def reached(
    graph: Graph,
    source: str,
    env: Mapping[str, int],
    values: Values,
    wanted: Array,
    over: int | None = None,
    outputs: tuple[str, ...] | None = None,
    rows: Array | None = None,
    groups: Sequence[Array] | None = None,
) -> Reached:
    """Try the wanted pairs [output elements, source elements] until all are seen, or tried often enough.

    Elements of all outputs at one place count as one; so do those along axis `over` of an output. `rows` are numbers of
    output elements, where not all are meant; `groups` are numbers of source elements that are redrawn together, where a
    column is not one element. Raises `TooLarge` for more work than `MOST_WORK`, and `NoRule`.
    """
    names = tuple(graph.outputs) if outputs is None else outputs
    ask = _Ask(graph, source, env, values, names, over, rows, groups)
    some = None if over is None else narrowed(graph, names, over)
    if some is None:
        return _tried(ask, wanted)
    few = _tried(replace(ask, graph=some), wanted)
    if not (left := wanted & ~few.seen).any():
        return few
    out = _tried(ask, left)
    return replace(out, seen=out.seen | few.seen)


def _tried(ask: _Ask, wanted: Array) -> Reached:
    """`reached` for one program.

    A pair is tried in a run only if the run has values for it. Otherwise a few divisions by zero would pass for a
    cancellation.
    """
    steps = _steps(ask.graph, ask.source)
    enough = STEP_TRIALS if steps else TRIALS
    afford(ask.graph, ask.env, int(wanted.any(0).sum()))
    seen, tried = (np.zeros(wanted.shape, np.uint8) for _ in range(2))
    for trial in range(STEP_TRIALS):
        columns = np.flatnonzero((wanted & (seen < 2) & (tried < enough)).any(0))
        if not columns.size:
            break
        differs, defined = _Run(ask, Field(trial)).differences(columns)
        seen[:, columns] += differs
        tried[:, columns] += defined
    left = wanted & (seen < 2)
    return Reached(seen > 1, int(tried[left].min(initial=enough)), left & (tried < enough), steps)


def as_it_is(module: Module, graph: Graph, env: Mapping[str, int]) -> Array:
    """Return, for each element of input `x` of a map, the element of `y` that equals it for all inputs, or -1.

    `seen`, where the map has it, is `x`. Raises `NoRule`.
    """
    rows = ROWS if any(_steps(graph, name) for name in graph.inputs) else FEW_ROWS
    f, sizes, draw = Field(0), {**env, "N": rows}, values_of(module, env)
    inputs = {
        name: draw(f, name, value.type, value.type.concrete(sizes), 0) for name, value in graph.inputs.items()
    }
    inputs["x"] = f.draw(
        "x", inputs["x"].shape
    )  # a real number, whatever the variable of the flow is declared to be
    if "seen" in inputs:
        inputs["seen"] = inputs["x"]
    results = run(graph, f, Weights(graph, f, env), inputs, sizes)
    x, y = (np.ascontiguousarray(v.reshape(rows, -1).T) for v in (inputs["x"], results["y"]))
    found = {column.tobytes(): i for i, column in enumerate(y)}
    return np.array([found.get(column.tobytes(), -1) for column in x])


class Weights(Mapping[str, Array]):
    """A random value of every weight of a program over a field, in 16 bits, which `run` widens to float64.

    All of them together may be much more than what a run computes.
    """

    def __init__(self, graph: Graph, f: Field, env: Mapping[str, int]) -> None:
        self._drawn = {
            name: f.draw_small(f"weight {name}", n.op.each.concrete(env))
            for n in graph.nodes()
            if isinstance(n.op, Parameter)
            for name in n.op.names
        }

    def __getitem__(self, path: str) -> Array:
        return self._drawn[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawn)

    def __len__(self) -> int:
        return len(self._drawn)


def run(
    graph: Graph, f: Field, weights: Weights, inputs: Mapping[str, Array], env: Mapping[str, int]
) -> dict[str, Array]:
    """Run a program over a field, and return its outputs by name. Raises `NoRule`.

    A weight is widened where something is computed from it, and not where some of its elements are picked: of a large
    embedding a run reads a few rows.
    """

    def wide(x: Array) -> Array:
        return x.astype(np.float64) if x.dtype == np.uint16 else x

    def apply(op: Primitive, *given: Array) -> tuple[Array, ...]:
        tick()
        return op.over_field(f, *(given if isinstance(op, Movement | Gather) else map(wide, given)))

    return {name: wide(y) for name, y in interpret(graph, weights, inputs, env, apply).items()}


def row_work(graph: Graph, env: Mapping[str, int]) -> float:
    """Return the operations for one row of a run."""
    cost, one = work(graph), {**env, "N": 1}
    return float(substitute(cost.products, one) + EACH * substitute(cost.rest, one))


def afford(graph: Graph, env: Mapping[str, int], columns: int) -> None:
    """Raise `TooLarge` where a run for so many elements of a source is more work than `MOST_WORK`."""
    total = (columns + 1) * row_work(graph, env)
    if total > MOST_WORK:
        raise TooLarge(f"a run modulo a prime would take {total:.1e} operations, more than {MOST_WORK:.0e}")


def widest(graph: Graph, env: Mapping[str, int]) -> int:
    """Return the elements of the largest value of one row."""
    one = {**env, "N": 1}
    rows = (t for n in graph.nodes() for t in n.types if any(isinstance(s, Symbolic) for s in t.shape))
    return max((int(np.prod(t.concrete(one))) for t in rows), default=1)


def _steps(graph: Graph, source: str) -> tuple[str, ...]:
    """Primitives that read the source and are constant but for steps, bodies of loops included."""
    found: dict[str, None] = {}

    def walk(graph: Graph, reading: set[Value]) -> None:
        for node in graph.nodes():
            if not any(v in reading for v in node.inputs):
                continue
            reading.update(node.outputs)
            if isinstance(node.op, Scan):
                walk(node.op.body, set(node.op.body.inputs.values()))
            if node.op.steps and any(v.dtype is DType.FLOAT for v in node.inputs) and _stepped(graph, node):
                found[node.op.name] = None

    walk(graph, {graph.inputs[source]})
    return tuple(found)


def _stepped(graph: Graph, node: Node) -> bool:
    """Whether the results that are used have steps: not a cast to a float, nor a maximum without its position."""
    last = node.outputs[-1]
    used = last in graph.outputs.values() or any(last in user.inputs for user in graph.users(node.id))
    return used and not (last.dtype is DType.FLOAT and node.op.name == "cast")


@dataclass(frozen=True)
class _Ask:
    """The question to a program: the outputs that are compared, and the elements of a source. See `reached`."""

    graph: Graph
    source: str
    env: Mapping[str, int]
    values: Values
    names: tuple[str, ...]
    over: int | None
    rows: Array | None
    groups: Sequence[Array] | None


@dataclass(frozen=True)
class _Run:
    """One trial: one draw of tables, weights and inputs."""

    ask: _Ask
    field: Field

    def differences(self, columns: Array) -> tuple[Array, Array]:
        """Return two arrays [output elements, columns]: where a difference is seen, and where values are compared.

        The first has 2 for a difference in a run without accidents, 1 in one with some.
        """
        weights = Weights(self.ask.graph, self.field, self.ask.env)
        inputs, other = self._inputs()
        first, after = inputs[self.ask.source].reshape(1, -1), other.reshape(-1)
        batched = self._batched(self.ask.source)
        each = max(1, ELEMENTS // widest(self.ask.graph, self.ask.env)) if batched else 1
        parts: list[tuple[Array, Array]] = []
        base = None if batched else self._flat(self._evaluate(weights, inputs, 1))
        for start in range(0, len(columns), each):
            chosen = columns[start : start + each]
            rows = np.repeat(
                first, len(chosen) + batched, 0
            )  # the first is the one that nothing is changed of
            for row, column in enumerate(chosen, int(batched)):
                at = column if self.ask.groups is None else self.ask.groups[column]
                rows[row, at] = after[at]
            given = {k: np.repeat(x, len(rows), 0) if self._batched(k) else x for k, x in inputs.items()}
            given[self.ask.source] = rows.reshape(len(rows), *other.shape[1:])
            found = self._flat(self._evaluate(weights, given, len(rows)))
            still = [y[:, :1] for y in found] if base is None else base
            pairs = list(zip((y[:, batched:] for y in found), still, strict=True))
            unknown = [np.isnan(y) | np.isnan(x) for y, x in pairs]
            differs = _any_of((y != x) & ~nan for (y, x), nan in zip(pairs, unknown, strict=True))
            parts.append((differs, ~_any_of(unknown)))
        seen, defined = (np.concatenate(part).T for part in zip(*parts, strict=True))
        return seen.astype(np.uint8) * (1 if self.field.accidents else 2), defined

    def _inputs(self) -> tuple[dict[str, Array], Array]:
        """One example of every input, and the source with every element another one."""
        one = {**self.ask.env, "N": 1}
        inputs = {
            name: self.ask.values(self.field, name, value.type, value.type.concrete(one), 0)
            for name, value in self.ask.graph.inputs.items()
        }
        type, first = self.ask.graph.inputs[self.ask.source].type, inputs[self.ask.source]
        other = first
        for again in range(1, REDRAWS):
            drawn = self.ask.values(self.field, self.ask.source, type, first.shape, again)
            other = np.where(other == first, drawn, other)
            if (other != first).all():
                break
        return inputs, other

    def _batched(self, name: str) -> bool:
        shape = self.ask.graph.inputs[name].type.shape
        return bool(shape) and isinstance(shape[0], Symbolic) and "N" in str(shape[0])

    def _evaluate(self, weights: Weights, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        reserve(16.0 * rows * widest(self.ask.graph, self.ask.env))
        return run(self.ask.graph, self.field, weights, inputs, {**self.ask.env, "N": rows})

    def _flat(self, results: Mapping[str, Array]) -> list[Array]:
        """Each output as [elements that count as one, rows, places]."""
        flat: list[Array] = []
        for name in self.ask.names:
            y = np.asarray(results[name], np.float64)
            kept = y[None] if self.ask.over is None else np.moveaxis(y, self.ask.over, 0)
            kept = kept.reshape(*kept.shape[:2], -1)
            flat.append(kept if self.ask.rows is None else kept[..., self.ask.rows])
        return flat


def _any_of(masks: Iterable[Array]) -> Array:
    """Return where any of some masks holds: [rows, places] of masks [elements, rows, places]."""
    return np.asarray(np.logical_or.reduce([m.any(0) for m in masks]))
