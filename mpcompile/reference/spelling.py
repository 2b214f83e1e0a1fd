"""Names in the strings of a YAML spec as patterns of the JSON Schema: laws and claims exactly, others by their typos.

A schema does not know the nets and blocks that a spec defines, and calls them like layers. So a pattern refuses a name
that is one edit from a name of the language. Swapped letters count in names of four letters and more, lost ones from
five, further ones from seven, and other ones from eight; digits never do. The parser and `check` find the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mpcompile.frontend.arithmetic import FUNCTIONS as NUMERIC
from mpcompile.ir.data_sets import DATA_SETS
from mpcompile.lowering.misspelt import CALLED
from mpcompile.reference.tables import KINDS

_OTHER = r"^\s*(?:(?:minimise|weight|carry|recurrence)\b|\w+\s*=)"
_STATED = r"^\s*(?:(?:latent|missing|prior)\s+)?\w+(?:\s*:[^~]*)?\s*~\s*"


def definitions() -> dict[str, Any]:
    """Return the definitions that the schema refers to: `names`, `statement`, `claim` and `mask`."""
    called = [name for name in CALLED if name != "listed"]  # no spec writes it
    misspelt = rf"(?<![\w.])(?!(?:{_any(called)})\b)(?:{_typos(called)})\s*(?:\(|->|$)"
    laws = _any([*KINDS["distributions"].rows(), *KINDS["posteriors"].rows()])
    claims, warnings = _any(KINDS["claims"].rows()), _any(KINDS["warnings"].rows())
    masks = _any([*KINDS["masks"].rows(), "file", *NUMERIC])
    spelt, names, head = ({"$ref": f"#/definitions/{name}"} for name in ("spelt", "names", "head"))
    return {
        "spelt": {"not": {"type": "string", "pattern": misspelt}},
        "names": {**_below(names), "allOf": [spelt], "propertyNames": spelt},
        "head": {
            "anyOf": [
                {"not": {"type": "string"}},
                {"pattern": _OTHER},
                {"pattern": rf"{_STATED}(?:{laws})\b"},
            ]
        },
        "statement": {
            **_below(names),
            "allOf": [spelt, head],
            "propertyNames": {"allOf": [spelt, head]},
        },
        "claim": {
            "type": "string",
            "pattern": rf"^\s*(?:(?:{claims})\b|allow\s+(?:{claims}|{warnings})\b)",
        },
        "mask": {"not": {"type": "string", "pattern": rf"(?<![\w.])(?!(?:{masks})\b)[A-Za-z_]\w*\s*\("}},
    }


def data() -> dict[str, Any]:
    """Return the rule for the setting `data`: a name of ours, or a text that is no typo of one."""
    other = {"type": "string", "not": {"pattern": rf"^\s*(?:{_typos(DATA_SETS)})\s*$"}}
    return {"anyOf": [{"enum": list(DATA_SETS)}, other]}


def _below(names: dict[str, str]) -> dict[str, Any]:
    """The rule for what is in a list or a mapping."""
    return {"items": names, "additionalProperties": names}


def _any(names: Iterable[str]) -> str:
    """An alternative for each name, the longest first."""
    return "|".join(map(re.escape, sorted(names, key=lambda n: (-len(n), n))))


def _typos(names: Iterable[str]) -> str:
    """A pattern for what is one edit away from a name."""
    return "|".join(sorted({typo for name in names for typo in _edits(name)}))


def _edits(name: str) -> Iterator[str]:
    """Patterns of the edits of a name."""
    size = len(name)
    for i in range(size if size > 3 else 0):
        if i + 1 < size and name[i] != name[i + 1]:
            yield name[:i] + name[i + 1] + name[i] + name[i + 2 :]
        if size > 4:
            yield name[:i] + name[i + 1 :]
        if size > 6:
            yield f"{name[:i]}[a-z]{name[i:]}"
        if size > 7:
            yield f"{name[:i]}[a-z]{name[i + 1 :]}"


__all__ = ["data", "definitions"]
