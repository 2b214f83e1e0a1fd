"""The graph of an ONNX file while it is read: the arrays of one run, and which of them are not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from mpcompile.diagnostics import Span
from mpcompile.foreign.notes import Notes
from mpcompile.foreign.recording import Unrecordable
from mpcompile.ir import Array, Builder, DType, Parameter, Type, Value
from mpcompile.ops import build
from mpcompile_onnx.reader.bounds import elements

KINDS = {"f": DType.FLOAT, "i": DType.INT, "u": DType.INT, "b": DType.BOOL}
#: More elements than this are not made of constants.
LARGEST = 1 << 26


def kind(x: Array) -> DType:
    """Return the kind of elements of an array."""
    return KINDS[x.dtype.kind]


@dataclass
class Held:
    """An array of the run; `value` is what the graph has for it, None where it is known."""

    array: Array
    value: Value | None = None


@dataclass
class Tape(Notes):
    """A reading so far. `opsets` are the versions of operators by domain."""

    opsets: Mapping[str, int] = field(default_factory=dict)

    def weight(self, name: str, x: Array) -> Held:
        """Return a weight, which may be anything."""
        self.parameters[name] = x
        return Held(x, self.builder.emit(Parameter(name, Type(kind(x), x.shape))))

    def evaluate(self, node: NodeProto, inputs: Sequence[Array | None]) -> list[Array]:
        """Run one node on arrays. Raises `Unrecordable` for one that cannot be run, or that gives too much."""
        given = {n: x for n, x in zip(node.input, inputs, strict=True) if n and x is not None}
        try:
            if elements(node, inputs) > LARGEST:
                raise Unrecordable(f"{node.op_type} gives more than {LARGEST} elements", Span.none())
            with np.errstate(all="ignore"):
                found = self._run(node, given)
        except (Unrecordable, MemoryError):
            raise
        except (
            Exception
        ) as reason:  # operands of anyone's file: whatever is said of them, the node cannot be run
            raise Unrecordable(f"{node.op_type} cannot be run: {reason}", Span.none()) from reason
        results = [np.asarray(x) for x in found]
        if any(x.size > LARGEST for x in results):
            raise Unrecordable(f"{node.op_type} gives more than {LARGEST} elements", Span.none())
        return results

    def _run(self, node: NodeProto, given: Mapping[str, Array]) -> Sequence[Array]:
        """The reference implementation of the standard, and onnxruntime where that fails."""
        try:
            found: Any = ReferenceEvaluator(node, opsets=dict(self.opsets)).run(None, dict(given))
            return list(found)
        except MemoryError:
            raise
        except Exception:  # a function of the types of its operands, or operands that it does not take
            return _run_elsewhere(node, given, self.opsets)


def _run_elsewhere(node: NodeProto, given: Mapping[str, Array], opsets: Mapping[str, int]) -> Sequence[Array]:
    """Run one node in onnxruntime."""
    import onnxruntime as runtime

    types = {n: helper.np_dtype_to_tensor_dtype(x.dtype) for n, x in given.items()}
    inputs = [helper.make_tensor_value_info(n, types[n], x.shape) for n, x in given.items()]
    outputs = [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    graph = helper.make_graph([node], "node", inputs, outputs)
    domains = [helper.make_opsetid(d, v) for d, v in opsets.items()]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it says is in the error
    session = runtime.InferenceSession(model.SerializeToString(), options)
    results: list[Array] = session.run(None, dict(given))
    by = dict(zip([n for n in node.output if n], results, strict=True))
    return [by.get(n, np.zeros(0)) for n in node.output]


@dataclass(frozen=True)
class Call:
    """One node as it ran: its operands, attributes and results."""

    tape: Tape
    node: NodeProto
    inputs: tuple[Held | None, ...]
    attributes: Mapping[str, Any]
    results: tuple[Array, ...]

    @property
    def b(self) -> Builder:
        return self.tape.builder

    @property
    def out(self) -> Array:
        return self.results[0]

    @property
    def kind(self) -> DType:
        return kind(self.out)

    def has(self, number: int) -> bool:
        return number < len(self.inputs) and self.inputs[number] is not None

    def array(self, number: int) -> Array:
        """An operand as it was in the run."""
        held = self.inputs[number]
        assert held is not None
        return held.array

    def unknown(self, number: int) -> bool:
        held = self.inputs[number] if self.has(number) else None
        return held is not None and held.value is not None

    def value(self, number: int, like: DType | None = None) -> Value:
        """An operand as a value, of a kind of elements if one is asked for."""
        held = self.inputs[number]
        assert held is not None
        value = self.b.constant(held.array) if held.value is None else held.value
        return value if like is None or value.dtype is like else build.cast(self.b, value, like)

    def observe(self, joined: Sequence[int] | None) -> tuple[Value, ...]:
        """Stand in for an operation without a rule by its results, and a bound of what they read."""
        operands = [self.value(i) for i in range(len(self.inputs)) if self.unknown(i)]
        return self.tape.observe(self.node.op_type, operands, self.results, joined)

    def seen(self, scores: Value, axis: int) -> Value:
        return self.tape.seen(scores, axis % scores.type.rank)

    def moved(self, data: Sequence[int]) -> tuple[Value, ...]:
        """An operation that takes each element from a known place, which a run on numbers of places shows."""
        if any(self.unknown(i) for i in range(len(self.inputs)) if i not in data):
            return self.observe(None)
        arrays: list[Array | None] = [None if h is None else h.array for h in self.inputs]
        at, values = (
            1,
            [build.cast(self.b, self.b.constant(0), kind(self.array(data[0])))],
        )  # 0: put in by itself
        for i in data:
            x = self.array(i)
            arrays[i] = np.arange(at, at + x.size, dtype=np.float64).reshape(x.shape)
            at += x.size
            values.append(self.value(i))
        return tuple(
            self.tape.move(values, p.astype(np.int64)) for p in self.tape.evaluate(self.node, arrays)
        )


Rule = Callable[[Call], Value | tuple[Value, ...]]


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name; text as text."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


__all__ = ["Call", "Held", "Rule", "Tape", "attributes", "kind"]
