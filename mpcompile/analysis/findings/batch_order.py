"""Statistics of a batch over the places of an order: while training every place reads those that come later."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile import ops
from mpcompile.analysis.batch import WholeBatch, batch_axis, whole_batch
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import STATE, Graph, Module, Node, Value


def batch_over_order(module: Module) -> Iterator[Diagnostic]:
    """Find layers in a density that keeps an order whose statistics join places of the variable in `loss`."""
    for layer, node, subject in ordered_statistics(module):
        yield Diagnostic(
            "MP332",
            f"while training `{layer}` takes statistics over all places of `{subject}`, those that come later too",
            node.span, Severity.WARNING,
            notes=("the density is proved with running statistics; `loss` is not the mean of its -log_prob",),
            help="layer_norm takes statistics of the channels of one place",
        )  # fmt: skip


def ordered_statistics(module: Module) -> Iterator[tuple[str, Node, str]]:
    """Yield each such layer as the spec writes it, one of its sums, and the variable whose places it joins."""
    subjects = {c.subject for c in module.claims if c.kind == "autoregressive"}
    loss = module.programs.get("loss")
    if loss is None or not subjects or not any(name.startswith(STATE) for name in loss.outputs):
        return
    whole: WholeBatch = whole_batch(module)
    for subject in sorted(subjects & loss.inputs.keys()):
        reading = _reading(loss, loss.inputs[subject])
        for layer, nodes in whole.statistics.items():
            found = next((n for n in nodes if n.inputs[0] in reading and _joins_places(n)), None)
            if found is not None:
                yield layer, found, subject


def _joins_places(node: Node) -> bool:
    """Whether a sum goes over more than the examples."""
    assert isinstance(node.op, ops.Sum)
    shape, batch = node.inputs[0].shape, batch_axis(node.inputs[0].type)
    return any(axis != batch and shape[axis] != 1 for axis in node.op.axes)


def _reading(graph: Graph, source: Value) -> set[Value]:
    """Values that may depend on an input."""
    found = {source}
    for node in graph.nodes():
        if any(v in found for v in node.inputs):
            found.update(node.outputs)
    graph.settle(lambda v, w: (v in found) == (w in found), bodies=False)
    return found
