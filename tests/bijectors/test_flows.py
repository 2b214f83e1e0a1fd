"""What single bijectors promise beyond the laws of all: volumes, directions, samplers, and starts from data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flows_under_test as flows
import numpy as np
import pytest
from specs_under_test import module as spec_module
from stated import answers

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Constant, Module
from mpcompile.ops import LogAbsDet, Transpose
from mpcompile.ops import build as F
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.runner import checkpoint, loop
from mpcompile.runner.batches import Batches, complete
from mpcompile.runner.data import load_data
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial

COUPLE = f"coupling(mask = checkerboard, law = additive, {flows.NET})"


def matrix(w: dict[str, Array], m: Module, size: int) -> Array:
    """dz/dx of a linear flow of vectors."""
    z, _ = flows.forward(m, w, {"x": np.concatenate([np.eye(size), np.zeros((1, size))])})
    return np.asarray(z[:-1] - z[-1]).T


# --- NICE ---


def test_additive_couplings_keep_the_volume_and_only_the_scale_changes_it() -> None:
    m = flows.flow("real[4]", f"{COUPLE} -> permute(reverse) -> {COUPLE} -> scale")
    w, x = flows.weights(m), np.random.default_rng(0).standard_normal((5, 4)) * 3
    z, log_det = flows.forward(m, w, {"x": x})
    np.testing.assert_array_equal(log_det, np.full(5, w["x.scale_0.log_scale"].sum()))
    assert np.abs(z - x).max() > 0.1


def test_nice_is_exact_and_its_volume_is_that_of_its_scale_and_its_logit() -> None:
    m = spec_module("nice")
    w, inputs = flows.weights(m), example_inputs(m, "forward", 3)
    z, log_det = flows.forward(m, w, inputs)
    np.testing.assert_array_equal(flows.backward(m, w, z, inputs), inputs["x"])
    p = 0.05 + 0.9 * (inputs["x"] + inputs["noise_dequantize"]) / 17
    logit = (np.log(0.9 / 17) - np.log(p) - np.log(1 - p)).sum(1)
    np.testing.assert_allclose(log_det, logit + w["x.scale_0.log_scale"].sum(), rtol=1e-12)


# --- invertible convolutions ---


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_conv1x1_starts_as_a_rotation_and_counts_its_determinant_at_every_place(size: int) -> None:
    vector, image = flows.flow(f"real[{size}]", "conv1x1"), flows.flow(f"real[{size}, 3, 2]", "conv1x1")
    start = {k: v.astype(float) for k, v in initial(vector).items()}
    w = matrix(start, vector, size)
    np.testing.assert_allclose(w @ w.T, np.eye(size), atol=1e-6)
    changed = flows.weights(vector)
    w = matrix(changed, vector, size)
    x = np.random.default_rng(0).standard_normal((2, size, 3, 2))
    z, log_det = flows.forward(image, changed, {"x": x})
    np.testing.assert_allclose(z.reshape(x.shape), np.einsum("oi,nihw->nohw", w, x), atol=1e-12)
    np.testing.assert_allclose(log_det, 3 * 2 * np.linalg.slogdet(w)[1], atol=1e-12)


def test_a_permutation_is_a_special_case_of_conv1x1() -> None:
    m = flows.flow("real[7]", "conv1x1(init = permutation, seed = 2)")
    w = {k: v.astype(float) for k, v in initial(m).items()}
    p, log_det = matrix(w, m, 7), flows.forward(m, w, {"x": np.ones((1, 7))})[1]
    assert (np.sort(p, 1)[:, :-1] == 0).all() and (p.sum(0) == 1).all() and (p.sum(1) == 1).all()
    assert (p != np.eye(7)).any() and log_det[0] == 0


def test_plain_and_lu_are_the_same_map_of_the_same_matrix() -> None:
    """log |det| is H W log |det W| for both; their starts are the same rotation."""
    lu, plain = (flows.flow("real[4, 3, 2]", f"conv1x1(form = {form})") for form in ("lu", "plain"))
    w = {k: v.astype(float) for k, v in initial(plain).items()}
    assert np.allclose(np.abs(np.linalg.det(w["x.conv1x1_0.weight"])), 1)
    changed = flows.weights(lu)
    m = matrix(changed, flows.flow("real[4]", "conv1x1"), 4)
    x = np.random.default_rng(0).standard_normal((3, 4, 3, 2))
    z, log_det = flows.forward(lu, changed, {"x": x})
    again, same = flows.forward(plain, {"x.conv1x1_0.weight": m}, {"x": x})
    np.testing.assert_allclose(again, z, atol=1e-12)
    np.testing.assert_allclose(same, log_det, atol=1e-12)
    np.testing.assert_allclose(same, 6 * np.linalg.slogdet(m)[1], atol=1e-12)


def test_a_plain_convolution_that_counts_another_determinant_is_refuted() -> None:
    """At one place too few, or of another matrix than the one it multiplies by."""
    m = flows.flow("real[3, 2, 2]", "conv1x1(form = plain)")
    (step,) = m.flow_steps["x"]

    def fewer_places(b, node, inputs):  # type: ignore[no-untyped-def]
        seen = isinstance(node.op, Constant) and node.op.array.ndim == 0 and node.op.array == 4
        return (b.constant(3.0),) if seen else None

    def another_matrix(b, node, inputs):  # type: ignore[no-untyped-def]
        return (
            (b.emit(node.op, b.emit(Transpose((1, 0)), *inputs)),) if isinstance(node.op, LogAbsDet) else None
        )

    assert answers(m)[0].status == "proved"
    for change in (fewer_places, another_matrix):
        (verdict,) = answers(replace(m, flow_steps={"x": [replace(step, graph=step.graph.rebuild(change))]}))
        assert (verdict.status, [d.code for d in verdict.diagnostics]) == ("refuted", ["MP402"])


def test_two_convolutions_of_a_flow_start_apart() -> None:
    m = flows.flow("real[3]", "conv1x1 -> conv1x1")
    w = initial(m)
    assert not np.allclose(w["x.conv1x1_0.upper"], w["x.conv1x1_1.upper"])


# --- MAF and IAF ---


@pytest.mark.parametrize("law", flows.LAWS)
def test_maf_and_iaf_are_each_others_direction(law: str) -> None:
    bijector = f"autoregressive(hidden = [7], order = random, seed = 3, law = {law})"
    maf, iaf = flows.flow("real[4]", bijector), flows.flow("real[4]", f"inverse({bijector})")
    w = flows.weights(maf)
    w_iaf = {k.replace("autoregressive_0", "inverse_0"): v for k, v in w.items()}
    x = np.random.default_rng(0).standard_normal((6, 4))
    z, log_det = flows.forward(maf, w, {"x": x})
    np.testing.assert_array_equal(flows.backward(iaf, w_iaf, x, {}), z)
    back, minus = flows.forward(iaf, w_iaf, {"x": z})
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_allclose(minus, -log_det, atol=1e-12)
    np.testing.assert_array_equal(flows.backward(maf, w, z, {}), back)


MAF = "autoregressive(hidden = [8])"
STACKS = {
    "alternating": ("real[6]", "autoregressive(hidden = [11, 9]) -> autoregressive(hidden = [11, 9], order = reverse)"),
    "permuted": ("real[5]", f"{MAF} -> batch_norm -> permute(reverse) -> {MAF}"),
    "random": ("real[5]", f"autoregressive(hidden = [4], order = random, seed = 1) -> {MAF}"),
    "narrow": ("real[7]", "autoregressive(hidden = [3, 2]) -> affine"),
    "splines": ("real[5]", f"autoregressive(hidden = [8, 7], law = {flows.SPLINE}) -> "
                f"autoregressive(hidden = [8], law = {flows.SPLINE}, order = reverse)"),
    "additive": ("real[4]", "autoregressive(hidden = [8], law = additive)"),
    "one": ("real[1]", "autoregressive(hidden = [4]) -> autoregressive(hidden = [4], order = reverse)"),
}  # fmt: skip


@pytest.mark.parametrize("condition", ["", "c: category(3)", "c: real[2]"])
@pytest.mark.parametrize("name", STACKS)
def test_the_inverse_is_derived_and_gives_what_the_reference_gives(name: str, condition: str) -> None:
    type, chain = STACKS[name]
    if condition:
        chain = chain.replace("autoregressive(", "autoregressive(condition = c, ")
    m = flows.module(flows.Case(type, chain, condition=condition))
    w, inputs = flows.weights(m), example_inputs(m, "inverse", 4)
    derived = DeriveSamplers()(m.programs["inverse"])
    assert [str(r) for r in derived.refused] == []
    assert any(recognise(n) for n in m.programs["inverse"].nodes())
    assert not any(recognise(n) for n in derived.graph.nodes())
    expected = interpret(m.programs["inverse"], w, inputs)["x"]
    np.testing.assert_allclose(interpret(derived.graph, w, inputs)["x"], expected, atol=1e-10)
    given = {k: v for k, v in inputs.items() if k != "z"}
    np.testing.assert_allclose(flows.forward(m, w, {"x": expected, **given})[0], inputs["z"], atol=1e-9)


def test_the_first_element_depends_on_the_condition() -> None:
    """No unit is before it: the condition must enter the output layer itself."""
    case = flows.Case("real[3]", "autoregressive(hidden = [5], condition = c)", condition="c: real[1]")
    m = flows.module(case)
    x = np.ones((2, 3))
    z, _ = flows.forward(m, flows.weights(m), {"x": x, "c": np.array([[0.0], [1.0]])})
    assert (z[0] != z[1]).all()


# --- proofs find what is wrong ---


@pytest.mark.parametrize("type, chain", [
    ("real[3]", "autoregressive(hidden = [4])"),
    ("real[3]", "inverse(autoregressive(hidden = [4]))"),
    ("real[3]", "conv1x1"),
    ("real[1, 2, 3]", f"coupling(mask = checkerboard, law = {flows.SPLINE}, net = conv(3, 3, pad = same) -> tanh)"),
])  # fmt: skip
def test_a_bijector_without_its_masks_is_refuted(type: str, chain: str) -> None:
    m = flows.flow(type, chain)
    opened = []
    for step in m.flow_steps["x"]:

        def open_masks(b, node, inputs):  # type: ignore[no-untyped-def]
            op = node.op
            if not isinstance(op, Constant) or op.array.ndim == 0 or set(np.unique(op.array)) != {0, 1}:
                return None
            return (b.emit(Constant.of(np.ones_like(op.array))),)

        opened.append(replace(step, graph=step.graph.rebuild(open_masks)))
    (verdict,) = answers(replace(m, flow_steps={"x": opened}))
    assert verdict.status == "refuted"
    assert {d.code for d in verdict.diagnostics} == {"MP402"}
    assert all(d.span.line == 4 for d in verdict.diagnostics)


@pytest.mark.parametrize("mask", ["checkerboard", "channel", "[1, 0, 0, 1]"])
def test_a_coupling_whose_network_reads_what_it_moves_is_refuted(mask: str) -> None:
    m = flows.flow("real[4]", f"coupling(mask = {mask}, law = affine, {flows.NET})")
    (step,) = m.flow_steps["x"]

    seen = step.graph.inputs["seen"]

    def read_the_rest(b, node, inputs):  # type: ignore[no-untyped-def]
        if node.inputs[:1] != (seen,):
            return None
        index = [step.graph.node(v).op.array for v in node.inputs[1:]]  # of a gather
        (read,) = node.op.evaluate(np.arange(4)[None], *index)
        return (F.take(b, inputs[0], 1, np.setdiff1d(np.arange(4), read)),)

    wrong = replace(step, graph=step.graph.rebuild(read_the_rest).live())
    assert [v.status for v in answers(m)] == ["proved"]
    (verdict,) = answers(replace(m, flow_steps={"x": [wrong]}))
    assert verdict.status == "refuted"


def refused(type: str, chain: str, condition: str = "") -> tuple[str, str, int]:
    """Code, message and column of the one error of a flow."""
    case = flows.Case(type, chain, condition=condition)
    with pytest.raises(SpecError) as caught:
        flows.module(case)
    (found,) = caught.value.diagnostics
    assert found.span.line == (4 if not condition else 5)
    return found.code, found.message, found.span.column - 3


def test_what_is_not_injective_is_refused_in_its_place() -> None:
    assert refused("real[2]", "affine -> relu") == (
        "MP407", "`relu` is not injective: it sends every negative number to 0", 10,
    )  # fmt: skip
    assert refused("real[2]", "step")[0] == "MP407"
    assert refused("real[2]", "dense(2) -> affine")[:2] == (
        "MP407", "`dense` is a layer, and a flow is made of bijectors",
    )  # fmt: skip
    assert refused("real[2]", "square")[0] == "MP407"
    assert refused("real[2]", "affin")[:2] == ("MP110", "unknown bijector `affin`")
    assert refused("real[2]", "leaky_relu(slope = 0)")[:2] == (
        "MP205", "`slope` of leaky_relu must be positive, got 0",
    )  # fmt: skip
    assert refused("integer(0..3)[2]", "dequantize -> inverse(logit)")[0] == "MP408"
    assert refused("real[2]", "inverse(batch_norm)")[0] == "MP205"


def test_intervals_must_fit() -> None:
    code, message, column = refused("real[2]", "affine -> sigmoid")
    assert (code, column) == ("MP408", 10)
    assert message.startswith("`sigmoid` reaches (0, 1) only, and the base is defined on the reals")
    code, message, column = refused("real[2]", "affine -> logit")
    assert (code, column) == ("MP408", 10)
    assert message == "`logit` is defined on (0, 1), and the bijector before it gives the reals"
    assert refused("real[2]", "tanh -> logit")[0] == "MP408"
    assert refused("real[4, 2, 2]", "sigmoid -> factor_out -> logit")[0] == "MP408"
    assert api.check(flows.flow("real[2]", "sigmoid -> permute -> logit")) == []


def test_arguments_that_make_no_bijector_are_refused() -> None:
    assert refused("real[2]", "conv1x1(init = zeros)")[0] == "MP205"
    assert refused("real[2]", "autoregressive(hidden = [])")[0] == "MP205"
    assert refused("real[2]", "autoregressive(hidden = [4], order = sideways)")[0] == "MP205"
    assert (
        refused("real[2]", f"coupling(mask = checkerboard, law = spline(bins = 1), {flows.NET})")[0]
        == "MP205"
    )
    assert refused("real[2]", f"coupling(mask = checkerboard, law = cubic, {flows.NET})")[0] == "MP110"
    assert refused("real[1]", f"coupling(mask = checkerboard, {flows.NET})")[0] == "MP406"
    assert refused("real[2, 2, 2]", "autoregressive(hidden = [4])")[0] == "MP201"
    image = f"coupling(mask = channel, {flows.CONV}, condition = c)"
    assert refused("real[2, 4, 4]", image, "c: real[2, 3, 3]")[0] == "MP207"


# --- starts from data ---


def test_actnorm_starts_where_the_first_batch_has_mean_0_and_deviation_1() -> None:
    m = flows.flow("real[2, 3, 3]", f"actnorm -> coupling(mask = channel, {flows.CONV}) -> scale -> actnorm")
    w = flows.weights(m)
    x = 5 + 3 * np.random.default_rng(0).standard_normal((50, 2, 3, 3))
    out = interpret(m.programs["initialize"], w, {"x": x})
    updates = m.updates("initialize")
    assert set(updates) == {f"x.actnorm_{i}.{n}" for i in (0, 1) for n in ("log_scale", "shift")}
    w |= {name: out[output] for name, output in updates.items()}
    z = flows.forward(m, w, {"x": x})[0].reshape(50, 2, 9)
    np.testing.assert_allclose(z.mean((0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(z.std((0, 2)), 1, atol=1e-5)


def test_the_start_is_in_the_checkpoint_and_a_resumed_run_keeps_it(tmp_path: Path) -> None:
    """One step at rate zero leaves what the first batch set."""
    text = "model m\ninput x: real[2]\nx ~ flow { actnorm }\ntrain { optimizer: sgd(0), batch: 64, data: moons }\n"
    (tmp_path / "m.mp").write_text(text)
    m = api.load(tmp_path / "m.mp")
    options = loop.Options(steps=1, seed=4)
    loop.train(m, tmp_path / "run", options)
    found = checkpoint.newest(tmp_path / "run" / "checkpoints")
    batches = Batches(m, load_data(m, "moons", None, None).splits["train"], 64, 4)
    first = complete(m, "initialize", batches.at(0), (4, "initialize"))["x"]
    np.testing.assert_allclose(
        found.state["parameter/x.actnorm_0.log_scale"], -np.log(first.std(0)), atol=1e-5
    )
    loop.train(m, tmp_path / "run", replace(options, steps=2, resume=True))
    again = checkpoint.newest(tmp_path / "run" / "checkpoints")
    np.testing.assert_array_equal(
        again.state["parameter/x.actnorm_0.shift"], found.state["parameter/x.actnorm_0.shift"]
    )


def test_batch_norm_normalises_by_its_batch_in_training_and_keeps_running_statistics() -> None:
    m = flows.flow("real[3]", "batch_norm(momentum = 0.25)")
    w = flows.weights(m)
    x = 2 + 3 * np.random.default_rng(0).standard_normal((40, 3))
    out = interpret(m.programs["loss"], w, {"x": x})
    name = "x.batch_norm_0"
    for key, batch in (("running_mean", x.mean(0)), ("running_var", x.var(0))):
        expected = 0.75 * w[f"{name}.{key}"] + 0.25 * batch
        np.testing.assert_allclose(out[m.updates("loss")[f"{name}.{key}"]], expected, rtol=1e-12)
    scale = np.exp(w[f"{name}.log_scale"]) / np.sqrt(x.var(0) + 1e-5)
    z = (x - x.mean(0)) * scale + w[f"{name}.shift"]
    log_p = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum(1) + np.log(scale).sum()
    np.testing.assert_allclose(out["loss"], -log_p.mean(), rtol=1e-12)
