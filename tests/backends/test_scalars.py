"""Scalars of a step are fetched once, when one of them is read."""

from __future__ import annotations

import pytest

from mpcompile.backend import Scalars


def test_nothing_is_fetched_before_it_is_read() -> None:
    calls: list[int] = []

    def fetch() -> list[float]:
        calls.append(1)
        return [0.5, 2.0]

    found = Scalars(["loss", "norm"], fetch)
    assert list(found) == ["loss", "norm"] and len(found) == 2 and not calls
    assert found["norm"] == 2.0 and dict(found) == {"loss": 0.5, "norm": 2.0} and len(calls) == 1
    assert found == {"loss": 0.5, "norm": 2.0} and repr(found) == "{'loss': 0.5, 'norm': 2.0}"
    with pytest.raises(KeyError):
        found["more"]


def test_a_fetch_of_the_wrong_length_is_no_answer() -> None:
    with pytest.raises(ValueError):
        Scalars(["loss", "norm"], lambda: [0.5])["loss"]
