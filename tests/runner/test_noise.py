"""Noise, initial weights and schedules: functions of their keys."""

import numpy as np
import pytest

from mpcompile.diagnostics import Source, Span
from mpcompile.ir import Init, Module, ParameterSpec
from mpcompile.ir.training import SCHEDULES, Constant, Cosine, Exponential, InverseSqrt, Linear, Stepwise
from mpcompile.runner.initial import initial
from mpcompile.runner.noise import draw, permutation
from mpcompile.runner.settings import Settings, describe, schedule_of


def test_the_same_key_draws_the_same() -> None:
    assert (draw("normal", (4, 5), (0, "a", 1)) == draw("normal", (4, 5), (0, "a", 1))).all()
    keys = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a", "1"), (0, "a1"), (0, "a", 1, "")]
    drawn = {draw("normal", (8,), key).tobytes() for key in keys}
    assert len(drawn) == len(keys)


def test_known_numbers() -> None:
    """Checkpoints and published curves rest on these."""
    assert draw("normal", (3,), (0, "train", "epsilon", 7)).tolist() == NORMAL
    assert permutation(6, 0, "order", 1).tolist() == ORDER


NORMAL = [1.318291425704956, 0.7888428568840027, -1.4146950244903564]
ORDER = [1, 0, 4, 2, 3, 5]


def test_moments_and_open_interval() -> None:
    normal = draw("normal", (200_000,), (0, "n"))
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01 and normal.dtype == np.float32
    uniform = draw("uniform", (200_000,), (0, "u"))
    assert uniform.min() > 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert (draw("uniform", (50,), (0, "u"), np.float64) == draw("uniform", (50,), (0, "u"))).all()
    with pytest.raises(ValueError, match="cauchy"):
        draw("cauchy", (1,), (0,))


def weights(seed: int, **inits: tuple[Init, tuple[int, ...]]) -> dict[str, np.ndarray]:
    module = Module("m", Source("", ""))
    for name, (init, shape) in inits.items():
        module.parameters[name] = ParameterSpec(name, shape, init, Span.none())
    return initial(module, seed)


def test_initial_weights_depend_on_seed_and_name_alone() -> None:
    normal = (Init("normal", 0.1), (300, 400))
    one, two = weights(0, a=normal), weights(0, b=normal, a=normal)
    assert (one["a"] == two["a"]).all() and not (two["a"] == two["b"]).all()
    assert not (weights(1, a=normal)["a"] == one["a"]).all()
    assert one["a"].dtype == np.float32 and abs(one["a"].std() - 0.1) < 1e-3


def test_kinds_of_initial_weights() -> None:
    table = np.arange(6.0).reshape(2, 3)
    made = weights(
        0, zeros=(Init("zeros"), (3,)), ones=(Init("ones"), (2,)), constant=(Init("constant", 0.5), (2, 2)),
        uniform=(Init("uniform", 0.2), (1000,)), tall=(Init("orthogonal", 2.0), (9, 4)),
        wide=(Init("orthogonal"), (4, 3, 3)), array=(Init("array", array=table), (2, 3)),
        scalar=(Init("zeros"), ()),
    )  # fmt: skip
    assert not made["zeros"].any() and (made["ones"] == 1).all() and (made["constant"] == 0.5).all()
    assert abs(made["uniform"]).max() <= 0.2 and made["uniform"].min() < -0.15
    np.testing.assert_allclose(made["tall"].T @ made["tall"], 4 * np.eye(4), atol=1e-5)
    wide = made["wide"].reshape(4, 9)
    np.testing.assert_allclose(wide @ wide.T, np.eye(4), atol=1e-6)
    assert (made["array"] == table).all() and made["scalar"].shape == ()
    with pytest.raises(ValueError, match="kaiming"):
        weights(0, a=(Init("kaiming"), (2,)))


def test_schedules() -> None:
    assert Constant().rate(0.1, 5, 10) == 0.1
    warm = Cosine(warmup=4)
    assert [round(warm.rate(1, s, 12), 6) for s in (0, 3, 4, 8, 12)] == [0.25, 1, 1, 0.5, 0]
    assert Linear(final=0.1).rate(1, 5, 10) == pytest.approx(0.55)
    assert [Stepwise(every=3, factor=0.5).rate(1, s, 9) for s in (2, 3, 6)] == [1, 0.5, 0.25]
    assert Exponential(every=4, factor=0.25).rate(1, 2, 9) == 0.5
    assert InverseSqrt(warmup=4).rate(1, 15, 99) == pytest.approx(0.5)
    for kind in SCHEDULES.values():
        settings = Settings(schedule=kind())
        assert schedule_of(describe(settings)["schedule"]) == settings.schedule
