"""Passes by name: `simplify,cse{across: false},dce`, or the name of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches

from mpcompile.passes.base import Pass
from mpcompile.passes.pipeline import PASSES, PIPELINES
from mpcompile.passes.running import Pipeline
from mpcompile.text.literals import listed, read_attribute
from mpcompile.text.tokens import Reader


def selected(text: str) -> Pipeline:
    """Parse the passes that a text names, in its order. Raises `ValueError` for an unknown name, option or form."""
    r = Reader(text)
    passes: list[Pass] = []
    while r.next.kind != "end":
        if passes:
            r.expect(",")
        passes += _one(r)
    return Pipeline("selected", tuple(passes))


def _one(r: Reader) -> Iterator[Pass]:
    name = r.name("a pass")
    if name in PIPELINES:
        yield from PIPELINES[name].passes
        return
    if name not in PASSES:
        known = [*PASSES, *PIPELINES]
        near = get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(known)}"
        raise ValueError(f"no pass is named {name!r}; {hint}")
    options = dict(listed(r, "}", _option)) if r.skip("{") else {}
    kinds = {f.name: type(f.default) for f in fields(PASSES[name])}
    for key, value in options.items():
        if type(value) is not kinds.get(key):
            stated = ", ".join(f"{k}: {kind.__name__}" for k, kind in kinds.items()) or "none"
            raise ValueError(f"{name} has no option {key}: {value} (its options are {stated})")
    yield PASSES[name](**options)


def _option(r: Reader) -> tuple[str, object]:
    key = r.name("an option")
    r.expect(":")
    return key, read_attribute(r)


__all__ = ["selected"]
