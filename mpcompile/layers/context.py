"""The context in which layers, distributions and bijectors build graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import Span
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Frame,
    Init,
    NoiseSpec,
    Parameter,
    ParameterSpec,
    Shape,
    Stack,
    Type,
    Value,
    float_type,
)
from mpcompile.ir.axes import Axes
from mpcompile.ir.names import part
from mpcompile.layers.lengths import Lengths
from mpcompile.layers.named import known_axes
from mpcompile.layers.naming import Naming

#: More elements than this in one weight (1 GiB in single precision) are refused.
MAX_WEIGHT = 1 << 28
#: More weights than this in one model (8 GiB in single precision) are refused.
MAX_WEIGHTS = 1 << 31


@dataclass(frozen=True, slots=True)
class Standardised:
    """A value whose statistics are measured before training.

    value   [N, ...]
    axis    of its channels
    looped  whether it is one of a step of a loop
    span    of the layer
    """

    value: Value
    axis: int
    looped: bool
    span: Span


@dataclass(frozen=True)
class Coded:
    """The origin of a code in training: the vectors [N, ..., channel] that it is nearest to, and the table of its rows.

    Rows of the table that are looked up by the code pass their gradient on to the vectors. `commitment` is the weight of
    the term of the loss that draws the vectors to their rows.
    """

    vectors: Value
    table: Value
    commitment: float


@dataclass
class Context(Lengths):
    """The state that a composition needs to build its graph.

    b            the builder of the program's graph
    parameters   of the module, shared by all its programs; asking twice for a name must ask for the same thing
    noise        noise inputs of this program
    in_training  whether the program is the training loss: asked as `training`
    trained      whether that was asked, so that the values depend on it
    degrees      degrees of the units of a value, inside a masked network
    order        ranks of the modelled variable's elements, inside an autoregressive density
    ordered      the axes of that variable, and their sizes
    member       which of several orders and sets of masks, an INT scalar; then `order` and `degrees` have a row for
                 each, and row k takes the hidden degrees of mask set k modulo `mask_sets`
    missing      of a value of which elements may be missing, which are there, bool in its shape
    relaxed      of a category that stands for shares of its classes, the shares and their axis
    coded        of a category that is the nearest row of a table, what it stands for
    updates      values that untrained parameters take after this program, by name
    axes         names of the axes of a value (`axes_of`)
    stated       values that the model states by name, by the name and the variables that they read
    mapped       of a value that a flow has mapped, the latents and the log-determinant
    standardised  the values that `standardise` takes statistics of, by its path
    naming       the names of layers that were given so far
    """

    parameters: dict[str, ParameterSpec]
    noise: dict[str, NoiseSpec] = field(default_factory=dict)
    in_training: bool = False
    trained: bool = False
    degrees: dict[Value, Array] = field(default_factory=dict)
    order: Array | None = None
    ordered: tuple[Axes, Shape] = ((), ())
    member: Value | None = None
    mask_sets: int = 1
    classes: dict[Value, int] = field(default_factory=dict)
    relaxed: dict[Value, tuple[Value, int]] = field(default_factory=dict)
    coded: dict[Value, Coded] = field(default_factory=dict)
    missing: dict[Value, Value] = field(default_factory=dict)
    updates: dict[str, Value] = field(default_factory=dict)
    axes: dict[Value, Axes] = field(default_factory=dict)
    stated: dict[tuple[Any, ...], Value] = field(default_factory=dict)
    mapped: dict[Value, tuple[Value, Value]] = field(default_factory=dict)
    standardised: dict[str, list[Standardised]] = field(default_factory=dict)
    naming: Naming = field(default_factory=Naming)
    _drawing: ops.LoopBuilder | None = None
    _undegreed: set[Value] = field(default_factory=set)
    _parameter_values: dict[str, Value] = field(default_factory=dict)
    _stacks: dict[tuple[str, ...], Value] = field(default_factory=dict)
    _stacked: dict[str, Stack] = field(default_factory=dict)
    _outer: list[Builder] = field(default_factory=list)
    _weights: int | None = None

    @property
    def training(self) -> bool:
        """Whether dropout is active and statistics are those of the batch."""
        self.trained = True
        return self.in_training

    def fork(self, name: str) -> Context:
        """The context of another program, no training loss, that begins with the nodes of this one.

        What either adds from here on is not in the other. Of a loss that has not asked whether it is one.
        """
        assert not (self.trained and self.in_training) and self.b.outer is None
        own: dict[str, Any] = {
            k: dict(v) for k, v in vars(self).items() if isinstance(v, dict) and k != "parameters"
        }
        builder = Builder(self.b.graph.fork(name), self.b.scope, self.b.span)
        return replace(self, b=builder, in_training=False, _undegreed=set(self._undegreed), **own)

    @property
    def path(self) -> str:
        return ".".join(f.name for f in self.b.scope)

    def unique(self, name: str) -> str:
        """Return the next name of a layer in the current scope: `dense_0`, and `dense.0` in a repeat."""
        return self.naming.unique(name, self.b.scope)

    @contextmanager
    def frame(
        self,
        name: str,
        label: str,
        span: Span,
        *,
        function: bool = False,
        role: str = "forward",
        absolute: bool = False,
    ) -> Iterator[None]:
        """Enter a scope. Names inside start afresh, so that a net used twice shares its weights."""
        scope = () if absolute else self.b.scope
        with self.b.within((*scope, Frame(part(name), label, span, function, role)), span):
            self.naming.afresh(scope, self.b.scope[-1].name)
            yield

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Inside of this, nodes are those of the program, outside of every loop; names and places stay as they are."""
        inner, drawing = self.b, self._drawing
        self.b, self._drawing = self.root, None
        try:
            with self.b.within(inner.scope, inner.span):
                yield
        finally:
            self.b, self._drawing = inner, drawing

    # --- names of axes ---

    def axes_of(self, value: Value) -> Axes:
        """Return the names of all axes of a value but the batch; of a weight or a number, which have none, of all."""
        if value.type.rank == 0:
            return ()
        found = known_axes(self.axes, self.b, value)
        if found is None:
            assert value.type.rank == 1, f"the axes of {value.type} in {self.path} have no names"
            return ()
        return found

    def sizes_of(self, value: Value) -> Shape:
        """Return the size of each axis that has a name."""
        count = len(self.axes_of(value))
        return value.shape[value.type.rank - count :]

    def name_axes(self, value: Value, axes: Axes) -> Value:
        """Name the axes of a value, with or without a batch before them; return it, or its copy if it has other names."""
        assert value.type.rank - len(axes) in (0, 1) and len(set(axes)) == len(axes), (
            f"{axes} of {value.type}"
        )
        if self.axes.get(value, axes) != axes:
            value = self.b.emit(ops.Reshape(value.shape), value)
        self.axes[value] = axes
        return value

    def axis(self, value: Value, name: str) -> int:
        """Return the place of an axis of a value, the batch counted."""
        return value.type.rank - len(self.axes_of(value)) + self.axes_of(value).index(name)

    def param(self, name: str, shape: Sequence[int], init: Init, *, trainable: bool = True) -> Value:
        """Return the parameter `<scope>.<name>`, declared on first use.

        Raises `SpecError` for a name that has another shape.
        """
        path = self.path
        full = f"{path}.{name}" if path else name
        self.declare(full, shape, init, trainable=trainable)
        if full not in self._parameter_values:
            with self.root.within(self.b.scope, self.b.span):
                self._parameter_values[full] = self.root.emit(Parameter(full, float_type(*shape)))
        return self._parameter_values[full]

    def declare(self, full: str, shape: Sequence[int], init: Init, *, trainable: bool = True) -> None:
        """Declare a parameter of the module by its whole name. Raises MP203 where it is known with another shape."""
        known = self.parameters.get(full)
        if known is None:
            self.parameters[full] = self._declared(full, tuple(shape), init, trainable)
        elif known.shape != tuple(shape):
            raise self.fail(
                "MP203",
                f"weights of {full} are shared by uses of different shapes: {list(known.shape)} and {list(shape)}",
            )

    def read(self, full: str) -> Value | None:
        """The value of a weight that this program reads; None for one that it does not."""
        leaf = self._stacked.get(full)
        if leaf is not None and full not in self._parameter_values:
            self._parameter_values[full] = self.root.emit(Parameter(full, leaf.each))
        return self._parameter_values.get(full)

    def shared(self, full: str) -> Value:
        """The value of a known weight of the module, by its whole name."""
        value = self.read(full)
        if value is None:
            with self.root.within(self.b.scope, self.b.span):
                value = self.root.emit(Parameter(full, float_type(*self.parameters[full].shape)))
            self._parameter_values[full] = value
        return value

    def stack(self, paths: tuple[str, ...], each: Type) -> Value:
        """The weights of all iterations of a repeat, of which each reads one in place of a parameter of its own."""
        if paths not in self._stacks:
            leaf = Stack.of(paths, each)
            self._stacks[paths] = self.root.emit(leaf)
            self._stacked.update(dict.fromkeys(paths, leaf))
        for path in paths:
            self._parameter_values.pop(path, None)
        return self._stacks[paths]

    def _declared(self, full: str, shape: tuple[int, ...], init: Init, trainable: bool) -> ParameterSpec:
        """A new parameter. Raises MP202 for a symbolic size, and MP112 where it has too many elements."""
        for s in shape:
            if not isinstance(s, int):
                raise self.fail(
                    "MP202", f"parameter {full} would have the symbolic size {s}", help="fix that length"
                )
        if math.prod(shape) > MAX_WEIGHT:
            size = " x ".join(map(str, shape))
            raise self.fail(
                "MP112", f"{full} would have {size} elements, more than the {MAX_WEIGHT} a weight may have"
            )
        self._count_weights(full, math.prod(shape))
        former = self.naming.former(full)
        return ParameterSpec(full, shape, init, self.span, trainable, "" if former == full else former)

    def _count_weights(self, name: str, size: int) -> None:
        """Raises MP112 where a new parameter of this size would make too many of them, before one is allocated."""
        if self._weights is None:
            self._weights = sum(math.prod(p.shape) for p in self.parameters.values())
        self._weights += size
        if self._weights > MAX_WEIGHTS:
            raise self.fail(
                "MP112", f"with {name} the model has {self._weights} weights, more than {MAX_WEIGHTS}"
            )

    def latest(self, parameter: Value) -> Value:
        """The value that an untrained parameter has been given so far in this program, or its own."""
        return self.updates.get(self._untrained(parameter), parameter)

    def update(self, parameter: Value, value: Value) -> None:
        """Give an untrained parameter another value after this program."""
        self.updates[self._untrained(parameter)] = value

    def _untrained(self, parameter: Value) -> str:
        if self.b.outer is not None:
            raise self.fail("MP201", "a step of a loop cannot keep statistics", help="layer_norm keeps none")
        op = self.b.graph.node(parameter).op
        assert isinstance(op, Parameter) and not self.parameters[op.path].trainable
        return op.path

    def noise_input(self, name: str, shape: Shape, kind: str) -> Value:
        """A noise input of the program: `normal`, or `uniform` on the open interval (0, 1).

        In a step of a loop that has `noise` it is wider by the loop's axis, and this is the step's share.
        """
        unique = self._new_noise(name, NoiseSpec(kind))
        loop = self._drawing
        if loop is None:
            return self.root.input(unique, float_type(*shape))
        assert loop.length is not None
        wide = float_type(*shape[: loop.axis], loop.length, *shape[loop.axis :])
        return loop.scan(unique, self.root.input(unique, wide))

    def own_input(self, name: str, type: Type) -> Value:
        """An input that the caller of the program knows by this name. Raises MP104 where a variable has that name."""
        if name in self.b.graph.inputs:
            raise self.fail(
                "MP104", f"`{name}` is an input of the program `{self.b.graph.name}`, and a variable of the model",
                help=f"call the variable `{name}_`",
            )  # fmt: skip
        return self.b.input(name, type)

    def choice(self, name: str, classes: int) -> Value:
        """A noise input that is one whole number below `classes`, the same for all examples and steps."""
        unique = self._new_noise(name, NoiseSpec("choice", classes))
        return self.root.input(unique, Type(DType.INT, ()))

    def _new_noise(self, name: str, spec: NoiseSpec) -> str:
        unique, n = name, 1
        while unique in self.noise or unique in self.root.graph.inputs:
            n += 1
            unique = f"{name}_{n}"
        self.noise[unique] = spec
        return unique

    def scan(
        self,
        body: Callable[[list[Value], list[Value], Value], tuple[Sequence[Value], Sequence[Value]]],
        carries: Sequence[Value],
        scanned: Sequence[Value],
        *,
        axis: int = 1,
        reverse: bool = False,
        length: Any = None,
        noise: bool = False,
    ) -> tuple[list[Value], list[Value]]:
        """Loop over an axis (or `length` times): `body(carries, slices, step)` gives (next carries, ys).

        With `noise` every step draws its own; else what the body draws is the same at every step.
        """
        outer, before = self.b, self._drawing
        loop = ops.LoopBuilder(outer, axis=axis, reverse=reverse, length=length)
        state = [self._like(loop.carry(f"carry_{i}", v), v) for i, v in enumerate(carries)]
        slices = [self._like(loop.scan(f"slice_{i}", v), v, axis) for i, v in enumerate(scanned)]
        step = loop.step
        self.b, self._drawing = loop.body, loop if noise else before
        try:
            following, ys = body(state, slices, step)
            following, ys = [loop.body.here(v) for v in following], [loop.body.here(v) for v in ys]
        finally:
            self.b, self._drawing = outer, before
        return loop.close(following, {f"y_{i}": v for i, v in enumerate(ys)})

    def _like(self, inner: Value, outer: Value, without: int | None = None) -> Value:
        """Give a formal of a loop the names of what it stands for, without the axis that the loop runs over."""
        axes = known_axes(self.axes, self.b, outer)
        if axes is not None:
            batch = outer.type.rank - len(axes)
            self.axes[inner] = tuple(n for i, n in enumerate(axes) if batch + i != without)
        return inner

    def degrees_of(self, value: Value) -> Array | None:
        """Degrees of a value's units: its own, or those of what it is an element-wise function of.

        What is found is kept, so that every value is asked once, however deep a network is.
        """
        todo = [value]
        while todo:
            v = todo[-1]
            if v in self.degrees or v in self._undegreed:
                todo.pop()
                continue
            inputs = self.b.graph.node(v).inputs if v in self.b.graph else ()
            same = [s for s in inputs if s.shape == v.shape]
            open_ = [s for s in same if s not in self.degrees and s not in self._undegreed]
            if open_:
                todo += open_
                continue
            # a sum keeps degrees where its sides agree; noise (dropout) has none
            found = [self.degrees[s] for s in same if s in self.degrees]
            if found and all(np.array_equal(found[0], d) for d in found[1:]):
                self.degrees[v] = found[0]
            else:
                self._undegreed.add(v)
        return self.degrees.get(value)

    def same_units(self, values: Sequence[Value], others: Sequence[Value]) -> None:
        """State that the units of other values have the degrees, the classes and the names of axes of these."""
        for value, other in zip(values, others, strict=True):
            degrees, classes = self.degrees_of(value), self.classes_of(value)
            if degrees is None:
                self._undegreed.add(other)
            else:
                self.degrees[other] = degrees
            if classes is not None:
                self.classes[other] = classes
            if (axes := known_axes(self.axes, self.b, value)) is not None:
                self.axes[other] = axes

    def classes_of(self, value: Value) -> int | None:
        """Number of classes of a category, followed through operations that only move elements."""
        passed: list[Value] = []
        while value not in self.classes:
            node = self.b.graph.node(value) if value in self.b.graph else None
            if node is None or len(node.inputs) != 1:
                return None
            passed.append(value)
            value = node.inputs[0]
        self.classes.update(dict.fromkeys(passed, self.classes[value]))
        return self.classes[value]

    def zeros(self, shape: Shape) -> Value:
        """A float zero array whose shape may be symbolic."""
        return self.b.emit(ops.BroadcastTo(tuple(shape)), self.b.constant(0.0))


__all__ = ["Coded", "Context", "Standardised"]
