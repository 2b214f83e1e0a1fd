"""Names in scope while a spec is lowered, and the expressions that use them: values, masks, nets, pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from mpcompile.analysis.batch import WHOLE
from mpcompile.diagnostics import Diagnostic, Expected, Source, Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import CONSTANTS, UnknownFunction, UnknownNumber, evaluate_number
from mpcompile.frontend.arithmetic import FUNCTIONS as NUMERIC
from mpcompile.frontend.kinds import misplaced
from mpcompile.functions import FUNCTIONS, Function
from mpcompile.ir import Value
from mpcompile.layers import ACTIVATIONS, LAYERS, MASKS, Context, Layer, Mask, Recurrent
from mpcompile.layers import masks as M
from mpcompile.layers.axes import aligned
from mpcompile.layers.takes import Takes
from mpcompile.lowering import holes
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.blocks import MANY, blamed, block_numbers
from mpcompile.lowering.files import mask_in, matrix_of
from mpcompile.lowering.learned import learned, weight_of
from mpcompile.lowering.names import not_in_scope, unknown
from mpcompile.lowering.numbered import period
from mpcompile.lowering.reading import Hidden
from mpcompile.lowering.regions import Region
from mpcompile.lowering.stated import of_missing, stated
from mpcompile.lowering.watched import seen
from mpcompile.ops import build as F

#: A program of which more layers than this would have to be lowered is refused.
MAX_LAYERS = 2048
#: A program of more operations than this, those of all iterations of a region included, is refused.
MAX_OPERATIONS = 1 << 15


@dataclass
class Budget:
    """The cost of a program so far, shared by every scope of it: layers that were lowered, and operations."""

    layers: int = 0
    operations: int = 0

    def spend(self, span: Span) -> None:
        """Count one more use of a layer, a block, a net or a mask. Raise MP120 for too many."""
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise error("MP120", f"the model unrolls to more than {MAX_LAYERS} layers", span)

    def spend_operations(self, span: Span, count: int) -> None:
        """Count operations of the program, whether they are lowered or not. Raise MP120 for too many."""
        self.operations += count
        if self.operations > MAX_OPERATIONS:
            raise error("MP120", f"the model unrolls to more than {MAX_OPERATIONS} operations", span)


@dataclass(frozen=True)
class Scope:
    """The meaning of names. Child scopes are copies, so that nothing leaks out of a block."""

    source: Source
    numbers: dict[str, int | float] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    masks: dict[str, ast.Expr] = field(default_factory=dict)
    nets: dict[str, ast.Let] = field(default_factory=dict)
    blocks: dict[str, ast.Block] = field(default_factory=dict)
    lets: dict[str, ast.Let] = field(default_factory=dict)
    weights: dict[str, ast.LearnedWeight] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    active: tuple[str, ...] = ()
    model: ast.Model | None = None
    functions: Mapping[str, type[Function]] = field(
        default_factory=lambda: FUNCTIONS
    )  # a term of the loss has more
    #: Builds a function of laws, in a term.
    of_laws: Callable[[Context, Scope, ast.Call, Sequence[Value]], Value] | None = None
    hidden: Mapping[str, Hidden] = field(default_factory=dict)  # variables that this statement may not read
    top: Scope | None = None  # the scope of the statements of the program, outside of nets and blocks

    def child(
        self, numbers: dict[str, int | float] | None = None, values: dict[str, Value] | None = None
    ) -> Scope:
        return replace(self, numbers=self.numbers | (numbers or {}), values=self.values | (values or {}))

    def entering(self, name: str, span: Span) -> Scope:
        """The scope inside a mask, net or block of this name. Raises for one that refers to itself."""
        if name in self.active:
            chain = " -> ".join(f"`{n}`" for n in (*self.active[self.active.index(name) :], name))
            raise error("MP126", f"`{name}` refers to itself: {chain}", span)
        return replace(self, active=(*self.active, name))

    # --- numbers, text, masks ---

    def number(self, expr: ast.Expr) -> int | float:
        try:
            return evaluate_number(expr, self.numbers)
        except UnknownNumber as fault:
            name, span = fault.name.id, fault.name.span
            if self.is_value(name):
                raise Expected(f"a number, and `{name}` is a value", span,
                               help=f"what a layer reads stands before it: {name} -> dense(8)") from None  # fmt: skip
            self.refuse(name, span)
            raise not_in_scope(self.model, name, span) or self._no_number(name, span, fault) from None
        except UnknownFunction as fault:
            raise self._no_number(fault.call.callee, fault.call.span, fault) from None

    @staticmethod
    def _no_number(name: str, span: Span, fault: SpecError) -> SpecError:
        """The finding for a name that stands for no number: its kind, where no number of the model is like it."""
        what = "function of numbers" if isinstance(fault, UnknownFunction) else "number"
        other = misplaced(name, what) if fault.diagnostics[0].fix is None or what != "number" else None
        return fault if other is None else error("MP110", other[0], span, help=other[1])

    def is_value(self, name: str) -> bool:
        """Whether a name stands for a value."""
        return name in self.values or name in self.lets or name in self.weights

    def refuse(self, name: str, span: Span) -> None:
        """Raise MP127 for a variable that this statement may not read."""
        if name in self.hidden and name not in self.values:
            named: dict[str, ast.Node] = {**self.nets, **self.blocks, **self.lets}
            raise self.hidden[name].fault(span, [(n, named[n].span.line) for n in self.active if n in named])

    def integer(self, expr: ast.Expr) -> int:
        value = self.number(expr)
        if value != int(value):
            raise Expected(f"a whole number, found {value}", expr.span)
        return int(value)

    def iterations(self, repeat: ast.Repeat) -> range:
        """The values of a repeat's variable. Raises MP120 for more than a program may have layers."""
        start, stop = self.integer(repeat.start), self.integer(repeat.stop)
        if stop < start - 1:
            raise error("MP205", f"repeat runs from {start} up to {stop}", repeat.start.span.to(repeat.stop.span),
                        help=f"both ends count, and none is run from {start} to {start - 1}")  # fmt: skip
        if stop - start >= MAX_LAYERS:
            raise error("MP120", f"repeat runs {stop - start + 1} times, more than {MAX_LAYERS}", repeat.span)
        return range(start, stop + 1)

    def is_number(self, expr: ast.Expr) -> bool:
        """Whether an expression is arithmetic on numbers alone."""
        match expr:
            case ast.Number():
                return True
            case ast.Name():
                return not self.is_value(expr.id) and (expr.id in self.numbers or expr.id in CONSTANTS)
            case ast.Unary(op="-"):
                return self.is_number(expr.operand)
            case ast.Binary(op="+" | "-" | "*" | "/" | "//" | "%" | "**"):
                return self.is_number(expr.left) and self.is_number(expr.right)
            case ast.Call(inputs=None, body=None):
                return expr.callee in NUMERIC and all(self.is_number(a.value) for a in expr.args)
        return False

    def label(self, span: Span) -> str:
        """The text of a span as the user wrote it, on one line."""
        lines = self.source.text.split("\n")[span.line - 1 : span.end_line]
        if not lines or span.line == 0:
            return ""
        lines[-1] = lines[-1][: span.end_column - 1] if span.line != span.end_line else lines[-1]
        text = lines[0][span.column - 1 : span.end_column - 1 if span.line == span.end_line else None]
        short = " ".join([text, *lines[1:]]).split()
        joined = " ".join(short)
        return joined if len(joined) <= 60 else joined[:57] + "..."

    def mask(self, expr: ast.Expr) -> Mask:
        """Build the mask that an expression states. Raises `SpecError`."""
        match expr:
            case ast.Name() if expr.id in self.masks:
                self.budget.spend(expr.span)
                return self.entering(expr.id, expr.span).mask(self.masks[expr.id])
            case ast.Unary(op="~"):
                return M.Combined("~", (self.mask(expr.operand),))
            case ast.Binary(op="&" | "|"):
                return M.Combined(expr.op, (self.mask(expr.left), self.mask(expr.right)))
            case ast.Binary(op="@"):
                return M.Product(self.mask(expr.left), self.mask(expr.right))
            case ast.ListExpr():
                return M.Literal.of(matrix_of(self, expr))
            case ast.Call(callee="file"):
                return mask_in(self, expr)
            case ast.Call(callee="strict" | "transpose", args=(only,)):
                inner = self.mask(only.value)
                try:
                    return M.strict(inner) if expr.callee == "strict" else M.Combined("transpose", (inner,))
                except ValueError as problem:
                    raise error("MP206", str(problem), expr.span) from problem
            case ast.Call() if expr.callee in MASKS:
                made: Mask = Arguments(self, None, expr).build(MASKS[expr.callee])
                return made
            case ast.Name() if expr.id in MASKS:
                return self.mask(ast.Call(span=expr.span, callee=expr.id))
        if not isinstance(expr, ast.Name | ast.Call):
            raise Expected("a mask", expr.span, help="a name of `mask name = ...`, or causal2d(type = B)")
        name = expr.id if isinstance(expr, ast.Name) else expr.callee
        if name in ("strict", "transpose"):
            raise error("MP123", f"`{name}` takes one mask", expr.span, help=f"{name}(up)")
        raise unknown("mask", name, [*MASKS, "strict", "transpose", "file"], expr.span, own=list(self.masks))

    # --- values and pipelines ---

    def value(self, ctx: Context, expr: ast.Expr) -> Value:
        """Build an expression that stands for one value.

        Raises `SpecError` (MP208) for one that gives another number of values.
        """
        results = self.run(ctx, expr, ())
        if len(results) != 1:
            raise error("MP208", f"one value is needed here, this gives {len(results)}", expr.span, help=MANY)
        return results[0]

    def run(self, ctx: Context, expr: ast.Expr, current: Sequence[Value]) -> tuple[Value, ...]:
        """Apply an expression to the pipeline's current values; none at the start of a pipeline.

        Raises `SpecError`.
        """
        return seen(ctx, expr.span, self._results(ctx, expr, current))

    def _results(self, ctx: Context, expr: ast.Expr, current: Sequence[Value]) -> tuple[Value, ...]:
        """The values that `run` gives."""
        match expr:
            case ast.Pipeline():
                return self._pipeline(ctx, expr, current)
            case ast.Name():
                if not current and expr.id in self.values:
                    if self.values[expr.id] in ctx.missing:
                        holes.refuse(expr.id, expr.span)
                    return (self.values[expr.id],)
                if not current and expr.id in self.lets:
                    return (stated(ctx, self, expr.id, expr.span),)
                if not current and expr.id in self.weights:
                    return (learned(ctx, self, self.weights[expr.id]),)
                if expr.id in self.numbers and not current:
                    return (ctx.b.constant(float(self.numbers[expr.id])),)
                if not current:
                    self._require_value(expr.id, expr.span)
                return self._apply(ctx, ast.Call(span=expr.span, callee=expr.id), current)
            case ast.Number():
                return (ctx.b.constant(float(expr.value)),)
            case ast.Part():
                return (weight_of(ctx, self, expr),)
            case ast.Unary(op="-"):
                return (F.neg(ctx.b, self.value(ctx, expr.operand)),)
            case ast.Binary() | ast.Call() if not current and self.is_number(expr):
                return (ctx.b.constant(float(self.number(expr))),)
            case ast.Binary(op="+" | "-" | "*" | "/"):
                op = {"+": F.add, "-": F.sub, "*": F.mul, "/": F.div}[expr.op]
                values = self.value(ctx, expr.left), self.value(ctx, expr.right)
                with ctx.b.within(ctx.b.scope, expr.span):
                    Takes(inputs=(2, 2)).check(ctx, f"`{expr.op}`", values)
                    (left, right), axes = aligned(ctx, f"`{expr.op}`", values)
                    return (ctx.name_axes(op(ctx.b, left, right), axes),)
            case ast.Call():
                if expr.inputs is not None:
                    if current:
                        why = "a step of a pipeline takes its input from the pipeline"
                        raise error("MP121", why, expr.span)
                    read = self._argument if expr.callee in self.blocks else self.value
                    current = [read(ctx, e) for e in expr.inputs]
                return self._apply(ctx, expr, current)
        raise error("MP122", "expected a layer, a net or a value", expr.span)

    def _require_value(self, name: str, span: Span) -> None:
        """Raise MP127 for a variable that may not be read, MP110 for a name that is no value and builds none."""
        self.refuse(name, span)
        if not any(name in t for t in (LAYERS, self.functions, self.nets, self.blocks, holes.FUNCTIONS)):
            mine = [*self.values, *self.lets, *self.weights, *self.nets, *self.blocks]
            raise not_in_scope(self.model, name, span) or unknown("value", name, [], span, own=mine)

    def _pipeline(self, ctx: Context, pipeline: ast.Pipeline, current: Sequence[Value]) -> tuple[Value, ...]:
        self._know(
            [
                step.layer
                for i, step in enumerate(pipeline.steps)
                if isinstance(step.layer, ast.Call) or (isinstance(step.layer, ast.Name) and (i or current))
            ]
        )
        scope = self.child()
        for step in pipeline.steps:
            if isinstance(step.layer, ast.Repeat):
                current = scope._repeat(ctx, step.layer, current)
            else:
                current = scope.run(ctx, step.layer, current)
            if step.tap is not None:
                if len(current) != 1:
                    why = f"`as {step.tap}` names one value, this gives {len(current)}"
                    raise error("MP208", why, step.span)
                scope.values[step.tap] = current[0]
        return tuple(current)

    def _repeat(self, ctx: Context, repeat: ast.Repeat, current: Sequence[Value]) -> tuple[Value, ...]:
        """Run all iterations: a region of those that are alike, the others one by one."""
        numbers = self.iterations(repeat)

        def run(i: int, values: Sequence[Value]) -> tuple[Value, ...]:
            self.budget.spend(repeat.span)
            with ctx.naming.repeating(ctx.b.scope):
                return self.child({repeat.variable: numbers[i]}).run(ctx, repeat.body, values)

        inner = self.child({repeat.variable: numbers.start})
        every = period(repeat, inner, numbers) if current and ctx.b.outer in (None, ctx.root) else None
        if every is None:
            for i in range(len(numbers)):
                current = run(i, current)
            return tuple(current)
        region = Region(ctx, len(numbers), every, run, repeat.span)
        current = region.lower(current)
        self.budget.spend_operations(repeat.span, region.skipped * region.size)
        return current

    def _instead(self, net: str) -> str:
        """Say how to write a net without arguments, or that it needs another name, where it hides one of the language."""
        line = self.nets[net].span.line
        hides = net in LAYERS or net in self.functions
        return (
            f"give the net of line {line} another name, such as `my_{net}`: it hides the `{net}` of the language"
            if hides
            else f"x -> {net}"
        )

    def _apply(self, ctx: Context, call: ast.Call, current: Sequence[Value]) -> tuple[Value, ...]:
        self.budget.spend(call.span)
        if call.callee in self.nets:
            if call.args and current:
                raise error("MP121", f"net `{call.callee}` takes its input from the pipeline", call.span,
                            help=self._instead(call.callee))  # fmt: skip
            inputs = current or [self.value(ctx, a.value) for a in call.args]
            let = self.nets[call.callee]
            frame = ctx.frame(call.callee, call.callee, let.span, function=True, absolute=True)
            with blamed(self, call, let.value, len(inputs)), frame:
                return self.entering(call.callee, call.span).child().run(ctx, let.value, inputs)
        if call.callee in self.blocks:
            block = self.blocks[call.callee]
            if block.inputs and not block.params and not current:  # called like a function
                call, current = self._values_first(ctx, call, current, len(block.inputs), self._argument)
            return self._block(ctx, block, call, current)
        if call.callee in holes.FUNCTIONS and not current:
            return (of_missing(ctx, self, call),)
        self._know([call])
        if call.callee in self.functions:
            kind_ = self.functions[call.callee]
            if kind_.of_laws and self.of_laws is not None:
                return (self.of_laws(ctx, self, call, current),)
            call, current = self._values_first(ctx, call, current, len(kind_.takes))
            return self._built(ctx, call, Arguments(self, ctx, call, layer=True).build(kind_), current)
        kind = LAYERS[call.callee]
        if call.callee in ACTIVATIONS:
            call, current = self._values_first(ctx, call, current, 1)
        places = [a for a in call.args if a.name is None]
        if not current and len(places) == 2 and issubclass(kind, Recurrent):  # one step: gru(x, h)
            forward, current = self._step_of(ctx, kind, call), [self.value(ctx, a.value) for a in places]
        else:
            forward = Arguments(self, ctx, call, layer=True).build(kind)
        return self._built(ctx, call, forward, current)

    def _argument(self, ctx: Context, expr: ast.Expr) -> Value:
        """Build an argument of a block. A variable with missing values keeps its mask: the block says how it reads it."""
        if isinstance(expr, ast.Name) and expr.id in self.values:
            return self.values[expr.id]
        return self.value(ctx, expr)

    def _values_first(
        self, ctx: Context, call: ast.Call, current: Sequence[Value], count: int,
        read: Callable[[Context, ast.Expr], Value] | None = None,
    ) -> tuple[ast.Call, Sequence[Value]]:  # fmt: skip
        """The values of a function, those of the pipeline first, and the call with its options alone."""
        wanted = max(0, count - len(current))
        places = [a for a in call.args if a.name is None][:wanted]
        if not places:
            return call, current
        values = [*current, *((read or self.value)(ctx, a.value) for a in places)]
        return call.model_copy(update={"args": tuple(a for a in call.args if a not in places)}), values

    def _built(
        self, ctx: Context, call: ast.Call, forward: Callable[..., Value], current: Sequence[Value]
    ) -> tuple[Value, ...]:
        """Build a layer or a function in a frame of its own."""
        before = len(ctx.b.graph)
        role = WHOLE if isinstance(forward, Function) and forward.whole_batch else "forward"
        with ctx.frame(ctx.unique(call.callee), self.label(call.span), call.span, role=role):
            try:
                results = (forward(ctx, *current),)
            except ValueError as problem:
                if isinstance(problem, SpecError):
                    raise
                raise error("MP201", f"{call.callee} does not fit here: {problem}", call.span) from problem
        self.budget.spend_operations(call.span, len(ctx.b.graph) - before)
        return results

    def _step_of(self, ctx: Context, kind: type[Recurrent], call: ast.Call) -> Callable[..., Value]:
        """One step of a recurrent layer, whose named arguments are the options that a step has."""
        options = ast.Call(
            span=call.span, callee=call.callee, args=tuple(a for a in call.args if a.name is not None)
        )
        others = {f.name: f.default for f in fields(kind) if f.name not in kind.of_step}
        layer: Recurrent = Arguments(self, ctx, options, layer=True).build(kind, **(others | {"units": 1}))
        return layer.step

    def _know(self, steps: Sequence[ast.Call | ast.Name]) -> None:
        """Raise MP110 for every step that is neither a layer nor a function nor a net nor a block."""
        faults: list[Diagnostic] = []
        for step in steps:
            name = step.callee if isinstance(step, ast.Call) else step.id
            if not any(
                name in table for table in (LAYERS, self.functions, self.nets, self.blocks, holes.FUNCTIONS)
            ):
                if self.is_value(name):
                    faults += error(
                        "MP122", f"`{name}` is a value, and a step of a pipeline is a layer", step.span,
                        help=f"`concat({name})` and `add({name})` join it to what comes before",
                    ).diagnostics  # fmt: skip
                    continue
                self.refuse(name, step.span)
                elsewhere = not_in_scope(self.model, name, step.span)
                own = [*self.nets, *self.blocks]
                faults += (
                    elsewhere or unknown("layer", name, [*LAYERS, *self.functions], step.span, own=own)
                ).diagnostics
        if faults:
            raise SpecError(faults)

    def _block(
        self, ctx: Context, block: ast.Block, call: ast.Call, current: Sequence[Value]
    ) -> tuple[Value, ...]:
        numbers = block_numbers(self, block, call)
        inputs = list(current)
        if block.inputs and len(inputs) != len(block.inputs):
            why = f"block `{block.name}` takes {', '.join(block.inputs)} and gets {len(inputs)} values"
            usage = f"{block.name}{'(...)' if block.params else ''}({', '.join(block.inputs)})"
            raise error("MP208", why, call.span, help=f"it is called like a function: {usage}")
        with ctx.frame(ctx.unique(block.name), self.label(call.span), call.span, function=True):
            inner = self.entering(block.name, call.span)
            scope = inner.child(numbers, dict(zip(block.inputs, inputs, strict=False)))
            for let in block.lets:
                if isinstance(let, ast.LearnedWeight):
                    scope.values[let.name] = learned(ctx, scope, let, local=True)
                else:
                    scope.values[let.name] = scope.value(ctx, let.value)
            if block.inputs:
                return tuple(v for e in block.outputs for v in scope.run(ctx, e, ()))
            with blamed(self, call, block.outputs[0], len(inputs)):
                return tuple(v for e in block.outputs for v in scope.run(ctx, e, inputs))


__all__ = ["Layer", "Scope", "unknown"]
