"""Laws of the server without a session: names keep their meaning when they are renamed, and each one is offered."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

pytest.importorskip("pygls")

from lsprotocol.types import SignatureHelp
from specs_under_test import SPECS

from mpcompile.diagnostics import Source
from mpcompile.frontend import Syntax, ast, format_model, parse, parse_text
from mpcompile.frontend.ast import without_spans
from mpcompile.frontend.layout import laid_out
from mpcompile.reference import KINDS, options
from mpcompile.server.complete import complete
from mpcompile.server.document import Document, read
from mpcompile.server.edits import Refused, renamed
from mpcompile.server.names import RENAMED, Names
from mpcompile.server.places import Places
from mpcompile.server.signature import SECTIONS, signature, signatures

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


def test_every_call_has_a_signature_with_its_arguments() -> None:
    """Of every name of the language: the argument that is due is marked, by its name and by its place."""
    for title, kind in KINDS.items():
        for name in kind.rows():
            label, own = signature(kind, name)
            assert {p.name for p in own} >= {slot.name for slot in options(kind, name)}, (title, name)
            for i, p in enumerate(own):
                assert re.match(rf"{p.name}\b", label[p.start :]), (title, name, label)
                head = SECTIONS.get(title, "")
                found = signed(f"{head} {{ {name}({p.name} = " if head else f"net f = {name}({p.name} = ")
                marked = [(s.label, s.active_parameter) for s in found.signatures or ()]
                assert (label, i) in marked, (title, name, p.name, marked)


def signed(text: str, syntax: Any = "mp") -> SignatureHelp:
    document = Document(f"t.{syntax}", text, syntax)
    found = signatures(document, document.places.position(len(text)))
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("text", "syntax", "due"),
    [
        ("net f = conv(", "mp", "channels"),
        ("net f = conv(8, ", "mp", "kernel"),
        ("net f = conv(8, [3, ", "mp", "kernel"),
        ("net f = conv(f(1, 2), 3", "mp", "kernel"),
        ("net f = conv(8, pad = same, ", "mp", "over"),
        ("net f = conv(8, dense(4), pad = ", "mp", "pad"),
        ("y ~ normal(x -> dense(1), ", "mp", "scale"),
        ("net f = dense(4) -> softmax(over = ", "mp", "over"),
        ("check { path_length(", "mp", "x"),
        ("train { optimizer: adam(0.1, ", "mp", "beta1"),
        ("nets:\n  f: dense(4) -> conv(8, ", "yaml", "kernel"),
        ("density:\n  - x ~ autoregressive(order = ", "yaml", "order"),
    ],
)
def test_the_argument_that_is_due_is_marked(text: str, syntax: Any, due: str) -> None:
    (found, *_) = signed(text, syntax).signatures
    assert found.parameters is not None and found.active_parameter is not None
    start, end = found.parameters[found.active_parameter].label
    assert found.label[int(start) : int(end)] == due, found.label


def test_blocks_have_signatures_and_other_places_none() -> None:
    text = "model m\ninput x: real[4]\nblock two(k = 2, w) = dense(k) -> dense(w)\nnet f = "
    known = read("t.mp", text + "two(2, 3)\n", "mp")
    document = Document("t.mp", text + "two(k = 1, w = ", "mp", last=known)
    (found,) = signatures(document, document.places.position(len(document.text))).signatures  # type: ignore[union-attr]
    assert (found.label, found.active_parameter) == ("two(k, w)", 1)
    for other in ("net f = dense(4) ", "", "net f = nothing(", "block b(w, "):
        document = Document("t.mp", other, "mp")
        assert signatures(document, document.places.position(len(other))) is None, other


def test_work_grows_as_the_text() -> None:
    """Counted, not timed: calls of functions that find the names and lay the text out, for n and 4n lines."""

    def calls(lines: int) -> int:
        text = "model m\n" + "".join(f"# ein Maß\nnet f{i} = dense(4)\n" for i in range(lines))
        model, made = parse_text(text), 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal made
            made += event.endswith("call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            Names(model, Source("t.mp", text)), laid_out(Source("t.mp", text), "mp")
        finally:
            sys.setprofile(before)
        return made

    assert calls(200) < 5 * calls(50)


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
