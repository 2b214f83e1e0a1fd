"""The factors of a model's joint density, each as a graph of its own in which nothing is hidden from the law.

What a law reads is then a fact of the graph: the inputs that are live in it. `analysis/claims/joint.py` concludes from it
that the laws in their order are a factorisation. Lowering refuses what it sees of a wrong order at its place in the text;
this sees everything, whichever way a value takes through nets, blocks and named values.
"""

from __future__ import annotations

from mpcompile.distributions import Distribution
from mpcompile.frontend import ast
from mpcompile.ir import SUBJECT, Claim, Factor, Field
from mpcompile.lowering import latents
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.recurrence import Recurrence, in_step
from mpcompile.lowering.statements import Program, Statements
from mpcompile.ops import unrolled


def joint(m: Statements) -> None:
    """Add the factors of a model that states several laws, and the claim about them.

    None where a law has no density: a perceptron's, a diffusion, and the code of an autoencoder without a prior.
    """
    stated = [s for g in m.generated for s in (g.densities if isinstance(g, Recurrence) else [g])]
    if len(stated) < 2 or any(s.role == "latent" and s.prior is None for s in stated):
        return
    factors = [f for g in m.generated for f in (_steps(m, g) if isinstance(g, Recurrence) else [_law(m, g)])]
    if any(f.measure in ("criterion", "bound") for f in factors):
        return
    m.out.factors = factors
    given = ", ".join(n for n in m.given() if m.fields[n].counts is None)
    subject = f"{', '.join(f.name for f in factors)} | {given}"
    m.claims.append(Claim("joint", subject, "", stated[0].span, stated=False))


def _law(m: Statements, s: ast.Density) -> Factor:
    """The factor of a statement outside of recurrences."""
    p = m.start(f"joint_{s.name}")
    m.read(p, *m.fields)
    m.latent_inputs(p)
    with m.within(p, s):
        if s.role == "latent":
            field = m.latent_fields[s.name]
            law = latents.prior(p.ctx, p.scope, s, field)
        else:
            field, law = m.fields[s.name], distribution(p.ctx, p.scope, s.distribution, m.fields[s.name])
        assert law is not None
        return _factor(p, s, field, law, ())


def _steps(m: Statements, r: Recurrence) -> list[Factor]:
    """The factors of a recurrence: those of one step, whose carried values are what is known of the steps before it."""
    factors = []
    carried = tuple(c.name for c in r.statement.carries)
    carried += tuple(name for name, s in r.sequences.items() if not s.reads)
    for s in r.densities:
        p = m.start(f"joint_{s.name}")
        m.read(p, *(n for n in m.fields if n not in r.over))
        m.latent_inputs(p)
        with m.within(p, s):
            law = r.within(p.ctx, p.scope, p.input, s, "prior" if s.role == "latent" else "law", open=True)
            field = r.latent_fields[s.name] if s.role == "latent" else in_step(m.fields[s.name])
            factors.append(_factor(p, s, field, law, carried))
    return factors


def _factor(p: Program, s: ast.Density, field: Field, law: Distribution, past: tuple[str, ...]) -> Factor:
    """log p of the value of a new input, so that reading the variable itself is reading another one."""
    subject = p.ctx.name_axes(p.b.input(SUBJECT, field.type), field.axes)
    if field.base == "category" and field.classes is not None:
        p.ctx.classes[subject] = field.classes
    p.b.graph.outputs["log_prob"] = law.log_prob(p.ctx, subject)
    support, noise = law.support, set(p.ctx.noise)
    graph = unrolled(p.b.graph.live(lambda _: False))
    graph.inputs = {k: v for k, v in graph.inputs.items() if k not in noise}
    types = (field.kind, "binary") if field.bits else (field.kind,)
    return Factor(s.name, law.keyword, types, support.types, support.measure, s.span, graph, past)
