"""The program that claims on the prediction of a target are about."""

from __future__ import annotations

from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Claim, Graph, Module
from mpcompile.ir.axes import CLASS, Axes, Role, role


def prediction(module: Module, claim: Claim) -> Graph | Verdict:
    """Return the program `predict`, or the verdict where it does not give the claim's variable, or draws noise."""
    graph = module.programs.get("predict")
    if graph is None or claim.subject not in graph.outputs:
        return Verdict.undecided(claim, f"no program predicts {claim.subject}")
    if module.noise.get("predict"):
        return Verdict.undecided(claim, "the prediction draws noise")
    return graph


def axes_of_prediction(module: Module, graph: Graph, name: str) -> Axes:
    """Return the names of the axes of a prediction, without the batch: those of its variable, and one of classes.

    Classes stand where channels do: in front of the axes of an image, and else last.
    """
    field = module.fields[name]
    shape, own = field.type.shape[1:], field.axes
    if len(graph.outputs[name].shape) == len(own) + 1:
        return own
    space = any(role(axis, size) is Role.SPACE for axis, size in zip(own, shape, strict=True))
    return (CLASS, *own) if space else (*own, CLASS)


__all__ = ["axes_of_prediction", "prediction"]
