"""How a density is sampled, beside its law: temperature, the most probable classes, given elements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.discretized import DiscretizedLogisticMixture
from mpcompile.distributions.elementwise import Bernoulli, Categorical, LogisticMixture
from mpcompile.distributions.location_scale import LocationScale
from mpcompile.ir import Value
from mpcompile.layers import functional as F
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Sampling:
    """Options of a sampler; the default is the law itself.

    temperature  of every conditional, or of the base of a flow: logits are divided by it, scales multiplied by it
    top_k        draw categories among the k most probable ones only (all that tie with the k-th)
    given        take inputs `given_<x>` and `keep_<x>` in the shape of x: where keep is 1, x is what is given
    """

    temperature: float = 1.0
    top_k: int | None = None
    given: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"a temperature is a positive number, not {self.temperature:g}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k keeps at least one class, not {self.top_k}")


LAW_ITSELF = Sampling()


def adjusted(ctx: Context, law: Elementwise, options: Sampling) -> Elementwise:
    """The law that is sampled in place of `law`. Raises `SpecError` (MP209) where an option does not apply to it."""
    t = options.temperature
    if options.top_k is not None and not isinstance(law, Categorical):
        raise ctx.fail("MP209", f"top_k is for categorical likelihoods, this is {law.keyword}")
    if t != 1.0:
        law = _tempered(ctx, law, t)
    if options.top_k is not None and isinstance(law, Categorical):
        law = replace(law, logits=_most_probable(ctx, law, options.top_k))
    return law


def _tempered(ctx: Context, law: Elementwise, t: float) -> Elementwise:
    b = ctx.b
    match law:
        case Bernoulli() | Categorical():
            return replace(law, logits=F.mul(b, law.logits, 1.0 / t))
        case LocationScale():
            wider = (
                law.log_scale + log(t)
                if isinstance(law.log_scale, float)
                else F.add(b, law.log_scale, log(t))
            )
            return replace(law, log_scale=wider)
        case LogisticMixture():
            return replace(
                law, logits=F.mul(b, law.logits, 1.0 / t), log_scale=F.add(b, law.log_scale, log(t))
            )
        case DiscretizedLogisticMixture():
            inner = _tempered(ctx, law.mixture, t)
            assert isinstance(inner, LogisticMixture)
            return replace(law, mixture=inner)
    raise ctx.fail("MP209", f"a {law.keyword} likelihood has no temperature")


def _most_probable(ctx: Context, law: Categorical, k: int) -> Value:
    """Logits, minus infinity for classes that k or more others exceed."""
    b, axis, shape = ctx.b, law.axis, law.logits.shape
    one = F.reshape(b, law.logits, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    other = F.reshape(b, law.logits, (*shape[:axis], 1, *shape[axis:]))
    above = F.sum_axes(b, F.to_float(b, F.less(b, one, other)), [axis + 1])
    return F.where(b, F.less(b, above, float(k)), law.logits, float("-inf"))
