"""The one rule that a law has the values of its variable: MP209 where it has others."""

from __future__ import annotations

from mpcompile.diagnostics import Span, error
from mpcompile.distributions import DISTRIBUTIONS
from mpcompile.distributions.support import Support
from mpcompile.ir import Field

#: Laws of a variable of each type, as they are written behind `~`.
LAWS_OF = {
    "real": "normal(loc = ..., scale = 1)",
    "real(0..)": "gamma(net) or log_normal(net)",
    "real(a..b)": "beta(net) or continuous_bernoulli(logits = ...)",
    "angle": "von_mises(net)",
    "integer(0..)": "poisson(net) or negative_binomial(net)",
    "binary": "bernoulli(logits = ...)",
    "integer": "categorical(logits = ...), discretized(mixture(logistic), net) or flow(base = normal) { dequantize -> "
    "... }",
    "category": "categorical(logits = ...)",
}
#: Laws that have a bound and no density, so that they are laws of data alone.
BOUNDS = {k for k, law in DISTRIBUTIONS.items() if law.support.measure == "bound"}
#: How a type is written, without its shape.
_WRITTEN = {"integer": "integer(0..255)", "category": "category(10)", "real(a..b)": "real(0..1)"}


def check_support(keyword: str, field: Field, span: Span, over: Support | None = None) -> None:
    """Raise MP209, or MP411 for a latent, when the values of a variable are not those of the law of this keyword.

    `over` are the values of a law over another one.
    """
    support = over or DISTRIBUTIONS[keyword].support
    if field.role == "condition" and field.counts is None:
        raise error("MP209", f"{field.name} is a condition: it is given with every example, and has no law", span,
                    help=f"remove the statement `{field.name} ~ ...`, or declare `input {field.name}: ...` to model "
                    "it as well")  # fmt: skip
    if field.counts is None and not types_of(field).isdisjoint(support.types):
        return
    if field.role == "latent":
        what = "a latent is a real vector" if field.kind == "real" else f"`{field.name}` is {_typed(field)}"
        raise error("MP411", f"the law of a latent cannot be {keyword}: {what}", span,
                    help=f"one of {', '.join(k for k in laws_of(field.kind) if k not in BOUNDS)}")  # fmt: skip
    if field.role == "base":
        what, usual = ("angles", "uniform") if field.angle else ("real numbers", "normal")
        raise error("MP209", f"the base of this flow is a density of {what}, {keyword} is a law of {support.values}",
                    span, help=f"flow(base = {usual}) {{ ... }}")  # fmt: skip
    values = f"{keyword} is a law of {support.values}, and {field.name} is {_typed(field)}"
    if field.counts is not None:
        raise error("MP209", f"{field.name} counts the steps of an example, and has no law", span,
                    help=f"remove the statement `{field.name} ~ ...`")  # fmt: skip
    raise error("MP209", values, span, help=_help(field, support.types))


def types_of(field: Field) -> set[str]:
    """Return the types whose values a variable has: `integer(0..1)` has those of a `binary` as well."""
    return {field.kind, "binary"} if field.bits else {field.kind}


def laws_of(base: str) -> list[str]:
    """Return the keywords of the laws of a variable of this type, in the order of the registry."""
    return [k for k, law in DISTRIBUTIONS.items() if base in law.support.types]


def _typed(field: Field) -> str:
    if field.base == "integer" and field.classes is not None:
        return f"integer({field.low}..{field.low + field.classes - 1})"
    if field.interval is not None and field.kind == "real(a..b)":
        return f"real({field.interval[0]:g}..{field.interval[1]:g})"
    return f"category({field.classes})" if field.base == "category" else field.kind


def _help(field: Field, types: tuple[str, ...]) -> str:
    stated = f"{field.name} ~ {LAWS_OF[field.kind]}"
    if not types:
        return f"as declared: {stated}"
    shape = ", ".join(str(s) for s in field.type.shape[1:])
    kind = _WRITTEN.get(types[0], types[0]) + (f"[{shape}]" if shape else "")
    loss = " (squared error, of values that are taken for real numbers)" if types == ("real",) else ""
    return f"as declared: {stated}; or declare `{field.role} {field.name}: {kind}`{loss}"


__all__ = ["LAWS_OF", "check_support", "laws_of"]
