"""Decide whether positions behind the end of a sequence, or their number, change anything before the end.

A model may state how many steps of an axis are real. Each value is cut in two along such an axis: the steps before the
end, and those behind. Of the part before the end it is known whether it is *clean*: the same whatever is behind, and
however much. Of the part behind nothing needs to be known but where it is the same everywhere: zero, minus infinity,
true or false. An operation along the axis keeps what is before the end clean if what it reads behind is absent: zero
for sums and products, minus infinity for maxima and softmax. One walk decides for every length.

The end is known by its size: of an axis of size 2 * time - 1 the first 2 * length - 1 steps are real.
"""

from mpcompile.analysis.padding.parts import FALSE, NEGINF, TRUE, ZERO, Parts
from mpcompile.analysis.padding.walk import Reads, Walk

__all__ = ["FALSE", "NEGINF", "TRUE", "ZERO", "Parts", "Reads", "Walk"]
