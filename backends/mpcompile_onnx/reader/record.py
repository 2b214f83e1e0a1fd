"""An ONNX file, read by running it node by node in numpy: what is known folds, what is not becomes a graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, numpy_helper

from mpcompile.budget import OutOfBudget, tick
from mpcompile.diagnostics import Span, SpecError
from mpcompile.foreign.recording import Read, Recording, Unrecordable
from mpcompile.ir import Array, Builder, Frame, Graph, Type
from mpcompile.ops import build
from mpcompile_onnx.reader.functions import attributes_of, bound, standard
from mpcompile_onnx.reader.rules import NUMBERS, RULES, SHAPES
from mpcompile_onnx.reader.tape import Call, Held, Tape, attributes, kind

#: A float initialiser with an element below this is a mask, not a weight.
MASK = -1e4
#: Nodes that may run in all, with those of loops.
MOST = 50_000
#: Bodies and functions within one another.
DEEPEST = 64


def read(model: ModelProto, inputs: Mapping[str, Array], name: str) -> Recording:
    """Trace a model for inputs of these sizes. No code of anyone's runs: operators are those of the standard.

    Float initialisers may be anything, but for masks (elements of at most -1e4, or that are not finite), for arrays of
    zeros and ones, and for single numbers. Raises `Unrecordable`.
    """
    graph = Graph(name)
    tape = Tape(Builder(graph), opsets={o.domain: o.version for o in model.opset_import})
    reader = _Reader(tape, {(f.domain, f.name): f for f in model.functions})
    env = {k: Held(x, tape.input(k, x, Type(kind(x), x.shape))) for k, x in inputs.items()}
    reader.graph(model.graph, env)
    outputs = {}
    for out in model.graph.output:
        held = _held(env, out.name)
        outputs[out.name] = held.array
        graph.outputs[out.name] = tape.builder.constant(held.array) if held.value is None else held.value
    return tape.recording(dict(inputs), outputs)


class _Reader:
    def __init__(self, tape: Tape, functions: Mapping[tuple[str, str], FunctionProto]) -> None:
        self.tape, self.functions, self.count, self.depth = tape, functions, 0, 0
        self.scope: tuple[Frame, ...] = ()

    def graph(self, graph: GraphProto, env: dict[str, Held]) -> None:
        """Read the nodes of a graph into `env`, which has its inputs."""
        for unused in graph.sparse_initializer:
            raise Unrecordable(f"the initialiser {unused.values.name} is sparse", Span.none())
        for tensor in graph.initializer:
            if tensor.name not in env:
                env[tensor.name] = self._initialiser(tensor.name, numpy_helper.to_array(tensor))
        self.nodes(graph.node, env)

    def _initialiser(self, name: str, x: Array) -> Held:
        return self.tape.weight(name, x) if is_weight(x) else Held(x)

    def nodes(self, nodes: Iterable[NodeProto], env: dict[str, Held]) -> None:
        if self.depth >= DEEPEST:
            raise Unrecordable(f"more than {DEEPEST} bodies stand within one another", self.tape.builder.span)
        self.depth += 1
        for node in nodes:
            self.count += 1
            tick()
            if self.count > MOST:
                raise Unrecordable(f"more than {MOST} nodes run", Span.none())
            found = _span(node)
            span = found if found.path else self.tape.builder.span  # of a node in a function that of the call
            self.scope = (
                _scope(node) or self.scope
            )  # a node of an optimiser has no names: it stands beside its own
            with self.tape.builder.within((*self.scope, Frame(node.op_type, node.name, span)), span):
                for name, held in zip(node.output, self._named(node, env, span), strict=False):
                    if name:
                        env[name] = held
        self.depth -= 1

    def _named(self, node: NodeProto, env: dict[str, Held], span: Span) -> Sequence[Held]:
        """The results of a node; what is wrong with it is said with its place."""
        place = "" if span.path else f"node '{node.name}': "
        try:
            return self._one(node, env)
        except Unrecordable as reason:
            if reason.span.path or reason.what.startswith("node '"):  # within a body
                raise
            raise Unrecordable(f"{place}{reason.what}", span) from reason
        except (OutOfBudget, MemoryError):
            raise
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as reason:
            # operands and attributes that the standard does not allow, in anyone's file
            what = f"{node.op_type} is malformed ({type(reason).__name__}: {reason})"
            raise Unrecordable(place + what, span) from reason
        except SpecError as reason:  # shapes that a primitive refuses
            raise Unrecordable(f"{place}{node.op_type}: {reason.diagnostics[0].message}", span) from reason

    def _one(self, node: NodeProto, env: dict[str, Held]) -> Sequence[Held]:
        if (function := self.functions.get((node.domain, node.op_type))) is not None:
            return self._function(node, function, env)
        if node.domain not in ("", "ai.onnx"):
            raise Unrecordable(f"the operator {node.domain}.{node.op_type} is of no standard", Span.none())
        bodies = {"If": self._if, "Loop": self._loop, "Scan": self._scan}
        if node.op_type in bodies:
            return bodies[node.op_type](node, env)
        inputs = tuple(_held(env, name) if name else None for name in node.input)
        open_ = any(h is not None and h.value is not None for h in inputs)
        if open_ and node.op_type not in RULES and node.op_type not in SHAPES:
            arrays = [None if h is None else h.array for h in inputs]
            if (body := standard(node, arrays, self.tape.opsets.get("", 1))) is None:
                raise Unrecordable(f"no rule for the operator {node.op_type}", Span.none())
            return self._function(node, body, env)
        results = tuple(self.tape.evaluate(node, [None if h is None else h.array for h in inputs]))
        for place in NUMBERS.get(node.op_type, ()):
            if place < len(inputs) and (held := inputs[place]) is not None:
                self._read(held, float(results[0].size))
        if node.op_type in SHAPES or not open_:
            return [Held(x) for x in results]
        call = Call(self.tape, node, inputs, attributes(node), results)
        found = RULES[node.op_type](call)
        values = found if isinstance(found, tuple) else (found,)
        if len(values) < len(results):  # further results, which a rule does not tell, may read anything
            values = (*values, *call.observe(None)[len(values) :])
        for x, value in zip(results, values[: len(results)], strict=True):
            if value.shape != x.shape:
                raise Unrecordable(f"a result of shape {list(x.shape)} was read as {value.type}", Span.none())
        return [Held(x, v) for x, v in zip(results, values[: len(results)], strict=True)]

    def _read(self, held: Held, number: float) -> None:
        """Note that a number of an array decides what runs, or how many elements there are, where it is not known."""
        if held.value is not None:
            self.tape.reads.append(Read(self.tape.builder.span, number))

    def _function(self, node: NodeProto, function: FunctionProto, env: dict[str, Held]) -> Sequence[Held]:
        """The body of a function, with the operands, attributes and results that the call has."""
        inner = {n: env[g] for n, g in zip(function.input, node.input, strict=False) if g}
        absent = frozenset(n for n in function.input if n not in inner)
        given = attributes_of(node, function)
        before = self.tape.opsets
        self.tape.opsets = {**before, **{o.domain: o.version for o in function.opset_import}}
        self.nodes([bound(n, given, absent) for n in function.node], inner)
        self.tape.opsets = before
        nothing = Held(np.zeros(0))  # a result that the call does not ask for
        return [inner[n] if g else nothing for n, g in zip(function.output, node.output, strict=False)]

    def _if(self, node: NodeProto, env: dict[str, Held]) -> Sequence[Held]:
        """The branch that the run takes."""
        held = env[node.input[0]]
        taken = bool(held.array)
        self._read(held, float(taken))
        body = attributes(node)["then_branch" if taken else "else_branch"]
        inner = dict(env)
        self.graph(body, inner)
        return [inner[out.name] for out in body.output]

    def _loop(self, node: NodeProto, env: dict[str, Held]) -> Sequence[Held]:
        """The iterations that the run has, one after another."""
        body = attributes(node)["body"]
        most = int(env[node.input[0]].array) if node.input[0] else MOST
        going = bool(env[node.input[1]].array) if len(node.input) > 1 and node.input[1] else True
        carried = [env[name] for name in node.input[2:]]
        scanned: list[list[Held]] = [[] for _ in body.output[1 + len(carried) :]]
        for name in filter(None, node.input[:2]):
            self._read(env[name], float(env[name].array))
        step = 0
        while going and step < most:
            inner = dict(env)
            starts = [Held(np.asarray(step)), Held(np.asarray(going)), *carried]
            inner.update(zip((i.name for i in body.input), starts, strict=True))
            self.graph(body, inner)
            found = [inner[out.name] for out in body.output]
            self._read(found[0], float(found[0].array))
            going, carried = bool(found[0].array), found[1 : 1 + len(carried)]
            for rows, held in zip(scanned, found[1 + len(carried) :], strict=True):
                rows.append(held)
            step += 1
        if any(not rows for rows in scanned):
            raise Unrecordable("a loop without iterations gives no rows", Span.none())
        return [*carried, *(self._stacked(rows, 0) for rows in scanned)]

    def _scan(self, node: NodeProto, env: dict[str, Held]) -> Sequence[Held]:
        a = attributes(node)
        body, count = a["body"], int(a["num_scan_inputs"])
        given = [env[name] for name in node.input]
        carried, rows = given[: len(given) - count], given[len(given) - count :]
        axes = a.get("scan_input_axes") or [0] * count
        back = a.get("scan_input_directions") or [0] * count
        outs = len(body.output) - len(carried)
        placed = a.get("scan_output_axes") or [0] * outs
        turned = a.get("scan_output_directions") or [0] * outs
        scanned: list[list[Held]] = [[] for _ in range(outs)]
        length = rows[0].array.shape[axes[0]]
        for step in range(length):
            inner = dict(env)
            parts = [
                self._row(r, ax, length - 1 - step if b else step)
                for r, ax, b in zip(rows, axes, back, strict=True)
            ]
            inner.update(zip((i.name for i in body.input), [*carried, *parts], strict=True))
            self.graph(body, inner)
            found = [inner[out.name] for out in body.output]
            carried = found[: len(carried)]
            for at, held in enumerate(found[len(carried) :]):
                scanned[at].insert(0 if turned[at] else len(scanned[at]), held)
        return [*carried, *(self._stacked(s, ax) for s, ax in zip(scanned, placed, strict=True))]

    def _row(self, held: Held, axis: int, at: int) -> Held:
        x = held.array.take(at, axis)
        if held.value is None:
            return Held(x)
        b = self.tape.builder
        return Held(x, build.reshape(b, build.slice_axis(b, held.value, axis, at, at + 1), x.shape))

    def _stacked(self, rows: Sequence[Held], axis: int) -> Held:
        x = np.stack([r.array for r in rows], axis)
        if all(r.value is None for r in rows):
            return Held(x)
        b, wide = self.tape.builder, (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        values = [build.reshape(b, b.constant(r.array) if r.value is None else r.value, wide) for r in rows]
        return Held(x, build.concat(b, values, axis))


def _held(env: Mapping[str, Held], name: str) -> Held:
    if name not in env:  # nodes that are out of order, or in a cycle
        raise Unrecordable(f"nothing gives '{name}' before it is read", Span.none())
    return env[name]


def is_weight(x: Array) -> bool:
    """Return whether an initialiser may be anything: no mask, no array of zeros and ones, and no single number."""
    if x.dtype.kind != "f" or x.size <= 1:
        return False
    return bool(np.isfinite(x).all() and (x > MASK).all() and not np.isin(x, (0, 1)).all())


def _scope(node: NodeProto) -> tuple[Frame, ...]:
    """The modules that an exporter names on a node: the whole model, and each by its name within the one before."""
    names, classes = _listed(node, "name_scopes"), _listed(node, "class_hierarchy")
    if len(names) < 2:
        return ()
    kinds = [c.rpartition(".")[2] for c in classes] if len(classes) == len(names) else names
    frames = [Frame(kinds[0] or "model", kinds[0], Span.none())]
    for above, name, label in zip(names, names[1:-1], kinds[1:], strict=False):
        shown = name.removeprefix(f"{above}.") if above else name
        frames.append(Frame(shown, label, Span.none()))
    return tuple(frames)


def _listed(node: NodeProto, what: str) -> list[str]:
    """A list of names that torch's exporter keeps on a node, from the whole model to the operation."""
    text = next((p.value for p in node.metadata_props if p.key == f"pkg.torch.onnx.{what}"), "")
    return [p.strip(" '\"") for p in text.strip("[]").split(",")] if text else []


def _span(node: NodeProto) -> Span:
    """The innermost line of source that an exporter names on a node and that is not the framework's."""
    trace = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.stack_trace"), "")
    found = own = Span.none()
    for line in trace.splitlines():
        head, _, rest = line.strip().partition('", line ')
        number = rest.partition(",")[0]
        if head.startswith('File "') and number.isdigit():
            path = head.removeprefix('File "')
            found = Span.of_code(path, int(number))
            own = own if _FRAMEWORK.search(path) else found
    return own if own.path else found


#: Paths of the framework that exports, on whatever machine that was.
_FRAMEWORK = re.compile(r"[\\/](site|dist)-packages[\\/]torch[\\/]")


__all__ = ["is_weight", "read"]
