"""`recurrence over time { ... }`: the statements of one step, repeated along a symbolic length by one loop.

Inside of a step names come into being in the order in which the sampler makes them: carried values and what is given,
then latents, observed variables and local values, statement by statement. A law, a prior or an update may read what
is there by then; only a posterior may read the observed variables of its own step before they are drawn. So an
observed element is never predicted from itself or from a later one, whatever the networks are. An assignment to a
carried name changes it for the rest of the step, and is what the next step starts from.

With latents this is the variational recurrent network (Chung et al. 2015): posterior and prior of a step read the same
carried state, and the bound is the sum over steps of log-likelihood minus divergence (their eq. 11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mpcompile.diagnostics import error
from mpcompile.distributions import COMBINATORS, Distribution
from mpcompile.frontend import ast
from mpcompile.frontend.unused import references
from mpcompile.ir import Field, Symbolic, Type, Value, float_type, symbol
from mpcompile.ir.axes import Axes, shown
from mpcompile.layers import Context
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.layers.classes import check_not_relaxed
from mpcompile.lowering import discrete, latents, weighted
from mpcompile.lowering.backward import Backward, Sequence, check_backward, hidden_sequences
from mpcompile.lowering.declarations import axes_of, whole
from mpcompile.lowering.densities import distribution, named, sum_of
from mpcompile.lowering.forward import Forward, Step, Steps
from mpcompile.lowering.holes import check_law
from mpcompile.lowering.names import unknown
from mpcompile.lowering.reading import Order, later_in_step
from mpcompile.lowering.scope import Scope
from mpcompile.lowering.supports import check_support
from mpcompile.ops import build as F
from mpcompile.ranges import MAX_SIZE, Range

#: What a density statement states a law for: its variable given what is there, or a latent given what is observed.
Which = Literal["law", "prior", "posterior"]
#: What a program makes of one density in a step: the variable's value, and results by name.
Made = tuple[Value, dict[str, Value]]


@dataclass
class Recurrence:
    """One recurrence of a model; `latent_fields` are its latents in a step, known once its posteriors were lowered."""

    statement: ast.Recurrence
    fields: Mapping[str, Field]
    order: Order
    typed: Mapping[str, Field] = field(default_factory=dict)  # latents, carried values with a type, in a step
    latent_fields: dict[str, Field] = field(default_factory=dict)
    sequences: dict[str, Sequence] = field(
        default_factory=dict
    )  # of backward recurrences, known once one was built
    filled: Mapping[str, Field] = field(default_factory=dict)  # in a step, summed over where they are missing
    sharpening: set[str] = field(default_factory=set)  # observed variables whose law learns a scale

    def __post_init__(self) -> None:
        """Raises `SpecError`: an axis that is no length, an unknown variable, no density."""
        along = {str(f.type.shape[1]): f for f in self.fields.values() if len(f.type.shape) > 1}
        known = [name for name, f in along.items() if isinstance(f.type.shape[1], Symbolic)]
        if self.statement.axis not in known:
            raise unknown("length", self.statement.axis, known, self.statement.span)
        self.size = symbol(self.statement.axis)
        self.latent_fields |= {s.name: self.typed[s.name] for s in self.latents if s.name in self.typed}
        self.over = [n for n, f in self.fields.items() if f.type.shape[1:2] == (self.size,)]
        for s in (s for s in self.observed if s.name not in self.over):
            raise unknown(f"variable over `{self.statement.axis}`", s.name, self.over, s.span.head(s.name))
        if self.statement.backward:
            check_backward(self.statement)
        elif not self.observed:
            raise error(
                "MP125", "the recurrence states the density of no variable: nothing reads it", self.statement.span,
                help="write `x ~ ...` as a statement of it; `lstm` and `gru` are layers, with no density of their own",
            )  # fmt: skip

    @property
    def densities(self) -> list[ast.Density]:
        return [s for s in self.statement.statements if isinstance(s, ast.Density)]

    @property
    def observed(self) -> list[ast.Density]:
        return [s for s in self.densities if s.role == "observed"]

    @property
    def latents(self) -> list[ast.Density]:
        return [s for s in self.densities if s.role == "latent"]

    def feeds_back(self) -> bool:
        """Whether a step reads a variable that an earlier step, or an earlier statement, observes."""
        updates = [s.value for s in self.statement.statements if isinstance(s, ast.Update)]
        laws = [s.distribution for s in self.observed]
        return bool(references([*updates, *laws]) & {s.name for s in self.observed})

    # --- programs: each is one loop ---

    def score(
        self, ctx: Context, scope: Scope, *, exact: bool = True, starts: Mapping[str, Value] | None = None
    ) -> tuple[Value, Value | None]:
        """Log-likelihood and, with latents, divergence of every example, summed over its steps: [N] each.

        `exact` as in `latents.draw`; where it is false the divergence of a step is that of the draw. `starts` are log p
        of the first classes of a forward recursion that are summed out as well, [N, classes] each.
        """
        if self.sums() or (self.counts() and not exact):
            return self._forward().score(ctx, scope, starts or {}), None
        if self.counts():
            return self._forward().bound(ctx, scope)

        def latent(at: Step, s: ast.Density) -> Made:
            q, prior = self._posterior(at, s), self._prior(at, s)
            kl: Value | None
            if discrete.way(s) is not None:
                z, kl = discrete.draw(at.ctx, at.scope, s, self.typed[s.name], q, prior, exact=exact)
                return z, {f"kl_{s.name}": kl}
            z, kl = latents.draw(at.ctx, q, prior, self.latent_fields[s.name], exact=exact)
            assert kl is not None, "a prior there always is"
            return z, {f"kl_{s.name}": kl}

        def observed(at: Step, s: ast.Density) -> Made:
            x, law, axes = at.data[s.name], self._law(at, s), in_step(self.fields[s.name]).axes
            seen = self._reading(at, s, "weight").child(values=at.data)
            return x, {f"log_prob_{s.name}": weighted.log_prob(at.ctx, seen, s, law, x, axes)}

        results = self._run(ctx, scope, latent, observed)
        sums = {k: F.sum_axes(ctx.b, v, [1]) for k, v in results.items()}
        total = sum_of(ctx, [v for k, v in sums.items() if k.startswith("log_prob_")])
        kl = sum_of(ctx, [v for k, v in sums.items() if k.startswith("kl_")])
        assert total is not None
        return total, kl

    def sums(self) -> bool:
        """Whether its latents, or missing classes, are summed out."""
        return bool(self.filled) or any(discrete.way(s) is discrete.Exact for s in self.latents)

    def shows(self) -> bool:
        """Whether the law of each step given those before it can be shown: no latent is drawn, and nothing is missing."""
        return not self.filled and (not self.latents or self.sums())

    def counts(self) -> bool:
        """Whether all classes of its latents are evaluated: they are summed out, or enumerated."""
        return self.sums() or any(discrete.counted(s) for s in self.latents)

    def _forward(self) -> Forward:
        steps = Steps(self.loop, self._law, self._prior, self._posterior, self._update, self._start)
        return Forward(self.statement, self.typed, self.order, steps, self.filled)

    def conditionals(
        self, ctx: Context, scope: Scope, starts: Mapping[str, Value]
    ) -> tuple[dict[str, Value], int | None]:
        """Parameters of the law of every element given those before it, and their axis of classes, components or states.

        For one observed variable, and latents that are summed out; none where the law has none to show.
        """
        if self.latents:
            return self._forward().conditionals(ctx, scope, starts), 2
        axes: list[int | None] = []

        def observed(at: Step, s: ast.Density) -> Made:
            law = self._law(at, s)
            axis = law.parameter_axis
            axes.append(None if axis is None else axis + 1)  # time stands before it
            return at.data[s.name], law.parameters()

        return self._run(ctx, scope, _no_latent, observed), axes[0]

    def encode(self, ctx: Context, scope: Scope) -> dict[str, Value]:
        """Parameters of the posterior of every step, each step's latents at the mean of theirs: [N, time, ...]."""

        def latent(at: Step, s: ast.Density) -> Made:
            q = self._posterior(at, s)
            return self._mean(at, s, q), {f"{s.name}_{k}": v for k, v in q.parameters().items()}

        return self._run(ctx, scope, latent, lambda at, s: (at.data[s.name], {}))

    def reconstruct(self, ctx: Context, scope: Scope) -> dict[str, Value]:
        """Means of the observed variables at the posteriors' means, given the true past."""
        return self._run(
            ctx,
            scope,
            lambda at, s: (self._mean(at, s, self._posterior(at, s)), {}),
            lambda at, s: (at.data[s.name], {s.name: self._observed_mean(at, s)}),
        )

    def predict(self, ctx: Context, scope: Scope) -> dict[str, Value]:
        """Means of the observed variables, latents at the means of their priors; for one that feeds nothing back."""

        def observed(at: Step, s: ast.Density) -> Made:
            mean = self._observed_mean(at, s)
            return mean, {s.name: mean}

        return self._run(ctx, scope, lambda at, s: (self._mean(at, s, self._prior(at, s)), {}), observed)

    def sample(self, ctx: Context, scope: Scope) -> dict[str, Value]:
        """Draws of the observed variables: every step from its priors, given what was drawn before."""

        def latent(at: Step, s: ast.Density) -> Made:
            drawn = self._prior(at, s).sample(at.ctx, s.name, self.latent_fields[s.name].type.shape)
            return self._named(at, s, drawn), {}

        def observed(at: Step, s: ast.Density) -> Made:
            law, f = self._law(at, s), in_step(self.fields[s.name])
            x = F.cast(at.ctx.b, law.sample(at.ctx, s.name, f.type.shape), f.type.dtype)
            binary = f.bits and self.latents and f"{s.name}_mean" not in self.fields
            return x, {s.name: x, **({f"{s.name}_mean": law.mean(at.ctx, f.type.shape)} if binary else {})}

        return self._run(ctx, scope, latent, observed)

    # --- the loop ---

    def _run(
        self,
        ctx: Context,
        scope: Scope,
        latent: Callable[[Step, ast.Density], Made],
        observed: Callable[[Step, ast.Density], Made],
    ) -> dict[str, Value]:
        """Results of the statements of all steps, [N, time, ...], zero behind the end of an example."""
        carried = [c.name for c in self.statement.carries]

        def step(at: Step, state: list[Value]) -> tuple[list[Value], dict[str, Value]]:
            values, results = at.scope.values, dict[str, Value]()
            values.update(zip(carried, state, strict=True))
            for name in carried:
                self._know(ctx, name, values[name])
            for s in self.statement.statements:
                with ctx.frame(s.name, scope.label(s.span), s.span):
                    if isinstance(s, ast.Update):
                        values[s.name] = self._update(at, s, values[s.name] if s.name in carried else None)
                    else:
                        values[s.name], given = (latent if s.role == "latent" else observed)(at, s)
                        results |= given
                    self._know(ctx, s.name, values[s.name])
                at.now.add(s.name)
            return [values[n] for n in carried], results

        def starts(first: Scope) -> list[Value]:
            return [self._start(ctx, first, c) for c in self.statement.carries]

        return self.loop(ctx, scope, starts, step)

    def loop(
        self,
        ctx: Context,
        scope: Scope,
        starts: Callable[[Scope], list[Value]],
        body: Callable[[Step, list[Value]], tuple[list[Value], dict[str, Value]]],
    ) -> dict[str, Value]:
        """Build the loop over the steps, and return the results of `body` at all of them, [N, time, ...].

        `starts` gives the state before the first step; `body` the next state and the results of a step.
        """
        own = {s.name for s in self.observed}
        ahead = hidden_sequences(self.sequences)
        later = self.order.after(own)
        hidden = own | ahead.keys()
        before = {k: v for k, v in scope.values.items() if k not in hidden | later}
        reasons = {**self.order.hidden_in_step(own, before)} | ahead
        state = starts(replace(scope, values=before, hidden=reasons))
        wide = {n: scope.values[n] for n in (*self.over, *self.sequences) if n in scope.values}
        names: list[str] = []
        there = {n: ctx.missing[v] for n, v in wide.items() if v in ctx.missing}

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            data = dict(zip(wide, slices[: len(wide)], strict=True))
            ctx.missing.update({data[n]: m for n, m in zip(there, slices[len(wide) :], strict=True)})
            for name, value in data.items():
                self._know(ctx, name, value)
            outside = {k: v for k, v in scope.values.items() if k not in wide}
            values = {k: v for k, v in (outside | data).items() if k not in hidden | later}
            data |= {k: v for k, v in outside.items() if k in later}
            following, results = body(
                Step(ctx, replace(scope, values=values, hidden=reasons), data, set()), state
            )
            names.extend(results)
            return following, list(results.values())

        _, ys = ctx.scan(step, state, [*wide.values(), *there.values()], length=self.size, noise=True)
        return {name: ctx.kept(y) for name, y in zip(names, ys, strict=True)}

    def within(
        self,
        ctx: Context,
        scope: Scope,
        read: Callable[[str, Type], Value],
        of: ast.Density,
        which: Which,
        *,
        open: bool = False,
    ) -> Distribution:
        """The law, prior or posterior of a density in a program of one step, which reads all that is there by then.

        With `open` no variable is hidden from it.

        Its inputs, given by `read`: the variables over the axis at that step, carried values and latents by name. It
        is called within the frame of that density.
        """
        data = {name: read(name, in_step(self.fields[name]).type) for name in self.over}
        data |= {name: read(name, s.type) for name, s in self.sequences.items()}
        for name, value in data.items():
            self._know(ctx, name, value)
        hidden = {s.name for s in self.observed} | hidden_sequences(self.sequences).keys()
        values = scope.values | {k: v for k, v in data.items() if open or k not in hidden}
        for c in self.statement.carries:
            carried = read(c.name, self._carried(scope, c))
            values[c.name] = ctx.name_axes(carried, self._axes(c, scope))
            self._know(ctx, c.name, values[c.name])
        at = Step(ctx, replace(scope, values=values), data, set())
        inner = ctx.b.scope
        for s in self.statement.statements:
            if s is of:
                ctx.b.scope = inner
                return {"law": self._law, "prior": self._prior, "posterior": self._posterior}[which](at, s)
            ctx.b.scope = inner[:-1]
            with ctx.frame(s.name, scope.label(s.span), s.span):
                if isinstance(s, ast.Update):
                    values[s.name] = self._update(at, s, None)
                elif s.role == "latent":
                    values[s.name] = self._named(at, s, read(s.name, self.latent_fields[s.name].type))
                    self._know(ctx, s.name, values[s.name])
                else:
                    values[s.name] = data[s.name]
            at.now.add(s.name)
        raise AssertionError(f"{of.name} is no density of this recurrence")

    def backward(self) -> Backward:
        """The recurrence as a backward one."""
        return Backward(self.statement, self.order, tuple(self.over), self._start, self._update, self._know)

    def _know(self, ctx: Context, name: str, value: Value) -> None:
        """Note the names of axes of a variable in a step, and how many classes it has, for an embedding of it."""
        f = self.fields.get(name) or self.typed.get(name)
        if f is not None and (name in self.over or name in self.typed):
            ctx.axes[value] = f.axes if name in self.typed else in_step(f).axes
        elif name in self.sequences:
            ctx.axes[value] = self.sequences[name].axes
        if f is not None and f.base == "category" and f.classes is not None:
            ctx.classes[value] = f.classes

    def _carried(self, scope: Scope, c: ast.Carry) -> Type:
        """The type of a carried value, [N, ...]."""
        if c.name in self.typed:
            return self.typed[c.name].type
        sizes = (whole(a.size, scope.numbers, f"the size of `{c.name}`", Range(1, MAX_SIZE)) for a in c.shape)
        return float_type(next(iter(self.fields.values())).type.shape[0], *sizes)

    def _axes(self, c: ast.Carry, scope: Scope) -> Axes:
        """The names of the axes of a carried value."""
        if c.name in self.typed:
            return self.typed[c.name].axes
        return axes_of(c.shape, self._carried(scope, c).shape[1:], c.span)

    def _start(self, ctx: Context, scope: Scope, c: ast.Carry) -> Value:
        """Return a carried value before the first step, [N, ...]: a number everywhere, or an expression's value."""
        wanted, axes = self._carried(scope, c), self._axes(c, scope)
        with ctx.frame(c.name, scope.label(c.span), c.span), ctx.frame("start", scope.label(c.span), c.span):
            value = scope.value(ctx, c.init)
            if value.type.rank == 0:
                value = F.cast(ctx.b, F.add(ctx.b, ctx.zeros(wanted.shape), value), wanted.dtype)
                return ctx.name_axes(value, axes)
            own = ctx.axes_of(value)
        if (
            set(own) != set(axes)
            or (value := ordered(ctx, with_batch(ctx, value), axes)).shape != wanted.shape
        ):
            raise error("MP201", f"`{c.name}` starts as {described(ctx, value)}, and not {shown(axes, wanted.shape[1:])}",
                        c.init.span)  # fmt: skip
        if value.dtype != wanted.dtype:
            raise error("MP201", f"`{c.name}` starts as {value.type}, not as {wanted}", c.init.span)
        return value

    def _update(self, at: Step, s: ast.Update, before: Value | None) -> Value:
        value = self._reading(at, s).value(at.ctx, s.value)
        if before is None:
            return value
        check_not_relaxed(at.ctx, f"the carried `{s.name}`", [value])
        axes = at.ctx.axes_of(before)
        if set(at.ctx.axes_of(value)) == set(axes):
            value = ordered(at.ctx, with_batch(at.ctx, value), axes)
        if value.type != before.type:
            raise error(
                "MP201", f"`{s.name}` is {described(at.ctx, before)} and would become {described(at.ctx, value)}", s.span,
                help="an assignment keeps the axes; a step takes the input, then the state: gru(x, h)",
            )  # fmt: skip
        return value

    def _law(self, at: Step, s: ast.Density) -> Distribution:
        stated = s.distribution
        kind = named(stated) if isinstance(stated, ast.Call) else None
        if kind is not None and kind.keyword not in COMBINATORS:  # with the shape of the declaration
            check_support(kind.keyword, self.fields[s.name], stated.span)
        law = distribution(at.ctx, self._reading(at, s), stated, in_step(self.fields[s.name]))
        check_law(self.fields[s.name], law, stated.span)
        if law.sharpens(at.ctx.b):
            self.sharpening.add(s.name)
        if law.support.measure in ("criterion", "bound"):
            raise error("MP209", f"{law.keyword} is a {law.support.measure}, and a step of a recurrence needs a density",
                        s.distribution.span, help=f"{s.name} ~ bernoulli(logits = ...)")  # fmt: skip
        return law

    def _observed_mean(self, at: Step, s: ast.Density) -> Value:
        law, shape = self._law(at, s), in_step(self.fields[s.name]).type.shape
        return law.mean(at.ctx, shape) if law.has_mean else law.sample(at.ctx, s.name, shape)

    def _posterior(self, at: Step, s: ast.Density) -> Distribution:
        scope = self._reading(at, s, "posterior").child(values=at.data)
        if discrete.way(s) is not None:
            return discrete.law_of(at.ctx, scope, s, self.typed[s.name])
        typed = self.typed.get(s.name)
        law = latents.posterior(at.ctx, scope, s, typed)
        self.latent_fields[s.name] = latents.field_of(at.ctx, s, law, typed)
        return law

    def _prior(self, at: Step, s: ast.Density) -> Distribution:
        if s.prior is None:
            raise error("MP123", f"`latent {s.name}` needs its prior", s.span, help="prior normal(0, 1)")
        law = latents.prior(at.ctx, self._reading(at, s, "prior"), s, self.latent_fields[s.name])
        assert law is not None
        return law

    def _named(self, at: Step, s: ast.Density, value: Value) -> Value:
        return at.ctx.name_axes(value, self.latent_fields[s.name].axes)

    def _mean(self, at: Step, s: ast.Density, law: Distribution) -> Value:
        if discrete.way(s) is not None:
            return self._named(at, s, discrete.mode(at.ctx, self.typed[s.name], law))
        return self._named(at, s, law.mean(at.ctx, self.latent_fields[s.name].type.shape))

    def _reading(self, at: Step, s: ast.Density | ast.Update, what: str = "law") -> Scope:
        """The scope of a statement: what is there by now, and why not what later statements of the step give."""
        carried = {c.name for c in self.statement.carries}
        later = {other.name for other in self.statement.statements} - at.now - carried
        who = f"`{s.name}` reads" if what == "law" else f"the {what} of `{s.name}` reads"
        return replace(
            at.scope, hidden={**at.scope.hidden} | {n: later_in_step(who, s.name, n) for n in later}
        )


def _no_latent(at: Step, s: ast.Density) -> Made:
    raise AssertionError(f"{s.name} is a latent")


def in_step(f: Field) -> Field:
    """Return a variable at one step: without the axis of time."""
    return replace(f, type=f.type.with_shape((f.type.shape[0], *f.type.shape[2:])), axes=f.axes[1:])
