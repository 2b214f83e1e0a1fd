"""Names of weights in files of before layers of a `repeat` were elements of lists: `layer_0` is now `layer.0`."""

from __future__ import annotations

from collections.abc import Mapping

from mpcompile.ir import Array, Module


def renamed(arrays: Mapping[str, Array], module: Module) -> dict[str, Array]:
    """Return arrays under the names that a module has for its weights, where all have the names of before.

    Keys are names of weights, alone or behind what the arrays are: `parameter/...`, `optimizer/m/...`.
    """
    now = {p.former or p.name: p.name for p in module.parameters.values()}
    found = {name for what, _, name in (key.rpartition("/") for key in arrays) if what in ("", "parameter")}
    if found != now.keys() or found == module.parameters.keys():
        return dict(arrays)
    cut = {key: key.rpartition("/") for key in arrays}
    return {f"{what}{mark}{now.get(name, name)}": arrays[key] for key, (what, mark, name) in cut.items()}


__all__ = ["renamed"]
