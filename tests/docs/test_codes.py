"""The table of diagnostic codes is the code's, and the pages are the table's."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from textwrap import indent

import pytest

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.diagnostics.codes import CODES, Code
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "mpcompile", ROOT / "backends", ROOT / "grammar"]


def used() -> dict[str, str]:
    """Codes that stand as strings in the source, each with one place."""
    found: dict[str, str] = {}
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            if path.name.startswith("codes"):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
                for code in re.findall(r'"(MP\d{3})"', line):
                    found.setdefault(code, f"{path.relative_to(ROOT)}:{number}")
    return found


def test_every_code_used_is_in_the_table() -> None:
    assert {code: place for code, place in used().items() if code not in CODES} == {}


def test_every_row_of_the_table_is_used() -> None:
    assert set(CODES) - set(used()) == set()


def claimed(tree: ast.AST) -> set[str]:
    """Codes in the strings of a test file, but for docstrings and what is said to be absent."""
    aside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            aside.add(node.value)
        elif isinstance(node, ast.Compare) and all(isinstance(o, ast.NotIn | ast.NotEq) for o in node.ops):
            aside |= {*ast.walk(node)}
    strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in aside)
    return {code for s in strings if isinstance(s, str) for code in re.findall(r"MP\d{3}", s)}


def test_every_row_of_the_table_is_raised_by_a_test() -> None:
    """By a test that names it, or by a spec of specs/invalid that is held to it."""
    files = [p for p in (ROOT / "tests").rglob("test_*.py") if p != Path(__file__)]
    found = {code for path in files for code in claimed(ast.parse(path.read_text(encoding="utf-8")))}
    for path in (ROOT / "specs" / "invalid").glob("*.expected"):
        found |= set(re.findall(r":\d+:\d+: (MP\d{3}) ", path.read_text(encoding="utf-8")))
    assert found >= {"MP301"} and set(CODES) - found == set()


def test_what_is_said_to_be_absent_is_not_raised() -> None:
    told = 'def test():\n    """MP101"""\n    assert "MP102" not in x and code != "MP103"\n    assert "MP104" in x'
    assert claimed(ast.parse(told)) == {"MP104"}


def test_the_table_is_in_order_and_names_are_unique() -> None:
    assert list(CODES) == sorted(CODES)
    assert len({c.name for c in CODES.values()}) == len(CODES)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", c.name) for c in CODES.values())


def test_pages_are_those_of_the_table() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for folder, made in (("codes", generate.codes()), ("reference", generate.reference())):
        on_disk = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs" / folder).glob("*.md")}
        assert on_disk == made, "run `python docs/generate.py`"


#: Where the text of a page may stand in a spec.
PLACES = {
    "mp": ("model m\n{}", "{}", "model m\nnet f = {}", "model m\nx ~ flow(base = normal) {{\n{}\n}}", "model m\nx ~ {}",
           "model m\ncheck {{\n{}\n}}", "model m\ntrain {{\n{}\n}}", "model m\nrecurrence over time {{\n{}\n}}"),
    "yaml": ("model: m\n{}", "{}", "model: m\ndensity:\n{}", "model: m\nnets:\n  f:\n{}"),
}  # fmt: skip
_X = "model m\ninput x: real[4]\ntarget y: real[1]\n"
_STAGE, _LAW = _X + "y ~ normal(x -> {} -> dense(1), 1)\n", _X + "y ~ normal(x -> dense(1), 1)\n{}\n"
_SEQUENCE = "model m\ninput x: real[time, channel: {}]\ntarget y: real[1]\ny ~ normal(x -> {{}} -> last -> dense(1), 1)\n"
_FLOW = "model m\ninput x: {}\nx ~ flow {{{{ {{}} -> affine }}}}\n"
_STEPS = "model m\ninput x: real[time, 4]\n"
#: A spec around the example of a page, in which it raises its code, and what to use instead does not.
AROUND = {
    **dict.fromkeys(("MP100", "MP104", "MP105", "MP108", "MP109", "MP211", "MP212"), "model m\n{}"),
    **dict.fromkeys(("MP008", "MP102", "MP106", "MP107", "MP114"), "model: m\n{}"),
    **dict.fromkeys(("MP103", "MP125"), "{}"),
    **dict.fromkeys(("MP009", "MP101"), "model m\nnet f = {}"),
    **dict.fromkeys(("MP111", "MP112", "MP113", "MP120", "MP124", "MP202"), _STAGE),
    **dict.fromkeys(("MP123", "MP205"), _STAGE.replace("real[4]", "real[1, 8, 8]").replace("{} ->", "{} -> flatten ->")),
    **dict.fromkeys(("MP131", "MP133"), _LAW),
    **dict.fromkeys(("MP122", "MP128"), _X.replace("[1]", "[4]") + "y ~ normal({}, 1)\n"),
    "MP110": _STAGE.replace("model m", "model m(hidden = 8)"),
    "MP121": _X + "net encoder = dense(3)\ny ~ normal({} -> dense(1), 1)\n",
    "MP127": "model m\ninput x: binary[time, 88]\n{}\n",
    "MP201": _SEQUENCE.format(16),
    "MP204": "model m\ninput text: category(9)[time]\ntarget y: real[1]\ny ~ normal({} -> last -> dense(1), 1)\n",
    "MP206": "model m\ninput x: binary[1, 8, 8]\nx ~ autoregressive {{ {} -> conv(1, 1) }}\n",
    "MP321": _STAGE.replace("-> dense(1)", "-> relu -> dense(1)"),
    "MP322": "model m\ninput scores: real[3]\ninput mask: binary[3]\ntarget y: category(3)\n"
    "y ~ categorical(logits = {})\n",
    "MP327": "model m\ninput x: real[3]\ntarget y: binary[1]\n{}\n",
    "MP332": _STEPS + "x ~ autoregressive(likelihood = normal) {{ {} }}\n",
    "MP401": _FLOW.format("real[4, 8, 8]"), "MP404": "model m\n{}", "MP405": "model m\n{}",
    "MP406": _FLOW.format("real[1, 8, 8]"),
    "MP407": "model m\ninput x: real[4]\n{}\n",
}  # fmt: skip


def raised(text: str) -> set[str]:
    syntax = "yaml" if text.startswith("model:") else "mp"
    try:
        m = lower(parse_text(text, f"m.{syntax}", syntax), Source(f"m.{syntax}", text))
    except SpecError as fault:
        return {d.code for d in fault.diagnostics}
    return {d.code for d in (*api.check(m), *api.warnings(m))}


@pytest.mark.parametrize("code", AROUND)
def test_the_example_of_a_page_raises_its_code_and_the_other_text_does_not(code: str) -> None:
    row = CODES[code]
    example, instead = (text.split("   #")[0] for text in (row.example, row.instead))
    assert code in raised(AROUND[code].format(example))
    assert code not in raised(AROUND[code].format(instead))


#: What to use instead is said in words.
WORDS = {"MP305", "MP320", "MP322"}


def parses(text: str) -> bool:
    for syntax, places in PLACES.items():
        for place in places:
            try:
                shown = indent(text, "    ") if place.endswith(":\n{}") else text
                parse_text(place.format(shown), f"m.{syntax}", syntax)
            except SpecError:
                continue
            return True
    return False


@pytest.mark.parametrize("code", [c for c in CODES.values() if c.instead], ids=lambda c: c.code)
def test_what_a_page_says_to_use_can_be_pasted(code: Code) -> None:
    if code.instead.startswith("mpcompile "):
        return  # test_examples.py parses commands
    assert parses(code.instead) != (code.code in WORDS)
