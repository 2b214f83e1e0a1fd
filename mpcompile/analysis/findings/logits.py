"""MP327: probabilities where logits are meant."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile import ops
from mpcompile.analysis.findings._trace import graphs, of_law, through_moves
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Module


def probabilities_as_logits(module: Module) -> Iterator[Diagnostic]:
    """Find distributions whose logits are, but for moves of elements, the result of a sigmoid or softmax.

    Exactly: in the loss, the softplus or log-softmax of a distribution's own log-probability reads such a result. The
    result of a log-softmax is a correct logit and no finding.
    """
    seen: set[str] = set()
    for graph in graphs(module.programs["loss"]):
        for node in graph.nodes():
            if not isinstance(node.op, ops.Softplus | ops.LogSoftmax) or not of_law(node):
                continue
            source = through_moves(graph, node.inputs[0])
            if isinstance(source.op, ops.Sigmoid | ops.Softmax) and str(source.span) not in seen:
                seen.add(str(source.span))
                name = source.op.name
                yield Diagnostic(
                    "MP327",
                    f"the logits of {node.scope[0].name} are the result of a {name}: the distribution applies its own",
                    source.span,
                    Severity.WARNING,
                    label="these are probabilities",
                    help=f"leave the {name} out: logits are any real numbers",
                )
