"""Statistics as state: what a step leaves behind, what programs read, and what normalisation leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.backend import DOUBLE, OptimizerSpec, find_backend
from mpcompile.ir import Module
from mpcompile.runner.examples import example_weights

torch = pytest.importorskip("torch")
nn = torch.nn

CLASSIFIER = """
model classifier(channels = 2, side = 4, classes = 3)
input x: real[channels, side, side]
target y: category(classes)
net features = conv(4, 3, pad = 1, bias = false) -> batch_norm -> relu
y ~ categorical(logits = features(x) -> flatten -> dense(classes))
train { optimizer: sgd(0.1), batch: 8, data: digits }
"""


def load(tmp_path: Path, text: str, **numbers: int) -> Module:
    path = tmp_path / "spec.mp"
    path.write_text(text, encoding="utf-8")
    return api.load(path, numbers)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_three_steps_are_those_of_torch(backend: str, tmp_path: Path) -> None:
    """Weights, running statistics and predictions after three steps of SGD on fresh batches, to 1e-12."""
    module = load(tmp_path, CLASSIFIER)
    weights = example_weights(module)
    session = find_backend(backend).session(module, weights, OptimizerSpec("sgd"), options=DOUBLE)
    theirs = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()  # fmt: skip
    ours = [
        "features.conv_0.weight",
        *(f"features.batch_norm_0.{k}" for k in ("weight", "bias", "running_mean", "running_var")),
        "y.dense_0.weight", "y.dense_0.bias",
    ]  # fmt: skip
    state = theirs.state_dict()
    paired = dict(zip(ours, (t for t in state.values() if t.is_floating_point()), strict=True))
    assert paired.keys() == module.parameters.keys()
    for name, tensor in paired.items():
        tensor.copy_(torch.tensor(weights[name]))
    rule = torch.optim.SGD(theirs.parameters(), 0.1)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, y = rng.standard_normal((5, 2, 4, 4)), rng.integers(0, 3, 5)
        rule.zero_grad()
        loss = nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        rule.step()
        assert session.step({"x": x, "y": y}, 0.1)["loss"] == pytest.approx(loss.item(), rel=1e-12)
    found = session.state()
    for name, tensor in paired.items():
        np.testing.assert_allclose(
            found[f"parameter/{name}"], tensor.numpy(), rtol=1e-12, atol=1e-13, err_msg=name
        )
    predicted = session.run("predict", {"x": x})["y"]
    expected = theirs.eval()(torch.tensor(x)).softmax(1).detach().numpy()
    np.testing.assert_allclose(predicted, expected, rtol=1e-11)


def test_the_emitted_model_has_torchs_keys(tmp_path: Path) -> None:
    module = load(tmp_path, CLASSIFIER)
    live = find_backend("torch").compile(module, example_weights(module))
    assert set(live.state_dict()) == set(module.parameters)
    buffers = dict(live.named_buffers())
    assert {"features.batch_norm_0.running_mean", "features.batch_norm_0.running_var"} <= set(buffers)


def test_a_net_used_twice_moves_its_statistics_twice(tmp_path: Path) -> None:
    text = """
model twins
input a: real[3]
input b: real[3]
target y: real[3]
net shared = batch_norm(affine = false)
y ~ normal(shared(a) + shared(b), 1)
"""
    module = load(tmp_path, text)
    weights = example_weights(module)
    theirs = nn.BatchNorm1d(3, affine=False).double()
    for key in ("running_mean", "running_var"):
        getattr(theirs, key).copy_(torch.tensor(weights[f"shared.batch_norm_0.{key}"]))
    rng = np.random.default_rng(1)
    given = {k: rng.standard_normal((4, 3)) for k in "aby"}
    session = find_backend("torch").session(module, weights, OptimizerSpec("sgd"), options=DOUBLE)
    session.step(given, 0.1)
    theirs(torch.tensor(given["a"]))
    theirs(torch.tensor(given["b"]))
    for key in ("running_mean", "running_var"):
        found = session.state()[f"parameter/shared.batch_norm_0.{key}"]
        np.testing.assert_allclose(found, getattr(theirs, key).numpy(), rtol=1e-12)


def test_training_keeps_the_statistics(tmp_path: Path) -> None:
    """The runner's checkpoint holds them, the held-out loss reads them, and a resumed run is the uninterrupted one."""
    from mpcompile.runner import checkpoint
    from mpcompile.runner.loop import Options, train

    module = load(tmp_path, CLASSIFIER, channels=1, side=8, classes=10)
    states = []
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        for n in steps:
            options = Options(steps=n, precision="float64", resume=n != steps[0])
            result = train(module, tmp_path / name, options)
        found = checkpoint.newest(result.folder / "checkpoints")
        assert found is not None
        states.append(found.state)
    mean = states[0]["parameter/features.batch_norm_0.running_mean"]
    assert np.abs(mean).min() > 1e-3  # it began at zero
    for key, value in states[0].items():
        np.testing.assert_array_equal(states[1][key], value, err_msg=key)


PIXELS = """
model pixels
input x: binary[1, 4, 4]
x ~ autoregressive(order = natural) {{
  conv(4, 3, pad = same, mask = causal2d(type = A)) -> {layer} -> relu
  conv(1, 1, mask = causal2d(type = B))
}}
"""


@pytest.mark.parametrize(
    ("layer", "status"),
    [
        ("group_norm(2)", "refuted"),
        ("instance_norm", "refuted"),
        ("layer_norm", "proved"),
        ("batch_norm", "proved"),
    ],
)
def test_a_leak_through_statistics_is_found(layer: str, status: str, tmp_path: Path) -> None:
    """Group and instance norm pool over the ordered pixels; layer norm does not, and running statistics are fixed."""
    module = load(tmp_path, PIXELS.format(layer=layer))
    (verdict,) = [v for v in prove(module) if v.claim.kind == "autoregressive"]
    assert verdict.status == status
    if status == "refuted":
        (finding,) = verdict.diagnostics
        assert finding.code == "MP301" and finding.span.line == 5
        text = module.source.line(5)[finding.span.column - 1 : finding.span.end_column - 1]
        assert text == layer


def test_functions_in_jax_have_names_of_their_own(tmp_path: Path) -> None:
    """A block that differs in training has two functions; a block of another size, `stage_2`, has two more."""
    import re

    text = CLASSIFIER.replace("net features = ", "block stage(ch) = ").replace("conv(4", "conv(ch")
    text = text.replace("features(x)", "x -> stage(4) -> stage(8)")
    emitted = find_backend("jax").emit(load(tmp_path, text))["model.py"]
    assert isinstance(emitted, str)
    names = re.findall(r"^def (\w+)\(", emitted, re.MULTILINE)
    assert len(names) == len(set(names)) and len([n for n in names if n.startswith("stage")]) == 4


def test_no_statistics_are_kept_from_within_a_loop() -> None:
    """A step of a loop cannot hand them out: refused, not lost."""
    from mpcompile.diagnostics import SpecError
    from mpcompile.ir import Builder, Graph, float_type
    from mpcompile.layers import Context
    from mpcompile.layers.normalization import BatchNorm

    ctx = Context(Builder(Graph("loss")), {}, in_training=True)
    x = ctx.name_axes(ctx.b.input("x", float_type(2, 5, 3)), ("time", "channel"))
    with pytest.raises(SpecError, match="cannot keep statistics"):
        ctx.scan(lambda carries, slices, step: ([], [BatchNorm().forward(ctx, slices[0])]), [], [x])


@pytest.mark.parametrize("layer", ["BatchNorm()", "GroupNorm(3)", "InstanceNorm()", "LayerNorm()"])
def test_padding_counts_in_no_statistics(layer: str) -> None:
    """Where sequences differ in length, what would pool over the positions behind their ends is refused."""
    from mpcompile.diagnostics import SpecError
    from mpcompile.ir import Builder, DType, Graph, Type, float_type, symbol
    from mpcompile.layers import Context, normalization

    ctx = Context(Builder(Graph("loss")), {}, in_training=True)
    n, time = symbol("N"), symbol("time")
    x = ctx.name_axes(ctx.b.input("x", float_type(n, time, 3)), ("time", "channel"))
    ctx.lengths["time"] = ctx.b.input("length", Type(DType.INT, (n,)))
    name, _, argument = layer.rstrip(")").partition("(")
    made = getattr(normalization, name)(*map(int, argument))
    if name == "LayerNorm":
        assert made.forward(ctx, x).shape == x.shape
    else:
        with pytest.raises(SpecError, match="differ in length"):
            made.forward(ctx, x)
