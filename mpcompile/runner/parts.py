"""States in one safetensors file, or above a size in several with an index, as Hugging Face writes them.

`state-00001-of-00003.safetensors` and its kin hold some arrays each; `state.safetensors.index.json` says which file has
which: `{"metadata": {"total_size": ...}, "weight_map": {name: file}}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mpcompile.diagnostics import Span, error
from mpcompile.emission.tensors import serialise
from mpcompile.ir import Array
from mpcompile.runner import disk
from mpcompile.runner.limits import gibibytes
from mpcompile.runner.record import LARGEST, parsed

STATE, INDEX = "state.safetensors", "state.safetensors.index.json"
#: The suffix of an index, whoever wrote it.
SUFFIX = ".safetensors.index.json"
#: Names of files of a state.
OURS = re.compile(r"state(-\d{5}-of-\d{5})?\.safetensors|state\.safetensors\.index\.json")
#: The environment variable that says how large a file may become, and what it says if it is not set, in GiB.
LIMIT, GIB = "MPCOMPILE_FILE_GIB", 5.0


def largest() -> int:
    """Return the bytes of arrays that one file may hold. Raises `SpecError` (MP511) for another value of the variable."""
    try:
        return gibibytes(LIMIT, GIB)
    except ValueError as wrong:
        raise error("MP511", str(wrong), Span.none(), help=f"unset it, or {LIMIT}=5") from None


def split(state: Mapping[str, Array], most: int) -> dict[str, disk.Payload]:
    """Return the files of a state by name: one, or several of at most `most` bytes of arrays and their index.

    An array stays whole, so that a file with one alone may be larger.
    """
    groups: list[dict[str, Array]] = [{}]
    size = 0
    for name in sorted(state):
        if groups[-1] and size + state[name].nbytes > most:
            groups.append({})
            size = 0
        groups[-1][name] = state[name]
        size += state[name].nbytes
    if len(groups) == 1:
        return {STATE: serialise(state)}
    names = [f"state-{i:05}-of-{len(groups):05}.safetensors" for i in range(1, len(groups) + 1)]
    places = {array: name for name, group in zip(names, groups, strict=True) for array in group}
    total = sum(array.nbytes for array in state.values())
    index = disk.as_json({"metadata": {"total_size": total}, "weight_map": places})
    return {**{n: serialise(g) for n, g in zip(names, groups, strict=True)}, INDEX: index}


def joined(names: Mapping[str, object], read: Callable[[str], bytes]) -> dict[str, Array]:
    """Return the arrays of files of these names, which `read` gives, as their index says.

    Raises `ValueError` with one clause for files that are not those of a state.
    """
    if list(names) == [STATE]:
        return _arrays(read(STATE))
    if INDEX not in names:
        raise ValueError("is not the file that its manifest names")
    return indexed(read(INDEX), lambda name: read(name) if name in names else None)


def indexed(index: bytes, read: Callable[[str], bytes | None]) -> dict[str, Array]:
    """Return the arrays that an index names, from files that `read` gives; None for one that is not there.

    Raises `ValueError` with one clause.
    """
    plain = parsed(index)
    places = plain.get("weight_map") if isinstance(plain, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(v, str) for v in places.values()):
        raise ValueError("is no index of safetensors files")
    found: dict[str, Array] = {}
    for file in sorted(set(places.values())):
        if "/" in file or "\\" in file or not file.endswith(".safetensors"):
            raise ValueError(f"names {file[:80]!r}, which is no safetensors file beside it")
        payload = read(file)
        arrays = {} if payload is None else _arrays(payload)
        own = {name for name, place in places.items() if place == file}
        if own != arrays.keys():
            raise ValueError(f"names other arrays than {file} has")
        found |= arrays
    return found


def beside(index: Path, limit: int) -> dict[str, Array]:
    """Return the arrays of the files that an index names beside it; see `indexed`."""
    left = [limit]

    def read(name: str) -> bytes:
        try:
            payload = disk.read(index.with_name(name), left[0])
        except ValueError as fault:
            raise ValueError(f"names {name}, which {fault}") from fault
        left[0] -= len(payload)
        return payload

    return indexed(disk.read(index, LARGEST), read)


def _arrays(payload: bytes) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(payload))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        raise ValueError("is no safetensors file of plain numbers") from None


__all__ = ["INDEX", "OURS", "STATE", "SUFFIX", "beside", "indexed", "joined", "largest", "split"]
