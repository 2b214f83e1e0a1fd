"""Colours of specs, in Visual Studio Code and by Pygments: their words are the language's, and no token is cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lark import Token
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Keyword, Number, String

import mpcompile
from mpcompile.diagnostics import Source
from mpcompile.frontend import build
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.tokens import HARD_KEYWORDS, HEADS, KEYWORDS, SEPARATOR, scan, tokenize
from mpcompile.highlighting import TYPES, SpecLexer

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "editors" / "vscode"
SAMPLES = sorted([*(ROOT / "specs").glob("*.mp"), *(ROOT / "grammar" / "accepted").glob("*.mp")])
GRAMMAR = json.loads((EXTENSION / "syntaxes" / "mpcompile.tmLanguage.json").read_text(encoding="utf-8"))

Spans = Iterator[tuple[int, int, str]]


def by_textmate(text: str) -> Spans:
    """The stretches that the grammar of Visual Studio Code names, by its rules in their order, at the nearest place."""
    rules = [rule for part in ("comment", "statement") for rule in [GRAMMAR["repository"][part]]]
    rules += GRAMMAR["repository"]["expression"]["patterns"]
    compiled = [(re.compile(rule["match"], re.MULTILINE), rule) for rule in rules]
    at = 0
    while at < len(text):
        found = [(m, rule) for pattern, rule in compiled if (m := pattern.search(text, at))]
        if not found:
            return
        match, rule = min(found, key=lambda pair: pair[0].start())
        start, end = match.span(1) if "captures" in rule else match.span()
        yield start, end, rule["captures"]["1"]["name"] if "captures" in rule else rule["name"]
        at = max(match.end(), at + 1)


def by_pygments(text: str) -> Spans:
    """The same by Pygments, with the names of the other."""
    named = {Comment: "comment", String: "string", Keyword: "keyword", Number: "constant.numeric"}
    for at, token, value in SpecLexer(stripnl=False).get_tokens_unprocessed(text):
        assert token is not Error, (at, value)
        yield at, at + len(value), next((n for kind, n in named.items() if token in kind), "other")


def named(spans: dict[tuple[int, int], str], kind: str) -> set[tuple[int, int]]:
    return {span for span, name in spans.items() if name.startswith(kind)}


def of_type(tokens: list[Token], *types: str) -> set[tuple[int | None, int | None]]:
    return {(t.start_pos, t.end_pos) for t in tokens if t.type in types}


@pytest.mark.parametrize("colour", [by_textmate, by_pygments])
def test_colours_are_of_whole_tokens(colour: Callable[[str], Spans]) -> None:
    """Comments, strings, numbers and hard keywords are those of the lexer; statements begin with a keyword."""
    for path in SAMPLES:
        text = path.read_text(encoding="utf-8")
        fragment = Fragment.of_file(Source(str(path), text))
        raw, comments = scan(fragment)
        spans = {(start, end): name for start, end, name in colour(text)}

        assert named(spans, "comment") == set(comments), path
        assert named(spans, "string") == of_type(raw, "STRING"), path
        assert named(spans, "constant.numeric") == of_type(raw, "INT", "FLOAT"), path
        words = named(spans, "keyword") - named(spans, "keyword.operator")
        words = {w for w in words if text[w[0] : w[1]] not in (*TYPES, "true", "false")}
        assert {text[a:b] for a, b in words} <= set(KEYWORDS), path
        assert words >= of_type(raw, *(w.upper() for w in HARD_KEYWORDS)), path
        whole = tokenize(fragment).tokens
        for before, head, behind in zip([None, *whole], whole, whole[1:], strict=False):
            starts = before is None or before.type in (SEPARATOR, "LBRACE")
            if starts and head.value in HEADS and behind.type in ("NAME", "LBRACE"):
                assert (head.start_pos, head.end_pos) in words, (path, head)


def test_words_are_those_of_the_language() -> None:
    parts = GRAMMAR["repository"]
    statements = re.search(r"\(([a-z|]+)\)\(\?=", parts["statement"]["match"])
    assert statements is not None and set(statements[1].split("|")) == HEADS | {"minimise"}
    named = {rule.get("name", ""): rule["match"] for rule in reversed(parts["expression"]["patterns"])}
    assert set(re.findall(r"[a-z]{2,}", named["keyword.control.mpcompile"])) == HARD_KEYWORDS
    assert set(re.findall(r"[a-z]{2,}", named["storage.type.mpcompile"])) == set(build.TYPES) == set(TYPES)
    marks = set(KEYWORDS) - HEADS - HARD_KEYWORDS
    assert all(re.search(rf"\\b{word}\b", parts["expression"]["patterns"][3]["match"]) or
               f"|\\b{word}" in parts["expression"]["patterns"][3]["match"] for word in marks)  # fmt: skip


def test_the_extension_is_whole() -> None:
    package = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    files = [package["main"], *(entry["path"] for entry in package["contributes"]["grammars"])]
    files += [entry["configuration"] for entry in package["contributes"]["languages"]]
    assert all((EXTENSION / file).is_file() for file in files)
    assert package["version"] == mpcompile.__version__
    lock = json.loads((EXTENSION / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    assert lock["version"] == package["version"]
    for grammar in package["contributes"]["grammars"]:
        text = json.loads((EXTENSION / grammar["path"]).read_text(encoding="utf-8"))
        assert text["scopeName"] == grammar["scopeName"]


def test_the_lexer_is_found() -> None:
    assert isinstance(get_lexer_by_name("mp"), SpecLexer) and isinstance(
        get_lexer_for_filename("m.mp"), SpecLexer
    )
