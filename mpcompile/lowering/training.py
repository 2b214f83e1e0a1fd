"""The `train` section of a spec, bound and checked: every value has its place; and the groups of parameters it states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mpcompile.diagnostics import Diagnostic, Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.kinds import KINDS, misplaced
from mpcompile.ir import Field, Module, ParameterSpec, Training
from mpcompile.ir.augmentation import Augmentation, Crop, Flip, Noise, Shift
from mpcompile.ir.axes import Role, role
from mpcompile.ir.training import LISTS, MATRICES, TABLES, setting
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.scope import Scope
from mpcompile.ranges import named

#: Settings that are of data, and the help where a model reads none.
OF_DATA = {
    "data": "leave it out: a step reads draws alone",
    "epochs": "`steps: 2_000` says how long it is trained",
    "length": "leave it out: a step reads draws alone",
    "threshold": "leave it out: a step reads draws alone",
}


def training(model: ast.Model, scope: Scope, declared: Mapping[str, Field]) -> Training:
    """Return what the section states; `declared` are the variables.

    Raises `SpecError` with every setting that is unknown, outside of its range (MP511), or of data where no variable is
    declared (MP514).
    """
    values: dict[str, Any] = {}
    faults: list[Diagnostic] = []
    for let in model.train:
        try:
            if let.name in values:
                raise error("MP124", f"`{let.name}` is given twice", let.span)
            values[let.name] = _setting(let, scope)
            if let.name == "augment":
                _require_augmentable(values[let.name], declared, let.value.span)
        except SpecError as fault:
            faults += [
                replace(d, code="MP511") if d.code in ("MP112", "MP205") else d for d in fault.diagnostics
            ]
    if not model.declarations and any(getattr(s, "role", "") == "latent" for s in model.density):
        faults += _of_data(model)
    if faults:
        raise SpecError(faults)
    return Training(**values, spans={let.name: let.value.span for let in model.train})


def _of_data(model: ast.Model) -> list[Diagnostic]:
    """Return a finding for everything that is of data, in a model that declares no variable."""
    found: list[Diagnostic] = []
    for let in model.train:
        if let.name in OF_DATA:
            found += error("MP514", f"`{let.name}` is of data, and the model declares no variable to read", let.span,
                           help=OF_DATA[let.name]).diagnostics  # fmt: skip
    for s in model.density:
        if isinstance(s, ast.WeightPrior):
            found += error("MP514", "a prior on weights counts once for all data, and the model reads none",
                           s.span, help="minimise sum(square(w), over = channel) weight 0.01").diagnostics  # fmt: skip
    return found


def _setting(let: ast.Let, scope: Scope) -> Any:
    other = (
        misplaced(let.name, "setting of the section `train`")
        if let.name not in KINDS["settings"].rows()
        else None
    )
    if other is not None:
        raise error("MP510", other[0], let.span.head(let.name), help=other[1])
    slot = setting(let.name, let.span.head(let.name))
    bound = Arguments(scope, None, ast.Call(span=let.span, callee="train"))
    if let.name in TABLES:
        return bound.chosen(TABLES[let.name], let.name, let.value, f"the name of {let.name}")
    if let.name in LISTS:
        table, what = LISTS[let.name], f"a list of calls of {', '.join(LISTS[let.name])}"
        items = let.value.items if isinstance(let.value, ast.ListExpr) else (let.value,)
        return tuple(bound.chosen(table, "augmentation", item, what) for item in items)
    return bound.coerce(slot, let.value)


def _require_augmentable(steps: Sequence[Augmentation], declared: Mapping[str, Field], span: Span) -> None:
    """Raises `SpecError` (MP511) for a variable that is not declared, or that a change has no meaning for."""
    for step in steps:
        for name in step.of:
            found = declared.get(name)
            if found is None:
                raise error("MP511", f"`{step.keyword}` changes '{name}', which is no variable", span,
                            help=named(name, declared))  # fmt: skip
            sizes = dict(zip(found.axes, found.type.shape[1:], strict=True))
            if isinstance(step, Flip) and not isinstance(sizes.get(step.over), int):
                raise error("MP511", f"`flip` mirrors '{name}' along '{step.over}', which is no axis of fixed size", span,
                            help=f"its axes are {', '.join(found.axes) or 'none'}: flip({name}, over = ...)")  # fmt: skip
            if isinstance(step, Crop | Shift) and not any(role(a, s) is Role.SPACE for a, s in sizes.items()):
                raise error("MP511", f"`{step.keyword}` moves along axes of space, and '{name}' has none", span,
                            help="name them: `x: real[3, height: 8, width: 8]`")  # fmt: skip
            if isinstance(step, Noise) and (
                found.base != "real" or found.interval is not None or found.angle
            ):
                raise error("MP511", f"`noise` is of real numbers, and '{name}' is {found.kind}", span,
                            help="leave it out, or declare the variable `real`")  # fmt: skip


# --- groups of parameters ---


def grouped(model: ast.Model, module: Module) -> dict[str, ParameterSpec]:
    """Return the parameters of a module with `frozen` and `decays` as its `train` section says.

    A name in `freeze` is that of a net or a block, wherever weights of it are, or the path of a parameter or of a part of
    the model, as `mpcompile inspect` shows it.

    Raises `SpecError` (MP511) for a name without a parameter, and where no weight is left to train.
    """
    train, out = module.train, dict(module.parameters)
    if train.decay == MATRICES:
        out = {name: replace(p, decays=len(p.shape) > 1) for name, p in out.items()}
    if train.freeze is None:
        _require_whole(train, out)
        return out
    parts = {net.name for net in model.nets} | {block.name for block in model.blocks}
    faults: list[Diagnostic] = []
    for entry, span in zip(train.freeze, _spans(model, train), strict=True):
        found = [name for name in out if _within(name, entry, entry.partition(".")[0] in parts)]
        if not found:
            known = sorted({*parts, *_paths(out)}, key=lambda path: (path.count("."), path))
            fault = error(
                "MP511", f"`freeze` of train names no weight: '{entry}'", span, help=named(entry, known)
            )
            faults += fault.diagnostics
        out |= {name: replace(out[name], frozen=True) for name in found}
    if faults:
        raise SpecError(faults)
    if not any(p.trained for p in out.values()):
        raise error("MP511", "`freeze` of train leaves no weight to train", train.place("freeze"),
                    help="leave out what is to be trained")  # fmt: skip
    _require_whole(train, out)
    return out


def _require_whole(train: Training, parameters: Mapping[str, ParameterSpec]) -> None:
    """Raises `SpecError` (MP511) for a trained weight with a mask under a rule that would fill it."""
    rule = train.optimizer
    masked = next((n for n, p in parameters.items() if p.trained and p.support is not None), None)
    if rule is not None and rule.joint and masked is not None:
        raise error("MP511", f"`{rule.keyword}` would fill what a mask removes of '{masked}'", train.place("optimizer"),
                    help="adamw(1e-3) updates each element by itself; or `freeze` the weights under masks")  # fmt: skip


def _within(name: str, entry: str, anywhere: bool) -> bool:
    """Tell whether a parameter is at a path or under it.

    A net or a block may be `anywhere`; the uses of a block outside of a `repeat` are numbered, as `layer_0`.
    """
    path, part = name.split("."), entry.split(".")
    if not anywhere:
        return path[: len(part)] == part
    use = re.compile(re.escape(part[0]) + r"(_\d+)?")
    return any(
        use.fullmatch(path[k]) and path[k + 1 : k + len(part)] == part[1:]
        for k in range(len(path) - len(part) + 1)
    )


def _paths(parameters: Mapping[str, ParameterSpec]) -> set[str]:
    """Return every path that has a parameter at it or under it."""
    parts = [name.split(".") for name in parameters]
    return {".".join(p[:k]) for p in parts for k in range(1, len(p) + 1)}


def _spans(model: ast.Model, train: Training) -> list[Span]:
    """Return the place of each entry of `freeze`."""
    stated = next((let.value for let in model.train if let.name == "freeze"), None)
    if isinstance(stated, ast.ListExpr):
        return [item.span for item in stated.items]
    return [train.place("freeze")] * len(train.freeze or ())
