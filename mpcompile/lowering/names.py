"""Names that mean nothing in their place: what a user may have meant, and where a name is in scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.diagnostics.nearest import Meant, meant, one_edit
from mpcompile.frontend import ast
from mpcompile.frontend.kinds import kinds_by_name, misplaced
from mpcompile.frontend.unused import nodes

#: Kinds of names that the language has, as findings call them; the others are those of a model or of a callee.
OF_LANGUAGE = frozenset((
    "layer", "value", "distribution", "bijector", "law of a coupling", "mask", "mask between two axes", "order", "start",
    "claim", "optimizer", "schedule", "augmentation", "schedule of noise", "posterior",
))  # fmt: skip
#: Lists of names up to this length are shown whole.
MAX_SHOWN = 20


def unknown(
    what: str, name: str, known: Sequence[str], span: Span, of: str = "", own: Sequence[str] | None = None
) -> SpecError:
    """Return the finding for an unknown name.

    Its help is the place of a name of another kind, unless a name of the model, `own`, is one edit away; else the nearest
    known name, or all known names, `own` first.
    """
    mine = any(one_edit(name, n) for n in own or ())
    other = misplaced(name, what) if what in OF_LANGUAGE and not mine else None
    if other is not None:
        return error("MP110", other[0], span, help=other[1])
    where = f" of `{of}`" if of else ""
    return error(
        "MP110",
        f"unknown {what} `{name}`{where}" if name else f"expected the name of a {what}{where}",
        span,
        **meant(name, [*(own or ()), *known], span, listed(known, own)),
    )


def near(name: str, known: Iterable[str], span: Span, otherwise: str = "") -> Meant:
    """Return help and fix for a name that a table lacks; a name of the language is no misspelt one."""
    return (
        {"help": otherwise, "fix": None} if name in kinds_by_name() else meant(name, known, span, otherwise)
    )


def listed(known: Sequence[str], own: Sequence[str] | None = None) -> str:
    """Format `known: a, b, c`, whole; a long registry beside the names of a model, `own`, is cut, with a sign."""
    names = sorted(known)
    if own is not None and len(names) > MAX_SHOWN:
        names = [*names[:8], "... (mpcompile list)"]
    return f"known: {', '.join([*sorted(own or ()), *names])}" if own or names else ""


def not_in_scope(model: ast.Model | None, name: str, span: Span) -> SpecError | None:
    """Return the finding for a name that the model gives a meaning elsewhere; None for a name that it does not."""
    places = [] if model is None else list(dict.fromkeys(_places(model, name)))
    if not places:
        return None
    other = places[0].startswith(("a mask", "a net", "a block"))
    message = f"`{name}` does not belong here" if other else f"`{name}` is not in scope here"
    return error("MP110", message, span, help=f"`{name}` is {'; and '.join(places[:3])}")


def _places(model: ast.Model, name: str) -> Iterator[str]:
    """Yield where a name has a meaning, as ends of a sentence that begins with the name."""
    for d in model.declarations:
        if d.name == name:
            yield f"a declared variable ({d.role}): pass it to this net or block as a value"
    for weight in model.weights:
        if weight.name == name:
            yield "a weight of the model"
    for mask in model.masks:
        if mask.name == name:
            yield f"a mask: dense(64, mask = {name})"
    for net in model.nets:
        if net.name == name:
            yield f"a net: x -> {name}"
        yield from _inside(net.value, name, f"the net `{net.name}`")
    for block in model.blocks:
        where = f"the block `{block.name}`"
        if block.name == name:
            yield f"a block: x -> {name}"
        if name in [*block.inputs, *(p.name for p in block.params), *(let.name for let in block.lets)]:
            yield f"a name inside of {where}"
        for tree in [*block.lets, *block.outputs]:
            yield from _inside(tree, name, where)
    for s in model.density:
        if isinstance(s, ast.Recurrence):
            where = f"`recurrence over {s.axis}`"
            if name in [*(c.name for c in s.carries), *(u.name for u in s.statements)]:
                yield f"a name inside of {where}"
            yield from _inside(s, name, where)
        elif isinstance(s, ast.Let):
            if s.name == name:
                yield f"a value of the model, in scope behind `{name} = ...`"
            yield from _inside(s, name, f"the value `{s.name}`")
        else:
            if isinstance(s, ast.Density) and s.role == "latent" and s.name == name:
                yield f"a latent, in scope in the statements behind `latent {name} ~ ...`"
            yield from _inside(s, name, "a term" if isinstance(s, ast.Term) else f"the law of `{s.name}`")


def _inside(tree: ast.Node, name: str, where: str) -> Iterator[str]:
    """Taps and counters of this name within a tree."""
    for item in nodes([tree]):
        if isinstance(item, ast.Step) and item.tap == name:
            yield f"a stage of {where}, in scope behind `as {name}` in the same pipeline"
        if isinstance(item, ast.Repeat) and item.variable == name:
            yield f"the counter of a repeat in {where}"


__all__ = ["listed", "near", "not_in_scope", "unknown"]
