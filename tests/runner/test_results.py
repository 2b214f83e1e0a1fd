"""Evaluation, baselines, samples and their files."""

import re
import wave
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from written import lowered

from mpcompile.diagnostics import Source, SpecError
from mpcompile.ir import DType, Field, Module, NoiseSpec, Type
from mpcompile.report.pictures import as_images, grid, picture
from mpcompile.runner import baselines, sampling
from mpcompile.runner.data import Column, Split
from mpcompile.runner.data.dataset import surveyed
from mpcompile.runner.evaluate import evaluate, to_json, to_text
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import Run, open_run
from mpcompile.runner.summary import summarise
from mpcompile.runner.told import rows


@pytest.fixture
def trained(fake: ModuleType, tmp_path: Path) -> Run:
    options = Options(backend="fake", steps=200)
    train(fake.module(), tmp_path / "run", options, backend=fake.FakeBackend())
    return open_run(tmp_path / "run")


def test_evaluate(fake: ModuleType, trained: Run) -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate(
        trained, fake.module(), backend=fake.FakeBackend(), watch=lambda *done: seen.append(done)
    )
    assert len(seen) > 2 and [d for d, _ in seen] == sorted(d for d, _ in seen) and seen[-1] == (4000, 4000)
    assert (result["quantity"], result["split"], result["examples"]) == ("log_likelihood", "test", 2000)
    error = result["targets"]["y"]["mean_squared_error"]["mean"]
    assert 0.009 < error < 0.02 and 0 < result["nats"]["standard_error"] < 0.01
    expected = -0.5 * error - 0.5 * np.log(2 * np.pi)
    assert result["nats"]["mean"] == pytest.approx(expected, rel=1e-5)
    assert "bits_per_dim" not in result  # the target is real
    assert "log-likelihood" in to_text(result) and to_json(result).startswith("{")


def test_evaluate_other_data(fake: ModuleType, trained: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((7, 3)), y=np.full(7, 2.5))
    result = evaluate(trained, fake.module(), backend=fake.FakeBackend(), data=str(tmp_path / "d.npz"))
    assert result["examples"] == 7  # a file without splits is used whole
    result = evaluate(trained, fake.module(), backend=fake.FakeBackend(), split="valid")
    assert result["split"] == "valid"


def test_not_a_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(SpecError, match="MP520"):
            open_run(folder)


def test_a_loss_of_nothing_has_no_sign(tmp_path: Path) -> None:
    spec = (Path(__file__).parents[2] / "specs" / "perceptron.mp").read_text()
    module = lowered(spec)
    train(module, tmp_path / "run", Options(backend="onnx", steps=8))
    result = evaluate(open_run(tmp_path / "run"), module)
    assert result["loss"]["mean"] == 0 and "-0.0" not in to_text(result) + to_json(result)
    assert "nats" not in to_text(result) + to_json(result)
    shown = list(rows(summarise(open_run(tmp_path / "run"), module).figures))
    assert shown[0] == ("the model", "loss", "0.0000") and ("y", "accuracy") in {r[:2] for r in shown}


def test_a_loss_of_terms_alone_has_no_unit(tmp_path: Path) -> None:
    """Neither nats nor bits, though what it is made of is counted in bits elsewhere."""
    module = lowered("model m\ninput x: binary[4]\nnet f = dense(1) -> square\nminimise x -> f\n")
    np.savez(tmp_path / "d.npz", x=np.arange(64).reshape(16, 4) % 2)
    train(module, tmp_path / "run", Options(backend="onnx", steps=2, data=str(tmp_path / "d.npz")))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    text = to_text(evaluate(open_run(tmp_path / "run"), module, split="valid"))
    assert '"valid"' in lines and not re.search("nats|bits", lines + text) and "  loss  " in text


def test_baselines() -> None:
    r = np.random.default_rng(0)
    mix = np.array([[2.0, 0.0], [1.5, 0.5]])
    fit, test = r.standard_normal((20_000, 2)) @ mix.T + 3, r.standard_normal((20_000, 2)) @ mix.T + 3
    entropy = 1 + np.log(2 * np.pi) + np.log(abs(np.linalg.det(mix)))
    law = baselines.Gaussian.fit(fit)
    assert law is not None and np.mean(law.log_density(test)) == pytest.approx(-entropy, abs=0.03)
    bits = (r.random((20_000, 3)) < [0.1, 0.5, 0.9]).astype(np.float32)
    h = -np.log(0.5) - 2 * (0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert baselines.bernoulli(bits, bits).mean() == pytest.approx(-h, abs=0.02)
    codes = r.integers(0, 4, (5000, 6))
    assert baselines.categories(codes, codes, 4).mean() == pytest.approx(-6 * np.log(4), abs=0.01)
    assert baselines.unigram(codes, codes, 4).mean() == pytest.approx(-6 * np.log(4), abs=0.01)


def split_of(values: Any, dtype: DType = DType.FLOAT) -> Split:
    return Split({"x": Column(values, dtype, values.shape[1:], surveyed(values))})


def baseline(field: Field, fit: Any, test: Any) -> list[baselines.Baseline]:
    module = Module("m", Source("m.mp", ""))
    module.fields = {"x": field}
    return baselines.baselines(
        module, {"train": split_of(fit, field.type.dtype)}, split_of(test, field.type.dtype)
    )


@pytest.mark.parametrize("scales", [(1e-3, 1e5, 1.4), (1e-30, 1e30), (1e-3, 1e-3, 1e-3), (1.0, 1e15, 1e-15)])
def test_the_gaussian_baseline_is_that_of_scipy(fake: ModuleType, scales: tuple[float, ...]) -> None:
    """For columns of any scale and place, some of them correlated and some constant."""
    r, d = np.random.default_rng(0), len(scales)
    mix = np.eye(d) + np.tril(np.full((d, d), 0.5), -1)
    fit, test = ((r.standard_normal((4000, d)) @ mix.T + 3) * scales for _ in range(2))
    with_constant = [
        np.hstack([rows[:, :1], np.full((len(rows), 1), 0.1), rows[:, 1:]]) for rows in (fit, test)
    ]
    unit = np.std(fit, 0)  # scipy's own decomposition takes columns of alike scale
    law = stats.multivariate_normal((fit / unit).mean(0), np.cov((fit / unit).T, bias=True))
    truth = law.logpdf(test / unit) - np.log(unit).sum()
    x = fake.field("x", "input", "real", d)
    (found,) = baseline(x, fit, test)
    assert found.name == "Gaussian, full covariance"
    np.testing.assert_allclose(found.values, truth, rtol=1e-2, atol=0.05)
    (found,) = baseline(fake.field("x", "input", "real", d + 1), *with_constant)
    assert found.name == "Gaussian, full covariance; 1 constant column left out"
    np.testing.assert_allclose(found.values, truth, rtol=1e-2, atol=0.05)
    with_constant[1][7, 1] = 0.2
    assert baseline(fake.field("x", "input", "real", d + 1), *with_constant) == []
    assert baseline(x, np.ones_like(fit), np.ones_like(test)) == []


@pytest.mark.parametrize(("base", "low", "classes"), [("integer", -3, 9), ("integer", 0, 256), ("category", 0, 5),
                                                      ("binary", 0, None), ("integer", 0, None)])  # fmt: skip
def test_discrete_baselines_are_masses(fake: ModuleType, base: str, low: int, classes: int | None) -> None:
    """Over all values their probabilities sum to 1, whatever was seen."""
    x = fake.field("x", "input", base, 1, classes=classes, low=low)
    values = low + np.random.default_rng(0).integers(0, 2, (50, 1))
    every = low + np.arange(classes or (2 if base == "binary" else 400))[:, None]
    (found,) = baseline(x, values, every)
    assert "Gaussian" not in found.name and np.exp(found.values).sum() == pytest.approx(1)
    assert np.isfinite(found.values).all()


def test_samples_do_not_depend_on_how_many(fake: ModuleType, trained: Run) -> None:
    few, many = (sampling.sample(trained, fake.module(), n, backend=fake.FakeBackend()) for n in (10, 1300))
    assert many.values["y"].shape == (1300, 1)
    np.testing.assert_allclose(few.values["y"], many.values["y"][:10], rtol=1e-6)
    other = sampling.sample(trained, fake.module(), 10, seed=1, backend=fake.FakeBackend())
    assert not (other.values["y"] == few.values["y"]).any()
    assert set(few.given) == {"x"}


def test_draws_come_from_a_module_for_inference(fake: ModuleType, trained: Run) -> None:
    opened = []

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, *rest: Any, **options: Any) -> Any:
            opened.append(module)
            return super().session(module, *rest, **options)

    sampling.sample(trained, fake.module(), 3, backend=Backend())
    assert [set(m.programs) for m in opened] == [{"sample"}]


def test_conditions_run_through_their_classes(fake: ModuleType, trained: Run) -> None:
    made = fake.module()
    made.fields["label"] = fake.field("label", "condition", "category", classes=3)
    made.programs["sample"] = fake.graph(
        "sample",
        {"y": (1, 1)},
        label=Type(DType.INT, (fake.N,)),
        epsilon=Type(DType.FLOAT, (fake.N, fake.symbol("time"))),
    )
    made.noise["sample"] = {"epsilon": NoiseSpec("uniform")}

    class Session(fake.FakeSession):  # type: ignore[name-defined,misc]
        def run(self, program: str, inputs: Any) -> Any:
            return {"y": inputs["epsilon"] + 10 * inputs["label"][:, None]}

    class Backend(fake.FakeBackend):  # type: ignore[name-defined,misc]
        def session(self, module: Any, parameters: Any, optimizer: Any = None, **options: Any) -> Any:
            return Session(parameters, optimizer, 0.0)

    drawn = sampling.sample(trained, made, 7, length=5, backend=Backend())
    assert drawn.given["label"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert (
        drawn.values["y"].shape == (7, 5) and (drawn.values["y"] // 10 == drawn.given["label"][:, None]).all()
    )


def drawn(
    fake: ModuleType, value: np.ndarray, field: Any, vocabulary: list[str] | None = None
) -> sampling.Samples:
    return sampling.Samples({"x": value}, {}, {"x": field}, vocabulary, {"fields": {}})


def test_array_files(fake: ModuleType, tmp_path: Path) -> None:
    real = drawn(
        fake, np.random.default_rng(0).random((4, 3)).astype(np.float32), fake.field("x", "input", "real", 3)
    )
    for ending in (".npz", ".npy", ".csv"):
        sampling.write_arrays(tmp_path / f"s{ending}", real)
    assert (np.load(tmp_path / "s.npz", allow_pickle=False)["x"] == real.values["x"]).all()
    assert (np.load(tmp_path / "s.npy", allow_pickle=False) == real.values["x"]).all()
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == "x_0,x_1,x_2"
    codes = np.array([[0, 1], [2, 2]])
    text = drawn(fake, codes, fake.field("x", "input", "category", 2, classes=3), ["a", "b", "c"])
    sampling.write_arrays(tmp_path / "s.txt", text)
    assert (tmp_path / "s.txt").read_text() == "ab\n\ncc\n"
    for bad, ending in ((real, ".txt"), (real, ".pt")):
        with pytest.raises(SpecError, match="MP541"):
            sampling.write_arrays(tmp_path / f"s{ending}", bad)
    with pytest.raises(SpecError, match="MP541"):
        sampling.write_arrays(tmp_path / "s.wav", replace(real, values={"x": np.zeros((2, 3, 4))}))


def test_sound(fake: ModuleType, tmp_path: Path) -> None:
    codes = np.array([[0, 255, 127, 128]])
    sampling.write_arrays(
        tmp_path / "s.wav", drawn(fake, codes, fake.field("x", "input", "category", 4, classes=256))
    )
    with wave.open(str(tmp_path / "s.wav")) as file:
        levels = np.frombuffer(file.readframes(4), "<i2")
    assert levels.tolist()[:2] == [-32767, 32767] and abs(levels[2:]).max() < 5
    of_data = replace(drawn(fake, codes, fake.field("x", "input", "category", 4, classes=256)),
                      statistics={"fields": {}, "rate": 16000})  # fmt: skip
    sampling.write_arrays(tmp_path / "t.wav", of_data)
    with wave.open(str(tmp_path / "t.wav")) as file:
        assert file.getframerate() == 16000


@pytest.mark.parametrize("shape", [(9, 784), (5, 8, 8), (7, 1, 8, 8), (7, 3, 6, 9)])
def test_pictures_of_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    picture(tmp_path / "p.png", values, span=(0, 1))
    with Image.open(tmp_path / "p.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape[2] == 3 and pixels.std() > 20 and 300 < max(pixels.shape) <= 1200


def test_the_grid_shows_each_image_in_its_place() -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8) * 40
    sheet = grid(images)
    factor = sheet.shape[0] // 11  # two rows of 4 pixels and three gaps
    assert sheet[3 * factor, 3 * factor, 0] == 0 and sheet[8 * factor, 13 * factor, 0] == 200
    colours = as_images(np.array([[[0, 1, 2, 3]] * 4]), classes=True)
    assert colours is not None and len(np.unique(colours.reshape(-1, 3), axis=0)) == 4


@pytest.mark.parametrize("shape", [(200, 2), (50,), (50, 1), (60, 5), (4, 100), (4, 100, 1), (3, 30, 2)])
def test_plots(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    picture(tmp_path / "p.png", values, reference=values[: len(values) // 2], series=shape == (4, 100))
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 1.5 * image.height and np.asarray(image).std() > 5
