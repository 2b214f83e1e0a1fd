"""The statements of a model, and the begin and the end of a program about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches

from mpcompile.diagnostics import Source, error
from mpcompile.distributions import Distribution
from mpcompile.frontend import ast
from mpcompile.ir import Builder, Claim, Graph, Module, Programs, Shape, Type, Value, float_type, symbols
from mpcompile.layers import Context
from mpcompile.lowering import latents
from mpcompile.lowering.declarations import field, numbers_of
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.reading import Order
from mpcompile.lowering.recurrence import Recurrence
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
        self.recurrences = [
            Recurrence(s, self.fields, self.order) for s in model.density if isinstance(s, ast.Recurrence)
        ]
        self.weight_priors = [s for s in model.density if isinstance(s, ast.WeightPrior)]
        self.latent_shapes: dict[str, Shape] = {}
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
            model=self.model,
        )
        return Program(ctx, scope)

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
        self.out.noise[graph.name] = dict(p.ctx.noise)

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
        later = {n for n in self.order.later(name) if what != "posterior" or n in self.latent_names}
        values = {k: v for k, v in p.scope.values.items() if k not in later}
        return replace(p.scope, values=values, hidden=self.order.hidden(name, values, what))

    def posterior(self, p: Program, s: ast.Density) -> Distribution:
        law = latents.posterior(p.ctx, self._reading(p, s.name, "posterior"), s)
        self.latent_shapes[s.name] = next(iter(law.parameters().values())).shape
        return law

    def prior(self, p: Program, s: ast.Density) -> Distribution | None:
        return latents.prior(p.ctx, self._reading(p, s.name, "prior"), s, self.latent_shapes[s.name])
