"""The objective of a model: the log-likelihood of what is observed, and the divergence of the latents from their priors.

Latents that are inferred by a law are drawn, each as soon as the latents are there that its posterior reads. Latents of
which all classes are counted (`exact`, `enumerate`) are an index of a loop over their joint states. In it stands what
depends on them, and nothing else; over it the sum of probabilities, or the expectation under the posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from mpcompile.diagnostics import error
from mpcompile.distributions import Distribution
from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.lowering import discrete, latents, missing, weighted
from mpcompile.lowering.counted import Counted
from mpcompile.lowering.densities import sum_of
from mpcompile.lowering.forward import class_log_probs
from mpcompile.lowering.placewise import Places, grouped, without
from mpcompile.lowering.recurrence import Recurrence
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F

Statement = ast.Density | Recurrence | Places


@dataclass
class Inference:
    """The latents of one program that are drawn so far.

    A prior that is lowered before its latent is drawn cannot read the draw, and a divergence in closed form is that of
    all draws. A prior that waits for other latents may read values that depend on the draw, so that the divergence is
    estimated from it: the expectation of log q(z) - log p(z).

    there    latents with a value
    waiting  latents that are drawn and whose prior is not lowered yet, each with its log q
    """

    m: Statements
    p: Program
    exact: bool
    there: set[str]
    waiting: dict[str, Value | None] = field(default_factory=dict)

    def draw(self, some: Iterable[ast.Density]) -> list[Value]:
        """Draw latents in their order; return the divergences that are known by then."""
        parts = self._settle()
        for s in some:
            parts += self._draw(s)
            self.there.add(s.name)
            parts += self._settle()
        return parts

    def within(self, p: Program, more: set[str]) -> Inference:
        """The same in a step of a loop, where more latents have a value."""
        waiting, self.waiting = self.waiting, {}
        return Inference(self.m, p, self.exact, self.there | more, waiting)

    def _draw(self, s: ast.Density) -> list[Value]:
        m, p = self.m, self.p
        kl: Value | None
        with m.within(p, s):
            q, field = m.posterior(p, s), m.latent_fields[s.name]
            if discrete.way(s) is not None:
                prior = m.prior(p, s) if self._ready(s) else None
                z, kl = discrete.draw(p.ctx, p.scope, s, m.typed[s.name], q, prior, exact=self.exact)
            elif self._ready(s):
                z, kl = latents.draw(p.ctx, q, m.prior(p, s), field, exact=self.exact)
            else:
                z, self.waiting[s.name] = latents.drawn(p.ctx, q, field)
                kl = None
        m.bring(p, s.name, z)
        return [] if kl is None else [kl]

    def _ready(self, s: ast.Density) -> bool:
        """Whether all latents have a value to which the text of a prior refers."""
        return self.m.order.parents(s.name) & self.m.latent_names <= self.there

    def _settle(self) -> list[Value]:
        """The divergences of latents that were waiting for the last one."""
        parts = []
        for s in [s for s in self.m.latents if s.name in self.waiting and self._ready(s)]:
            with self.m.within(self.p, s):
                z, log_q = self.p.scope.values[s.name], self.waiting.pop(s.name)
                kl = latents.divergence(self.p.ctx, log_q, self.m.prior(self.p, s), z)
            parts += [] if kl is None else [kl]
        return parts


def objective(m: Statements, p: Program, *, exact: bool = True) -> tuple[Value | None, Value | None]:
    """Build the log-likelihood given the latents, and the divergence of the latents: [N] each, None where there is none.

    Without `exact` the divergence is that of the draws, and every class that is counted is summed out, so that exp of
    the difference is an unbiased estimate of the likelihood.
    """
    started = {name for r in m.recurrences for name in m.started(r)}
    ways = {s.name: discrete.way(s) for s in m.latents if s.name not in started}
    counted = [s for s in m.latents if (way := ways.get(s.name)) is not None and way.counted]
    groups, statements = grouped(m)
    counted = without(groups, [*counted, *m.missing.values()])
    inferred, inference = without(groups, m.inferred), Inference(m, p, exact, set())
    if not counted:
        kls = inference.draw(inferred)
        logs, inner = likelihoods(m, p, statements, exact)
        return sum_of(p.ctx, logs), sum_of(p.ctx, [*kls, *inner])
    return _Counted(m, p, exact, counted, inference, inferred, statements).objective()


def likelihoods(
    m: Statements, p: Program, statements: Sequence[Statement], exact: bool
) -> tuple[list[Value], list[Value]]:
    """Build the log-likelihood of each observed variable and recurrence, and the divergences within recurrences."""
    logs, inner = list[Value](), list[Value]()
    for s in statements:
        if isinstance(s, Recurrence | Places):
            if isinstance(s, Places):
                lp, kl = s.score(m, p, exact)
            else:
                for o in s.observed:
                    _note_weight(m, p, o, s.counts())
                lp, kl = s.score(p.ctx, p.scope, exact=exact, starts=starts(m, p, s))
                m.out.sharpening |= s.sharpening
            logs.append(lp)
            inner += [] if kl is None else [kl]
        elif s.role == "observed":
            _note_weight(m, p, s)
            with m.within(p, s):
                law, x = m.law(p, s), p.scope.values[s.name]
                logs.append(weighted.log_prob(p.ctx, p.scope, s, law, x, m.fields[s.name].axes))
    return logs, inner


def _note_weight(m: Statements, p: Program, s: ast.Density, summed: bool = False) -> None:
    """Note that the loss weighs a variable. Raises `SpecError` (MP205) where classes are summed out."""
    if s.weight is not None and p.ctx.training:
        weighted.check_not_summed(s, summed or bool(m.summed))
        m.out.weighted.add(s.name)


def starts(m: Statements, p: Program, r: Recurrence) -> dict[str, Value]:
    """Build log p of the first classes of a recurrence that are summed out with it, [N, classes] each."""
    found = dict[str, Value]()
    for name, latent in m.started(r).items():
        with m.within(p, latent):
            law = m.prior(p, latent)
            assert law is not None
            found[name] = class_log_probs(p.ctx, law)
    return found


@dataclass
class _Counted:
    """The objective of a model with latents, or missing values, of which all classes are counted."""

    m: Statements
    p: Program
    exact: bool
    counted: list[ast.Density]
    inference: Inference
    inferred: list[ast.Density]
    statements: list[Statement]

    def __post_init__(self) -> None:
        """Raises `SpecError` (MP411) for too many joint states."""
        self.fields = {s.name: self.m.typed.get(s.name) or self.m.fields[s.name] for s in self.counted}
        self.laws = {s.name: s for s in self.m.observed if s.name in self.m.missing}
        self.sizes = [discrete.states_of(f) for f in self.fields.values()]
        if prod(self.sizes) > discrete.MAX_STATES:
            raise error("MP411", f"the latents have {prod(self.sizes)} joint states, more than {discrete.MAX_STATES}",
                        self.counted[0].span, help="gumbel(...) draws one of them")  # fmt: skip

    def objective(self) -> tuple[Value, Value | None]:
        """Build log-likelihood and divergence, [N] each."""
        m, p = self.m, self.p
        names = {s.name for s in self.counted}
        drawn = [s for s in self.inferred if s.name not in names]
        inside = m.order.inferred_from(names, [s.name for s in drawn])
        for latent in drawn:
            if latent.name in inside and discrete.way(latent) is discrete.Nearest:
                raise error("MP411", f"the codes of `{latent.name}` depend on a latent that is enumerated", latent.span,
                            help="let the net of its codes read what is observed alone")  # fmt: skip
        outer_kl = self.inference.draw([s for s in drawn if s.name not in inside])
        free, bound = list[Statement](), list[Statement]()
        for s in self.statements:
            if isinstance(s, ast.Density) and s.name in names:
                continue  # its law stands beside the sum
            (bound if self._reads(s) & (names | inside) else free).append(s)
        outer_logs, inner = likelihoods(m, p, free, self.exact)
        outer_kl += inner
        inside_latents = [s for s in drawn if s.name in inside]
        summed = [i for i, s in enumerate(self.counted) if s.name in m.summed or not self.exact]

        def one(inner: Program) -> list[Value]:
            here = self.inference.within(inner, names)
            kls = here.draw(inside_latents)
            logs, more = likelihoods(m, inner, bound, self.exact)
            prior, log_q, shares = list[Value](), list[Value](), list[Value]()
            for s in self.counted:
                with m.within(inner, self.laws.get(s.name, s)):
                    law, value = self._prior(inner, s), inner.scope.values[s.name]
                    assert law is not None
                    prior.append(law.log_prob(inner.ctx, value))
                with m.within(inner, s):
                    if s.name in m.missing:
                        q = m.posterior(inner, s) if self.exact else None
                        share, log = missing.shares(inner, s.name, p.scope.values[s.name], value, q)
                        shares.append(F.event_sum(inner.b, share))
                        log_q.append(F.event_sum(inner.b, log))
                    elif s.name not in m.summed and self.exact:
                        log_q.append(m.posterior(inner, s).log_prob(inner.ctx, value))
            return [self._sum(inner, parts) for parts in (logs, [*kls, *more], prior, log_q)] + [
                self._product(inner, shares)
            ]

        states = Counted(
            p.b,
            tuple(self.sizes),
            tuple(summed),
            any(s.name in m.missing for s in self.counted),
            *self._over_states(one),
        )
        total, gap = states.objective()
        outer_kl += [] if gap is None else [gap]
        return self._sum(p, [*outer_logs, total]), sum_of(p.ctx, outer_kl)

    def _reads(self, s: Statement) -> set[str]:
        """The variables and latents to which a statement refers."""
        if isinstance(s, Places):
            return s.reads(self.m)
        order = self.m.order
        return order.read_by_step(s.statement) if isinstance(s, Recurrence) else order.parents(s.name)

    def _prior(self, p: Program, s: ast.Density) -> Distribution | None:
        """The prior of a latent, or the law of a variable whose missing values are summed over."""
        return self.m.law(p, self.laws[s.name]) if s.name in self.laws else self.m.prior(p, s)

    def _product(self, p: Program, shares: Sequence[Value]) -> Value:
        """The product of some shares [N]; ones of none."""
        total = F.add(p.b, self._sum(p, []), 1.0)
        for share in shares:
            total = F.mul(p.b, total, share)
        return total

    def _over_states(self, one: Callable[[Program], list[Value]]) -> list[Value]:
        """Results of all joint states, [N, states] each."""
        p = self.p

        def at(values: dict[str, Value]) -> list[Value]:
            scope = p.scope.child(values=values)
            return one(replace(p, scope=replace(scope, top=scope)))

        return discrete.over_states(p.ctx, self.fields, at)

    def _sum(self, p: Program, parts: Sequence[Value]) -> Value:
        """The sum of some values [N]; zeros of none."""
        total = sum_of(p.ctx, list(parts))
        batch = next(iter(self.fields.values())).type.shape[:1]
        return p.ctx.zeros(batch) if total is None else total
