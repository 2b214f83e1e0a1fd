"""Orders without a table are permutations, keyed, and look like chance."""

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from mpcompile.runner.noise import permutation
from mpcompile.runner.order import Order, feistel, usual


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 64, 65, 1797, 4096, 4097])
def test_every_example_comes_once(count: int) -> None:
    """A law: the image of all places is every place, once; places are asked for in parts as in one."""
    order = Order(count, 3, "feistel")
    whole = order.rows(1, 0, count)
    assert (np.sort(whole) == np.arange(count)).all()
    parts = [order.rows(1, a, min(a + 100, count)) for a in range(0, count, 100)]
    assert (np.concatenate(parts) == whole).all()


def test_keys_choose_the_order() -> None:
    places = np.arange(1000)
    orders = [feistel(places, 1000, seed, "order", epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all((a == b).mean() < 0.01 for i, a in enumerate(orders) for b in orders[:i])


@pytest.mark.parametrize("count", [10_007, 10**10])
def test_an_order_looks_like_chance(count: int) -> None:
    """First places and steps between neighbours are spread as those of a random permutation."""
    got = feistel(np.arange(5000), count, 1, "order", 0)
    assert len(set(got.tolist())) == 5000 and got.min() >= 0 and got.max() < count
    assert kstest(got / count, "uniform").pvalue > 1e-3
    steps = np.diff(got) % count
    assert chisquare(np.bincount((steps * 20 // count).astype(int), minlength=20)).pvalue > 1e-3
    assert abs(np.corrcoef(got[:-1].astype(float), got[1:].astype(float))[0, 1]) < 0.06


def test_up_to_ten_million_the_order_is_the_table() -> None:
    assert usual(10**7) == "table" and usual(10**7 + 1) == "feistel"
    assert (Order(50, 4, "table").rows(2, 10, 20) == permutation(50, 4, "order", 2)[10:20]).all()
