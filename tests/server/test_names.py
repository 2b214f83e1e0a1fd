"""Laws of the server without a session: names keep their meaning when they are renamed, and each one is offered."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("pygls")

from specs_under_test import SPECS

from mpcompile.diagnostics import Source
from mpcompile.frontend import Syntax, ast, format_model, parse, parse_text
from mpcompile.frontend.ast import without_spans
from mpcompile.reference import KINDS
from mpcompile.server.complete import complete
from mpcompile.server.document import Document, read
from mpcompile.server.edits import Refused, renamed
from mpcompile.server.names import RENAMED
from mpcompile.server.places import Places

OTHER = "renamed_for_the_test"

SHADOWED: dict[Syntax, str] = {
    "mp": """\
model m(width = 4)
input x: real[4]
target y: real[1]
net f = dense(width) as f2 -> relu -> add(f2)
block g(width = 3, d = width) = dense(width) -> dense(d) -> f
block pair on v, h { w = v + h; yield w, h }
y ~ normal(x -> repeat f3 in 1..2 { dense(f3) as width -> add(width) } -> g(width = 2) -> dense(1), scale = 1)
train { freeze: [f, "f.dense_0"], batch: width }
""",
    "yaml": """\
model: m
params: {width: 4}
input: {x: "real[4]"}
target: {y: "real[1]"}
nets: {f: "dense(width) as f2 -> relu -> add(f2)"}
blocks:
  "g(width = 3, d = width)": "dense(width) -> dense(d) -> f"
  pair: {on: "v, h", let: {w: v + h}, yield: [w, h]}
density:
  - "y ~ normal(x -> repeat f3 in 1..2 { dense(f3) as width -> add(width) } -> g(width = 2) -> dense(1), scale = 1)"
train: {freeze: "[f, 'f.dense_0']", batch: width}
""",
}


def numbered(tree: Any, old: str, new: str, count: list[int]) -> Any:
    """The plain data of a tree, a name replaced wherever a whole text is that name; counts how often."""
    if isinstance(tree, dict):
        kept = "name" if tree.get("node") == "Argument" else ""  # names of arguments are those of the callee
        return {k: v if k == kept else numbered(v, old, new, count) for k, v in tree.items()}
    if isinstance(tree, list):
        return [numbered(v, old, new, count) for v in tree]
    if tree == old or (isinstance(tree, str) and tree.startswith(f"{old}.")):
        count[0] += 1
        return new + str(tree)[len(old) :]
    return tree


def test_a_new_name_is_the_same_model() -> None:
    """Where one thing has a name, renaming it replaces the name wherever the tree has it."""
    for path in SPECS[::2]:
        model, source = parse(path)
        syntax: Syntax = "mp" if path.suffix == ".mp" else "yaml"
        document = Document(str(path), source.text, syntax, model=model)
        assert document.names is not None
        names = [d.name for d in document.names.definitions]
        for d in document.names.definitions:
            assert all(source.text[p : p + len(d.name)] == d.name for p in d.places), d
            if d.kind not in ("net", "block", "mask") or names.count(d.name) > 1:
                continue
            text, count = renamed(document, d.start, OTHER), [0]
            wanted = numbered(without_spans(model), d.name, OTHER, count) | {"name": model.name}
            count[0] -= d.name == model.name
            assert without_spans(parse_text(text, str(path), syntax)) == wanted, (path, d.name)
            assert count[0] == len(d.places), (path, d.name)


@pytest.mark.parametrize("syntax", ["mp", "yaml"])
def test_local_names_hide_others(syntax: Syntax) -> None:
    text = SHADOWED[syntax]
    model = parse_text(text, f"t.{syntax}", syntax)
    document = Document(f"t.{syntax}", text, syntax, model=model)
    assert document.names is not None
    found = {(d.kind, d.name): len(d.places) for d in document.names.definitions}
    assert found == {
        ("parameter", "width"): 3, ("parameter", "d"): 2, ("variable", "x"): 2, ("variable", "y"): 2, ("net", "f"): 4,
        ("tap", "f2"): 2, ("block", "g"): 2, ("block", "pair"): 1, ("input of a block", "v"): 2,
        ("input of a block", "h"): 3, ("value", "w"): 2, ("counter", "f3"): 2, ("tap", "width"): 2,
    }  # fmt: skip
    for d in document.names.definitions:
        if d.kind not in RENAMED:
            continue
        again = renamed(document, d.start, OTHER)
        other = Document(f"t.{syntax}", again, syntax, model=parse_text(again, f"t.{syntax}", syntax))
        assert other.names is not None and other.names.shape() == document.names.shape(), d
        for taken in (
            sorted({e.name for e in document.names.definitions} - {d.name}) if d.name in "fg" else ()
        ):
            try:  # a name may be used twice, but never so that one hides the other
                text_ = renamed(document, d.start, taken)
            except Refused:
                continue
            kept = Document(f"t.{syntax}", text_, syntax, model=parse_text(text_, f"t.{syntax}", syntax))
            assert kept.names is not None and kept.names.shape() == document.names.shape(), (d, taken)


def test_every_name_of_the_language_is_offered_where_its_example_has_it() -> None:
    for kind in KINDS.values():
        for name in kind.rows():
            spec = kind.example(name)
            syntax = "mp" if len(name) % 2 else "yaml"  # either has all kinds of places
            text = format_model(parse_text(spec), "yaml") if spec and syntax == "yaml" else spec
            found = list(re.finditer(rf"\b{name}\b", text))
            assert not found or any(offered(text, m.start(), name, syntax) for m in found), (name, syntax)


def offered(text: str, start: int, name: str, syntax: Any) -> bool:
    """Whether a name is offered behind its first character, in a text that ends there."""
    document = Document(f"t.{syntax}", text[: start + 1], syntax)
    return name in [item.label for item in complete(document, document.places.position(start + 1))]


def test_places_are_those_of_the_protocol() -> None:
    text = "a𝒩b\r\nc\rd\n"
    places = Places(text)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] != "\r\n":
            assert places.offset(places.position(offset)) == offset
    assert (places.position(2).line, places.position(2).character) == (0, 3), "two code units"
    assert places.position(7).line == 2, "a lone carriage return ends a line"


def test_shapes_before_an_error_are_known() -> None:
    text = "model m\ninput x: real[4]\ny ~ normal(x -> dense(8) -> conv(3, 3))\ntarget y: real[1]\n"
    document = read("t.mp", text, "mp")
    assert [d.code for d in document.findings] == ["MP213"] and document.module is None
    assert [str(s.sizes) for seen in document.shapes.values() for s in seen] == ["(4,)", "(8,)"]
    assert isinstance(document.model, ast.Model) and Source("t.mp", text).line(1) == "model m"
