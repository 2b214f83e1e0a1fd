"""Activation checkpointing: the gradient of repeated layers computes each layer anew instead of keeping its values."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile.diagnostics import error
from mpcompile.ir import Builder, Graph, Module, Node, Programs, Value
from mpcompile.ops import Repeat, has_repeats
from mpcompile.passes.base import Pass, PassResult, rewrite_bodies


@dataclass(frozen=True)
class Recompute(Pass):
    """Graph to graph: the gradient of each region keeps the input of every layer alone (Chen et al. 2016).

    Keeps    every value, bit for bit; the gradient computes what it reads of a layer a second time.
    """

    name: ClassVar[str] = "recompute"

    def call(self, graph: Graph) -> PassResult:
        done: list[str] = []

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = rewrite_bodies(node.op, lambda body: body.rebuild(rewrite) if has_repeats(body) else body)
            if isinstance(op, Repeat) and not op.recompute:
                count = op.iterations([v.type for v in node.inputs])
                done.append(f"{count} x {', '.join(name for name, _ in op.frames) or op.body.name}")
                op = replace(op, recompute=True)
            return None if op is node.op else b.emit_all(op, *inputs)

        return PassResult(graph.rebuild(rewrite), bool(done), tuple(done))


def recomputed(module: Module) -> Module:
    """Return a module whose `loss` recomputes repeated layers, where its `train` section asks for that.

    Raises `SpecError` (MP511) for a loss without a region, of which nothing would be saved.
    """
    if module.train.recompute is None or "loss" not in module.programs:
        return module
    own = module.programs
    result = Recompute()(own.layered("loss") if isinstance(own, Programs) else own["loss"])
    if not result.changed:
        raise error("MP511", "`recompute` of train finds no repeated layers", module.train.place("recompute"),
                    help="leave it out: it saves memory of a `repeat` whose iterations have one body")  # fmt: skip
    return replace(module, programs=_Recomputed(own, result.graph))


class _Recomputed(Programs):
    """The programs of a module with another `loss`, which keeps its regions of few layers too."""

    def __init__(self, own: MutableMapping[str, Graph], loss: Graph) -> None:
        super().__init__(lambda name, _: own[name])
        self._own = own
        self.update({**(own.regions if isinstance(own, Programs) else own), "loss": loss})

    def layered(self, name: str) -> Graph:
        own = self._own
        return own.layered(name) if isinstance(own, Programs) and name != "loss" else self.regions[name]


__all__ = ["Recompute", "recomputed"]
