"""Write `tables.json`: the LALR tables of the grammar, so that starting up does not cost building them.

Run `python -m mpcompile_grammar.build` after changing `mpcompile.lark`; a test fails when that was forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import lark

from mpcompile_grammar import GRAMMAR, START_RULES


def tables() -> dict[str, Any]:
    """Build the tables as plain data, with what they were built from."""
    text = GRAMMAR.read_text(encoding="utf-8")
    parser = lark.Lark(
        text,
        parser="lalr",
        lexer="basic",
        propagate_positions=True,
        maybe_placeholders=True,
        start=list(START_RULES),
    )
    data, memo = parser.memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    return {
        "lark": lark.__version__,
        "grammar": hashlib.sha256(text.encode()).hexdigest(),
        "data": data,
        "memo": memo,
    }


def main() -> None:
    """Write the tables into the package."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # lark numbers symbols in set order: fix it, for quiet diffs
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "mpcompile_grammar.build"])
    target = Path(__file__).with_name("tables.json")
    target.write_text(json.dumps(tables(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
