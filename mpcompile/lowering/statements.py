"""The statements of a model, and the begin and the end of a program about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches

from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.distributions import Distribution
from mpcompile.frontend import ast
from mpcompile.ir import Builder, Claim, Graph, Module, Programs, Shape, Type, Value, float_type, symbols
from mpcompile.layers import Context
from mpcompile.lowering import latents
from mpcompile.lowering.declarations import field, numbers_of
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.reading import Order
from mpcompile.lowering.recurrence import Recurrence, sum_of
from mpcompile.lowering.scope import Scope
from mpcompile.ops import unrolled


@dataclass
class Program:
    """One program while it is built."""

    ctx: Context
    scope: Scope
    taken: frozenset[str] = frozenset()  # inputs of its own, which variables must not share

    @property
    def b(self) -> Builder:
        return self.ctx.b

    def input(self, name: str, type_: Type) -> Value:
        return self.b.input(f"given_{name}" if name in self.taken else name, type_)


class Statements:
    """The variables and density statements of a model, and the module that its programs go to."""

    def __init__(self, model: ast.Model, source: Source, overrides: Mapping[str, int | float]) -> None:
        self.model, self.source = model, source
        self.numbers = numbers_of(model, overrides)
        self.fields = {d.name: field(d, model, self.numbers) for d in model.declarations}
        programs = Programs(lambda _, graph: unrolled(graph))
        self.out = Module(model.name, source, programs, fields=self.fields, params=dict(self.numbers))
        densities = [s for s in model.density if isinstance(s, ast.Density)]
        self.observed = [s for s in densities if s.role == "observed"]
        self.latents = [s for s in densities if s.role == "latent"]
        self.order = Order(model)
        self.latent_names = {s.name for s in self.latents}
        #: Latents, observed variables and recurrences, in the order of generation.
        self.generated: list[ast.Density | Recurrence] = [
            Recurrence(s, self.fields, self.order) if isinstance(s, ast.Recurrence) else s
            for s in model.density
            if isinstance(s, ast.Density | ast.Recurrence)
        ]
        self.recurrences = [s for s in self.generated if isinstance(s, Recurrence)]
        self.weight_priors = [s for s in model.density if isinstance(s, ast.WeightPrior)]
        self.latent_shapes: dict[str, Shape] = {}
        self._inferred: list[ast.Density] | None = None
        self.claims: list[Claim] = []
        #: Symbols of all shapes that a program may have.
        self.lengths = {n for f in self.fields.values() for s in f.type.shape for n in symbols(s)}

    def numeric(self) -> Scope:
        """A scope of numbers alone, for sections that are about no value."""
        return Scope(self.source, dict(self.numbers), model=self.model)

    # --- one program ---

    def start(self, name: str, training: bool = False) -> Program:
        graph = Graph(name)
        ctx = Context(Builder(graph), self.out.parameters, in_training=training)
        scope = Scope(
            self.source,
            dict(self.numbers),
            {},
            {m.name: m.value for m in self.model.masks},
            {n.name: n for n in self.model.nets},
            {b.name: b for b in self.model.blocks},
            {s.name: s for s in self.model.density if isinstance(s, ast.Let)},
            model=self.model,
        )
        return Program(ctx, replace(scope, top=scope))

    def finish(self, p: Program, outputs: Mapping[str, Value]) -> None:
        graph = p.b.graph
        for name, value in outputs.items():
            graph.outputs[name] = value
        sizing = set[str]()  # variables that nothing reads, and that say how many examples there are

        def unread(name: str) -> bool:
            return name in p.ctx.noise or name not in self.fields or name in sizing

        live = graph.live(unread)
        if not self.lengths <= set(live.symbols()):
            missing = live.unsized()
            for name, value in graph.inputs.items():
                if missing & {n for s in value.shape for n in symbols(s)}:
                    sizing.add(name)
                    live = graph.live(unread)
                    missing = live.unsized()
            if missing:
                return  # no caller could say how large the results are
        self.out.programs[graph.name] = live
        self.out.noise[graph.name] = {k: noise for k, noise in p.ctx.noise.items() if k in live.inputs}

    def read(self, p: Program, *names: str) -> None:
        """Declare variables as inputs and bring them into scope; what lies behind an end is zero from here on."""
        for name in names:
            with p.b.within((), self.fields[name].span):
                p.input(name, self.fields[name].type)
        for name in sorted(names, key=lambda n: self.fields[n].counts is None):  # lengths first
            f = self.fields[name]
            with p.b.within((), f.span):
                value = p.ctx.kept(p.input(name, f.type))
            if f.counts is not None:
                p.ctx.lengths[f.counts] = value
            self.know(p, name, value)

    def know(self, p: Program, name: str, value: Value) -> None:
        """Bring a value of a variable into scope, with how many classes it has, for an embedding of it."""
        p.scope.values[name] = value
        f = self.fields[name]
        if f.base == "category" and f.classes is not None:
            p.ctx.classes[value] = f.classes

    def latent_inputs(self, p: Program) -> None:
        for name, shape in self.latent_shapes.items():
            p.scope.values[name] = p.input(name, float_type(*shape))

    # --- what it may ask ---

    def given(self) -> list[str]:
        """Variables that no density statement is about: inputs of a supervised model, conditions."""
        about = {s.name for s in (*self.observed, *(s for r in self.recurrences for s in r.observed))}
        return [n for n in self.fields if n not in about]

    @contextmanager
    def within(self, p: Program, s: ast.Density) -> Iterator[None]:
        with p.ctx.frame(s.name, p.scope.label(s.span), s.span):
            yield

    def law(self, p: Program, s: ast.Density) -> Distribution:
        """Build the law of an observed variable. Raises `SpecError` (MP110) for an unknown variable."""
        if s.name not in self.fields:
            near = get_close_matches(s.name, self.fields, 1)
            raise error(
                "MP110", f"unknown variable `{s.name}`", s.span,
                help=f"did you mean `{near[0]}`?" if near else f"declare it, as in `target {s.name}: real[1]`",
            )  # fmt: skip
        law = distribution(p.ctx, self._reading(p, s.name, "law"), s.distribution, self.fields[s.name])
        if law.sharpens(p.b):
            self.out.sharpening.add(s.name)
        return law

    def _reading(self, p: Program, name: str, what: str) -> Scope:
        """The scope of the law, prior or posterior of a variable: what it may read, and why not the rest."""
        later = {name} & self.latent_names if what == "posterior" else self.order.later(name)
        values = {k: v for k, v in p.scope.values.items() if k not in later}
        return replace(p.scope, values=values, hidden=self.order.hidden(name, values, what))

    def posterior(self, p: Program, s: ast.Density) -> Distribution:
        law = latents.posterior(p.ctx, self._reading(p, s.name, "posterior"), s)
        self.latent_shapes[s.name] = next(iter(law.parameters().values())).shape
        return law

    def prior(self, p: Program, s: ast.Density) -> Distribution | None:
        return latents.prior(p.ctx, self._reading(p, s.name, "prior"), s, self.latent_shapes[s.name])

    # --- inference of the latents ---

    @property
    def inferred(self) -> list[ast.Density]:
        """The latents in an order in which each posterior reads those before it: as they are stated, where it can be.

        Raises `SpecError` (MP127) for posteriors that wait for each other.
        """
        if self._inferred is None:
            self._inferred = self.latents if self.order.infers_as_stated() else self._in_order()
        return self._inferred

    def _in_order(self) -> list[ast.Density]:
        """Lower posteriors aside, each as soon as the latents are there that it reads."""
        aside = self.start("posteriors")
        p = replace(aside, ctx=replace(aside.ctx, parameters=dict(self.out.parameters)))
        self.read(p, *self.fields)
        ordered, pending = list[ast.Density](), list(self.latents)
        while pending:
            for s in pending:
                try:
                    with self.within(p, s):
                        self.posterior(p, s)
                except SpecError as fault:
                    if any(d.code != "MP127" for d in fault.diagnostics):
                        raise
                    waiting = fault
                else:
                    p.scope.values[s.name] = p.input(s.name, float_type(*self.latent_shapes[s.name]))
                    ordered.append(s)
                    pending.remove(s)
                    break
            else:
                raise waiting
        return ordered

    def infer(self, p: Program, *, exact: bool = True) -> Value | None:
        """Draw the latents from their posteriors; return their divergence from their priors, [N], or None.

        A prior that is lowered before its latent is drawn cannot read the draw, and a divergence in closed form is that
        of all draws. A prior that waits for other latents may read values that depend on the draw, so that the
        divergence is estimated from it: E of log q(z) - log p(z).
        """
        drawn: dict[str, tuple[Value | None, ast.Density]] = {}
        parts: list[Value | None] = []
        there = set(self.order.place) - self.latent_names

        def ready(s: ast.Density) -> bool:
            return self.order.place.keys() - self.order.later(s.name) <= there

        for s in self.inferred:
            with self.within(p, s):
                q, shape = self.posterior(p, s), self.latent_shapes[s.name]
                if ready(s):
                    z, kl = latents.draw(p.ctx, q, self.prior(p, s), s.name, shape, exact=exact)
                    parts.append(kl)
                else:
                    z, log_q = latents.drawn(p.ctx, q, s.name, shape)
                    drawn[s.name] = log_q, s
            p.scope.values[s.name] = z
            there.add(s.name)
            for log_q, waited in [drawn.pop(w.name) for w in self.latents if w.name in drawn and ready(w)]:
                with self.within(p, waited):
                    value = p.scope.values[waited.name]
                    parts.append(latents.divergence(p.ctx, log_q, self.prior(p, waited), value))
        return sum_of(p.ctx, [kl for kl in parts if kl is not None])
