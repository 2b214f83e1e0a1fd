"""An ONNX graph in the making: names, literals, sizes, nodes, and the bodies of loops inside of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from mpcompile.ir import Array, Constant, DType, Graph, Input, Node, Parameter, Symbolic, Type, Value, symbol
from mpcompile.kernels import Kernel, find_kernels

Size = int | Symbolic

#: Masks of more elements than this are stored in bytes.
LARGE = 1024
#: What stands for "to the end" in a slice.
END = (1 << 63) - 1


@dataclass
class Frame:
    """The graph itself, or the body of one loop."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    literals: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    infos: list[ValueInfoProto] = field(default_factory=list)
    producers: dict[str, NodeProto] = field(default_factory=dict)


#: How a kernel is written, from the names of its operands; and the opset that it needs.
KernelRow = tuple[Callable[["Writer", Any, Mapping[str, str]], str], int]
#: The least opset that files state.
OPSET = 21
#: How a primitive is written: nodes are appended to a writer, and the names of the results come back.
Row = Callable[["Writer", Node, list[str]], "str | list[str]"]


class Writer:
    """Appends nodes under readable names, each primitive by its row, and those of a kernel by the kernel's.

    double   makes every float 64 bits wide
    kernels  rows of the kernels that are written as one operator; with none all are primitives
    opset    the version of the standard's operators that the file needs
    """

    def __init__(
        self,
        source: str,
        rows: Mapping[str, Row],
        double: bool = False,
        kernels: Mapping[str, KernelRow] | None = None,
    ) -> None:
        self.source, self.rows, self.kernels = source, rows, kernels or {}
        self.opset = OPSET
        self.double = double
        self.float: type[np.floating[Any]] = np.float64 if double else np.float32
        self.taken: set[str] = set()
        self.frames = [Frame()]
        self.graphs: list[Graph] = []
        self.widened: list[NodeProto] = []  # casts of literals, ahead of all nodes
        self.lengths: dict[Size, str] = {}
        self.scalars: dict[Size, str] = {}
        self.prefix = ""
        self.place = ""

    # --- names and types ---

    def name(self, hint: str) -> str:
        """The hint, or the hint with a number where it is taken."""
        chosen, count = hint, 0
        while chosen in self.taken:
            count += 1
            chosen = f"{hint}_{count}"
        self.taken.add(chosen)
        return chosen

    def element(self, dtype: DType) -> int:
        """ONNX's number of an element type."""
        floats = TensorProto.DOUBLE if self.double else TensorProto.FLOAT
        return {DType.FLOAT: floats, DType.INT: TensorProto.INT64, DType.BOOL: TensorProto.BOOL}[dtype]

    def info(self, name: str, type: Type) -> ValueInfoProto:
        """Type and shape of a value; a symbolic size keeps its name."""
        sizes = [s if isinstance(s, int) else str(s).replace(" ", "") for s in type.shape]
        return helper.make_tensor_value_info(name, self.element(type.dtype), sizes)

    # --- nodes ---

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node and give the name of its (first) result."""
        return self.op_all(kind, *inputs, outputs=outputs, **attributes)[0]

    def op_all(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        hint = f"{self.prefix}/{snake(kind)}" if self.prefix else snake(kind)
        names = [self.name(hint) for _ in range(outputs)]
        node = helper.make_node(
            kind, list(inputs), names, name=names[0], doc_string=self.place or None, **attributes
        )
        self.frames[-1].nodes.append(node)
        self.frames[-1].producers.update(dict.fromkeys(names, node))
        return names

    def producer(self, name: str) -> NodeProto | None:
        """The node that made a value; None for an input or a literal."""
        return next((f.producers[name] for f in reversed(self.frames) if name in f.producers), None)

    @contextmanager
    def outermost(self) -> Iterator[None]:
        """Write to the graph itself, also from within a loop body: sizes are the same in every iteration."""
        inner, self.frames = self.frames, self.frames[:1]
        before, self.prefix, self.place = (self.prefix, self.place), "", ""
        try:
            yield
        finally:
            self.frames = inner
            self.prefix, self.place = before

    # --- literals ---

    def literal(self, array: Array | Sequence[int] | float, hint: str = "") -> str:
        """The name of a literal array, floats in the width of this graph; equal ones are stored once.

        A large one of zeros and ones, a mask, is stored in bytes: runtimes widen it once, when they load it.
        """
        a = exact = np.asarray(array)
        if a.dtype.kind == "f":
            a = a.astype(self.float)
        elif a.dtype.kind in "iu" or not a.size:
            a = a.astype(np.int64)
        a = np.ascontiguousarray(a).reshape(a.shape)
        key = (a.dtype.str, a.shape, a.tobytes())
        frame = self.frames[-1] if a.size <= 16 else self.frames[0]
        for seen in (frame, self.frames[0]):
            if key in seen.literals:
                return seen.literals[key]
        name = self.name(hint or _literal_name(exact))
        if a.dtype.kind == "f" and a.size > LARGE and ((a == 0) | (a == 1)).all():
            stored = self.name(f"{name}.bits")
            frame.initializers[stored] = numpy_helper.from_array(a.astype(np.uint8), stored)
            self.widened.append(
                helper.make_node("Cast", [stored], [name], name=name, to=self.element(DType.FLOAT))
            )
        else:
            frame.initializers[name] = numpy_helper.from_array(a, name)
        frame.literals[key] = name
        return name

    def ints(self, *values: int) -> str:
        """A vector of integers."""
        return self.literal(np.asarray(values, np.int64))

    def known(self, value: Value) -> Array | None:
        """The array of a value that is a literal."""
        graph = self.graphs[-1]
        op = graph.node(value).op if value in graph else None
        return op.array if isinstance(op, Constant) else None

    # --- sizes ---

    def declare(self, name: str, source: str, axis: int, times: int = 1) -> None:
        """Declare a symbol: the length of one axis of an input, divided by `times`."""
        self.lengths[symbol(name)] = f"{source}\n{axis}\n{name}\n{times}"

    def size(self, size: Size) -> str:
        """A size as a vector of one integer."""
        if isinstance(size, int):
            return self.ints(size)
        length = self.lengths.get(size)
        if length is not None and "\n" not in length:
            return length
        with self.outermost():
            if length is not None:
                source, axis, name, times = length.split("\n")
                self.prefix = f"size.{name}"
                length = self.op("Shape", source, start=int(axis), end=int(axis) + 1)
                length = length if times == "1" else self.op("Div", length, self.ints(int(times)))
            else:
                length = self._polynomial(size)
        self.lengths[size] = length
        return length

    def _polynomial(self, size: Symbolic) -> str:
        total = ""
        for monomial, coefficient in size.terms:
            factors = [self.size(symbol(s)) for s in monomial]
            if coefficient != 1 or not factors:
                factors.append(self.ints(coefficient))
            self.prefix = "size"
            term = factors[0]
            for factor in factors[1:]:
                term = self.op("Mul", term, factor)
            total = self.op("Add", total, term) if total else term
        return total

    def scalar(self, size: Size) -> str:
        """A size as an integer scalar."""
        if isinstance(size, int):
            return self.literal(np.asarray(size, np.int64))
        if size not in self.scalars:
            vector = self.size(size)
            with self.outermost():
                self.prefix = "size"
                self.scalars[size] = self.op("Squeeze", vector, self.ints(0))
        return self.scalars[size]

    def shape(self, shape: Sequence[Size]) -> str:
        """A shape as a vector."""
        if all(isinstance(s, int) for s in shape):
            return self.literal(np.asarray(shape, np.int64))
        return self.op("Concat", *map(self.size, shape), axis=0) if len(shape) > 1 else self.size(shape[0])

    # --- steps that many rows share ---

    def reshape(self, x: str, old: Sequence[Size] | None, new: Sequence[Size]) -> str:
        """x under another shape. Sizes that stay in place, or one unknown among numbers, need not be computed.

        Where some are, `allowzero` makes a size of none what it says, and not that of the input in its place.
        """
        kept = [
            0 if old is not None and not isinstance(s, int) and i < len(old) and old[i] == s else s
            for i, s in enumerate(new)
        ]
        unknown = [i for i, s in enumerate(kept) if not isinstance(s, int)]
        if 0 in new or (unknown and (len(unknown) > 1 or 0 in kept)):
            return self.op("Reshape", x, self.shape(new), allowzero=1)
        if unknown:
            kept[unknown[0]] = -1
        return self.op("Reshape", x, self.shape(kept))

    def expand(self, x: str, old: Sequence[Size], new: Sequence[Size]) -> str:
        """x repeated to a shape."""
        return x if tuple(old) == tuple(new) else self.op("Expand", x, self.shape(new))

    def transpose(self, x: str, *permutation: int) -> str:
        return (
            x if list(permutation) == sorted(permutation) else self.op("Transpose", x, perm=list(permutation))
        )

    def slice(self, x: str, axes: Sequence[int], starts: Sequence[Size], stops: Sequence[Size],
              steps: Sequence[int]) -> str:  # fmt: skip
        """x[start:stop:step] along some axes."""
        given = [x, self.shape(starts), self.shape(stops), self.ints(*axes)]
        if any(s != 1 for s in steps):
            given.append(self.ints(*steps))
        return self.op("Slice", *given)

    def arange(self, count: Size) -> str:
        """0, 1, ... count - 1"""
        if isinstance(count, int):
            return self.literal(np.arange(count))
        return self.op("Range", self.scalar(0), self.scalar(count), self.scalar(1))

    def zeros(self, shape: Sequence[Size], dtype: DType = DType.FLOAT) -> str:
        nothing = np.zeros(1, self.float if dtype is DType.FLOAT else np.int64)
        return self.op("ConstantOfShape", self.shape(shape), value=numpy_helper.from_array(nothing, "value"))

    # --- a whole graph ---

    def write(
        self,
        graph: Graph,
        env: dict[Value, str],
        results: Mapping[Value, str],
        only: Sequence[Node] | None = None,
    ) -> None:
        """Append the nodes of a graph, or some of them.

        `env` names its inputs and takes its values; `results` says what its outputs must be called.
        """
        self.graphs.append(graph)
        nodes = graph.nodes() if only is None else only
        found = self._find(graph, nodes)
        absorbed = {i for kernel in found.values() for i in kernel.absorbed}
        for node in nodes:
            if isinstance(node.op, Input | Parameter) or node.id in absorbed:
                continue
            if isinstance(node.op, Constant):
                env[node.outputs[0]] = self.literal(
                    node.op.array, f"{label(node)}" if node.op.array.size > 16 else ""
                )
                continue
            frame = self.frames[-1]
            start = len(frame.nodes)
            self.prefix, self.place = label(node), self._where(node)
            result = self._row(node, found.get(node.id), env)
            names = [result] if isinstance(result, str) else list(result)
            written = frame.nodes[start:]
            fresh = {o for n in written for o in n.output}
            for value, name in zip(node.outputs, names, strict=False):
                if name in fresh:
                    wanted = results.get(value) or self.name(self.prefix)
                    _rename(written, name, wanted)
                    frame.producers[wanted] = frame.producers.pop(name)
                    fresh.discard(name)
                    frame.infos.append(self.info(wanted, value.type))
                    name = wanted
                env[value] = name
        self.prefix = self.place = ""
        self.graphs.pop()

    def _find(self, graph: Graph, nodes: Sequence[Node]) -> dict[int, Kernel]:
        """The kernels among some nodes of a graph, by the node that gives the result."""
        if not self.kernels:
            return {}
        reads = Counter(v for n in graph.nodes() for v in n.inputs) + Counter(graph.outputs.values())
        plain = [n for n in nodes if not n.op.bodies()]
        return find_kernels(graph, plain, reads, lambda kernel: kernel.name in self.kernels)

    def _row(self, node: Node, kernel: Kernel | None, env: Mapping[Value, str]) -> str | list[str]:
        """Write a node by the row of its primitive, or of the kernel that it gives the result of."""
        if kernel is None:
            return self.rows[node.op.name](self, node, [env[v] for v in node.inputs])
        row, since = self.kernels[kernel.name]
        self.opset = max(self.opset, since)
        return row(self, kernel, {name: env[v] for name, v in kernel.operands.items()})

    def _where(self, node: Node) -> str:
        if not node.span.line:
            return ""
        shown = f" {node.scope[-1].label}" if node.scope else ""
        return f"{self.source}:{node.span.line}{shown}"

    def results(self, outputs: Mapping[str, Value], env: Mapping[Value, str]) -> list[ValueInfoProto]:
        """Declare outputs by their final names; what is not a fresh value of this graph is copied."""
        infos = []
        for name, value in outputs.items():
            if env[value] != name:
                copy = helper.make_node("Identity", [env[value]], [name], name=name)
                self.frames[-1].nodes.append(copy)
            infos.append(self.info(name, value.type))
        return infos

    def finish(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto],
               doc: str = "") -> GraphProto:  # fmt: skip
        """Close the innermost frame."""
        frame = self.frames[-1]
        nodes = needed(
            [*(self.widened if len(self.frames) == 1 else ()), *frame.nodes], [o.name for o in outputs]
        )
        read = _reads(nodes) | {o.name for o in outputs}
        produced = {o for n in nodes for o in n.output}
        declared = {i.name for i in (*inputs, *outputs)}
        return helper.make_graph(
            nodes, name, list(inputs), list(outputs),
            initializer=[t for n, t in frame.initializers.items() if n in read],
            value_info=[i for i in frame.infos if i.name in produced and i.name not in declared],
            doc_string=doc or None,
        )  # fmt: skip


def label(node: Node) -> str:
    """Return the name of a node's value: the layer that it came from, and its primitive."""
    return f"{node.path}.{node.op.name}" if node.scope else node.op.name


@cache
def snake(kind: str) -> str:
    """Convert `LogSoftmax` to `log_softmax`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()


def _literal_name(a: Array) -> str:
    if a.size > 8:
        return "literal"
    values = a.reshape(-1).tolist()
    shown = ",".join("end" if v == END else "start" if v == -END else str(v).lower() for v in values)
    return (
        shown if a.ndim == 0 else f"[{shown}]" if a.ndim == 1 else f"[{shown}]:{'x'.join(map(str, a.shape))}"
    )


def _rename(nodes: Sequence[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
        if new in node.output[:1]:
            node.name = new


def _reads(nodes: Sequence[NodeProto]) -> set[str]:
    """Every name that nodes, or the bodies of their loops, mention."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _reads(attribute.g.node) | {o.name for o in attribute.g.output}
    return found


def needed(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """Return the nodes that some output needs, in order."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if any(o in wanted for o in node.output):
            kept.append(node)
            wanted |= _reads([node])
    return kept[::-1]
