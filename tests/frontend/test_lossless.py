"""The formatter loses no comment and no literal; what it cannot keep it refuses, the file untouched."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from specs_under_test import ROOT
from typer.testing import CliRunner, Result

from mpcompile.cli.fmt import fmt
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import Syntax, ast, format_model, parse, parse_text, syntax_of
from mpcompile.frontend.ast import without_spans
from mpcompile.frontend.comments import comments_of
from mpcompile.frontend.formatting import formatted
from mpcompile.frontend.intake import guard

sys.path.insert(0, str(Path(__file__).parent))
from strategies import models

SYNTAXES: tuple[Syntax, ...] = ("mp", "yaml")
#: What one program or another takes for the end of a line. Controls among them are no text of a spec (MP004).
BREAKS = ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r", "\r\n"]
SHIPPED = sorted(
    p for folder in ("specs", "grammar/accepted", "benchmarks") for p in (ROOT / folder).rglob("*")
    if p.suffix in (".mp", ".yaml")
)  # fmt: skip
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

SPEC = """# harmless note{}train: {{steps: 7}}
model m(k = 1)
input x: binary[4]
x ~ bernoulli(logits = 0) # behind{}check: [a]
"""


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(fmt)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def texts(source: Source) -> Counter[str]:
    return Counter("".join(c.text.split()) for c in comments_of(source))


@pytest.mark.parametrize("mark", BREAKS, ids=ascii)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_comment_stays_a_comment(mark: str, syntax: Syntax) -> None:
    """Whatever ends a line for somebody else: the tail of a comment never becomes a statement."""
    text = SPEC.format(mark, mark)
    try:
        source = guard(text, "m.mp")
        model = parse_text(text, "m.mp", "mp")
    except SpecError:
        assert (
            mark in "\v\f\x1c\x1d\x1e\r" or mark == "\r\n"
        )  # a control character, or the end of the line for us as well
        return
    out = formatted(model, source, syntax)
    again = parse_text(out, f"m.{syntax}", syntax)
    assert again.same_as(model) and not again.train and not again.checks
    assert "train:{steps:7}" in "".join(texts(Source(f"m.{syntax}", out)))
    back = formatted(again, Source(f"m.{syntax}", out), "mp")
    assert parse_text(back, "m.mp", "mp").same_as(model)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"], ids=ascii)
def test_a_comment_of_yaml_ends_where_yaml_ends_it(mark: str) -> None:
    text = f"# note{mark}model: m\n"
    model = parse_text(text, "m.yaml", "yaml")
    assert [c.text for c in comments_of(Source("m.yaml", text))] == ["# note"]
    assert formatted(model, Source("m.yaml", text), "yaml") == "# note\nmodel: m\n"


@pytest.mark.parametrize(
    "number",
    ["1e-3", "1E5", "0.10", ".5", "1_000_000", "1000000", "9" * 40, "1e300", "1e-300", "5e-324", "0.1e1",
     "00012", "123456789.0"],
)  # fmt: skip
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_number_stays_as_it_is_written(number: str, syntax: Syntax) -> None:
    text = f"model m(k = {number}, j = -{number})\n"
    model = parse_text(text, "m.mp", "mp")
    out = formatted(model, Source("m.mp", text), syntax)
    assert out.count(number) == 2
    assert (
        formatted(parse_text(out, f"m.{syntax}", syntax), Source(f"m.{syntax}", out), "mp").count(number) == 2
    )


@few
@given(st.one_of(st.integers(0, 10**40 - 1), st.floats(0, allow_nan=False, allow_infinity=False)))
@example(10**39)
def test_a_number_that_nobody_wrote_reads_back(value: int | float) -> None:
    from mpcompile.diagnostics import Span

    param = ast.Param(span=Span.none(), name="k", default=ast.Number(span=Span.none(), value=value))
    model = ast.Model(span=Span.none(), name="m", params=(param,))
    for syntax in SYNTAXES:
        (read,) = parse_text(format_model(model, syntax), f"m.{syntax}", syntax).params
        assert isinstance(read.default, ast.Number) and read.default.value == value
        assert type(read.default.value) is type(value)


LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12)


@few
@given(models(), st.lists(st.tuples(LETTERS, st.integers(0, 30), st.booleans()), max_size=4), st.sampled_from(SYNTAXES),
       st.sampled_from(SYNTAXES))  # fmt: skip
def test_nothing_is_lost_or_it_is_refused(
    model: ast.Model, comments: list[tuple[str, int, bool]], start: Syntax, end: Syntax
) -> None:
    """Comments of any text anywhere in any model, from each syntax to each."""
    lines = format_model(model, start).split("\n")
    for text, at, alone in comments:
        number = at % len(lines)
        lines[number] = f"# {text}\n{lines[number]}" if alone else f"{lines[number]}  # {text}"
    text = "\n".join(lines)
    path = f"m.{start}"
    try:
        source = guard(text, path)
        read = parse_text(text, path, start)
    except SpecError:
        return  # a control character, or a comment that ended a line of YAML
    try:
        out = formatted(read, source, end)
    except SpecError as refused:
        assert refused.diagnostics[0].code == "MP010" and refused.diagnostics[0].span.path == path
        return
    again = parse_text(out, f"n.{end}", end)
    assert without_spans(again) == without_spans(read)
    kept = texts(Source(f"n.{end}", out))
    assert not texts(source) - kept
    assert formatted(again, Source(f"n.{end}", out), end) == out


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_specs_lose_nothing(path: Path) -> None:
    """Formatted, and converted there and back: the same model, every comment, and a fixed point."""
    try:
        model, source = parse(path)
    except SpecError:
        return
    if path.is_relative_to(ROOT / "specs"):
        assert formatted(model, source, syntax_of(path)) == source.text
    if "invalid" in path.parts:
        return  # what is wrong with them is not how they are written
    for syntax in SYNTAXES:
        out = formatted(model, source, syntax)
        again = parse_text(out, f"m.{syntax}", syntax)
        assert again.same_as(model)
        assert formatted(again, Source(f"m.{syntax}", out), syntax) == out
        assert not texts(source) - texts(Source(f"m.{syntax}", out))


def test_comments_inside_strings_of_yaml_are_kept() -> None:
    text = "model: m\nnets:\n  f: |-\n    dense(3)  # three units\n    -> relu\n"
    model = parse_text(text, "m.yaml", "yaml")
    for syntax in SYNTAXES:
        assert "# three units" in formatted(model, Source("m.yaml", text), syntax)


# --- files ---

UGLY = "model   m\ninput x:binary[2]\n"


def test_line_ends_and_mode_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.mp"
    path.write_bytes(UGLY.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    assert run(path).exit_code == 0
    assert path.read_bytes() == b"model m\r\n\r\ninput x: binary[2]\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert run("--check", path).exit_code == 0
    assert os.listdir(tmp_path) == ["m.mp"]


def test_in_a_folder_the_specs_of_check_are_formatted(tmp_path: Path) -> None:
    """Not hidden folders, not one named `invalid`, and no YAML of another program."""
    for name in ("m.mp", ".venv/m.mp", "invalid/m.mp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(UGLY)
    (tmp_path / "settings.yaml").write_text("model:   {size:   3}\n")
    done = run(tmp_path)
    assert done.exit_code == 0 and done.stderr == "" and done.stdout.count("reformatted") == 1
    assert [p.read_text() == UGLY for p in (tmp_path / ".venv/m.mp", tmp_path / "invalid/m.mp")] == [
        True,
        True,
    ]


def test_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.mp", tmp_path / "link.mp", tmp_path / "pipe.mp"
    real.write_text(UGLY)
    link.symlink_to(real)
    os.mkfifo(pipe)
    done = run(link)
    assert done.exit_code == 2 and "symbolic link" in done.stderr
    assert link.is_symlink() and real.read_text() == UGLY
    done = run(pipe)
    assert done.exit_code == 2 and "no regular file" in done.stderr
    (tmp_path / "folder.mp").mkdir()
    assert run(tmp_path / "folder.mp").exit_code == 0  # a folder without specs
    (tmp_path / "real.yaml").symlink_to("/nowhere")
    assert run(real, "--to", "yaml", "--force").exit_code == 2
    assert (tmp_path / "real.yaml").is_symlink()


def test_what_cannot_be_kept_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "m.mp"
    text = "model m  # \x80 is no text of YAML\n"
    path.write_text(text, encoding="utf-8")
    done = run(path, "--to", "yaml")
    assert done.exit_code == 2 and "MP010" in done.stderr and "m.mp:1:10" in done.stderr
    assert path.read_text(encoding="utf-8") == text and not (tmp_path / "m.yaml").exists()


def test_check_and_diff_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.mp"
    path.write_text(UGLY)
    for options in (["--check"], ["--diff"], ["--check", "--diff"]):
        assert run(*options, path).exit_code == 1
    assert run("--stdout", path).stdout == "model m\n\ninput x: binary[2]\n"
    assert path.read_text() == UGLY


def refusals(text: str, path: Path) -> list[str]:
    """The codes of what the front end finds wrong in a spec."""
    try:
        parse_text(text, path.name, syntax_of(path))
    except SpecError as refused:
        return [d.code for d in refused.diagnostics]
    return []


@pytest.mark.parametrize("path", SHIPPED[::5], ids=lambda p: f"{p.parent.name}/{p.name}")
@pytest.mark.parametrize("places", ["behind", "before", "both"])
def test_no_ordinary_comment_stands_in_the_way(path: Path, places: str) -> None:
    """A comment behind every line and on a line before it: all are kept in either syntax, and nothing more is refused."""
    lines: list[str] = []
    plain = path.read_text(encoding="utf-8")
    for at, line in enumerate(plain.split("\n")):
        if places != "behind" and line.strip():
            lines.append(" " * (len(line) - len(line.lstrip())) + f"# before {at}")
        behind = places != "before" and line.strip() and "#" not in line
        lines.append(f"{line}  # behind {at}" if behind else line)
    text, name = "\n".join(lines), f"m{path.suffix}"
    try:
        model = parse_text(text, name, syntax_of(path))
    except SpecError as refused:
        codes = [d.code for d in refused.diagnostics]
        assert path.suffix == ".yaml" or codes == refusals(
            plain, path
        )  # YAML: within a scalar of several lines
        return
    for syntax in SYNTAXES:
        out = formatted(model, Source(name, text), syntax)
        assert texts(Source(f"m.{syntax}", out)) == texts(Source(name, text))
