"""Values of a loop that depend on weights and the number of the step alone, such as the rows of a block's weights.

A sampler of blocks takes its rows of every weight in each block. Where weights do not change, those of all steps are made
once and stacked, [steps, ...], and a step reads its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, DType, Graph, Input, Node, Parameter, Symbolic, Value
from mpcompile.ir.walk import run
from mpcompile.passes.weight_only import WeightOnly

#: The stacks of a loop have at most this many times the elements of what they are made of.
MOST = 2


@dataclass(frozen=True)
class Picks:
    """A loop of a known number of steps, and what of its body weights and the step alone decide and the rest of it reads.

    `captured` pairs inputs of the body with what they are around it, where that is known.
    """

    op: ops.Scan
    steps: int
    captured: tuple[tuple[Value, Value], ...]
    wanted: tuple[Value, ...]

    @property
    def body(self) -> Graph:
        return self.op.body

    @staticmethod
    def of(node: Node, weight_only: WeightOnly) -> Picks | None:
        """Return the picks of a loop in a graph with known weight-only values; None where there are none."""
        op = node.op
        assert isinstance(op, ops.Scan)
        steps, formals = op.trip_count([v.type for v in node.inputs]), op.formals
        around = zip(formals.captured.values(), op.split(node.inputs).captured, strict=True)
        captured = tuple((f, a) for f, a in around if a in weight_only)
        if not isinstance(steps, int) or not captured:
            return None
        moving, picked = {formals.step}, set[Value]()  # what the step decides; what of it is more than a view
        known = {f for f, _ in captured} | moving
        for n in op.body.nodes():
            if isinstance(n.op, Constant | Parameter):
                known.update(n.outputs)
            if isinstance(n.op, Input | ops.Scan) or not n.inputs or not known.issuperset(n.inputs):
                continue
            if any(isinstance(s, Symbolic) for t in n.types for s in t.shape):
                continue
            known.update(n.outputs)
            if not moving.isdisjoint(n.inputs):
                moving.update(n.outputs)
                if not picked.isdisjoint(n.inputs) or not n.view:
                    picked.update(n.outputs)
        read = {v for n in op.body.nodes() if not known.issuperset(n.outputs) for v in n.inputs}
        read.update(op.body.outputs.values())
        # a view is taken in the loop: products read transposed weights as they lie
        for n in reversed(op.body.nodes()):
            if n.inputs and n.outputs[0] in read and n.view:
                read.add(n.inputs[0])
        wanted = tuple(
            v
            for n in op.body.nodes()
            for v in n.outputs
            if v in picked & read and v.dtype is DType.FLOAT and not n.view
        )
        return Picks(op, steps, captured, wanted) if wanted else None

    def evaluate(self, around: Mapping[Value, Array], size: int) -> dict[Value, Array]:
        """The wanted values of all steps, [steps, ...], as long as they are not many more than `size` elements."""
        stacks: dict[Value, Array] = {}
        total = 0
        for value in self.wanted:
            total += self.steps * int(np.prod(value.type.concrete({})))
            if total > MOST * size:
                break
            nodes = self.body.made_of(value)
            stacks[value] = np.stack([self._at(nodes, k, around)[value] for k in range(self.steps)])
        return stacks

    def _at(self, nodes: list[Node], step: int, around: Mapping[Value, Array]) -> dict[Value, Array]:
        """Evaluate some nodes of the body in a step."""
        found = {f: around[a] for f, a in self.captured} | {self._step: np.asarray(step)}
        return run(nodes, found, lambda node, *inputs: node.op.bind({}).evaluate(*inputs))

    @property
    def _step(self) -> Value:
        return self.op.formals.step

    def given(self, values: list[Value], inputs: tuple[Value, ...]) -> tuple[Graph, list[Value]]:
        """The body with some values given, stacked, as its last captured inputs; and the inputs that it still needs."""
        stacks: dict[Value, Value] = {}
        steps: list[Value] = []

        def rewrite(b: Builder, node: Node, moved: tuple[Value, ...]) -> tuple[Value, ...] | None:
            value = node.outputs[0]
            if value == self._step:
                steps.append(b.emit(node.op))
                return (steps[0],)
            if value not in values:
                return None
            stacked = value.type.with_shape((self.steps, *value.shape))
            stacks[value] = b.emit(Input(f"steps_{len(stacks)}", stacked))
            return (b.emit(ops.Gather(0), stacks[value], steps[0]),)

        body = self.body.rebuild(rewrite)
        body = _with_inputs(body, stacks, values)
        names = zip(self.body.inputs, inputs, strict=False)  # the step has no value around the loop
        dead = {n for n in self.op.formals.captured if not body.users(body.inputs[n].node)}
        body.inputs = {n: v for n, v in body.inputs.items() if n not in dead}
        return body.live(), [v for n, v in names if n not in dead]


def _with_inputs(body: Graph, stacks: Mapping[Value, Value], values: list[Value]) -> Graph:
    """The live part of a body, with new inputs before the step."""
    *first, (step, last) = body.inputs.items()
    new = {body.node(stacks[v]).op.attributes()["path"]: stacks[v] for v in values}
    body.inputs = {**dict(first), **new, step: last}
    return body.live()
