"""`independent`, of every model: no example of a batch reads another one, in any program, whatever the batch's size.

`loss` is a mean over the examples, and a layer may take statistics of the batch in it. `initialize` and `statistics`
read a batch, too. The verdict names these. An operation that acts along the batch is a fault if a program, run with two
examples, gives one of them other results than alone. Else the claim is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.analysis.batch import Mixing, batch_axis, loss_is, mixing, whole_batch
from mpcompile.analysis.verdict import Proof, Verdict, free_symbols, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import STATE, Array, Claim, Graph, Module

METHOD = "the batch's axis in every value"
#: Programs that read a whole batch.
BY_DEFINITION = ("loss", "initialize", "statistics")
#: The length at which a fault is shown.
LENGTH = 8


def independent(module: Module, claim: Claim) -> Verdict:
    """Decide whether no example of a batch reads another, by the operations that act along the batch."""
    apart = set[int]()
    for name, graph in module.programs.items():
        if name in BY_DEFINITION:
            continue
        for found in mixing(graph, apart):
            return _refuted(module, claim, name, graph, found)
    whole = whole_batch(module, apart)
    for found in whole.others:
        return _refuted(module, claim, "loss", module.programs["loss"], found)
    loss = loss_is(module, whole.statistics)
    assumptions = [f"`loss` is {loss}"]
    assumptions += [
        f"but for `{name}`, which reads statistics of its batch"
        for name in ("initialize", "statistics")
        if name in module.programs
    ]
    scope = scope_of(*module.programs.values(), covers="lengths")
    return Verdict.proved(claim, Proof(scope, METHOD, tuple(assumptions)), {"loss": loss})


def _refuted(module: Module, claim: Claim, name: str, graph: Graph, found: Mixing) -> Verdict:
    sizes = dict.fromkeys(sorted(free_symbols(graph)), LENGTH)
    layer = found.node.scope[-1].label if found.node.scope else found.op.name
    reason = f"in `{layer}` {found.reason}"
    if not differs(module, graph, sizes):
        return Verdict.undecided(claim, reason, found.op.name, [sizes] if sizes else [])
    finding = Diagnostic(
        "MP311", f"an example of a batch reads the others in `{name}`: {reason}", found.node.span,
        notes=("in a batch of two, an example has other results than alone",),
        help="the batch is the first axis of every value; act along the axes behind it",
    )  # fmt: skip
    return Verdict.refuted(claim, METHOD, sizes, [finding])


def differs(module: Module, graph: Graph, sizes: Mapping[str, int]) -> bool:
    """Return whether a batch of two has other results than its examples alone.

    Over a prime field, where a difference shows that it is another function. Raises `NoRule` and `TooLarge`.

    Results without a batch axis are means of those of the examples.
    """
    # imported for a fault alone: every check asks this claim, and start-up is most of a small one
    from mpcompile.analysis import field as over
    from mpcompile.ir.field import Field

    f, draw = Field(0), over.values_of(module, sizes)
    over.afford(graph, sizes, 2)
    weights = over.Weights(graph, f, sizes)
    both = {k: draw(f, k, v.type, v.type.concrete({**sizes, "N": 2}), 0) for k, v in graph.inputs.items()}

    def run(inputs: Mapping[str, Array], n: int) -> dict[str, Array]:
        return over.run(graph, f, weights, inputs, {**sizes, "N": n})

    def row(name: str, i: int) -> Array:
        axis = batch_axis(graph.inputs[name].type)
        return both[name] if axis is None else both[name].take([i], axis)

    together = run(both, 2)
    alone = [run({k: row(k, i) for k in both}, 1) for i in range(2)]
    for name, value in graph.outputs.items():
        first, second = (run[name] for run in alone)
        axis = batch_axis(value.type)
        if axis is not None:
            same = np.array_equal(together[name], np.concatenate([first, second], axis), equal_nan=True)
        else:
            same = np.array_equal(f.canon(2 * together[name]), f.canon(first + second), equal_nan=True)
        if not same and not name.startswith(STATE):
            return True
    return False
