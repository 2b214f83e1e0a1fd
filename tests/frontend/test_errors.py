"""Where errors are, and what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from mpcompile.diagnostics import Diagnostic, Source, SpecError
from mpcompile.diagnostics.codes import CODES
from mpcompile.diagnostics.render import RENDERERS, render
from mpcompile.frontend import parse_text

ROOT = Path(__file__).parents[2]


def errors(text: str, syntax: str = "mp") -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        parse_text(text, f"spec.{syntax}", syntax)  # type: ignore[arg-type]
    return caught.value.diagnostics


def places(text: str, syntax: str = "mp") -> list[tuple[str, int, int, int]]:
    return [(d.code, d.span.line, d.span.column, d.span.end_column) for d in errors(text, syntax)]


MP = [
    ("model m\nmask up ~ degrees(3)", [("MP100", 2, 9, 10)]),
    ("model m\ntarget y: real\ny = bernoulli(x)", [("MP105", 3, 1, 17)]),
    ("model m\ninputt x: real[2]", [("MP102", 2, 1, 7)]),
    ("model m\ninput x: reel[2]", [("MP108", 2, 10, 14)]),
    ("model m\ninput x: category", [("MP108", 2, 10, 18)]),
    ("model m\r\ninput x: real[2]\rinput z: reel[2]", [("MP004", 2, 17, 18)]),
    ("model m\nnet f = dense(3\nnet g = relu", [("MP101", 2, 14, 15)]),
    ("model m\nnet f = dense(3]\nnet g = dense(", [("MP101", 2, 16, 17), ("MP101", 3, 14, 15)]),
    ("model m\nnet f = a b\nnet g = a -> -> b\nnet h = c", [("MP100", 2, 11, 12), ("MP100", 3, 14, 16)]),
    ("model m\nx ~ flow() {\n  a b\n  c\n  d e\n}\nnet f = (", [("MP100", 3, 5, 6), ("MP100", 5, 5, 6),
    ("MP101", 7, 9, 10)]),
    ("model m\nnet __f = a", [("MP104", 2, 5, 8)]),
    ("model m\nnet f = a\nmask f = b", [("MP105", 3, 6, 7)]),
    ("model m\nnet f = g(a=1, a=2)", [("MP105", 2, 16, 19)]),
    ("model m\nnet f = \"abc\nnet g = a !", [("MP109", 2, 9, 10), ("MP109", 3, 11, 12)]),
    ('model m\nnet f = file("a\\q")', [("MP109", 2, 16, 18)]),
    ("model m\nnet f = 1e999", [("MP009", 2, 9, 14)]),
    ("model m\ncheck {\n  a >=\n  b is c\n  d e\n}", [("MP100", 3, 7, 7), ("MP100", 5, 5, 6)]),
    ("model m\ntrain { a 1 }\nnet f = ,", [("MP100", 2, 11, 12), ("MP100", 3, 9, 10)]),
    ("input x: real[2]", [("MP103", 1, 1, 1)]),
    ("model m\nmodel n", [("MP105", 2, 1, 8)]),
    ("model m\nmodel\nnet f = a", [("MP100", 2, 6, 6)]),
    ("model m\r\nnet f = a b\r\n", [("MP100", 2, 11, 12)]),
    ("\ufeffmodel m x", [("MP100", 1, 9, 10)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MP, ids=range(len(MP)))
def test_place_of_errors_in_mp(text: str, expected: list[tuple[str, int, int, int]]) -> None:
    assert places(text) == expected


def test_yaml_that_is_none_is_said_in_words_of_ours() -> None:
    """The place is that of what was begun, or of what does not fit, and each has a help."""
    texts = {
        "model: m\ninput:\n  x: real[4]\n y: real[3]\n": (4, 2, "begin in the same column"),
        "model: m\nmasks: {a: [x y, [b] c]}\n": (2, 22, "written [a, b]"),
        'model: m\ninput: {x: "real" y: "real"}\n': (2, 19, "written {a: b}"),
        "model: m\ninput:\n  x: real\n  y\nnets: {}\n": (4, 3, "`key: value`"),
        "model: m\nnets: - f\n": (2, 7, "on a line of its own"),
        'model: m\nnets: {f: "abc\n': (2, 11, "close it"),
        'model: m\nnets: {f: "\\q"}\n': (2, 13, "double its backslash"),
        "model: m\nnets: {f: @dense}\n": (2, 11, "starts with `@`"),
        "model: m\nnets:\n\tf: a": (3, 1, "spaces"),
        "model: m\nnets:\n  f: a: b\n": (3, 7, ": `"),
    }
    for text, (line, column, help_) in texts.items():
        found = errors(text, "yaml")[0]
        assert (found.code, found.span.line, found.span.column) == ("MP107", line, column), (text, found)
        assert help_ in found.help and "block" not in found.message and not found.notes, found


def test_signs_of_word_processors_and_other_languages_have_a_help() -> None:
    for sign in "“–×≤é\u00a0\u200b":
        assert all(d.help for d in errors(f"model m\nnet f = a {sign} b")), sign
    assert (
        "`#`" in errors("model m\n// comment")[0].help and "`#`" in errors("model m\n/* comment */")[0].help
    )
    assert "latent" in errors("model m\nx ~ normal(0, 1) prior normal(0, 1)")[0].help


def test_a_keyword_that_begins_no_statement_has_its_place() -> None:
    """The help can be pasted: it reads where the keyword was refused."""
    for word in ("repeat i in 0..3 { a }", "yield x", "allow unused_name"):
        (found,) = errors(f"model m\n{word}")
        assert (found.code, found.span.column, found.span.end_column) == (
            "MP100",
            1,
            1 + len(word.split()[0]),
        )
        parse_text(f"model m\n{found.help.split(': ', 1)[1]}", "spec.mp", "mp")
    (found,) = errors("model m\nnet repeat = a")
    assert "choose another name" in found.help


YAML = [
    ("model: m\nparam: {a: 1}", [("MP102", 2, 1, 6)]),
    ("model: m\nmodel: n", [("MP105", 2, 1, 6)]),
    ("model: m\ninput: {x: 'real[2'}", [("MP101", 2, 17, 18)]),
    ("model: m\nnets:\n  f: [conv(8, 3), relu]", [("MP101", 3, 11, 12)]),
    ("model: m\nnets:\n  f: [a b, 'c d']\n  g: a", [("MP100", 3, 9, 10), ("MP100", 3, 15, 16)]),
    ("model: m\nnets:\n  f: >-\n    a ->\n    b c\n", [("MP100", 5, 7, 8)]),
    ("model: m\nnets:\n  f: |\n\n    a\n    -> b c\n", [("MP100", 6, 10, 11)]),
    ("model: m\nnets:\n  f: a ->\n     b c\n", [("MP100", 4, 8, 9)]),
    ('model: m\nnets:\n  f: "a \\x2d\\u003e b c"\n', [("MP100", 3, 22, 23)]),
    ("model: m\nnets:\n  f: 'file(''a'') b'\n", [("MP100", 3, 19, 20)]),
    ('model: m\nnets:\n  f: "a ->\n    b c"\n', [("MP100", 4, 7, 8)]),
    ("model: m\ndensity:\n  - x ~ flow(:\n      - a\n", [("MP101", 3, 13, 14)]),
    ("model: m\ndensity:\n  - x ~ flow(,):\n      - a\n", [("MP100", 3, 14, 15)]),
    ("model: m\ndensity:\n  - mask a = b", [("MP114", 3, 5, 15)]),
    ("model: m\nparams: [a, b]", [("MP106", 2, 9, 15)]),
    ("model: m\nx: &a [*a]", [("MP008", 2, 8, 10)]),
    ("model: m\nx: !!python/object:os.system a", [("MP008", 2, 4, 31)]),
    ("model: m\nx:\n  <<: {a: b}", [("MP008", 3, 3, 5)]),
    ("model: m\n---\nmodel: n", [("MP008", 2, 1, 4)]),
    ("model: m\nx: {[a]: b}", [("MP106", 2, 5, 6)]),
    ("- a", [("MP106", 1, 1, 4)]),
    ("model: m\nnets:\n\tf: a", [("MP107", 3, 1, 2)]),
    ("", [("MP103", 1, 1, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), YAML, ids=range(len(YAML)))
def test_place_of_errors_in_yaml(text: str, expected: list[tuple[str, int, int, int]]) -> None:
    assert places(text, "yaml") == expected


def test_near_misses_get_a_suggestion() -> None:
    assert errors("model m\ninputt x: real[2]")[0].help == "did you mean `input`?"
    assert errors("model: m\nnet: {}", "yaml")[0].help == "did you mean `nets`?"
    assert errors("model m\ninput x: reall[2]")[0].help == "did you mean `real`?"


def test_spans_of_nodes() -> None:
    model = parse_text("model m\nx ~ normal(\n  a + (b * 2), 1)\n", "m.mp")
    call = model.density[0].distribution  # type: ignore[union-attr]
    assert (call.span.line, call.span.column, call.span.end_line, call.span.end_column) == (2, 5, 3, 18)
    total = call.args[0].value  # type: ignore[union-attr]
    assert (total.span.line, total.span.column, total.span.end_column) == (3, 3, 14)
    product = total.right  # type: ignore[union-attr]
    assert (product.span.line, product.span.column, product.span.end_column) == (3, 8, 13)


REJECTED = sorted((ROOT / "grammar" / "rejected").iterdir())


@pytest.mark.parametrize("path", REJECTED, ids=lambda p: p.name)
def test_rejected_samples(path: Path, snapshot: SnapshotAssertion) -> None:
    text = path.read_bytes().decode("utf-8")
    name = f"grammar/rejected/{path.name}"
    with pytest.raises(SpecError) as caught:
        parse_text(text, name, "mp" if path.suffix == ".mp" else "yaml")
    shown = render(caught.value.diagnostics, [Source(name, text)])
    assert shown == snapshot
    wanted = re.findall(r"# expect: (.*)", text)
    assert {d.code for d in caught.value.diagnostics} == set(wanted[0].split())


def test_formats() -> None:
    found = errors("model m\nnet f = a b")
    source = Source("spec.mp", "model m\nnet f = a b")
    concise = render(found, [source], "concise")
    assert concise.startswith("spec.mp:2:11: MP100 expected ")
    (entry,) = json.loads(render(found, [source], "json"))
    assert entry["location"] == {"line": 2, "column": 11} and entry["filename"] == "spec.mp"
    assert "\x1b[" not in render(found, [source]) and "\x1b[" in render(found, [source], colour=True)
    assert set(RENDERERS) >= {"full", "concise", "json"}


def test_terminal_escapes_of_a_spec_do_not_reach_the_terminal() -> None:
    shown = render(
        [Diagnostic("MP100", "found `\x1b[2J`", errors("model m x")[0].span)], [Source("spec.mp", "\x1b[2J")]
    )
    assert "\x1b" not in shown


def test_every_code_is_explained() -> None:
    used: set[str] = set()
    for path in (ROOT / "mpcompile" / "frontend").glob("*.py"):
        used |= set(re.findall(r'"(MP\d{3})"', path.read_text()))
    assert used <= set(CODES)
    for code in CODES.values():
        assert code.page().startswith(f"# {code.name} ({code.code})") and code.what and code.why
