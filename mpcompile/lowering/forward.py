"""A recurrence whose latents are summed out: the forward recursion over its carried classes (Rabiner 1989).

The state of the loop is log p(carried classes | x of earlier steps), [N, classes of each carried value]. A step
multiplies in the priors of its latents and its likelihoods, each a table over just those classes that it reads, and sums
out what the next step does not carry. The logarithm of the sum of all is log p(x of this step | x of earlier steps), so
the state stays normalised and the results of the steps add up to log p(x).

Latents that are enumerated have the same tables: then the state is log q(carried classes | x), a step multiplies in the
posteriors, and its results are the expectations of its log-likelihoods and of log q - log p of its latents.

This is right if a step hands on classes and functions of the observed variables alone: every carried value that reads a
latent is a class itself. Another one would remember every earlier latent, and is refused (MP411).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.distributions import Distribution
from mpcompile.distributions.elementwise import Bernoulli, Categorical
from mpcompile.frontend import ast
from mpcompile.ir import Builder, DType, Field, Symbolic, Value, product
from mpcompile.layers import Context
from mpcompile.lowering import discrete
from mpcompile.lowering.reading import Order
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F


@dataclass
class Step:
    """One step of a recurrence while it is built.

    data   observed variables, for posteriors: those of this step, and those drawn after the recurrence; empty in a
           sampler
    now    names that are there by now
    """

    ctx: Context
    scope: Scope
    data: dict[str, Value]
    now: set[str]


#: The state before the first step, given what is there by then, and a step: the next state, and results by name.
Starts = Callable[[Scope], list[Value]]
Body = Callable[[Step, list[Value]], tuple[list[Value], dict[str, Value]]]


class Steps(NamedTuple):
    """The parts of a recurrence: its loop, and the laws, priors, assignments and first values of its steps."""

    loop: Callable[[Context, Scope, Starts, Body], dict[str, Value]]
    law: Callable[[Step, ast.Density], Distribution]
    prior: Callable[[Step, ast.Density], Distribution]
    posterior: Callable[[Step, ast.Density], Distribution]
    update: Callable[[Step, ast.Update, Value | None], Value]
    start: Callable[[Context, Scope, ast.Carry], Value]


@dataclass(frozen=True)
class Table:
    """A value for each state of some classes: [N, states of the first, states of the second, ...]."""

    over: tuple[str, ...]
    value: Value


@dataclass
class Forward:
    """The forward recursion of one recurrence.

    steps  the parts of the recurrence
    base   the classes that a step sums over: carried ones, then its latents in order, with their fields
    filled variables with missing classes, which are summed over where they are missing
    reads  of each name in a step, the classes of `base` that it depends on
    same   of a name that is one of these classes, which
    done   assignments of the step so far that read a class, or change one, each with the values that were there, and
           with its own value where it reads none
    """

    statement: ast.Recurrence
    typed: Mapping[str, Field]
    order: Order
    steps: Steps
    filled: Mapping[str, Field] = field(default_factory=dict)
    done: list[tuple[ast.Update, dict[str, Value], Value | None]] = field(default_factory=list)
    base: dict[str, Field] = field(default_factory=dict)
    reads: dict[str, set[str]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `SpecError` (MP411) for what no forward recursion sums over."""
        statements = self.statement.statements
        latents = [s for s in statements if isinstance(s, ast.Density) and s.role == "latent"]
        first = (
            discrete.Exact if self.filled else discrete.way(next(s for s in latents if discrete.counted(s)))
        )
        for s in latents:
            if discrete.way(s) is not first:
                how = f"`{s.name}` is {'summed out' if discrete.counted(s) else 'drawn'}"
                raise error("MP411", f"{how}, and a latent of the same step is counted in another way", s.span,
                            help=f"one way for all: latent {s.name}: category(...) ~ exact prior ...")  # fmt: skip
            if not discrete.single(self.typed[s.name]):
                raise error("MP411", f"`{s.name}` has axes, and all of its elements at once have too many states",
                            s.span, help="one class for each step: without axes")  # fmt: skip
        carried = {c.name: self.typed[c.name] for c in self.statement.carries if c.name in self.typed}
        counted = [s.name for s in statements if s in latents or s.name in self.filled]
        self.base = carried | {n: self.filled[n] if n in self.filled else self.typed[n] for n in counted}
        states = prod(discrete.states_of(f) for f in self.base.values())
        if states > discrete.MAX_STATES:
            many = f"a step has {states} joint states, more than {discrete.MAX_STATES}"
            raise error("MP411", many, self.statement.span, help="fewer classes")
        self.carried = tuple(carried)

    def score(self, ctx: Context, scope: Scope, starts: Mapping[str, Value]) -> Value:
        """Build log p(x) of every example, [N]; `starts` are log p of first classes that are summed out, [N, K]."""
        results = self.steps.loop(ctx, scope, lambda first: self._first(ctx, first, starts), self._step)
        return F.sum_axes(ctx.b, results["log_prob"], [1])

    def bound(self, ctx: Context, scope: Scope) -> tuple[Value, Value]:
        """Build the expected log-likelihood of every example under the posteriors, and their divergence, [N] each."""
        results = self.steps.loop(ctx, scope, lambda first: self._first(ctx, first, {}), self._expected)
        logs, gap = (F.sum_axes(ctx.b, results[name], [1]) for name in ("log_prob", "kl"))
        return logs, gap

    def conditionals(self, ctx: Context, scope: Scope, starts: Mapping[str, Value]) -> dict[str, Value]:
        """Build the law of each element after those before it, a mixture over the states of its step.

        `log_states` are log p(states that the law reads | x of earlier steps), `law` its parameters at each of them: [N,
        time, states, ...] both. Nothing where the law has no parameters to show.
        """

        def step(at: Step, state: list[Value]) -> tuple[list[Value], dict[str, Value]]:
            shown = dict[str, Value]()
            following, _ = self._step(at, state, shown)
            return following, shown

        return self.steps.loop(ctx, scope, lambda first: self._first(ctx, first, starts), step)

    def _seen(self, at: Step, s: ast.Density, before: Value, shown: dict[str, Value]) -> Table:
        """The factor of what is observed, with what `conditionals` shows; `before` is log p of all states before it.

        Both come of one table, since a law that is lowered twice has weights of its own each time.
        """
        x, over = at.data[s.name], self._ordered(self._read(s.distribution))
        n, *rest = x.shape
        counts: list[int] = []

        def row(there: Step) -> Value:
            b, law, parts = there.ctx.b, self.steps.law(there, s), list[Value]()
            for v in law.parameters().values():
                axis = law.parameter_axis
                if axis is None:
                    v = F.reshape(b, b.emit(ops.BroadcastTo((n, *rest)), v), (n, 1, *rest))
                else:
                    v = F.transpose(b, v, 0, axis, *(i for i in range(1, v.type.rank) if i != axis))
                parts.append(v)
            flat = [F.reshape(b, v, (n, product(v.shape[1:]))) for v in parts]
            counts.append(sum(v.shape[1] for v in parts if isinstance(v.shape[1], int)))
            return F.concat(b, [F.reshape(b, law.log_prob(there.ctx, x), (n, 1)), *flat], 1)

        rows, b = self._table(at, over, row), at.ctx.b
        sizes, last = rows.shape[1:-1], rows.type.rank - 1
        if counts[0]:
            rest_of = tuple(i for i, name in enumerate(self.base, 1) if name not in over)
            read = b.emit(ops.LogSumExp(rest_of, False), before) if rest_of else before
            states = F.reshape(b, read, (n, product(sizes), *(1,) * len(rest)))
            shown["log_states"] = b.emit(ops.BroadcastTo((n, product(sizes), *rest)), states)
            law = F.slice_axis(b, rows, last, 1)
            shown["law"] = F.reshape(b, law, (n, product(sizes) * counts[0], *rest))
        return Table(over, F.reshape(b, F.slice_axis(b, rows, last, 0, 1), (n, *sizes)))

    # --- before the first step ---

    def _first(self, ctx: Context, scope: Scope, starts: Mapping[str, Value]) -> list[Value]:
        """The state before the first step, [N, K, ...], and the carried values that are no class."""
        b, parts, others = ctx.b, list[Value](), list[Value]()
        for c in self.statement.carries:
            if c.name not in self.carried:
                others.append(self.steps.start(ctx, scope, c))
                continue
            if isinstance(c.init, ast.Name) and c.init.id in starts:
                parts.append(self._spread(ctx, Table((c.name,), starts[c.init.id]), self.carried))
                continue
            k = self.steps.start(ctx, scope, c)
            parts.append(
                self._spread(ctx, Table((c.name,), self._only(ctx, k, self.base[c.name])), self.carried)
            )
        sizes = [discrete.states_of(self.base[n]) for n in self.carried]
        total = ctx.zeros((self._batch, *sizes))
        for part in parts:
            total = F.add(b, total, part)
        return [total, *others]

    @property
    def _batch(self) -> int | Symbolic:
        return next(iter(self.base.values())).type.shape[0]

    @property
    def _others(self) -> list[str]:
        return [c.name for c in self.statement.carries if c.name not in self.carried]

    def _only(self, ctx: Context, k: Value, of: Field) -> Value:
        """Zero at the class k [N, ...], minus infinity at all others: [N, ..., K]."""
        b, count = ctx.b, discrete.states_of(of)
        wide = F.reshape(b, F.cast(b, k, DType.INT), (*k.shape, 1))
        here = b.emit(ops.Equal(), wide, b.constant(np.arange(count)))
        return F.where(b, here, 0.0, float("-inf"))

    # --- one step ---

    def _step(
        self, at: Step, state: list[Value], shown: dict[str, Value] | None = None
    ) -> tuple[list[Value], dict[str, Value]]:
        """The next state, and `log_prob` of what the step observes given the steps before.

        `shown` takes what `conditionals` gives.
        """
        ctx, b, names = at.ctx, at.ctx.b, tuple(self.base)
        total = self._begin(at, state)
        for s in self.statement.statements:
            with ctx.frame(s.name, at.scope.label(s.span), s.span):
                if shown is not None and isinstance(s, ast.Density) and s.role == "observed":
                    found: Table | None = self._seen(at, s, total, shown)
                    at.scope.values[s.name] = at.data[s.name]
                else:
                    found = self._statement(at, s)
            if found is not None:
                total = F.add(b, total, self._spread(ctx, found, names))
            at.now.add(s.name)
        axes = tuple(range(1, len(names) + 1))
        log_prob = b.emit(ops.LogSumExp(axes, False), total)
        following = self._following(at, total)
        sizes = (log_prob.shape[0], *(1,) * len(self.carried))
        normalised = F.sub(b, following, F.reshape(b, log_prob, sizes))
        return [normalised, *(at.scope.values[n] for n in self._others)], {"log_prob": log_prob}

    def _begin(self, at: Step, state: list[Value]) -> Value:
        """The state before a step with an axis for each class, and what is known of its names by then."""
        self.reads = {n: {n} for n in self.carried}
        self.same, self.done = {n: n for n in self.base}, []
        at.scope.values.update(zip(self._others, state[1:], strict=True))
        return self._spread(at.ctx, Table(self.carried, state[0]), tuple(self.base))

    def _expected(self, at: Step, state: list[Value]) -> tuple[list[Value], dict[str, Value]]:
        """The next state, and expectations under the posteriors: of the step's log-likelihood and of log q - log p."""
        ctx, b, names = at.ctx, at.ctx.b, tuple(self.base)
        q = self._begin(at, state)
        zero = ctx.zeros((q.shape[0], *(1,) * len(names)))
        logs, gap = zero, zero
        for s in self.statement.statements:
            with ctx.frame(s.name, at.scope.label(s.span), s.span):
                found = self._statement(at, s)
                if found is not None:
                    each = self._spread(ctx, found, names)
                    if isinstance(s, ast.Density) and s.role == "latent":
                        own = self._spread(ctx, self._inferred(at, s), names)
                        q, gap = F.add(b, q, own), F.add(b, gap, F.sub(b, own, each))
                    else:
                        logs = F.add(b, logs, each)
            at.now.add(s.name)
        weights, axes = b.emit(ops.Exp(), q), range(1, len(names) + 1)
        live = F.less(b, 0.0, weights)
        results = {
            name: F.sum_axes(b, F.where(b, live, F.mul(b, weights, part), 0.0), axes)
            for name, part in (("log_prob", logs), ("kl", gap))
        }
        return [self._following(at, q), *(at.scope.values[n] for n in self._others)], results

    def _inferred(self, at: Step, s: ast.Density) -> Table:
        """log q of the classes of a latent, at all classes that its posterior reads."""
        over = self._ordered(self._read(s.distribution))

        def posterior(there: Step) -> Value:
            return class_log_probs(there.ctx, self.steps.posterior(there, s))

        return Table((*over, s.name), self._table(at, over, posterior))

    def _statement(self, at: Step, s: ast.Density | ast.Update) -> Table | None:
        """The factor of a density; None of an assignment, whose value is known from here on if it reads no class."""
        if isinstance(s, ast.Update):
            self._assign(at, s)
            return None
        if s.role == "latent":
            if s.prior is None:
                raise error(
                    "MP123", f"`latent {s.name}` needs its prior", s.span, help="prior categorical(...)"
                )
            over = self._ordered(self._read(s.prior))

            def prior(there: Step) -> Value:
                return class_log_probs(there.ctx, self.steps.prior(there, s))

            made = self._table(at, over, prior)
            self.reads[s.name] = {s.name}
            return Table((*over, s.name), made)
        over, x = self._ordered(self._read(s.distribution)), at.data[s.name]
        if s.name in self.filled:
            return self._filled(at, s, over, x)
        made = self._table(at, over, lambda there: self.steps.law(there, s).log_prob(there.ctx, x))
        at.scope.values[s.name] = x
        return Table(over, made)

    def _filled(self, at: Step, s: ast.Density, over: tuple[str, ...], x: Value) -> Table:
        """The factor of a class that may be missing: log p at all of its classes, where the data allow them."""
        ctx, b, of = at.ctx, at.ctx.b, self.filled[s.name]
        made = self._table(at, over, lambda there: class_log_probs(there.ctx, self.steps.law(there, s)))
        n, states = x.shape[0], discrete.states_of(of)
        own = F.reshape(b, self._only(ctx, F.reshape(b, x, (n,)), of), (n, *(1,) * len(over), states))
        there = F.reshape(b, ctx.missing[x], (n, *(1,) * (len(over) + 1)))
        self.reads[s.name] = {s.name}
        return Table((*over, s.name), F.add(b, made, F.where(b, there, own, 0.0)))

    def _assign(self, at: Step, s: ast.Update) -> None:
        """Note which classes a name depends on; give it its value where it depends on none."""
        read = self._read(s.value)
        if read and s.name in self._others:
            latent = ", ".join(f"`{n}`" for n in sorted(read))
            raise error("MP411", f"`{s.name}` remembers every earlier {latent}, so no sum over classes is exact", s.span,
                        help=f"carry {s.name}: category(...), or draw the latent: gumbel(...)")  # fmt: skip
        source = self.same.get(s.value.id) if isinstance(s.value, ast.Name) else None
        if source is None:
            self.same.pop(s.name, None)
        else:
            self.same[s.name] = source
        self.reads[s.name] = read
        before = dict(at.scope.values)
        if not read:
            at.scope.values[s.name] = self.steps.update(at, s, before.get(s.name))
        if read or s.name in self.base:
            self.done.append((s, before, None if read else at.scope.values[s.name]))

    def _read(self, expr: ast.Expr) -> set[str]:
        """The classes that the text of an expression refers to, through nets, blocks and names of the step."""
        found = self.order.refers([expr])
        return {n for name in found for n in self.reads.get(name, ())}

    def _ordered(self, some: set[str]) -> tuple[str, ...]:
        return tuple(n for n in self.base if n in some)

    def _table(self, at: Step, over: tuple[str, ...], make: Callable[[Step], Value]) -> Value:
        """A value [N, ...] at all states of some classes: [N, states of each, ...]."""
        if not over:
            return make(at)

        def one(own: dict[str, Value]) -> list[Value]:
            b = at.ctx.b
            frames = b.scope
            for s, values, known in self.done:
                if known is not None:
                    own[s.name] = known
                elif self._read(s.value) <= set(over):
                    b.scope = frames[:-1]
                    with at.ctx.frame(s.name, at.scope.label(s.span), s.span):
                        own[s.name] = self.steps.update(self._there(at, values | own), s, None)
            b.scope = frames
            return [make(self._there(at, at.scope.values | own))]

        (made,) = discrete.over_states(at.ctx, {n: self.base[n] for n in over}, one)
        sizes = [discrete.states_of(self.base[n]) for n in over]
        return F.reshape(at.ctx.b, made, (made.shape[0], *sizes, *made.shape[2:]))

    @staticmethod
    def _there(at: Step, values: dict[str, Value]) -> Step:
        scope = replace(at.scope, values=values)
        return replace(at, scope=replace(scope, top=scope))

    # --- after a step ---

    def _following(self, at: Step, total: Value) -> Value:
        """The sum of the joint table over what is not carried on: [N, K, ...] of the carried classes."""
        ctx, b, names = at.ctx, at.ctx.b, tuple(self.base)
        ends = [self.same.get(n) for n in self.carried]
        if None not in ends and len(set(ends)) == len(ends):
            kept = [names.index(e) for e in ends if e is not None]
            rest = tuple(i + 1 for i in range(len(names)) if i not in kept)
            alone = (
                len(self.carried) == 1 and not self.filled
            )  # then each class is reached from the known one
            summed = (
                total
                if not rest
                else b.emit(ops.LogSumExp(rest, False), total)
                if alone
                else _summed(b, total, rest)
            )
            order = sorted(kept)
            return F.transpose(b, summed, 0, *(order.index(i) + 1 for i in kept))
        rank = len(self.carried)
        wide = F.reshape(b, total, (*total.shape, *(1,) * rank))
        for i, name in enumerate(self.carried):
            over, made = self._next(at, name)
            mask = self._only(ctx, made, self.base[name])
            sizes = [discrete.states_of(self.base[n]) if n in over else 1 for n in names]
            own = [discrete.states_of(self.base[name]) if j == i else 1 for j in range(rank)]
            wide = F.add(b, wide, F.reshape(b, mask, (mask.shape[0], *sizes, *own)))
        return _summed(b, wide, tuple(range(1, len(names) + 1)))

    def _next(self, at: Step, name: str) -> tuple[tuple[str, ...], Value]:
        """The next class of a carried value at all states that it depends on: [N, states of each]."""
        over = self._ordered(self.reads[name])
        source = self.same.get(name)
        if source is not None:
            return (source,), self._table(at, (source,), lambda there: there.scope.values[source])
        return over, self._table(at, over, lambda there: there.scope.values[name])

    def _spread(self, ctx: Context, table: Table, names: Sequence[str]) -> Value:
        """A table with an axis for each of `names`, of size 1 where it does not read that class."""
        sizes = [discrete.states_of(self.base[n]) if n in table.over else 1 for n in names]
        return F.reshape(ctx.b, table.value, (table.value.shape[0], *sizes))


def _summed(b: Builder, x: Value, axes: tuple[int, ...]) -> Value:
    """The log of the sum of e^x over axes, with a gradient of zero where all elements are minus infinity: none can be."""
    dead = b.emit(ops.Equal(), b.emit(ops.LogSumExp(axes, True), x), b.constant(float("-inf")))
    total = b.emit(ops.LogSumExp(axes, False), F.where(b, dead, 0.0, x))
    return F.where(b, F.reshape(b, dead, total.shape), float("-inf"), total)


def class_log_probs(ctx: Context, law: Distribution) -> Value:
    """Build the log-probability of each class under a law of one class an example, [N, K].

    Raises `SpecError` (MP411) for a law of another kind.
    """
    b = ctx.b
    if isinstance(law, Categorical):
        each = b.emit(ops.LogSoftmax(law.axis), law.logits)
        return F.reshape(b, each, (each.shape[0], each.shape[law.axis]))
    if isinstance(law, Bernoulli):
        logits = F.reshape(b, law.logits, (law.logits.shape[0], 1))
        both = F.concat(b, [logits, F.neg(b, logits)], 1)
        return F.neg(b, b.emit(ops.Softplus(), both))
    raise ctx.fail("MP411", f"a latent that is summed out has a categorical or a bernoulli prior, not {law.keyword}",
                   help="prior categorical(logits = ...)")  # fmt: skip
