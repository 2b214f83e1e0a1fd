"""Verdicts on `linear`, `equivariant` and `symmetric` against runs in float64: a slice of `tests/fuzz/forms.py`."""

from __future__ import annotations

import pytest
from formed_specs import formed, judge, lowered

from mpcompile.analysis import prove
from mpcompile.diagnostics import SpecError


@pytest.mark.parametrize("start", range(0, 40, 8))
def test_verdicts_of_random_predictions_agree_with_numbers(start: int) -> None:
    for n in range(start, start + 8):
        spec = formed(0, n)
        try:
            text = spec.text()
        except SpecError:
            continue
        module = lowered(text)
        for verdict in prove(module):
            assert judge(spec, module, verdict, 1) == [], f"{text}{verdict.how}"
