"""The support of a law: its values, and whether it gives them a density or a mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Types of a declared variable, without shapes (`ir.Field.kind`); a latent is real.
BASES = ("real", "real(0..)", "real(a..b)", "angle", "binary", "integer", "integer(0..)", "category")


@dataclass(frozen=True)
class Support:
    """The set on which a law adds up to one.

    values   the set, as it is called in a message
    types    types of variable that have these values
    measure  `density`: integrates to one over all reals; `mass`: sums to one over the values; `bound`: has a lower bound
             of its likelihood; `criterion`: a loss without a normaliser, of which no likelihood is ever printed; `point`:
             all mass at one value; `derived`: what its likelihood, or its base and its dequantiser, make of it
    """

    values: str
    types: tuple[str, ...]
    measure: Literal["density", "mass", "bound", "criterion", "point", "derived"]


REALS = Support("real numbers", ("real",), "density")
BITS = Support("0 and 1", ("binary",), "mass")
LEVELS = Support("the integers of a range", ("integer",), "mass")
CLASSES = Support("numbered classes", ("category", "integer"), "mass")
POSITIVE = Support("positive numbers", ("real(0..)",), "density")
INTERVAL = Support("the numbers of an interval", ("real(a..b)",), "density")
UNIFORM_VALUES = Support("the numbers of an interval, or of a turn", ("real(a..b)", "angle"), "density")
ANGLES = Support("angles", ("angle",), "density")
COUNTS = Support("the counts 0, 1, 2, ...", ("integer(0..)",), "mass")
SIDES = Support("0 and 1", ("binary",), "criterion")
SCALED = Support("real numbers, or the integers of a range", ("real", "integer"), "bound")
TEXTS = Support("texts, sequences of classes", ("category",), "mass")
POINT = Support("one point", (), "point")  # of latents alone
BOUNDED = Support("the numbers of an interval, or positive ones", ("real(a..b)", "real(0..)"), "density")
WHOLE = Support("whole numbers", ("integer", "integer(0..)"), "mass")
BY_INNER = Support("the values of the law within", BASES, "derived")
BY_COUNTS = Support("the values of the law within", ("integer(0..)", "real(0..)"), "derived")
BY_LIKELIHOOD = Support("the values of its likelihood", BASES, "derived")
DEQUANTIZED = Support(
    "real numbers, angles, and levels in order behind `dequantize`",
    ("real", "angle", "integer", "binary"),
    "derived",
)

#: Where the ends of an interval are stated, for laws of bounded numbers that are asked to take them.
BOUNDS_OF_TYPE = dict.fromkeys(
    ("low", "high"), "the type of its variable has the ends: `real(0..1)`, `real(0..)` or `integer(0..255)`"
)

__all__ = [
    "ANGLES", "BASES", "BITS", "BOUNDED", "BOUNDS_OF_TYPE", "BY_COUNTS", "BY_INNER", "BY_LIKELIHOOD", "CLASSES", "COUNTS",
    "DEQUANTIZED", "INTERVAL", "LEVELS", "POINT", "POSITIVE", "REALS", "SCALED", "SIDES", "TEXTS", "UNIFORM_VALUES",
    "WHOLE", "Support",
]  # fmt: skip
