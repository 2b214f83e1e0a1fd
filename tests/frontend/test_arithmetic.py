"""Bounded arithmetic."""

from __future__ import annotations

import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.frontend import ast, evaluate_number, parse_text


def expression(text: str) -> ast.Expr:
    return parse_text(f"model m\nnet f = {text}", "m.mp").nets[0].value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("-2**2", -4), ("2**-1", 0.5), ("2**3**2", 512), ("7 // 2", 3),
        ("7 % 4", 3), ("8 / 2", 4), ("1/2", 0.5), ("sqrt(16)", 4), ("log2(8)", 3), ("ceil(1.2)", 2),
        ("min(3, 2)", 2),
        ("2 * width", 20), ("1e-3", 0.001), ("2_000_000", 2000000), ("10 - 3 - 2", 5), ("max(1, 2, 3)", 3),
    ],
)  # fmt: skip
def test_value(text: str, value: float) -> None:
    result = evaluate_number(expression(text), {"width": 10})
    assert result == value
    assert isinstance(result, int) == isinstance(value, int) or text in ("sqrt(16)", "log2(8)")


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("9**9**9", "MP112", 12), ("10**17 * 10**17", "MP112", 9), ("1 / 0", "MP111", 13),
        ("1 % (2 - 2)", "MP111", 14),
        ("widht + 1", "MP110", 9), ("sqr(2)", "MP110", 9), ("sqrt(-1)", "MP111", 9),
        ("(-1)**0.5", "MP111", 9),
        ('"a"', "MP113", 9), ("a -> b", "MP113", 9), ("[1]", "MP113", 9), ("0**-1", "MP111", 9),
        ("exp(1e9)", "MP112", 9), ("floor(1e300)", "MP112", 9), ("min(1)", "MP113", 9),
        ("~width", "MP113", 9),
        ("1e308 * 10", "MP112", 9), ("2**1e9", "MP112", 12), ("1e300**2.5", "MP112", 9),
    ],
)  # fmt: skip
def test_fault_is_located(text: str, code: str, column: int) -> None:
    with pytest.raises(SpecError) as caught:
        evaluate_number(expression(text), {"width": 10})
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line, found.span.column) == (code, 2, column)


def test_near_miss() -> None:
    with pytest.raises(SpecError) as caught:
        evaluate_number(expression("widht"), {"width": 10})
    assert caught.value.diagnostics[0].help == "did you mean `width`?"
