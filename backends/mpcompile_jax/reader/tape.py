"""The graph of a JAX function while it is read: which values are not known, and the numbers that the others have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpcompile.diagnostics import Span
from mpcompile.foreign.intervals import Intervals
from mpcompile.foreign.masks import MASK
from mpcompile.foreign.notes import Notes
from mpcompile.foreign.recording import Unrecordable
from mpcompile.ir import Array, Builder, DType, Input, Parameter, Type, Value
from mpcompile.ops import build


class Unkept(Exception):
    """A body of a loop that asks for numbers, which it has only when its steps are read one after another."""


def kind(dtype: Any) -> DType:
    """Return the kind of elements of a dtype. Raises `Unrecordable` for complex numbers and keys."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return DType.BOOL
    if jnp.issubdtype(dtype, jnp.integer):
        return DType.INT
    if jnp.issubdtype(dtype, jnp.floating):
        return DType.FLOAT
    raise Unrecordable(f"elements of type {dtype} have no rules", Span.none())


def array(x: Any) -> Array:
    """Return the numbers of an array; those of half precision in single precision."""
    found = np.asarray(x)
    return found if found.dtype.kind in "fiub" else found.astype(np.float32)


@dataclass(eq=False)
class Held:
    """A variable of a jaxpr.

    shape, dtype  as JAX has them
    known         its numbers, where they are made of constants and random numbers alone
    value         what the graph has for it; None where its numbers are known and nobody asked
    drawn         whether it is made of random numbers
    stepped       whether it is known in every step of a loop whose body is kept, and changes from step to step
    """

    shape: tuple[int, ...]
    dtype: Any
    known: Any = None
    value: Value | None = None
    drawn: bool = False
    stepped: bool = False

    @classmethod
    def of(cls, x: Any, drawn: bool = False) -> Held:
        """Hold numbers that are known."""
        x = x if hasattr(x, "shape") else np.asarray(x)
        return cls(tuple(x.shape), x.dtype, x, None, drawn)

    @property
    def settled(self) -> bool:
        """Whether its numbers depend on nothing but constants and random numbers."""
        return self.known is not None


@dataclass(frozen=True)
class Peak:
    """The largest score along an axis, or a sum of weights along it: `of` scores or weights, with the axis or without."""

    of: Value
    axis: int
    kept: bool


@dataclass
class Tape(Notes):
    """The part of a reading that there is so far.

    peaks, totals  values that are the largest score, and the sum of weights, of a softmax
    shifted        scores from which their largest was taken off -> (scores, axis, largest)
    weights        exp of those -> (scores that masks leave, axis)
    masking        values that a mask which changes from step to step is in
    arrays         inputs of the call
    root           the builder of the graph of the call; `builder` is that of a loop while its body is read
    """

    peaks: dict[Value, Peak] = field(default_factory=dict)
    totals: dict[Value, Peak] = field(default_factory=dict)
    shifted: dict[Value, tuple[Value, int, Value]] = field(default_factory=dict)
    weights: dict[Value, tuple[Value, int]] = field(default_factory=dict)
    masking: set[Value] = field(default_factory=set)
    arrays: dict[str, Array] = field(default_factory=dict)
    _seen: dict[tuple[Value, int], Value] = field(default_factory=dict)
    _numbers: dict[Value, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.root = self.builder

    @contextmanager
    def inside(self, loop: Builder) -> Iterator[None]:
        """Read the body of a loop."""
        before = self.builder, self.known, self.certain
        self.builder, self.known, self.certain = loop, Intervals(loop), Intervals(loop)
        try:
            yield
        finally:
            self.builder, self.known, self.certain = before

    @property
    def kept(self) -> bool:
        """Whether the body of a loop is read."""
        return self.builder is not self.root

    def declare(self, name: str, x: Any) -> Held:
        """Make an array an input of the call."""
        self.arrays[name] = array(x)
        return Held(tuple(x.shape), x.dtype, value=self.input(name, array(x), Type(kind(x.dtype), x.shape)))

    def weight(self, name: str, x: Any) -> Held:
        """Make an array a weight, which may be anything."""
        self.parameters[name] = array(x)
        value = self.root.emit(Parameter(name, Type(kind(x.dtype), x.shape)))
        return Held(tuple(x.shape), x.dtype, value=value)

    def value(self, x: Held) -> Value:
        """The value of a variable in the graph that is being read."""
        if x.value is None and not x.drawn:
            return self.builder.constant(array(x.known).copy())
        if x.value is None:
            name = f"noise_{len(self.noise)}"
            self.noise[name] = array(x.known).copy()
            x.value = self.root.input(name, Type(kind(x.dtype), x.shape))
        return self.builder.here(x.value)

    def number(self, x: Held) -> Any:
        """Return the numbers of a variable in the call, by running the graph that there is.

        Raises `Unkept` in the body of a loop.
        """
        if x.known is not None:
            return x.known
        assert x.value is not None
        return jnp.asarray(self._run(x.value), x.dtype)

    def _run(self, value: Value) -> Array:
        graph, numbers, waiting = self.root.graph, self._numbers, [value]
        while waiting:
            if waiting[-1] in numbers:
                waiting.pop()
                continue
            if waiting[-1] not in graph:
                raise Unkept
            node = graph.node(waiting[-1])
            if missing := [v for v in node.inputs if v not in numbers]:
                waiting += missing
                continue
            if isinstance(node.op, Input | Parameter):
                source = {**self.arrays, **self.noise} if isinstance(node.op, Input) else self.parameters
                results: tuple[Array, ...] = (source[node.op.path],)
            else:
                with np.errstate(all="ignore"):
                    results = node.op.evaluate(*(numbers[v] for v in node.inputs))
            numbers.update(zip(node.outputs, results, strict=True))
        return numbers[value]

    def unmasked(self, scores: Value, axis: int) -> Value:
        """Return scores with minus infinity where a finite mask removes them; the same scores are asked once."""
        if scores in self.masking:
            raise Unkept
        if (scores, axis) not in self._seen:
            self._seen[scores, axis] = self.seen(scores, axis)
        return self._seen[scores, axis]


@dataclass(frozen=True)
class Call:
    """One equation: its parameters, operands, and the types of its results."""

    tape: Tape
    name: str
    params: dict[str, Any]
    inputs: tuple[Held, ...]
    outs: tuple[Any, ...]
    bind: Callable[..., Sequence[Any]]

    @property
    def b(self) -> Builder:
        return self.tape.builder

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.outs[0].shape)

    @property
    def kind(self) -> DType:
        """The kind of elements of the result."""
        return kind(self.outs[0].dtype)

    def unknown(self, i: int) -> bool:
        return self.inputs[i].known is None or self.inputs[i].drawn

    def array(self, i: int) -> Array:
        """The numbers of a known operand."""
        return array(self.inputs[i].known)

    def value(self, i: int, like: DType | None = None) -> Value:
        """An operand as a value, of a kind of elements if one is asked for."""
        return self.cast(self.tape.value(self.inputs[i]), like)

    def cast(self, value: Value, like: DType | None) -> Value:
        return value if like is None or value.dtype is like else build.cast(self.b, value, like)

    def results(self) -> list[Array]:
        """Return the results of the equation in the call. Raises `Unkept` in the body of a loop."""
        return [array(x) for x in self.bind(*(self.tape.number(x) for x in self.inputs))]

    def observe(
        self, joined: Sequence[int] | None, running: int | None = None, reverse: bool = False
    ) -> tuple[Value, ...]:
        """Stand in for the operation by its results, and a bound of what they read (`Observed`)."""
        operands = [self.value(i) for i in range(len(self.inputs)) if self.unknown(i)]
        return self.tape.observe(self.name, operands, self.results(), joined, running, reverse)

    def moved(self, data: Sequence[int], filled: float = 0.0, **params: Any) -> Value | tuple[Value, ...]:
        """An operation that takes each element from a known place, which it shows when it runs on numbers of places.

        The other operands must be known; where they are not, anything may be read. Nought is a place that the operation
        fills in by itself, with `filled`.
        """
        if any(self.unknown(i) for i in range(len(self.inputs)) if i not in data):
            return self.observe(None)
        arrays = [x.known if i not in data else None for i, x in enumerate(self.inputs)]
        values, at = [self.cast(self.b.constant(filled), self.kind)], 1
        for i in data:
            count = int(np.prod(self.inputs[i].shape, dtype=int))
            arrays[i] = jnp.arange(at, at + count, dtype=jnp.int32).reshape(self.inputs[i].shape)
            at += count
            values.append(self.value(i, self.kind))
        places = np.asarray(self.bind(*arrays, **params)[0])
        return self.tape.move(values, places.astype(np.int64))


Rule = Callable[[Call], Value | tuple[Value, ...]]


def is_weight(x: Any) -> bool:
    """Return whether an array that no name makes a parameter may be anything.

    Masks are what they are: numbers of at most -1e4 or that are not finite, and arrays of both zeros and ones; so are
    single numbers.
    """
    if not isinstance(x, jax.Array | np.ndarray) or not jnp.issubdtype(x.dtype, jnp.floating) or x.size <= 1:
        return False
    found = array(x)
    switches = bool(np.isin(found, (0, 1)).all()) and 0 < int(found.sum()) < found.size
    return bool(np.isfinite(found).all() and (found > MASK).all()) and not switches


__all__ = ["Call", "Held", "Peak", "Rule", "Tape", "Unkept", "array", "is_weight", "kind"]
