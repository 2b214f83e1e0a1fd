"""Every argument of every registered name, swept with values that no model wants.

The sweep is made from the registries: a new layer, bijector or distribution is swept without a line here, and a field
without a declared range fails by name. A value is either accepted, and then the model is checked and emitted, or
refused with a place in the text and in words of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from wrong_values import BAD, outcome

from mpcompile.bijectors import BIJECTORS, LAWS, Bijector, Law
from mpcompile.distributions import COMBINATORS, DISTRIBUTIONS
from mpcompile.distributions.diffusion import Variances
from mpcompile.distributions.family import Family
from mpcompile.distributions.orders import Order
from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.layers import LAYERS, MASKS, Mask, Net
from mpcompile.layers.relations import Relation
from mpcompile.layers.starts import Start
from mpcompile.lowering.densities import signature
from mpcompile.lowering.weights import WEIGHTS
from mpcompile.ranges import Slot, slots

SIGNATURES = {name: signature(law) for name, law in DISTRIBUTIONS.items()}
#: Variables of every shape and kind.
INPUTS = {
    "nothing": "", "scalar": "real", "vector": "real[4]", "image": "real[2, 4, 4]", "sequence": "real[time, 4]",
    "audio": "real[channel: 2, place: 8]", "matrices": "real[2, 2, 2, 2]",
    "category": "category(3)", "words": "category(3)[time]",
    "bits": "binary[4]", "levels": "integer(0..7)[2, 4, 4]",
}  # fmt: skip
#: Variables of laws alone.
BOUNDED = {
    "positive": "real(0..)[4]", "interval": "real(0..1)[4]", "angles": "angle[4]", "counts": "integer(0..)[4]",
}  # fmt: skip
#: Layers that belong into a place of their own: the model around them.
AROUND = {
    "rotate": "model m\ninput x: angle[4]\nx ~ flow(base = uniform) {{ {} }}",
    "nade": "model m\ninput x: binary[4]\nx ~ autoregressive {{ {} }}",
    "unpool": "model m\ninput x: real[2, 4, 4]\ntarget y: real[1]\n"
    "y ~ normal(loc = x -> maxpool(2) as pool -> {} -> flatten -> dense(1))",
    "depth_to_space": "model m\ninput x: real[4, 2, 2]\ntarget y: real[1]\n"
    "y ~ normal(loc = x -> {} -> flatten -> dense(1))",
    "colour_mixture": "model m\ninput x: integer(0..7)[3, 4, 4]\n"
    "x ~ autoregressive(likelihood = discretized(mixture(logistic)), components = 5) {{\n"
    "  conv(50, 3, pad = same, mask = causal2d(type = A)) -> {} }}",
}
EXAMPLES: dict[Any, str] = {
    Net: "dense(4)", Mask: "checkerboard", Value: "x", Law: "affine", Bijector: "affine", bool: "true", Start: "he",
    get_args(ast.Expr)[0]: "dense(4)", Family: "normal", Variances: "linear(0.1, 0.2)",
    Order: "natural", Relation: "causal",
}  # fmt: skip


#: Arguments that fit their place.
FITTING = {
    ("reshape", "shape"): "4", ("unpool", "pool"): "pool", ("band", "lower"): "1", ("band", "upper"): "0",
    ("ordinal", "loc"): "x -> dense(4)", ("zero_inflated", "law"): "poisson",
    ("diffusion", "net"): "denoise", ("ctc", "logits"): "x -> dense(8) -> reshape(time = 2, channel = 4)",
}  # fmt: skip


#: Arguments of which one or another must be there.
ALSO = {"clip": {"low": "-1"}, "coupling": {"net": "dense(4)"}, "reshape": {"shape": "4"}}


def example(name: str, slot: Slot) -> str:
    """A value that the declared range holds."""
    if (name, slot.name) in FITTING:
        return FITTING[name, slot.name]
    if slot.type is Value and name in SIGNATURES:
        return "x -> dense(8)"
    if slot.type in EXAMPLES:
        return EXAMPLES[slot.type]
    if slot.range is not None:
        return next(text for text in ("2", "1", "0.5", "0") if slot.range.holds(float(text)))
    assert slot.choice is not None, f"{slot.name} declares neither a range nor names"
    return slot.choice.names[0]


def call(name: str, cls: type, preset: tuple[str, ...] = (), **given: str) -> str:
    """A call with its required arguments and those given."""
    law = DISTRIBUTIONS.get(name) if name in SIGNATURES else None
    needed = {s.name for s in getattr(law, "slots", ()) if s.default is None}
    needed |= {"net"} if law is not None and law is COMBINATORS.get(name) else set()
    arguments = {
        s.name: example(name, s)
        for s in slots(cls)
        if (s.required or s.name in needed) and not listed(s) and s.name not in preset
    }
    arguments |= {**ALSO.get(name, {}), **given}
    return f"{name}({', '.join(f'{k} = {v}' for k, v in arguments.items())})"


def listed(slot: Slot) -> bool:
    """Whether a field takes all arguments, as values."""
    return get_origin(slot.type) is tuple and get_args(slot.type)[0] is Value


def pipelines(stage: str, kind: str) -> str:
    """A supervised model with this stage behind an input of a kind."""
    declared = INPUTS[kind]
    tail = (
        "last -> dense(1)" if "time" in declared and not stage.startswith("last") else "flatten -> dense(1)"
    )
    start = "x -> " if declared else ""
    return f"model m\ninput x: {declared or 'real[4]'}\ntarget y: real[1]\ny ~ normal(loc = {start}{stage} -> {tail})"


def flows(stage: str, kind: str) -> str:
    declared = INPUTS[kind] or "real[4]"
    back = f" -> inverse({stage})" if stage.split("(")[0] in ("sigmoid", "tanh", "softplus") else ""
    return f"model m\ninput x: {declared}\nx ~ flow {{ {stage}{back} }}"


def laws(stage: str, kind: str) -> str:
    return flows(f"coupling(mask = checkerboard, net = dense(4), law = {stage})", kind)


def masks(stage: str, kind: str) -> str:
    where = {
        "vector": f"x ~ flow {{ coupling(mask = {stage}, net = dense(4)) }}",
        "bits": f"x ~ autoregressive {{ dense(4, mask = {stage}) }}",
        "image": f"x ~ autoregressive {{ conv(4, 3, pad = same, mask = {stage}) }}",
    }
    return f"model m\ninput x: {INPUTS[kind] or 'real[4]'}\n{where.get(kind, where['vector'])}"


def densities(stage: str, kind: str) -> str:
    known = INPUTS | BOUNDED
    body = {"flow": " { affine }", "autoregressive": " { dense(8) }"}.get(stage.split("(")[0], "")
    if stage.startswith("delta"):
        return f"model m\ninput x: real[4]\nlatent z ~ {stage}\nx ~ normal(loc = z -> dense(4))"
    if "denoise" in stage:
        body = "\nblock denoise on x, t { yield (x -> dense(4)) + (t -> embedding(4)) }"
    if "x -> " not in stage:
        return f"model m\ninput x: {known[kind] or 'real[4]'}\nx ~ {stage}{body}"
    given = {"bits": "binary[8]", "category": "category(8)", "levels": "integer(0..7)[4]"}.get(
        kind, known[kind]
    )
    return f"model m\ninput x: real[4]\ntarget y: {given or 'real[4]'}\ny ~ {stage}{body}"


def weights(stage: str, kind: str) -> str:
    return (
        "model m\ninput x: real[4]\nlatent z ~ normal(x -> dense(4)) prior normal(0, 1)\n"
        f"x ~ normal(loc = z -> dense(4))\nobjective {{ beta: {stage} }}"
    )


PRESET = {"dequantize": ("low", "levels", "posterior")}
FAMILIES: dict[str, tuple[dict[str, type], Any]] = {
    "layer": (dict(LAYERS), pipelines), "bijector": (dict(BIJECTORS), flows), "law": (dict(LAWS), laws),
    "mask": (dict(MASKS), masks), "distribution": (dict(SIGNATURES), densities), "weight": (dict(WEIGHTS), weights),
}  # fmt: skip
NAMES = [(family, name) for family, (table, _) in FAMILIES.items() for name in table]


def models(family: str, name: str, stage: str) -> Iterator[str]:
    """The models that a stage is tried in: one for each input, or the place that the name belongs to."""
    if family in ("layer", "bijector") and name in AROUND:
        yield AROUND[name].format(stage)
        return
    for kind in INPUTS | BOUNDED if family == "distribution" else INPUTS:
        yield FAMILIES[family][1](stage, kind)


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_every_argument_is_accepted_or_refused_in_its_place(family: str, name: str) -> None:
    cls = FAMILIES[family][0][name]
    preset = PRESET.get(name, ())
    base = call(name, cls, preset) if family != "layer" or not values(cls) else f"{name}(x)"
    tried = {model: outcome(model, emit=False) for model in models(family, name, base)}
    accepted = [model for model, what in tried.items() if what == "accepted"]
    assert accepted, f"{base} is accepted nowhere: {sorted(set(tried.values()))}"
    for slot in slots(cls):
        if slot.name in preset or listed(slot):
            continue
        emit = True  # of the values that are accepted only the first: emission takes most of the time
        for bad in BAD:
            stage = call(name, cls, preset, **{slot.name: bad})
            emit = outcome(accepted[0].replace(base, stage), emit) != "accepted" and emit


def values(cls: type) -> bool:
    """Whether all arguments are values."""
    return any(listed(s) for s in slots(cls))
