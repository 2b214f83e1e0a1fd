"""The chapters of the language show everything that the grammar has: each rule, each operator, each optional part."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from lark import Token, Tree

from mpcompile.diagnostics import Diagnostic, Source
from mpcompile.frontend import parse_text
from mpcompile.frontend.grammar import parser
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.syntax import read
from mpcompile.reference import KINDS

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = [DOCS / "language.md", *sorted((DOCS / "language").glob("*.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
#: Rules that only fragments of YAML start with.
OF_YAML = {"stage"}


@cache
def trees() -> list[Tree[Token]]:
    """The trees of all specs of the chapters that are written as `.mp`."""
    found = []
    for block in re.findall(r"^```mp \S+[^\n]*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        problems: list[Diagnostic] = []
        tree = read(Fragment.of_file(Source("a.mp", block)), "model", problems)
        assert tree is not None and problems == [], block
        found.append(tree)
    return found


def test_every_rule_of_the_grammar_has_an_example() -> None:
    named = {r.alias or r.origin.name for r in parser().rules if r.alias or not r.options.expand1}
    shown = {str(node.data) for tree in trees() for node in tree.iter_subtrees()}
    assert {name for name in named if not name.startswith("_")} - shown - OF_YAML == set()


def test_every_operator_has_an_example() -> None:
    kept = {
        s.name
        for r in parser().rules
        for s in r.expansion
        if s.is_term and not getattr(s, "filter_out", True)
    }
    names = {
        r.expansion[0].name for r in parser().rules if r.origin.name == "name"
    }  # keywords in the place of names
    shown = {
        c.type
        for tree in trees()
        for node in tree.iter_subtrees()
        for c in node.children
        if isinstance(c, Token)
    }
    assert kept - names - shown == set()


def test_every_optional_part_has_an_example() -> None:
    """A part is a place among the children of a rule, where the parser puts None if it is left out."""
    seen: dict[tuple[str, int], set[bool]] = defaultdict(set)
    for tree in trees():
        for node in tree.iter_subtrees():
            for i, child in enumerate(node.children):
                seen[str(node.data), i].add(child is not None)
    assert [part for part, found in seen.items() if found == {False}] == []


def test_every_yaml_spec_is_one_of_the_language() -> None:
    blocks = re.findall(r"^```yaml \S+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 1
    for block in blocks:
        parse_text(block, "a.yaml", "yaml")


def test_every_name_stands_in_a_chapter() -> None:
    """Settings of training have a page of their own; data sets and warnings stand in the reference alone."""
    text = {"settings": (DOCS / "training.md").read_text(encoding="utf-8")}
    for word, kind in KINDS.items():
        for name in kind.rows() if word not in ("data_sets", "warnings") else ():
            assert re.search(rf"`{name}\b", text.get(word, TEXT)), f"no chapter names `{name}`, {kind.noun}"
