"""Laws of parser and printer, in both syntaxes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import Syntax, ast, format_model, parse, parse_text
from mpcompile.frontend.ast import without_spans

sys.path.insert(0, str(Path(__file__).parent))
from strategies import models

ROOT = Path(__file__).parents[2]
ACCEPTED = sorted((ROOT / "grammar" / "accepted").iterdir())
TEMPLATES = sorted((ROOT / "mpcompile" / "frontend" / "templates").glob("*.mp"))
SYNTAXES: tuple[Syntax, ...] = ("mp", "yaml")
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("path", [*ACCEPTED, *TEMPLATES], ids=lambda p: p.name)
def test_samples_parse_and_survive_printing(path: Path) -> None:
    model, source = parse(path)
    ast.Model.model_validate(model.model_dump())  # the parser builds without validation: check that it may
    for syntax in SYNTAXES:
        text = format_model(model, syntax, source)
        again = parse_text(text, f"again.{syntax}", syntax)
        assert without_spans(again) == without_spans(model)
        assert format_model(again, syntax, Source(f"again.{syntax}", text)) == text, "fmt is not idempotent"


@few
@given(models())
def test_print_then_parse_is_the_same_tree(model: ast.Model) -> None:
    for syntax in SYNTAXES:
        text = format_model(model, syntax)
        again = parse_text(text, f"again.{syntax}", syntax)
        assert without_spans(again) == without_spans(model), text
        assert format_model(again, syntax) == text


WORDS = r"""model input x y ~ = -> ( ) [ ] { } , : ; .. 1 2.5 1e9 ** // | & @ as in is repeat latent prior
carry check recurrence over block on yield net mask train "a" ' " # density: - {a: [ &a *a !t | > yes"""
FRAGMENTS = st.sampled_from([*WORDS.split(), "\n", "\n\n", "\n  ", "\t"])


@few
@given(
    st.one_of(st.text(max_size=60), st.lists(FRAGMENTS, max_size=30).map(" ".join)), st.sampled_from(SYNTAXES)
)
@example("\ufeff", "yaml")
@example('a: "\\U99999999"', "yaml")
@example("model: a\n? [b]\n: c", "yaml")
@example("model m\n{", "mp")
@example("model m\ncheck { } }", "mp")
def test_any_text_is_a_model_or_a_spec_error(text: str, syntax: str) -> None:
    for full in (text, "model m\n" + text if syntax == "mp" else "model: m\n" + text):
        try:
            parse_text(full, "t", syntax)  # type: ignore[arg-type]
        except SpecError as problem:
            assert problem.diagnostics
            for d in problem.diagnostics:
                lines = full.split("\n")
                assert 1 <= d.span.line <= len(lines)
                assert (d.span.line, d.span.column) <= (d.span.end_line, d.span.end_column)
                assert 1 <= d.span.column <= len(lines[d.span.line - 1]) + 1


@few
@given(models(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_broken_specs_are_located(model: ast.Model, cuts: int, random: object) -> None:
    for syntax in SYNTAXES:
        text = format_model(model, syntax)
        for _ in range(cuts + 1):
            at = random.randrange(len(text))  # type: ignore[attr-defined]
            text = text[:at] + random.choice(["", "(", ")", "~", "\n", "}", "{", '"']) + text[at + 1 :]  # type: ignore[attr-defined]
        try:
            parse_text(text, "t", syntax)
        except SpecError as problem:
            assert problem.diagnostics


def test_comments_survive_formatting_and_conversion() -> None:
    text = (ROOT / "grammar" / "accepted" / "made.yaml").read_text()
    model = parse_text(text, "made.yaml", "yaml")
    for syntax in SYNTAXES:
        out = format_model(model, syntax, Source("made.yaml", text))
        assert "# every allowed dependency is really there" in out
        line = next(line for line in out.splitlines() if "complete(x)" in line)
        assert line.endswith("# every allowed dependency is really there")


def test_comments_of_every_place_are_kept_in_order() -> None:
    text = """# first
model m(a = 1)  # name

# about x
input x: binary[2]
x ~ flow(base = normal) {
  # in a body
  dequantize  # noise
  logit(alpha = 0.05)
}
# last
"""
    model = parse_text(text, "m.mp", "mp")
    out = format_model(model, "mp", Source("m.mp", text))
    kept = ["# first", "# name", "# about x", "# in a body", "# noise", "# last"]
    places = [out.index(c) for c in kept]
    assert places == sorted(places)
    assert format_model(parse_text(out, "m.mp", "mp"), "mp", Source("m.mp", out)) == out


@pytest.mark.parametrize("path", [p for p in ACCEPTED if p.suffix == ".mp"], ids=lambda p: p.name)
def test_both_syntaxes_of_a_sample_are_one_tree(path: Path) -> None:
    assert parse(path)[0].same_as(parse(path.with_suffix(".yaml"))[0])


def test_the_examples_of_the_manual_are_one_tree() -> None:
    blocks = (ROOT / "docs" / "language.md").read_text().split("```")
    mp, yaml = (
        blocks[number].partition("\n")[2] for number in (1, 3)
    )  # behind the line that names the language
    assert parse_text(mp, "a.mp", "mp").same_as(parse_text(yaml, "a.yaml", "yaml"))
