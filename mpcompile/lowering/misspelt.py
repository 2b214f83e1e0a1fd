"""Misspelt names that lowering does not meet: in nets and blocks that nothing uses, and that of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mpcompile.bijectors import BIJECTORS, LAWS
from mpcompile.diagnostics import Diagnostic, Severity, Span
from mpcompile.diagnostics.nearest import meant, nearest
from mpcompile.distributions import DISTRIBUTIONS
from mpcompile.distributions.diffusion import NOISES
from mpcompile.distributions.orders import ORDERS
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import FUNCTIONS as NUMERIC
from mpcompile.frontend.kinds import misplaced
from mpcompile.frontend.unused import nodes
from mpcompile.functions import FUNCTIONS
from mpcompile.functions.losses import LOSSES
from mpcompile.ir.data_sets import DATA_SETS
from mpcompile.layers import LAYERS, MASKS
from mpcompile.layers.relations import RELATIONS
from mpcompile.layers.starts import STARTS
from mpcompile.lowering import holes
from mpcompile.lowering.discrete import POSTERIORS

#: Every name that some call of a net or a block may have.
CALLED = frozenset().union(
    LAYERS, FUNCTIONS, LOSSES, MASKS, DISTRIBUTIONS, BIJECTORS, LAWS, POSTERIORS, RELATIONS, ORDERS, STARTS, NOISES,
    NUMERIC, holes.FUNCTIONS, ("strict", "transpose", "file"),
)  # fmt: skip


def misspelt(model: ast.Model) -> Iterator[Diagnostic]:
    """Find misspelt names that lowering does not meet, as warnings: the programs of the model do not need them.

    These are calls and steps of nets and blocks whose name nothing has (MP110), and the name of a data set that is
    like one of ours, and leads to no file (MP501).
    """
    own = {net.name for net in model.nets} | {block.name for block in model.blocks}
    for node in nodes([*model.nets, *model.blocks]):
        steps = node.steps[1:] if isinstance(node, ast.Pipeline) else ()
        named = [(s.layer.id, s.layer.span) for s in steps if isinstance(s.layer, ast.Name)]
        named += [(node.callee, node.span)] if isinstance(node, ast.Call) else []
        for name, span in named:
            if name not in CALLED and name not in own:
                yield _warning("MP110", f"unknown layer `{name}`", name, span, [*own, *LAYERS, *FUNCTIONS])
    for let in model.train:
        if let.name == "data" and isinstance(let.value, ast.Name | ast.Text):
            name = let.value.id if isinstance(let.value, ast.Name) else let.value.value
            if name in DATA_SETS or any(c in name for c in "./") or Path(name).exists():
                continue
            place = let.value.span
            if other := misplaced(name, "data set"):
                yield Diagnostic("MP501", other[0], place, Severity.WARNING, help=other[1])
            elif nearest(name, DATA_SETS):
                yield _warning("MP501", f"no data set is named '{name}'", name, place, list(DATA_SETS))


def _warning(code: str, message: str, name: str, span: Span, known: list[str]) -> Diagnostic:
    return Diagnostic(code, message, span, Severity.WARNING, **meant(name, known, span, "mpcompile list"))


__all__ = ["misspelt"]
