"""Examples of the language made wrong: other kinds, sizes and axes of their variables, other arguments of what they show.

Each is accepted, or refused with a code at a place of the text, in words of the language. Layers, bijectors and laws of
couplings have a sweep of their arguments in `test_ranges.py`.
"""

from __future__ import annotations

from zlib import crc32

import pytest
from mutated import recalled, retyped
from wrong_values import outcome

from mpcompile.reference import KINDS

#: One of so many variants is tried; `python tests/hostile/test_wrong_examples.py` tries all, in some minutes.
EVERY = 24
SWEPT = (
    "functions",
    "losses",
    "posteriors",
    "relations",
    "orders",
    "starts",
    "distributions",
    "masks",
    "layers",
)


def variants(title: str, every: int) -> list[str]:
    kind = KINDS[title]
    made = (
        text
        for name in kind.rows()
        for base in (kind.example(name),)
        for text in (*retyped(base), *recalled(base, name))
    )
    return [text for text in made if crc32(text.encode()) % every == 0]


@pytest.mark.parametrize("title", SWEPT)
def test_a_wrong_example_is_refused_at_a_place(title: str) -> None:
    found = [outcome(text, emit=False) for text in variants(title, EVERY)]
    assert "accepted" not in found or len(set(found)) > 1
    assert any(code.startswith("MP") for code in found)


def test_an_autoregressive_density_of_one_number_has_no_axes() -> None:
    assert (
        outcome("model m\ninput x: binary\nx ~ autoregressive { nade(4) }\ncheck { complete(x) }\n")
        == "accepted"
    )


if __name__ == "__main__":
    for title in SWEPT:
        print(title, len([outcome(text, emit=False) for text in variants(title, 1)]))
