"""What `mpcompile sample` makes of a trained flow: latents and back, lines between examples, densities, temperatures."""

from __future__ import annotations

import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy.stats import multivariate_normal
from typer.testing import CliRunner

from mpcompile import api
from mpcompile.cli.build import build
from mpcompile.cli.sample import sample
from mpcompile.cli.train import train
from mpcompile.distributions.sampling import Sampling
from mpcompile.interpret import interpret
from mpcompile.runner import checkpoint
from mpcompile.runner.data import load_data
from mpcompile.runner.evaluate import evaluate, to_text
from mpcompile.runner.run import open_run

PLANE = """model plane
input x: real[2]
condition y: category(4)
x ~ flow(base = mixture(components = 3)) { actnorm -> autoregressive(hidden = [8], condition = y) }
train { optimizer: adam(1e-2), batch: 64, steps: 2, data: rings }
"""
IMAGE = """model image
input x: integer(0..16)[1, 8, 8]
x ~ flow(base = normal) { dequantize -> logit -> squeeze(2) -> actnorm }
train { optimizer: adam(1e-2), batch: 64, steps: 1, data: digits }
"""


def command(*args: str) -> tuple[int, str]:
    app = typer.Typer()
    for each in (build, sample, train):
        app.command()(each)
    found = CliRunner().invoke(app, [*args])
    return found.exit_code, found.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for text in (PLANE, IMAGE):
        name = text.split()[1]
        (folder / f"{name}.mp").write_text(text)
        code, said = command("train", str(folder / f"{name}.mp"), "--out", str(folder / name))
        assert code == 0, said
    return folder


def arrays(runs: Path, name: str, *options: str) -> dict[str, np.ndarray]:
    code, said = command("sample", str(runs / name), "-o", str(runs / "s.npz"), *options)
    assert code == 0, said
    with np.load(runs / "s.npz") as file:
        return dict(file)


@pytest.mark.parametrize(
    ("name", "quantity", "label"),
    [
        ("plane", "log_likelihood", "log-likelihood"),
        ("image", "dequantized_bound", "lower bound (dequantised)"),
    ],
)
def test_what_dequantises_is_evaluated_by_a_bound(runs: Path, name: str, quantity: str, label: str) -> None:
    """E[log p(y)] <= log P(x): one draw of the noise is no log-likelihood of the integers, and is not called one."""
    run = open_run(runs / name)
    found = evaluate(run, api.load(run.spec))
    assert found["quantity"] == quantity
    assert to_text(found).splitlines()[1].startswith(f"  {label} ")


def test_latents_of_own_data_and_back(runs: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(runs / "own.npz", x=rng.normal(size=(11, 2)), y=rng.integers(0, 4, 11))
    found = arrays(runs, "plane", "--forward", str(runs / "own.npz"))
    assert {k: v.shape for k, v in found.items()} == {
        "z": (11, 2), "log_det": (11,), "log_prob": (11,), "x": (11, 2), "given_y": (11,)
    }  # fmt: skip
    run = open_run(runs / "plane")
    m = api.load(run.spec)
    w = {k: v.astype(float) for k, v in run.parameters(m)[0].items()}
    scales = np.exp(2 * w["x.base.log_scale"])
    shares = np.exp(w["x.base.logits"]) / np.exp(w["x.base.logits"]).sum()
    p = sum(s * multivariate_normal.pdf(found["z"], mu, np.diag(v))
            for s, mu, v in zip(shares, w["x.base.loc"], scales, strict=True))  # fmt: skip
    np.testing.assert_allclose(found["log_prob"], np.log(p) + found["log_det"], rtol=1e-4)
    exact = interpret(m.programs["log_prob"], w, {"x": found["x"], "y": found["given_y"]})["log_prob"]
    np.testing.assert_allclose(found["log_prob"], exact, rtol=1e-4, atol=1e-5)
    np.savez(runs / "latents.npz", **found)
    back = arrays(runs, "plane", "--inverse", str(runs / "latents.npz"))
    np.testing.assert_allclose(back["x"], found["x"], atol=1e-5)


def test_lines_between_examples_end_at_them(runs: Path) -> None:
    found = arrays(runs, "image", "--interpolate", "-n", "3")
    test = load_data(api.load(open_run(runs / "image").spec), "digits").split("test").take(np.arange(4))["x"]
    assert found["x"].shape == (3, 1, 8, 64)
    np.testing.assert_array_equal(found["x"][..., :8], test[:3])
    np.testing.assert_array_equal(found["x"][..., -8:], test[1:])


def test_a_temperature_scales_the_base(runs: Path) -> None:
    run = open_run(runs / "plane")
    w = {k: v.astype(float) for k, v in run.parameters(api.load(run.spec))[0].items()}
    law, cold = (api.load(run.spec, None, s) for s in (None, Sampling(0.25)))
    rng = np.random.default_rng(0)
    inputs = {"y": np.zeros(4000, int), "noise_x_component": rng.uniform(size=(4000, 1)),
              "noise_x": rng.standard_normal((4000, 2))}  # fmt: skip
    x = interpret(cold.programs["sample"], w, inputs)["x"]
    z = interpret(law.programs["forward"], w, {"x": x, "y": inputs["y"]})["z"]
    shares = np.exp(w["x.base.logits"] / 0.25)
    shares = np.cumsum(shares / shares.sum())
    which = (inputs["noise_x_component"] > shares[:-1]).sum(1)
    expected = w["x.base.loc"][which] + 0.25 * np.exp(w["x.base.log_scale"][which]) * inputs["noise_x"]
    np.testing.assert_allclose(z, expected, atol=1e-8)
    code, said = command(
        "sample", str(runs / "image"), "-n", "2", "-o", str(runs / "t.png"), "--temperature", "0.7"
    )
    assert code == 0, said
    code, said = command("sample", str(runs / "image"), "-n", "2", "-o", str(runs / "t.npz"), "--top-k", "3")
    assert code == 1 and "MP209" in said and "top_k is for categorical" in said


def test_a_density_is_drawn_with_its_mass(runs: Path) -> None:
    code, said = command(
        "sample", str(runs / "plane"), "--density", "-o", str(runs / "d.png"), "--condition", "y=2"
    )
    assert code == 0 and (runs / "d.png").stat().st_size > 10_000
    assert 0.5 < float(said.rsplit(" ", 1)[1]) < 1.01, said


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("image", ("--density", "-o", "d.png"), 1, "has no density in the plane"),
        ("plane", ("--density", "-o", "d.npz"), 2, "--density is a picture"),
        ("plane", ("--density", "--interpolate"), 2, "exclude each other"),
        ("plane", ("--inverse", "own.npz"), 1, "holds no latents z [n, 2]: it has x [11, 2], y [11]"),
        ("plane", ("--inverse", "missing.npz"), 1, "cannot be read"),
        ("plane", ("--forward", "spirels"), 1, "did you mean `spirals`"),
    ],
)
def test_what_does_not_fit_is_said(
    runs: Path, name: str, options: tuple[str, ...], code: int, message: str
) -> None:
    placed = [str(runs / o) if o.endswith((".npz", ".png")) else o for o in options]
    if "-o" not in placed:
        placed += ["-o", str(runs / "s.npz")]
    found, said = command("sample", str(runs / name), *placed)
    assert (found, message in " ".join(said.split())) == (code, True), said


def test_a_run_is_built_with_its_weights_folded(runs: Path) -> None:
    """`build RUN --inference`: the programs that do not learn, on other weights, with the same values."""
    torch = pytest.importorskip("torch")
    out = runs / "built"
    code, said = command("build", str(runs / "plane"), "--inference", "-o", str(out))
    assert code == 0 and "jacobian(x): proved" in said, said
    spec = spec_from_file_location("built_plane", out / "model.py")
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    live = made.load(str(out / "weights.safetensors"))
    found = arrays(runs, "plane", "--forward", "rings")
    with torch.no_grad():
        log_prob = live.log_prob(torch.tensor(found["x"]), torch.tensor(found["given_y"]))
    np.testing.assert_allclose(log_prob, found["log_prob"], rtol=1e-4, atol=1e-5)
    assert not hasattr(live, "loss") and any(".frozen" in k for k in live.state_dict())
    code, said = command("build", str(runs / "plane"), "--set", "a=1", "-o", str(out))
    assert code == 2 and "a run has its own settings" in said


def test_data_beyond_the_first_bijector_are_refused_before_training(tmp_path: Path) -> None:
    """Else the first loss would be no number; with dequantised integers, and margins, all is well."""
    spec = tmp_path / "m.mp"
    train = "\ntrain { batch: 64, steps: 1, data: moons }\n"
    spec.write_text("model m\ninput x: real[2]\nx ~ flow { permute -> logit -> affine }" + train)
    code, said = command("train", str(spec), "--out", str(tmp_path / "run"))
    assert code == 1 and "MP504" in said and "`logit` is defined on (-0.05556, 1.056)" in said, said
    assert "m.mp:3:23" in said and "data 'moons': x lies in [-1." in said
    spec.write_text("model m\ninput x: real[2]\nx ~ flow { affine -> inverse(tanh) -> affine }" + train)
    code, said = command("train", str(spec), "--out", str(tmp_path / "run"))
    assert code == 1 and "MP408" in said, said


@pytest.mark.parametrize(
    ("value", "options"),
    [(-1e38, ("-o", "s.npz")), (-1e38, ("-o", "s.csv")), (-1e38, ("-o", "s.png")), (1e38, ("--density", "-o", "d.png")),
     (1e38, ("--forward", "z.npz", "-o", "f.npz")), (-1e38, ("--inverse", "z.npz", "-o", "i.npz")),
     (1e38, ("--interpolate", "-o", "l.npz"))], ids=str,
)  # fmt: skip
def test_numbers_that_are_not_finite_are_never_written(
    runs: Path, tmp_path: Path, value: float, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite weights may be too large for any draw, latent or density: MP530, and no file."""
    shutil.copytree(runs / "plane", tmp_path / "plane")
    found = checkpoint.load(tmp_path / "plane" / "best")
    assert found is not None
    state = dict(found.state)
    for name in ("log_scale", "shift"):
        key = next(k for k in state if k.startswith("parameter/") and k.endswith(f"actnorm_0.{name}"))
        state[key] = np.full(2, value, np.float32)
    checkpoint.save(found.folder, state, found.record)
    monkeypatch.chdir(tmp_path)
    np.savez("z.npz", z=np.ones((3, 2)), x=np.ones((3, 2)), y=np.zeros(3, int), given_y=np.zeros(3, int))
    code, said = command("sample", "plane", "-n", "2", *options)
    assert code == 1 and "MP530" in said and not Path(options[-1]).exists(), said
