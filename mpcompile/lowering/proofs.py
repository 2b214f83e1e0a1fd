"""The graphs and claims that a model's densities need proven: maps of flows one by one, conditionals of priors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from mpcompile.bijectors import Bijector, Dequantize, FactorOut
from mpcompile.distributions import Autoregressive, Distribution, Flow, Placed
from mpcompile.frontend import ast
from mpcompile.ir import Claim, FlowStep, Shape, Type, Value, float_type
from mpcompile.ir.axes import Axes
from mpcompile.lowering import discrete
from mpcompile.lowering.claims import order_of
from mpcompile.lowering.recurrence import Recurrence, Which, in_step
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import build as F
from mpcompile.ops import unrolled


def flow_steps(
    m: Statements,
    subject: str,
    s: ast.Density,
    shape: Shape,
    whole: Flow,
    again: Callable[[Program], Distribution | None],
    given: Sequence[str],
    around: Placed | None = None,
) -> None:
    """Add the steps of a flow, each as a graph of its own, for the analysis of their Jacobians.

    `again` states the flow once more in a program that has read the variables `given`; `around` is the bijector
    that the flow is a part of.
    """
    steps: list[FlowStep] = []
    shape = whole.arranged(shape)
    q = m.start(subject)  # one program for all, of which each step is a part
    q.taken = frozenset(("x", "seen"))
    m.read(q, *given)
    m.latent_inputs(q)
    inputs = dict(q.b.graph.inputs)
    with m.within(q, s):
        law = again(q)  # its conditions are values of this graph
        assert isinstance(law, Flow)
        for i, placed in enumerate(whole.chain):
            parts = placed.bijector.parts()
            for k in range(len(parts)):
                name = placed.name if len(parts) == 1 else f"{placed.name}_{k}"
                with _at(q, around), _at(q, placed):
                    outputs = _step(q, law.chain[i].bijector, k, shape, law.inner)
                graph, q.b.graph.name = q.b.graph, name
                graph.outputs = outputs
                interval = placed.bijector.preimage if k == 0 else None
                reach = placed.bijector.reach
                steps.append(
                    FlowStep(name, placed.label, placed.span, unrolled(graph.live()), interval, reach)
                )
                graph.inputs = dict(inputs)  # the next step has an x of its own
            shape = placed.bijector.output_shape(shape)
    m.out.flow_steps[subject] = steps


def _step(q: Program, bijector: Bijector, k: int, shape: Shape, axes: Axes) -> dict[str, Value]:
    """The k-th part of a bijector applied to new inputs `x` and `seen`: `y`, and `log_det` where there is one."""
    x = q.ctx.name_axes(q.b.input("x", float_type(*shape)), axes)
    if isinstance(bijector, FactorOut):
        first, second = bijector.split(q.ctx, x)
        return {"y": F.concat(q.b, [F.flatten(q.b, first), F.flatten(q.b, second)], 1)}
    seen = q.ctx.name_axes(q.b.input("seen", float_type(*shape)), axes)
    y, log_det = bijector.parts()[k].apply(q.ctx, x, seen)
    return {"y": y, **({} if log_det is None else {"log_det": log_det})}


@contextmanager
def _at(p: Program, placed: Placed | None) -> Iterator[None]:
    """Within a bijector; nowhere else where there is none."""
    if placed is None:
        yield
        return
    with placed.within(p.ctx):
        yield


def dequantization(m: Statements, s: ast.Density, whole: Flow) -> None:
    """Add the steps and the claim of the flow of a dequantiser's noise, given the integers."""
    for i, placed in enumerate(whole.chain):
        if not isinstance(placed.bijector, Dequantize) or placed.bijector.posterior is None:
            continue
        name, shape = f"{s.name}_noise", m.fields[s.name].type.shape

        def noise(p: Program, i: int = i) -> Flow:
            law = m.law(p, s)
            assert isinstance(law, Flow)
            dequantizer = law.chain[i].bijector
            assert isinstance(dequantizer, Dequantize) and dequantizer.posterior is not None
            with _at(p, law.chain[i]):
                posterior = dequantizer.posterior(p.ctx, p.scope.values[s.name])
            assert isinstance(posterior, Flow)
            return posterior

        q = m.start("noise")
        m.read(q, *m.fields)
        with m.within(q, s):
            law = noise(q)
        flow_steps(m, name, s, shape, law, noise, [*m.fields], placed)
        m.claims.append(Claim("jacobian", name, "", placed.span, stated=False))


def latent_laws(m: Statements) -> None:
    """Add what the densities of latents need proven: bijectors of their flows, conditionals of their priors."""
    for s in m.latents:
        before = [*m.given(), *m.order.before(s.name)]
        _proofs(m, s, s.name, partial(m.prior, s=s), before, m.latent_fields[s.name].type)
        if discrete.way(s) is not None:
            continue  # its posterior is a law of classes, with nothing to prove
        again = partial(m.posterior, s=s)
        _proofs(m, s, f"{s.name}_posterior", again, [*m.fields], m.latent_fields[s.name].type)


def step_laws(m: Statements) -> None:
    """Add what the densities of a recurrence need proven, in programs of one step."""
    for r in m.recurrences:
        given = [n for n in m.fields if n not in r.over]
        for s in r.densities:
            law = partial(_in_step, r=r, s=s)
            if s.role == "latent":
                _proofs(m, s, s.name, partial(law, which="prior"), given, r.latent_fields[s.name].type)
                if discrete.way(s) is not None:
                    continue
                _proofs(
                    m,
                    s,
                    f"{s.name}_posterior",
                    partial(law, which="posterior"),
                    given,
                    r.latent_fields[s.name].type,
                )
            else:
                _proofs(m, s, s.name, partial(law, which="law"), given, in_step(m.fields[s.name]).type)


def _in_step(p: Program, r: Recurrence, s: ast.Density, which: Which) -> Distribution:
    return r.within(p.ctx, p.scope, p.input, s, which)


def _proofs(
    m: Statements,
    s: ast.Density,
    subject: str,
    law: Callable[[Program], Distribution | None],
    given: Sequence[str],
    type_: Type,
) -> None:
    """Program and claim of an autoregressive law of `s`, steps and claim of a flow; of others nothing."""
    p = m.start(f"conditionals_{subject}")
    m.read(p, *given)
    m.latent_inputs(p)
    with m.within(p, s):
        found = law(p)
        if isinstance(found, Autoregressive):
            element = found.conditionals(p.ctx, p.input(s.name, type_), found.choice(p.ctx))
            m.finish(p, element.parameters())
            order = order_of(found, element.parameter_axis)
            m.claims.append(
                Claim("autoregressive", s.name, p.b.graph.name, s.span, order=order, stated=False)
            )
    if isinstance(found, Flow):
        flow_steps(m, subject, s, type_.shape, found, law, given)
        m.claims.append(Claim("jacobian", subject, "", s.span, stated=False))
