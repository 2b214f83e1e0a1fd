"""Sums over the batch become sums over the batches of all processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile.analysis.batch import batch_axis, mixing
from mpcompile.analysis.sharding import sharding
from mpcompile.diagnostics import error
from mpcompile.group import Group
from mpcompile.ir import Builder, Graph, Module, Node, Value
from mpcompile.ops import AllSum, Sum
from mpcompile.passes.base import Condition, Pass, PassResult


def _acts(graph: Graph) -> str | None:
    found = next((m for m in mixing(graph) if not isinstance(m.node.op, Sum | AllSum)), None)
    return None if found is None else f"{found.node.op.name}: {found.reason}"


#: Examples meet in sums alone.
SUMS_ALONE = Condition("one whose examples meet in sums alone", _acts)


@dataclass(frozen=True)
class Across(Pass):
    """Graph to graph: behind each sum over the batch stands the sum of that over all processes.

    Then every process has the outputs of the batch of all of them, and the mean over processes of a gradient is the
    gradient of that batch. Which sums these are, types say: those whose operand has the batch `N` and whose result
    has not.

    Keeps    every value of one process, bit for bit.
    """

    name: ClassVar[str] = "across"
    requires: ClassVar[tuple[Condition, ...]] = (SUMS_ALONE,)

    def call(self, graph: Graph) -> PassResult:
        summed = {m.node.id for m in mixing(graph)}
        done: list[str] = []

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.id not in summed or not isinstance(node.op, Sum) or batch_axis(node.types[0]) is not None:
                return None
            users = graph.users(node.id)
            if users and all(isinstance(n.op, AllSum) for n in users):
                return None
            done.append(f"{node.path + '.' if node.scope else ''}{node.op.name}")
            return (b.emit(AllSum(), b.emit(node.op, *inputs)),)

        return PassResult(graph.rebuild(rewrite), bool(done), tuple(done))


def across(module: Module) -> Module:
    """Return a module whose `loss` is that of the batch of all processes.

    Raises `BrokenContract` for a loss in which examples meet otherwise than in sums.
    """
    loss = Across()(module.programs["loss"]).graph
    return replace(module, programs={**module.programs, "loss": loss})


def shared(module: Module, group: Group) -> Module:
    """Return a module whose outputs of `loss`, as means over the shards of a group, are those on the whole batch.

    It is the module itself where its loss is a mean over shards. Raises `SpecError`: MP532 for statistics of a batch in
    shards that are no processes, MP533 for examples that are compared across shards.
    """
    if group.shards == 1 or "loss" not in module.programs:
        return module
    found = sharding(module.programs["loss"])
    if found.mixed is None:
        return module
    where = _place(found.apart or found.mixed)
    if found.apart is not None:
        raise error("MP533", f"{where} compares the examples of a batch, which shards keep apart", found.apart.span,
                    help="train it in one process without shards: leave out --processes and --shards")  # fmt: skip
    if group.shards > group.size:
        raise error("MP532", f"{where} takes statistics of its batch, and would take those of a shard",
                    found.mixed.span,
                    help=f"--processes {group.shards} (as many as shards); or train without --shards")  # fmt: skip
    if module.train.recompute is not None:
        raise error("MP511", f"{where} takes statistics of its batch, which recomputed layers cannot share",
                    module.train.place("recompute"), help="leave out `recompute`, or train in one process")  # fmt: skip
    return across(module)


def _place(node: Node) -> str:
    return f"`{node.scope[-1].label}`" if node.scope else f"`{node.op.name}`"


__all__ = ["SUMS_ALONE", "Across", "across", "shared"]
