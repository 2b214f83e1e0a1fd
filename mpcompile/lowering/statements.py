"""The statements of a model, and the begin and the end of a program about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as default

from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.diagnostics.nearest import meant
from mpcompile.distributions import Autoregressive, Distribution
from mpcompile.distributions.elementwise import Categorical
from mpcompile.frontend import ast
from mpcompile.ir import Builder, Claim, DType, Field, Graph, Module, Programs, Type, Value, symbol, symbols
from mpcompile.ir.axes import Axes
from mpcompile.layers import Context
from mpcompile.lowering import discrete, holes, latents
from mpcompile.lowering.backward import Sequence, hidden_sequences
from mpcompile.lowering.declarations import field, numbers_of
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.reading import Hidden, Order
from mpcompile.lowering.recurrence import Recurrence, in_step
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F
from mpcompile.ops import unrolled


@dataclass
class Program:
    """One program while it is built."""

    ctx: Context
    scope: Scope
    taken: frozenset[str] = frozenset()  # inputs of its own, which variables must not share
    #: Masks of variables whose missing values are summed over.
    there: dict[str, Value] = default(default_factory=dict)

    @property
    def b(self) -> Builder:
        return self.ctx.b

    def input(self, name: str, type_: Type, axes: Axes = ()) -> Value:
        return self.b.input(f"given_{name}" if name in self.taken else name, type_, axes)


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
        #: By variable, how its missing values are inferred.
        self.missing = {s.name: s for s in densities if s.role == "missing"}
        self.order = Order(model)
        self.latent_names = {s.name for s in self.latents}
        #: Names that backward recurrences assign, known once a program had them.
        self.sequences: dict[str, Sequence] = {}
        #: Latents, observed variables and recurrences, in the order of generation.
        self.generated: list[ast.Density | Recurrence] = [
            Recurrence(*self._split(s), sequences=self.sequences, filled=self._filled(s))
            if isinstance(s, ast.Recurrence)
            else s
            for s in model.density
            if (isinstance(s, ast.Density) and s.role != "missing")
            or (isinstance(s, ast.Recurrence) and not s.backward)
        ]
        self.recurrences = [s for s in self.generated if isinstance(s, Recurrence)]
        backward = (s for s in model.density if isinstance(s, ast.Recurrence) and s.backward)
        self.backwards = [Recurrence(*self._split(s)).backward() for s in backward]
        self.terms = [s for s in model.density if isinstance(s, ast.Term)]
        self.weight_priors = [s for s in model.density if isinstance(s, ast.WeightPrior)]
        #: Latents with a type.
        self.typed = {s.name: f for s in self.latents if (f := discrete.latent_field(s, model, self.numbers))}
        self.out.latents = self.typed
        #: All latents whose axes are known so far: those with a type, and those whose posterior was lowered.
        self.latent_fields: dict[str, Field] = dict(self.typed)
        self._inferred: list[ast.Density] | None = None
        #: Names of latents whose laws were shown to read each place alone, by group (`placewise.py`).
        self.placewise: set[frozenset[str]] = set()
        self.claims: list[Claim] = []
        self._check_missing()
        #: Symbols of all shapes that a program may have.
        self.lengths = {"N"} | {n for f in self.fields.values() for s in f.type.shape for n in symbols(s)}

    def _split(
        self, r: ast.Recurrence
    ) -> tuple[ast.Recurrence, Mapping[str, Field], Order, dict[str, Field]]:
        """A recurrence without its `missing` statements, with what else `Recurrence` takes."""
        kept = tuple(s for s in r.statements if not (isinstance(s, ast.Density) and s.role == "missing"))
        return r.model_copy(update={"statements": kept}), self.fields, self.order, self._of_step(r)

    def _filled(self, r: ast.Recurrence) -> dict[str, Field]:
        """The variables of a step whose missing classes are summed over. Raises `SpecError` (MP411) for others."""
        found = dict[str, Field]()
        laws = {s.name for s in r.statements if isinstance(s, ast.Density) and s.role == "observed"}
        for s in r.statements:
            if isinstance(s, ast.Density) and s.role == "missing":
                f = self.fields.get(s.name)
                holes.check_filled(s.name, f, s.name in laws, discrete.way(s) is discrete.Exact, s.span)
                assert f is not None
                found[s.name] = in_step(f)
        return found

    def _of_step(self, r: ast.Recurrence) -> dict[str, Field]:
        """The fields of the latents and the carried values of a recurrence that have a type.

        Raises `SpecError` (MP411) for codes of a table, which a step does not infer.
        """
        latents = [s for s in r.statements if isinstance(s, ast.Density) and s.role == "latent"]
        for s in latents:
            if discrete.way(s) is discrete.Nearest:
                raise error("MP411", f"`nearest` infers latents of whole examples, and `{s.name}` is one of a step",
                            s.distribution.span, help="state it before the recurrence; or gumbel(...)")  # fmt: skip
        typed = {s.name: discrete.latent_field(s, self.model, self.numbers) for s in latents}
        typed |= {c.name: discrete.carried_field(c, self.model, self.numbers) for c in r.carries}
        return {name: f for name, f in typed.items() if f is not None}

    def started(self, r: Recurrence) -> dict[str, ast.Density]:
        """The latents that are summed out as the first class of a carried value, and that nothing else reads."""
        found: dict[str, ast.Density] = {}
        for s in self.latents if r.sums() else []:
            if s.name not in self.summed or not discrete.single(self.typed[s.name]):
                continue
            first = [c for c in r.statement.carries if isinstance(c.init, ast.Name) and c.init.id == s.name]
            trees: list[ast.Node] = [c.init for c in r.statement.carries if c not in first]
            trees += r.statement.statements
            others = [g for g in self.generated if g is not r and g is not s]
            trees += [g.statement if isinstance(g, Recurrence) else g for g in others]
            classes = {r.typed[c.name].classes for c in first if c.name in r.typed}
            alone = len(first) == 1 and s.name not in self.order.refers(trees)
            if alone and classes == {self.typed[s.name].classes}:
                found[s.name] = s
        return found

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
            {w.name: w for w in self.model.weights},
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
                p.input(name, self.fields[name].type, self.fields[name].axes)
        for name in sorted(names, key=lambda n: self.fields[n].counts is None):  # lengths first
            f = self.fields[name]
            with p.b.within((), f.span):
                value, there = p.ctx.kept(p.input(name, f.type)), None
                if f.optional:
                    value, there = holes.split(p.ctx, value, f)
            if f.counts is not None:
                p.ctx.lengths[f.counts] = F.cast(p.b, value, DType.INT)
            self.know(p, name, value)
            if there is not None and name in self.missing:
                p.there[name] = there
            elif there is not None:
                p.ctx.missing[p.scope.values[name]] = there
        for r in self.backwards:
            if all(n in p.scope.values for n in r.reads & self.fields.keys()):
                present = p.ctx.present_along(symbol(r.statement.axis))
                values, found = r.sequences(p.ctx, p.scope, present)
                p.scope.values.update(values)
                self.sequences.update(found)

    def know(self, p: Program, name: str, value: Value) -> None:
        """Bring a value of a variable into scope, with the names of its axes, and how many classes it has."""
        f = self.fields[name]
        value = p.ctx.name_axes(value, f.axes)
        p.scope.values[name] = value
        if f.base == "category" and f.classes is not None:
            p.ctx.classes[value] = f.classes

    def latent_inputs(self, p: Program, without: Collection[str] = ()) -> None:
        for name in self.latent_fields:
            if name not in without:
                self.latent_input(p, name)

    def latent_input(self, p: Program, name: str) -> None:
        """Declare a latent as an input and bring it into scope."""
        self.bring(p, name, p.input(name, self.latent_fields[name].type))

    def bring(self, p: Program, name: str, value: Value) -> None:
        """Bring a value of a latent into scope, with the names of its axes, and how many classes it has."""
        field = self.latent_fields[name]
        p.scope.values[name] = value = p.ctx.name_axes(value, field.axes)
        if field.base == "category" and field.classes is not None:
            p.ctx.classes[value] = field.classes

    # --- what it may ask ---

    def given(self) -> list[str]:
        """Variables that no density statement is about: inputs of a supervised model, conditions."""
        about = {s.name for s in (*self.observed, *(s for r in self.recurrences for s in r.observed))}
        return [n for n in self.fields if n not in about]

    def states_laws(self) -> bool:
        """Whether some variable has a law."""
        return bool(self.observed or any(r.observed for r in self.recurrences))

    @contextmanager
    def within(self, p: Program, s: ast.Density) -> Iterator[None]:
        with p.ctx.frame(s.name, p.scope.label(s.span), s.span):
            yield

    def law(self, p: Program, s: ast.Density) -> Distribution:
        """Build the law of an observed variable. Raises `SpecError` (MP110) for an unknown variable."""
        if s.name not in self.fields:
            declare = f"declare it, as in `target {s.name}: real[1]`"
            hint = meant(s.name, self.fields, s.span, declare)
            raise error("MP110", f"unknown variable `{s.name}`", s.span.head(s.name), **hint)
        law = distribution(p.ctx, self._reading(p, s.name, "law"), s.distribution, self.fields[s.name])
        holes.check_law(self.fields[s.name], law, s.distribution.span)
        if law.sharpens(p.b):
            self.out.sharpening.add(s.name)
        if isinstance(law, Categorical | Autoregressive) and law.smoothing:
            self.out.weighted.add(s.name)
        return law

    def _reading(self, p: Program, name: str, what: str) -> Scope:
        """The scope of the law, prior or posterior of a variable: what it may read, and why not the rest."""
        later = {name, *self.summed} & self.latent_names if what == "posterior" else self.order.later(name)
        ahead = {} if what == "posterior" else hidden_sequences(self.sequences)
        values = {k: v for k, v in p.scope.values.items() if k not in later and k not in ahead}
        hidden = {**self.order.hidden(name, values, what)} | ahead
        if what == "posterior":
            reads, help = (
                f"the posterior of `{name}` reads",
                "enumerate(categorical(net)) states how it is inferred",
            )
            hidden |= {
                n: Hidden(f"{reads} `{n}`", ", which is summed out and has no draw", help)
                for n in self.summed
            }
        return replace(p.scope, values=values, hidden=hidden)

    @property
    def summed(self) -> set[str]:
        """Latents that are summed out, and have no draw."""
        return {s.name for s in self.latents if discrete.way(s) is discrete.Exact}

    def posterior(self, p: Program, s: ast.Density) -> Distribution:
        """Build the posterior of a latent, or of what is missing, and note its axes."""
        if s.role == "missing":
            return self._posterior_of_missing(p, s)
        scope = self._reading(p, s.name, "posterior")
        if discrete.way(s) is not None:
            return discrete.law_of(p.ctx, scope, s, self.typed[s.name])
        typed = self.typed.get(s.name)
        law = latents.posterior(p.ctx, scope, s, typed)
        self.latent_fields[s.name] = latents.field_of(p.ctx, s, law, typed)
        return law

    def _check_missing(self) -> None:
        """Check the `missing` statements of a model.

        Raises `SpecError`: MP110 for an unknown variable, MP411 for one that is never missing, has no law outside
        of recurrences, or is not one class, and MP205 for a law with a weight.
        """
        laws = {s.name: s for s in self.observed}
        for name, s in self.missing.items():
            if name not in self.fields:
                raise error(
                    "MP110",
                    f"unknown variable `{name}`",
                    s.span,
                    help=f"declare it: input {name}: category(10)?",
                )
            f = self.fields[name]
            if discrete.way(s) is discrete.Exact:
                why = "outside of recurrences a posterior says what stands in its place in means"
                raise error("MP411", f"`{name}` has no posterior, and {why}", s.span,
                            help=f"missing {name} ~ enumerate(categorical(net(x)))")  # fmt: skip
            if not f.optional:
                raise error("MP411", f"`{name}` is never missing: its type has no `?`", s.span,
                            help=f"{f.role} {name}: category(10)?")  # fmt: skip
            if f.base not in ("category", "binary"):
                raise error("MP411", f"`{name}` is {f.kind}, and no sum over its values is taken", s.span,
                            help=f"{f.role} {name}: category(10)?; or read it by fill({name}, 0)")  # fmt: skip
            if name not in laws:
                raise error("MP411", f"`{name}` has no law outside of recurrences, so no class has a probability",
                            s.span, help=f"{name} ~ categorical(logits = 0)")  # fmt: skip
            weight = laws[name].weight
            if weight is not None:
                raise error("MP205", f"the law of `{name}` has a weight beside a sum over its classes", weight.span,
                            help="leave out the weight")  # fmt: skip

    def _posterior_of_missing(self, p: Program, s: ast.Density) -> Distribution:
        """Build the law of what is missing of a variable, which reads declared variables that are there."""
        known = {n: v for n, v in p.scope.values.items() if n in self.fields and n not in self.missing}
        help_ = "it reads declared variables that are there: enumerate(categorical(net(x)))"
        hidden: Mapping[str, Hidden] = {
            n: Hidden(f"the posterior of the missing `{s.name}` reads `{n}`", why, help_)
            for names, why in ((self.latent_names, ", a latent"), (self.missing, ", which may be missing"))
            for n in names
        }
        with p.ctx.frame("missing", p.scope.label(s.distribution.span), s.distribution.span):
            return discrete.law_of(
                p.ctx, replace(p.scope, values=known, hidden=hidden), s, self.fields[s.name]
            )

    def prior(self, p: Program, s: ast.Density) -> Distribution | None:
        scope = self._reading(p, s.name, "prior")
        return latents.prior(p.ctx, scope, s, self.latent_fields[s.name])

    def prior_draw(self, p: Program, s: ast.Density) -> Value | None:
        """A draw of a latent from its prior; None for the code of an autoencoder."""
        prior = self.prior(p, s)
        if prior is None:
            return None
        return prior.sample(p.ctx, s.name, self.latent_fields[s.name].type.shape)

    def code(self, p: Program, s: ast.Density, q: Distribution) -> Value:
        """Return the value of a latent in programs that give means: the mean of its posterior, or its mode."""
        if discrete.way(s) is not None:
            return discrete.mode(p.ctx, self.typed[s.name], q)
        return q.mean(p.ctx, self.latent_fields[s.name].type.shape)

    # --- inference of the latents ---

    @property
    def inferred(self) -> list[ast.Density]:
        """The latents that have a posterior, in an order in which each posterior reads those before it.

        As they are stated, where it can be.

        Raises `SpecError` (MP127) for posteriors that wait for each other.
        """
        if self._inferred is None:
            drawn = [s for s in self.latents if s.name not in self.summed]
            self._inferred = drawn if self.order.infers_as_stated() else self._in_order()
        return self._inferred

    def _in_order(self) -> list[ast.Density]:
        """Lower posteriors aside, each as soon as the latents are there that it reads."""
        aside = self.start("posteriors")
        p = replace(aside, ctx=replace(aside.ctx, parameters=dict(self.out.parameters)))
        self.read(p, *self.fields)
        ordered, pending = list[ast.Density](), [s for s in self.latents if s.name not in self.summed]
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
                    self.latent_input(p, s.name)
                    ordered.append(s)
                    pending.remove(s)
                    break
            else:
                raise waiting
        return ordered
