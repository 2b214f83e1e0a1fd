"""Constant folding: compute what is made of constants alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from mpcompile.ir import Array, Builder, Constant, Graph, Input, Node, Parameter, Symbolic, Value
from mpcompile.passes.base import Pass, rewrite_bodies


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Graph to graph: a primitive of constants alone becomes its result, also in bodies of loops.

    Options  `most`: a result of more elements than this stays a computation, unless what it is made of is as large.
    Keeps    every value, in double precision.
    Refuses  loops, and results of unknown size (`[N, 784]` of zeros). A primitive without inputs (`iota`) stays where
             nothing that is folded reads it.
    """

    name: ClassVar[str] = "fold"
    most: int = 1024

    def call(self, graph: Graph) -> Graph:
        known: dict[Value, Array] = {}  # values of the new graph

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, self.call)
            if op is not node.op:
                return b.emit_all(op, *inputs)
            arrays = [known[v] for v in inputs if v in known]
            if (
                isinstance(op, Input | Parameter)
                or op.bodies()
                or len(arrays) < len(inputs)
                or not _sized(node)
            ):
                return None
            if isinstance(op, Constant):
                made = b.emit_all(op)
                known[made[0]] = op.array
                return made
            size = sum(prod(t.concrete({})) for t in node.types)
            if size > max(self.most, *(a.size for a in arrays), 0):
                return None
            with np.errstate(all="ignore"):
                results = op.evaluate(*arrays)
            made = b.emit_all(op) if not inputs else tuple(b.constant(y) for y in results)
            known.update(zip(made, results, strict=True))
            return made

        return graph.rebuild(rewrite)


def _sized(node: Node) -> bool:
    return not any(isinstance(s, Symbolic) for t in node.types for s in t.shape)
