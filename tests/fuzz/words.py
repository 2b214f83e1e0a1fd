"""Specs that the mutations start from, and the words that they are made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import mutators

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))


def specs(*endings: str) -> list[bytes]:
    """Texts of every spec of the tree, and of some random ones in `.mp`."""
    found = [p for folder in ("specs", "specs/invalid", "grammar/accepted", "grammar/rejected")
             for p in sorted((ROOT / folder).iterdir()) if p.suffix in endings]  # fmt: skip
    texts = [p.read_bytes() for p in found]
    return texts + (odd(60) if ".mp" in endings else [])


def odd(count: int) -> list[bytes]:
    import odd_specs

    return [odd_specs.spec(n).encode() for n in range(count)]


def words() -> list[str]:
    """The words of the language: keywords and signs of the grammar, and every registered name."""
    from mpcompile.bijectors import BIJECTORS
    from mpcompile.distributions import DISTRIBUTIONS
    from mpcompile.layers import LAYERS

    grammar = (ROOT / "grammar" / "mpcompile_grammar" / "mpcompile.lark").read_text(encoding="utf-8")
    signs = re.findall(r'"((?:[^"\\]|\\.)+)"', grammar)
    return [
        *dict.fromkeys(
            [*signs, *LAYERS, *BIJECTORS, *DISTRIBUTIONS, *HOSTILE, "\n", " ", "# c\n", "x", "y", "h"]
        )
    ]


HOSTILE = (
    "torch", "self", "np", "jnp", "import", "lambda", "__import__", "None", "print", "model", "h", "loss", "forward",
    "type", "params", "math", "exec", "jax", "_", "N", "time", "train", "data", "sample", "class", "x_", "in", "is",
)  # fmt: skip


YAML = ("- ", ": ", "|", ">", "&a ", "*a", "!!python/object:os ", "---\n", "...\n", "? ", "{", "}", "[", "]", "<<: ",
        "%YAML 1.1\n",
        "'", '"', "\n  ", "\n    ", "#", "null", "~", "yes", "\\x00", "|-\n", "!t ")  # fmt: skip


CELLS = (",", "\n", "\r", '"', '""', ";", "\t", "x", "y", "label", "target", "na", "?", "red", "1",
         "-1.5e3", "\ufeff", "'",
         " ",
         "nan", "inf", "null", "1,000", "0x1", "1_0", "\x00", "٣", "true", "infinity", "-", "n/a")  # fmt: skip


def spec_mutator(
    *endings: str, more: Iterable[str] = (), fresh: float = 0.3
) -> Callable[[], mutators.Mutator]:
    return lambda: mutators.text([*words(), *more], specs(*endings), fresh=fresh)
