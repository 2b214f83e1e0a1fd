"""The gradient of a loss as a program: for recurrences, where jax's own gradient of `lax.scan` does more work.

`jax.grad` adds the cotangents of what a loop captures at each of its steps. In the gradient that `passes/gradient.py`
derives, products with a captured matrix leave the loop as one product over all steps. One step of `specs/char_lstm.mp`
(batch 32, 64 steps, 128 units, one thread of a loaded machine, in one process) takes 0.82 of the processor time so, and
that of `vrnn` 0.76; where there is no loop, both are alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile.ir import Graph, Module
from mpcompile.ops import Repeat, Scan
from mpcompile.passes.gradient import differentiate
from mpcompile.passes.pipeline import SIMPLIFYING
from mpcompile.passes.train_step import loss_name


def gradient_program(module: Module) -> Graph | None:
    """Return the `loss` program with its gradients, `grad(<parameter>)` for each trained one that it reads.

    None where jax's own gradient is taken: for a program without loops but those over layers, and for one with a loop to
    a fixed point, which has the derivative of a fixed point in emitted code.
    """
    program = module.programs["loss"]
    loops = list(_loops(program))
    if not loops or any(loop.until_fixed_point for loop in loops):
        return None
    read = program.parameters()
    trained = [name for name, spec in module.parameters.items() if spec.trainable and name in read]
    return SIMPLIFYING.run(differentiate(program, loss_name(program), trained)).graph if trained else None


def _loops(graph: Graph) -> Iterator[Scan]:
    """Every loop of a graph but those over layers, those within bodies too."""
    for node in graph.nodes():
        if isinstance(node.op, Scan) and not isinstance(node.op, Repeat):
            yield node.op
        for body in node.op.bodies():
            yield from _loops(body)
