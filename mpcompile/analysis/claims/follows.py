"""`follows(x, m)`: the law of each element of a vector reads elements of its row of the matrix m alone, besides itself.

Of a flow whose base is a law of each element, the law of element i is that of the latent which it becomes: of the pivot
of a triangular Jacobian, else of z[i]. Of an autoregressive density it is that of the parameters of element i, which
never read the element itself. Upper bounds prove the claim; a dependence in them is held to a run modulo a prime, since
paths that cancel are no counterexample.
"""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.blame import readable
from mpcompile.analysis.certain import certain
from mpcompile.analysis.dependence import TooLarge, support, tau, witness
from mpcompile.analysis.jacobian import classify
from mpcompile.analysis.verdict import FINITE, Verdict, free_symbols, ran, sizes_text
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, NoRule

METHOD = "sets of inputs, element by element"
#: The length of sequences beside the variable at which it is asked.
LENGTH = 3


def follows(module: Module, claim: Claim) -> Verdict:
    """Decide whether each dependence lies in the matrix, by the sets of elements that each element's law reads.

    Raises `TooLarge` and `NoRule`.
    """
    graph, matrix = module.programs[claim.program], claim.stated_matrix
    sizes = {"N": 1, **dict.fromkeys(sorted(free_symbols(graph)), LENGTH)}
    allowed = matrix | np.eye(len(matrix), dtype=bool)
    axis = None if claim.order is None else claim.order.axis
    for name in _outputs(graph, claim):
        found = support(graph, claim.subject, name, sizes, over=axis).value
        becomes = _becomes(found) if claim.order is None else np.arange(len(found))
        beyond = np.zeros_like(found)
        beyond[becomes] = found[becomes] & ~allowed
        if beyond.any():
            return _refuted(module, claim, name, beyond, becomes, axis, sizes)
    return Verdict.of(claim, ran([graph], METHOD, [sizes], (FINITE,)), {"edges": int(matrix.sum())})


def _outputs(graph: Graph, claim: Claim) -> list[str]:
    """The outputs that have a part for each element: the latents of a flow, the parameters of conditionals."""
    if claim.subject not in graph.inputs:
        return []
    return ["z"] if claim.order is None else list(graph.outputs)


def _becomes(found: Array) -> Array:
    """Return, for each element, the latent that it becomes: permutations move it, and so does a coupling behind one."""
    result = np.arange(len(found))
    for latent, element in classify(found).pivots:
        result[element] = latent
    return result


def _refuted(
    module: Module,
    claim: Claim,
    name: str,
    beyond: Array,
    becomes: Array,
    axis: int | None,
    sizes: dict[str, int],
) -> Verdict:
    """Refute by the first dependence that shows, with its path; undecided where none does.

    `beyond` says which outputs read which elements beyond the matrix, and `becomes` of which element each output is.
    """
    graph = module.programs[claim.program]
    try:
        unseen = certain(module, graph, claim.subject, sizes, beyond, axis, (name,)).unseen
        shown = beyond & ~np.broadcast_to(unseen, beyond.shape)
    except (NoRule, TooLarge):
        shown = beyond
    if not shown.any():
        return Verdict.undecided(
            claim, "paths lead beyond the matrix, but what they carry cancels", checked=[sizes]
        )
    output, parent = (int(i) for i in np.argwhere(shown)[0])
    child = int(np.flatnonzero(becomes == output)[0])
    ranks = np.arange(len(beyond)) == parent
    facts = tau(graph, claim.subject, ranks.astype(int), sizes)
    value = graph.outputs[name]
    late = np.argwhere(facts[value].full()[..., 0] == 2)
    index = next(i for i in late if int(np.delete(i, [0] if axis is None else [0, axis])[0]) == output)
    path = witness(graph, facts, sizes, value, tuple(int(i) for i in index))
    subject = claim.subject
    finding = Diagnostic(
        "MP313",
        f"the law of {subject}[{child}] reads {subject}[{parent}], which is not in its row of `{claim.matrix_name}`"
        f"{sizes_text([sizes])}",
        claim.span,
        notes=(f"{int(shown.sum())} dependencies lie beyond the matrix",),
        help=f"autoregressive(adjacency = {claim.matrix_name}, ...) reads the row of each element alone",
        path=tuple(readable(path)),
    )
    return Verdict.refuted(claim, METHOD, sizes, [finding], {"beyond": int(shown.sum())})
