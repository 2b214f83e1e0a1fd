"""The grammar file, the tables built from it and the lexer say the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lark
import pytest

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.tokens import tokenize
from mpcompile.frontend.yamlform import BLOCK_KEYS, KEYS, RECURRENCE_KEYS
from mpcompile.reference import json_schema
from mpcompile_grammar import GRAMMAR, START_RULES, TABLES

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "grammar" / "accepted").glob("*.mp"))


def test_tables_belong_to_the_grammar() -> None:
    stored = json.loads(TABLES.read_text())
    wanted = hashlib.sha256(GRAMMAR.read_text().encode()).hexdigest()
    assert stored["grammar"] == wanted, "run python -m mpcompile_grammar.build"
    assert stored["lark"] == lark.__version__, "run python -m mpcompile_grammar.build"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_lexer_agrees_with_the_terminals_of_the_grammar(path: Path) -> None:
    parser = lark.Lark(GRAMMAR.read_text(), parser="lalr", lexer="basic", start=list(START_RULES))
    text = path.read_text()
    wanted = [(t.type, str(t)) for t in parser.lex(text) if t.type != "_SEP"]
    found = tokenize(Fragment.of_file(Source("x", text))).tokens
    assert [(t.type, str(t)) for t in found if t.type != "_SEP"] == wanted


def test_a_compiled_grammar_and_stored_tables_parse_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from mpcompile.frontend import grammar

    before = [parse(path)[0] for path in SAMPLES]
    monkeypatch.setattr(lark, "__version__", "0")  # tables of another version are not used
    grammar.parser.cache_clear()
    after = [parse(path)[0] for path in SAMPLES]
    grammar.parser.cache_clear()
    assert before == after


def test_schema_has_the_keys_of_the_reader() -> None:
    schema: dict[str, Any] = json_schema()
    assert set(schema["properties"]) == set(KEYS) and schema["additionalProperties"] is False
    assert set(schema["definitions"]["RecurrencePart"]["properties"]) == set(RECURRENCE_KEYS)
    assert set(schema["definitions"]["RegionPart"]["properties"]) == set(BLOCK_KEYS)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#" and "$defs" not in json.dumps(
        schema
    )


def test_the_front_end_imports_neither_numpy_nor_a_framework() -> None:
    code = (
        "import sys, mpcompile.frontend as f; f.parse(sys.argv[1]); f.parse(sys.argv[2]);"
        "print([m for m in ('numpy', 'torch', 'jax', 'onnx') if m in sys.modules])"
    )
    paths = [str(ROOT / "grammar" / "accepted" / name) for name in ("xor.mp", "vae.yaml")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
