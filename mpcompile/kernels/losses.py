"""Cross entropy of classes and of truth values, from logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import DType, Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Term
from mpcompile.ops import LogSoftmax, Reshape, Softplus, TakeAlong


@dataclass(frozen=True)
class ClassLogProb(Kernel):
    """The logarithm of the softmax of logits along an axis, at one class: minus the cross entropy.

    logits   with an axis of classes
    classes  int, in the shape of the logits without that axis, which is the shape of the result
    """

    name: ClassVar[str] = "class_log_prob"
    called: ClassVar[Mapping[str, str]] = {"logits": "logits"}
    logits: Value
    classes: Value
    axis: int


@dataclass(frozen=True)
class BinaryLogProb(Kernel):
    """x l - softplus(l), for x true the logarithm of sigmoid(l): minus the binary cross entropy. Both of one shape."""

    name: ClassVar[str] = "binary_log_prob"
    called: ClassVar[Mapping[str, str]] = {"logits": "logits"}
    logits: Value
    x: Value


_TAKEN = Term(
    TakeAlong,
    (Term(LogSoftmax, (Hole("logits"),), "log_p"), Term(Reshape, (Hole("classes"),))),
    "taken",
)


def _class_log_prob(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    log_p, taken = m.op("log_p"), m.op("taken")
    assert isinstance(log_p, LogSoftmax) and isinstance(taken, TakeAlong)
    logits, classes, result = m["logits"].shape, m["classes"], site.node.outputs[0]
    axis = log_p.axis % len(logits)
    without = (*logits[:axis], *logits[axis + 1 :])
    index = site.graph.node(m["taken"]).inputs[1]
    if taken.axis % len(logits) != axis or index.shape != (*logits[:axis], 1, *logits[axis + 1 :]):
        return None
    if classes.dtype is not DType.INT or classes.shape != without or result.shape != without:
        return None
    return ClassLogProb(result, inside, m["logits"], classes, axis)


def _binary_log_prob(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    if m["x"].shape != m["logits"].shape:
        return None
    return BinaryLogProb(site.node.outputs[0], inside, m["logits"], m["x"])


_LOGITS = Hole("logits")
RULES: tuple[Rule, ...] = (
    formula(ClassLogProb, Term(Reshape, (_TAKEN,)), _class_log_prob),
    formula(BinaryLogProb, Hole("x") * _LOGITS - Term(Softplus, (_LOGITS,)), _binary_log_prob),
)
