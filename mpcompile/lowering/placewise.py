"""Latents with axes of which all classes are counted, place by place.

Given the latents k over some places, let each factor of the density be a product over these places, f_i at place i, which
reads k_i alone. Then the sum over all configurations of k is a product of sums over one class each:
sum_k prod_i p(k_i) f_i(k_i) = prod_i sum_c p(k_i = c) f_i(c). So it costs as many evaluations as one latent without axes.
The same holds of an expectation under a posterior whose elements are independent.

Whether a factor reads its own place alone is proven on the lowered law (`analysis/places.py`), never by its text; another
one is refused with a path to the place that it reads (MP411).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from mpcompile.analysis.places import elsewhere
from mpcompile.diagnostics import Diagnostic, Span, SpecError, error
from mpcompile.distributions import Distribution, Elementwise
from mpcompile.distributions.elementwise import Bernoulli, Categorical
from mpcompile.frontend import ast
from mpcompile.ir import Field, Size, Value
from mpcompile.ir.axes import shown
from mpcompile.layers import Context
from mpcompile.lowering import discrete, missing, weighted
from mpcompile.lowering.counted import Counted
from mpcompile.lowering.recurrence import Recurrence
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F
from mpcompile.ops import unrolled

HELP = "let each place read its own class: embedding, dense; or gumbel(...) draws one"


@dataclass
class Places:
    """Latents, and variables with missing values, over the same axes, with the laws that read them.

    members  what is counted; each has a value at every place
    factors  the laws of observed variables that read a member; the laws of members are factors as well
    axes     the names of their axes, in the order of the first one, and `sizes` their sizes
    """

    members: list[ast.Density]
    fields: dict[str, Field]
    factors: list[ast.Density]
    laws: dict[str, ast.Density] = field(default_factory=dict)  # of members that are no latents

    def __post_init__(self) -> None:
        """Raises `SpecError` (MP411) for too many joint states of one place."""
        first = next(iter(self.fields.values()))
        self.axes, self.shape = first.axes, first.type.shape
        self.states = [discrete.states_of(f) for f in self.fields.values()]
        if prod(self.states) > discrete.MAX_STATES:
            many = f"the latents have {prod(self.states)} joint states at each place"
            raise error("MP411", f"{many}, more than {discrete.MAX_STATES}", self.members[0].span,
                        help="gumbel(...) draws one of them")  # fmt: skip

    def reads(self, m: Statements) -> set[str]:
        """Return the variables and latents to which the laws refer."""
        names = {s.name for s in (*self.members, *self.factors)}
        return {n for name in names for n in m.order.parents(name)}

    def score(self, m: Statements, p: Program, exact: bool) -> tuple[Value, Value | None]:
        """Build log-likelihood and divergence of each example, [N] each.

        `exact` as in `inference.objective`. Raises `SpecError` (MP411) for a factor that reads other places.
        """
        names = frozenset(self.fields)
        if names not in m.placewise:
            self._prove(m)
            m.placewise.add(names)
        summed = tuple(i for i, s in enumerate(self.members) if not exact or s.name in m.summed)

        def one(values: dict[str, Value]) -> list[Value]:
            scope = p.scope.child(values=values)
            return self._at(m, replace(p, scope=replace(scope, top=scope)), p, exact)

        made = discrete.over_states(p.ctx, self.fields, one)
        some_missing = any(s.name in m.missing for s in self.members)
        log, gap = Counted(p.b, tuple(self.states), summed, some_missing, *made).objective()
        return self._total(p, log), None if gap is None else self._total(p, gap)

    @staticmethod
    def _total(p: Program, each: Value) -> Value:
        return F.event_sum(p.b, p.ctx.kept(each))

    def _at(self, m: Statements, here: Program, p: Program, exact: bool) -> list[Value]:
        """Log-likelihood, divergence, log prior, log posterior and share at one class of each member: [N, places]."""
        b, zero = here.b, here.ctx.zeros(self.shape)
        logs, prior, log_q, share = zero, zero, zero, F.add(b, zero, 1.0)
        for s in self.factors:
            logs = F.add(b, logs, self._factor(m, here, s))
        for s in self.members:
            prior = F.add(b, prior, self._factor(m, here, s))
            value = here.scope.values[s.name]
            with m.within(here, s):
                if s.name in m.missing:
                    given = here.ctx.name_axes(p.scope.values[s.name], self.fields[s.name].axes)
                    q = m.posterior(here, s) if exact else None
                    own, log = missing.shares(here, s.name, given, value, q)
                    share = F.mul(b, share, self._placed(here.ctx, own, self.fields[s.name]))
                    log_q = F.add(b, log_q, self._placed(here.ctx, log, self.fields[s.name]))
                elif exact and s.name not in m.summed:
                    law = m.posterior(here, s)
                    assert isinstance(law, Elementwise)
                    each = law.element_log_prob(here.ctx, value)
                    log_q = F.add(b, log_q, self._placed(here.ctx, each, self.fields[s.name]))
        return [logs, zero, prior, log_q, share]

    # --- factors ---

    def _factor(self, m: Statements, p: Program, s: ast.Density) -> Value:
        """log f of the law or prior of a statement at every place, [N, places].

        Raises `SpecError`: MP411 for a law of all elements together, or of a variable without the places, and MP205 for a
        weight.
        """
        own = self.laws.get(s.name, s)
        of = self.fields.get(s.name) or m.fields[s.name]
        with m.within(p, own):
            law: Distribution | None = m.prior(p, s) if s.role == "latent" else m.law(p, own)
            weighted.check_not_summed(own, True)
            counted = s.name in self.fields
            if not isinstance(law, Categorical | Bernoulli if counted else Elementwise):
                what = f"{law.keyword if law else 'delta'} is a law of all elements of `{s.name}` together"
                kinds = (
                    "categorical, bernoulli"
                    if counted
                    else "laws of single elements: bernoulli, categorical, normal, ..."
                )
                raise error("MP411", f"{what}, and its classes are summed place by place" if counted else
                            f"{what}, and {self._named()} is counted place by place", s.span, help=kinds)  # fmt: skip
            lacking = [a for a in self.axes if a not in of.axes]
            sizes = dict(zip(of.axes, of.type.shape[1:], strict=True))
            if lacking or any(
                sizes[a] != n for a, n in zip(self.axes, self.shape[1:], strict=True) if a in sizes
            ):
                other = f"`{s.name}` is {shown(of.axes, of.type.shape[1:])}"
                raise error("MP411", f"{other}, and reads {self._named()} {shown(self.axes, self.shape[1:])}: all of its "
                            "places have too many states together", s.span,
                            help=f"an element for each place: {shown(self.axes, self.shape[1:])}")  # fmt: skip
            assert isinstance(law, Elementwise)
            x = p.scope.values[s.name]
            each = law.element_log_prob(p.ctx, x) if counted else p.ctx.kept(law.there_log_prob(p.ctx, x))
            return self._placed(p.ctx, each, of)

    def _placed(self, ctx: Context, each: Value, of: Field) -> Value:
        """A value of each element of a variable as one of each place, in the order of the axes: [N, places]."""
        b, names = ctx.b, list(of.axes)
        each = F.sum_axes(b, each, [i for i, n in enumerate(names, 1) if n not in self.axes])
        left = [n for n in names if n in self.axes]
        return F.transpose(b, each, 0, *(left.index(n) + 1 for n in self.axes))

    def _named(self) -> str:
        return ", ".join(f"`{s.name}`" for s in self.members)

    # --- the proof ---

    def _prove(self, m: Statements) -> None:
        """Lower all factors aside, where the members are inputs, and show that each reads its own place alone."""
        aside = m.start("places", training=True)
        p = replace(aside, ctx=replace(aside.ctx, parameters=dict(m.out.parameters)))
        m.read(p, *m.fields)
        m.latent_inputs(p)
        spans = dict[str, tuple[str, Span, str]]()
        for s in (*self.factors, *self.members):
            value = self._factor(m, p, s)
            for name, f in self.fields.items():
                order = [self.axes.index(a) + 1 for a in f.axes]
                output = f"{s.name}_{name}_{len(spans)}"
                p.b.graph.outputs[output] = F.transpose(p.b, value, 0, *order)
                spans[output] = s.name, self.laws.get(s.name, s).span, name
        graph = unrolled(p.b.graph.live())
        for output, (reader, span, name) in spans.items():
            found = elsewhere(graph, name, output)
            if found is None:
                continue
            who = f"the prior of `{reader}`" if reader in self.fields else f"the law of `{reader}`"
            message = f"{who} reads `{name}` at other places than its own, so its classes are not summed place by place"
            if not found.path:
                message = f"{who} is not shown to read `{name}` at its own place alone for every length"
            raise SpecError([Diagnostic("MP411", message, span, path=found.path, help=HELP)])


def grouped(m: Statements) -> tuple[list[Places], list[ast.Density | Recurrence | Places]]:
    """Group what is counted place by place, and put each group in the place of the laws that read it.

    Raises `SpecError` (MP411) for a latent that a recurrence, a drawn latent or another group reads as well.
    """
    some: dict[frozenset[tuple[str, Size]], list[ast.Density]] = {}
    fields = {**m.fields, **m.typed}
    for s in (*m.latents, *m.missing.values()):
        way = discrete.way(s)
        if way is not None and way.counted and not discrete.single(fields[s.name]):
            f = fields[s.name]
            some.setdefault(frozenset(zip(f.axes, f.type.shape[1:], strict=True)), []).append(s)
    if not some:
        return [], list(m.generated)
    groups = [_group(m, members, fields) for members in some.values()]
    owner = {s.name: g for g in groups for s in (*g.members, *g.factors)}
    left: list[ast.Density | Recurrence | Places] = []
    for stated in m.generated:
        group = None if isinstance(stated, Recurrence) else owner.get(stated.name)
        if group is None:
            left.append(stated)
        elif group not in left:
            left.append(group)
    return groups, left


def _group(m: Statements, members: list[ast.Density], fields: dict[str, Field]) -> Places:
    names = {s.name for s in members}
    laws = {s.name: s for s in m.observed if s.name in m.missing}
    factors = list[ast.Density]()
    for s in m.generated:
        reads = (
            m.order.read_by_step(s.statement) if isinstance(s, Recurrence) else m.order.parents(s.name)
        ) & names
        if not reads or (not isinstance(s, Recurrence) and s.name in names):
            continue
        others = {n for n, f in fields.items() if _counted(m, n) and n not in names}
        if isinstance(s, Recurrence):
            raise _refused(
                "a recurrence", reads, s.statement.span, "state it in the step: latent ... ~ exact"
            )
        if s.role == "latent":
            raise _refused(f"the prior of `{s.name}`", reads, s.span, "only laws of observed variables may")
        if s.name in others or (m.order.parents(s.name) & others and _wide(m, s, others, fields)):
            raise _refused(
                f"`{s.name}`, with classes of other places,", reads, s.span, "give both the same axes"
            )
        factors.append(s)
    drawn = [s.name for s in m.inferred if s.name not in names]
    for name in m.order.inferred_from(names, drawn):
        span = next(s.span for s in m.latents if s.name == name)
        raise _refused(f"the posterior of `{name}`", names, span, "let it read what is observed")
    return Places(
        members, {s.name: fields[s.name] for s in members}, factors, {n: laws[n] for n in names if n in laws}
    )


def _counted(m: Statements, name: str) -> bool:
    ways = [discrete.way(s) for s in (*m.latents, *m.missing.values()) if s.name == name]
    return any(way is not None and way.counted for way in ways)


def _wide(m: Statements, s: ast.Density, others: Collection[str], fields: dict[str, Field]) -> bool:
    """Whether a law reads another counted latent that has axes as well."""
    return any(not discrete.single(fields[n]) for n in m.order.parents(s.name) & set(others))


def _refused(who: str, names: Collection[str], span: Span, help: str) -> SpecError:
    some = ", ".join(f"`{n}`" for n in sorted(names))
    return error("MP411", f"{who} reads {some}, whose classes are summed place by place", span, help=help)


def without(groups: Sequence[Places], some: Sequence[ast.Density]) -> list[ast.Density]:
    """Return the latents that no group counts."""
    names = {s.name for g in groups for s in g.members}
    return [s for s in some if s.name not in names]


__all__ = ["Places", "grouped", "without"]
