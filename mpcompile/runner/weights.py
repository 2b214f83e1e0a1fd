"""The weights that training starts from: initial ones, those of a run, or those of a file under other names.

A file of names is a JSON object `{"ours": "theirs"}`. Both sides are paths of parameters, or of parts with parameters of
the same names below them: `{"encoder": "backbone.layers"}` takes `backbone.layers.0.weight` for `encoder.0.weight`. The
longest path of ours that holds a parameter counts, and "" is the whole model. Of one parameter theirs may be an object
that says how it is made of arrays there (`ir.layouts.Layout`): `{"from": "c_attn.weight", "transpose": [1, 0]}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.backend import find_backend
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, Module
from mpcompile.ir.layouts import Layout
from mpcompile.ranges import named
from mpcompile.runner import disk
from mpcompile.runner.initial import initial
from mpcompile.runner.parts import SUFFIX, beside
from mpcompile.runner.record import LARGEST, parsed
from mpcompile.runner.run import not_finite, open_run

#: Suffixes of files that `torch.save` writes.
TORCH = (".pt", ".pth", ".bin", ".ckpt")
_LISTED = 5
_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Start:
    """Weights before the first step, by name, and the names of those that were not drawn but `loaded`."""

    weights: dict[str, Array]
    loaded: frozenset[str] = frozenset()


def start(
    source: Path | None, names: Path | None, module: Module, seed: int, say: Callable[[str], None]
) -> Start:
    """Return the weights that training starts from.

    source  a run, of which the best weights count; a .safetensors file, or the index of several; or a state dict of
            torch. None: drawn from `seed`
    names   a file of names; without it a run must have all parameters, and a file is taken by their names
    `say` is told what was loaded, what was left, whose shape differs, and what masks remove.

    Raises `SpecError` as `open_run` and `Run.parameters` do; MP526 for weights that are not finite; MP529 for a file that
    cannot be read, a name that is not there, and where nothing fits.
    """
    if source is None:
        return Start(initial(module, seed))
    of_file = source.suffix in (*TORCH, ".safetensors") or source.name.endswith(SUFFIX)
    if not of_file and (names is None or not source.is_dir()):
        weights, _ = open_run(source).parameters(module)
        tell_dead(weights, module, str(source), say)
        return Start(weights, frozenset(weights))
    theirs = _arrays(source)
    wanted = (
        {n: Layout((n,)) for n in module.parameters if n in theirs}
        if names is None
        else _mapped(names, module, theirs)
    )
    loaded = _fitting(source, module, theirs, wanted, say)
    bad = not_finite(loaded)
    if bad is not None:
        raise error(
            "MP526", f"{source}: weight '{bad}' is not finite", Span.none(), help="take other weights"
        )
    tell_dead(loaded, module, str(source), say)
    return Start({**initial(module, seed), **loaded}, frozenset(loaded))


def tell_dead(weights: Mapping[str, Array], module: Module, where: str, say: Callable[[str], None]) -> None:
    """Say how many elements that masks remove are not zero; a session sets them to zero."""
    supports = {
        n: p.support.stored for n, p in module.parameters.items() if n in weights and p.support is not None
    }
    found = {name: int(np.count_nonzero(weights[name][~live])) for name, live in supports.items()}
    names = [name for name, count in found.items() if count]
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        say(f"{where}: {sum(found.values())} elements that masks remove were not zero, and are now ({shown})")


def _arrays(source: Path) -> dict[str, Array]:
    """The arrays of a file or a run by name. Raises `SpecError` (MP529) and `BackendMissing` (a file of torch)."""
    if source.is_dir():
        return open_run(source).arrays()
    if source.suffix in TORCH:
        torch: Any = find_backend("torch")
        try:
            return dict(torch.read_weights(source))
        except ValueError as bad:
            raise _unreadable(source, str(bad)) from bad
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if source.name.endswith(SUFFIX):
            return beside(source, _LIMIT)
        return dict(load(disk.read(source, _LIMIT)))
    except ValueError as bad:
        raise _unreadable(source, str(bad)) from bad
    except (SafetensorError, KeyError, TypeError, OverflowError, MemoryError) as bad:
        raise _unreadable(source, "is no safetensors file of plain numbers") from bad


def _unreadable(path: Path, why: str) -> SpecError:
    return error("MP529", f"{path} {why}", Span.none(),
                 help=f"--init takes a run, .safetensors, or a state dict of torch ({', '.join(TORCH)})")  # fmt: skip


def _mapped(path: Path, module: Module, theirs: Mapping[str, Array]) -> dict[str, Layout]:
    """Return the layout there of each parameter that a file of names covers. Raises `SpecError` (MP529)."""
    try:
        rows = parsed(disk.read(path, LARGEST))
    except ValueError as bad:
        raise _unusable(path, str(bad)) from bad
    if not isinstance(rows, dict) or not rows:
        raise _unusable(path, "is no object of names")
    layouts = {ours: _layout(path, ours, row) for ours, row in rows.items()}
    for ours, layout in layouts.items():
        if isinstance(layout.row(), dict) and ours not in module.parameters:
            raise _unusable(
                path,
                f"has a layout for '{ours}', which is no parameter",
                named(ours, list(module.parameters)),
            )
        if not any(_below(name, ours) is not None for name in module.parameters):
            raise _unusable(
                path, f"names '{ours}', which the model has not", named(ours, _parts(module.parameters))
            )
    found: dict[str, Layout] = {}
    for name in module.parameters:
        covering = [ours for ours in rows if _below(name, ours) is not None]
        if covering:
            ours = max(covering, key=len)
            below, layout = _below(name, ours), layouts[ours]
            found[name] = Layout((".".join(filter(None, (layout.names[0], below))),)) if below else layout
    for ours, layout in layouts.items():
        for there in layout.names:
            if not any(_below(name, there) is not None for name in theirs):
                raise _unusable(path, f"names '{there}' for '{ours}', which the weights have not",
                                named(there, _parts(theirs)))  # fmt: skip
    return found


def _layout(path: Path, ours: str, row: Any) -> Layout:
    """A row of a file of names. Raises `SpecError` (MP529)."""
    try:
        return Layout.parse(row)
    except ValueError as bad:
        raise _unusable(path, f"has for '{ours}' what {bad}") from bad


def _unusable(
    path: Path, why: str, how: str = 'write {"ours": "theirs"}, with paths of parameters'
) -> SpecError:
    return error("MP529", f"{path} {why}", Span.none(), help=how)


def _below(name: str, path: str) -> str | None:
    """Return the rest of a name below a path; None for a name that is not at it or under it."""
    if not path or name == path:
        return "" if path else name
    return name.removeprefix(path + ".") if name.startswith(path + ".") else None


def _parts(names: Mapping[str, object]) -> list[str]:
    """Every path that holds some of these names, short ones first."""
    parts = [name.split(".") for name in names]
    return sorted(
        {".".join(p[:k]) for p in parts for k in range(1, len(p) + 1)}, key=lambda p: (p.count("."), p)
    )


def _fitting(
    source: Path,
    module: Module,
    theirs: Mapping[str, Array],
    wanted: Mapping[str, Layout],
    say: Callable[[str], None],
) -> dict[str, Array]:
    """Return the arrays that fit their parameters, and say what did not. Raises `SpecError` (MP529) where none does."""
    found: dict[str, Array] = {}
    wrong: list[str] = []
    for name, layout in wanted.items():
        shape = tuple(module.parameters[name].shape)
        if not all(there in theirs for there in layout.names):
            continue
        try:
            array = layout.apply(theirs)
        except ValueError as bad:
            wrong.append(f"'{name}': {bad}")
            continue
        if array.shape != shape or array.dtype.kind != "f":
            kind = "" if array.dtype.kind == "f" else f"{array.dtype} "
            wrong.append(f"'{name}' is {kind}{list(array.shape)} there, {list(shape)} here")
        else:
            found[name] = np.asarray(array, np.float32 if array.dtype.itemsize < 8 else array.dtype)
    if not found:
        notes = tuple(wrong[:_LISTED]) or (f"there: {_listed(list(theirs))}",)
        raise error("MP529", f"{source} has no weight for a parameter of the model", Span.none(), notes=notes,
                    help="--init-names FILE says which is which")  # fmt: skip
    used = {there for name in found for there in wanted[name].names}
    say(f"{source}: {len(found)} of {len(module.parameters)} parameters loaded, {len(theirs) - len(used)} of its "
        f"{len(theirs)} arrays left out")  # fmt: skip
    left = [name for name in module.parameters if name not in found]
    if left:
        say(f"start anew: {_listed(left)}")
    if wrong:
        say(f"of another shape, and so start anew: {'; '.join(wrong[:_LISTED])}"
            + (f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""))  # fmt: skip
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


__all__ = ["TORCH", "Start", "start", "tell_dead"]
