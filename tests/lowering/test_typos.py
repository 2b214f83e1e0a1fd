"""A name of the language with one edit is found, and its finding has a fix, in both syntaxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, Source, SpecError
from mpcompile.diagnostics.nearest import nearest, one_edit
from mpcompile.frontend import Syntax, format_model, parse_text
from mpcompile.frontend.editing import Edit, edited, offsets
from mpcompile.frontend.tokens import HEADS
from mpcompile.frontend.yamlform import KEYS
from mpcompile.lowering import lower
from mpcompile.reference import KINDS

NAMES = {name for kind in KINDS.values() for name in kind.rows()}


def typo_of(name: str) -> str:
    """The name with one edit: which one depends on its length, so that a table has all kinds."""
    i = len(name) // 2
    made = [
        name[:i] + name[i + 1 :],
        name[:i] + "q" + name[i:],
        name[:i] + "q" + name[i + 1 :],
        name[:i] + name[i + 1 : i + 2] + name[i] + name[i + 2 :],
    ]
    fit = [t for t in made if t not in NAMES | {name, ""}]
    return fit[len(name) % len(fit)]


def found(text: str, syntax: Syntax) -> tuple[Diagnostic, ...]:
    """The findings of reading a spec, and its warnings."""
    path = f"t.{syntax}"
    try:
        module = lower(parse_text(text, path, syntax), Source(path, text))
    except SpecError as problem:
        return problem.diagnostics
    return tuple(api.warnings(module))


def mended(text: str, syntax: Syntax, old: str) -> Iterator[str]:
    """The spec with each fix of a finding about a name, applied."""
    for d in found(text, syntax):
        if d.fix is not None and d.fix.old == old:
            start, end = offsets(text, d.fix.span)
            assert text[start:end] == old, "the fix stands where the name stands"
            yield edited(Source(f"t.{syntax}", text), syntax, [Edit(start, end, d.fix.new)])


def in_both(spec: str) -> Iterator[tuple[Syntax, str]]:
    yield "mp", spec
    yield "yaml", format_model(parse_text(spec), "yaml")


@pytest.mark.parametrize("title", KINDS)
def test_a_misspelt_name_has_a_fix(title: str) -> None:
    kind = KINDS[title]
    for name in kind.rows():
        typo, example = typo_of(name), kind.example(name)
        syntax: Syntax = "mp" if len(name) % 2 else "yaml"
        text = format_model(parse_text(example), "yaml") if example and syntax == "yaml" else example
        if not re.search(rf"\b{name}\b", text):
            continue  # a list has no name: `order = [2, 0, 1]`
        wrong = re.sub(rf"\b{name}\b", typo, text)
        fixes = list(mended(wrong, syntax, typo))
        assert fixes and wrong not in fixes, (name, typo, syntax)


SPEC = """\
model m

input x: real[4]
target y: real[1]

net f = dense(8) -> relu
net unused = dense(8) -> tanh

y ~ normal(x -> f -> dense(1, init = normal), scale = 1)

check { parameters <= 1000 }
"""


def test_other_words_have_fixes() -> None:
    """Types, statements, keys of YAML, choices, arguments, variables, data, settings, and nets that nothing uses."""
    cases = [("real", "rael"), ("relu", "rleu"), ("tanh", "tnah"), ("init", "intt")]
    for syntax, text in in_both(SPEC):
        for word, typo in cases:
            assert list(mended(re.sub(rf"\b{word}\b", typo, text, count=1), syntax, typo)), (word, syntax)
        assert list(mended(text.replace("init = normal", "init = nromal"), syntax, "nromal"))
    assert list(mended(SPEC.replace("x -> f", "x -> ff"), "mp", "ff"))
    fixed = list(mended(f"{SPEC}\ntrain {{ data: dgiits }}\n", "mp", "dgiits"))
    assert fixed == [f"{SPEC}\ntrain {{ data: digits }}\n"]
    for head in sorted(HEADS - {"model", "carry"}):
        assert list(mended(f"model m\n\n{typo_of(head)} x: real[4]\n", "mp", typo_of(head))), head
    for key in KEYS:
        assert list(mended(f"model: m\n{typo_of(key)}: 1\n", "yaml", typo_of(key))), key


def test_a_path_is_no_misspelt_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mons").mkdir()
    for data in ("mons", '"moon.s"', '"a/moons"', "elsewhere"):
        assert not [d for d in found(f"{SPEC}\ntrain {{ data: {data} }}\n", "mp") if d.code == "MP501"], data


def test_one_edit_is_the_distance_of_damerau() -> None:
    assert all(one_edit("adam", t) for t in ("adma", "adm", "adaam", "adxm", "dam", "adamw", "daam"))
    assert not any(one_edit("adam", t) for t in ("adam", "damx", "ad", "madam1", "daxm", ""))
    assert nearest("at", ["at", "add", "cat"]) == "cat"
    assert nearest("q", ["e", "x"]) is None, "names of one letter are not alike"
