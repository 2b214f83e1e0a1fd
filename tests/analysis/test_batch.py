"""No example of a batch reads another one: proved of every program, and held to numbers, primitive by primitive."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, weights
from written import lowered

from mpcompile import api, ops
from mpcompile.analysis.batch import batch_axis, mixing, whole_batch
from mpcompile.analysis.verdict import Status, Verdict
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Example,
    Graph,
    Input,
    Module,
    NoRule,
    Parameter,
    Primitive,
    Shape,
    Type,
    TypeMismatch,
    float_type,
    symbol,
)
from mpcompile.ops import PRIMITIVES
from mpcompile.ops._base import type_of
from mpcompile.runner.examples import example_inputs, example_weights

#: Programs in which examples meet by definition.
WHOLE = ("loss", "initialize", "statistics")


def verdict(module: Module) -> Verdict:
    (found,) = (v for v in api.verdicts(module) if v.claim.kind == "independent")
    return found


def rows(values: dict[str, Array], graph: Graph, i: int, outputs: bool = False) -> dict[str, Array]:
    """Example i of what has examples."""
    types = {k: v.type for k, v in (graph.outputs if outputs else graph.inputs).items()}
    axes = {k: batch_axis(types[k]) for k in values}
    return {k: v if (a := axes[k]) is None else v.take([i], a) for k, v in values.items()}


# --- primitives ---


def graphs(example: Example) -> list[Graph]:
    """The primitive with the batch along each axis of each of its inputs in turn; what does not fit is left out."""
    found: list[Graph] = []
    shapes = [(type_of(x).dtype, x.shape) for x in example.inputs]
    for axes in product(*([None, *range(len(s))] for _, s in shapes)):
        if all(a is None for a in axes):
            continue
        g = Graph("g")
        b = Builder(g)
        values = [
            b.input(f"x{i}", Type(kind, tuple(symbol("N") if a == axis else n for a, n in enumerate(s))))
            for i, ((kind, s), axis) in enumerate(zip(shapes, axes, strict=True))
        ]
        try:
            node = g.add(example.op, values, b.span, ())
        except (TypeMismatch, ValueError):
            continue
        g.outputs = {f"y{i}": v for i, v in enumerate(node.outputs)}
        found.append(g)
    return found


@pytest.mark.parametrize(
    "primitive", [p for p in PRIMITIVES.values() if p not in (Input, Parameter)], ids=lambda p: p.name
)
def test_what_a_rule_keeps_apart_is_apart(primitive: type) -> None:
    """Examples in another order give the results in that order, and each alone gives its own."""
    for example in primitive.examples():
        for g in graphs(example):
            try:
                if list(mixing(g)):
                    continue
            except NoRule:
                continue
            given = {f"x{i}": x for i, x in enumerate(example.inputs)}
            sizes = {v.shape[a] for (k, v), t in zip(given.items(), g.inputs.values(), strict=True)
                     if (a := batch_axis(t.type)) is not None}  # fmt: skip
            if len(sizes) > 1 or sizes == {0}:
                continue
            (n,) = sizes
            together = interpret(g, {}, given, {"N": n})
            for i in range(n):
                alone = interpret(g, {}, rows(given, g, i), {"N": 1})
                here = rows(together, g, i, outputs=True)
                for name in alone:
                    np.testing.assert_allclose(
                        alone[name], here[name], atol=1e-12, err_msg=f"{example.op} {i}"
                    )


N = symbol("N")
#: An operation that acts along the examples, its operands, and what is said of it.
ACTS = [
    (ops.Sum((0,)), [(N, 2)], "it joins all examples"),
    (ops.Softmax(0), [(N, 2)], "it acts along the examples"),
    (ops.Flip(0), [(N, 2)], "it acts along the examples"),
    (ops.CumSum(1), [(2, N)], "it acts along the examples"),
    (ops.Slice(0, 0, 1, 1), [(N, 2)], "it joins all examples"),
    (ops.Pad((1, 0), (0, 0)), [(N, 2)], "it lays examples end to end"),
    (ops.Iota((N, 2), 0), [], "it numbers the examples"),
    (ops.Reshape((2, N)), [(N, 2)], "it takes elements of an example for another's"),
    (ops.Reshape((2 * N,)), [(N, 2)], ""),  # a block of rows of each example
    (ops.Reshape((N, 2)), [(2 * N,)], ""),
    (ops.Reshape((2 * N,)), [(2, N)], "it takes elements of an example for another's"),
    (ops.CumSum(0), [(2 * N,)], "it acts along the examples"),
    (ops.Concat(0), [(N, 3), (N, 3)], "it lays examples end to end"),
    (ops.Transpose((1, 0)), [(N, 2)], ""),
    (ops.Add(), [(N,), (N, 1)], "it pairs every example with every other"),
    (ops.Add(), [(N, 1), (N, 2)], ""),
    (ops.MatMul(), [(2, N), (N, 3)], "it joins all examples"),
    (ops.MatMul(), [(N, 2), (2, N)], "it pairs every example with every other"),
    (ops.MatMul(), [(N, 2, 3), (3, 4)], ""),
    (ops.Conv((1,), ((0, 0),), (1,), 1), [(2, 3, N), (4, 3, 1)], "it slides over the examples"),
    (ops.Conv((1,), ((0, 0),), (1,), 1), [(N, 3, 5), (4, 3, 1)], ""),
]


@pytest.mark.parametrize(("op", "shapes", "reason"), ACTS, ids=[f"{a[0].name}{a[1]}" for a in ACTS])
def test_an_operation_along_the_examples_is_named(op: Primitive, shapes: list[Shape], reason: str) -> None:
    g = Graph("g")
    b = Builder(g)
    g.outputs["y"] = b.emit(op, *(b.input(f"x{i}", float_type(*s)) for i, s in enumerate(shapes)))
    assert [m.reason for m in mixing(g)] == ([reason] if reason else [])


def test_a_loop_is_looked_into() -> None:
    """A step that sums over the examples, and a loop from example to example."""
    body = Graph("body")
    b = Builder(body)
    h, x = b.input("h", float_type(N, 2)), b.input("x", float_type(N, 2))
    b.input("step", Type(DType.INT, ()))
    body.outputs["h"] = b.emit(ops.Add(), h, b.emit(ops.Sum((0,), True), x))
    outer = Graph("g")
    b = Builder(outer)
    first, wide = b.input("first", float_type(N, 2)), b.input("wide", float_type(N, symbol("time"), 2))
    outer.outputs["y"] = b.emit_all(ops.Scan(body, 1, scanned=1), first, wide)[0]
    (found,) = mixing(outer)
    assert found.op.name == "sum" and found.node.op.name == "scan"


# --- programs ---


@pytest.mark.parametrize("name", NAMES)
def test_every_program_of_every_spec(name: str) -> None:
    m = module(name)
    assert verdict(m).status is Status.PROVED
    assert not whole_batch(m).others
    for program, graph in m.programs.items():
        if program in WHOLE:
            continue
        given = {
            k: np.asarray(v, np.float64) if v.dtype.kind == "f" else v
            for k, v in inputs(m, program, 3).items()
        }
        parameters = {k: v.astype(np.float64) for k, v in weights(m).items()}
        each_alone(graph, parameters, given, [2], program)


def each_alone(
    graph: Graph, parameters: dict[str, Array], given: dict[str, Array], which: list[int], text: str
) -> None:
    """Three examples together give each what it gives alone."""
    together = interpret(graph, parameters, given)
    for i in which:
        alone, here = (
            interpret(graph, parameters, rows(given, graph, i)),
            rows(together, graph, i, outputs=True),
        )
        for k in alone:
            np.testing.assert_allclose(alone[k], here[k], rtol=1e-10, atol=1e-10, err_msg=f"{text}.{k}")


#: Layers over shapes of one element, few and odd ones; scalars beside vectors; images in every step of a sequence.
SHAPES = {
    "vector": ("real[{}]", "dense(4) -> tanh -> layer_norm -> batch_norm -> dropout(0.2) -> gate -> dense(2)", (1, 3)),
    "image": ("real[{}, 3, 5]", "conv(4, 3, pad = same) -> group_norm(2) -> instance_norm -> maxpool(2, stride = 1) as m"
              " -> avgpool(2, stride = 1, pad = same) -> unpool(m) -> upsample(2) -> flatten -> dense(2)", (1, 2)),
    "narrow image": ("real[{}, 1, 5]", "row_lstm(2) -> diagonal_bilstm(2) -> shift_down -> global_avgpool -> dense(2)",
                     (1, 3)),
    "sequence": ("real[time, {}]", "conv1d(4, 3, pad = same) -> attention(2) -> gru(4) -> lstm(4, bidirectional = true)"
                 " -> position(9) -> shift -> stretch(2) -> last -> dense(2)", (1, 3)),
    "image in every step": ("real[time, place: {}, 3]",
                            "tanh -> dense(5) -> leaky_relu -> dropout(0.1) -> dense(2)", (1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_layers_of_odd_shapes(name: str) -> None:
    declared, net, sizes = SHAPES[name]
    for size in sizes:
        axes = declared.format(size).removesuffix(", 3]") + ", 2]" if "every step" in name else "real[2]"
        text = f"model m\ninput x: {declared.format(size)}\n{{}}target y: {axes}\n"
        text += f"y ~ normal(loc = x -> {net}, scale = 1)"
        length = "condition n: integer(1..time)\n"
        for extra in ("", length) if "time" in declared else ("",):
            m = lowered(text.format(extra))
            assert verdict(m).status is Status.PROVED
            for program in ("log_prob", "predict"):
                given = example_inputs(m, program, 3, 4)
                if extra and "n" in given:
                    given["n"] = np.array([2.0, 4.0, 1.0])
                given = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in given.items()}
                wide = {k: v.astype(np.float64) for k, v in example_weights(m).items()}
                each_alone(m.programs[program], wide, given, [0, 1, 2], name)


NORMAL = (
    "model m\ninput x: real[{x}]\ncondition c: real{c}\ntarget y: real[2]\ny ~ normal(loc = {net}, scale = 1)"
)
#: Models in which values of other ranks meet. Before axes had names some of them paired examples.
MIXED = {
    "a scalar beside a vector": NORMAL.format(x="1", c="", net="(x + c) -> dense(2)"),
    "the other way round": NORMAL.format(x="1", c="", net="(c * x) -> dense(2)"),
    "added by a layer": NORMAL.format(x="1", c="", net="c -> add(x) -> dense(2)"),
}


@pytest.mark.parametrize("text", MIXED.values(), ids=MIXED)
def test_values_of_other_ranks_pair_no_examples(text: str) -> None:
    assert verdict(lowered(text)).status is Status.PROVED


@pytest.mark.parametrize(
    "text",
    [
        "model m\ninput x: real[N, 2]\nx ~ normal(0, 1)",
        "model m\ninput x: real[2 * N, 2]\nx ~ normal(0, 1)",
        "model m\ninput x: real[3]\ntarget y: real[3]\ny ~ normal(loc = x -> over(N) -> last, scale = 1)",
        "model m\ninput x: real[time, 2]\ncondition length: integer(1..N)\nx ~ normal(0, 1)",
    ],
)
def test_the_batch_is_no_length(text: str) -> None:
    with pytest.raises(SpecError, match=r"MP211|MP110"):
        lowered(text)


def test_what_the_loss_is() -> None:
    def loss(text: str) -> str:
        return str(verdict(lowered(f"model m\ninput x: real[4]\n{text}")).detail["loss"])

    assert loss("x ~ normal(0, 1)") == "the mean of -log_prob over the batch"
    net = "target y: real[2]\ny ~ normal(loc = x -> dense(3) -> {} -> dense(2), scale = 1)"
    assert "noise while training (noise_dropout)" in loss(net.format("dropout(0.5)"))
    assert "statistics of the batch in batch_norm" in loss(net.format("batch_norm"))
    assert loss(net.format("tanh")) == "the mean of -log_prob over the batch"
    assert "a prior on weights" in loss(net.format("tanh") + "\nprior weights ~ normal(0, 1)")


ORDERED = "model m\ninput x: real[time, 2]\nx ~ autoregressive {{ shift -> dense(4) -> {} -> dense(4) }}{}"


def test_statistics_over_an_order_are_told() -> None:
    """While training each step reads the later ones; the proof is about running statistics, and says so."""

    def told(text: str) -> list[str]:
        return [d.code for d in api.warnings(lowered(text))]

    def how(text: str) -> str:
        return next(v.how for v in api.verdicts(lowered(text)) if v.claim.kind == "autoregressive")

    text = ORDERED.format("batch_norm", "")
    assert told(text) == ["MP332"] and "without statistics of the batch" in how(text)
    allowed = ORDERED.format("batch_norm", '\ncheck { allow batch_statistics_over_order because "a test" }')
    assert told(allowed) == [] and "without statistics of the batch" in how(allowed)
    image = (
        "model m\ninput x: binary[1, 4, 4]\nx ~ autoregressive(order = natural) {{ "
        "conv(4, 3, pad = same, mask = causal2d(type = A)) -> {} -> conv(1, 1) }}"
    )
    assert told(image.format("batch_norm")) == ["MP332"]
    for fine in (ORDERED.format("layer_norm", ""), image.format("layer_norm")):
        assert told(fine) == [] and "statistics" not in how(fine)


def test_statistics_of_one_place_are_not_told() -> None:
    """A masked dense net normalises each unit over the batch alone."""
    text = (
        "model m\ninput x: binary[4]\nmask up = degrees(order = natural)\n"
        "x ~ autoregressive(order = natural) { dense(16, mask = up) -> batch_norm -> dense(4, mask = strict(up)) }"
    )
    assert "MP332" not in [d.code for d in api.warnings(lowered(text))]


#: What the loss of a spec is, where it is not the mean of -log_prob over the batch.
LOSSES = {
    **dict.fromkeys(("autoencoder", "denoising", "linear_autoencoder", "perceptron"), "a criterion"),
    **dict.fromkeys(("cvrnn", "vae", "vae_ar_decoder", "vae_flow_prior", "vae_iaf", "vrnn"), "a bound of it"),
    "beta_vae": "a bound of it, a divergence with a weight of its own",
    "ddpm": "a bound of it",
    "gumbel": "a bound of it",
    "semi_supervised": "a bound of it, terms that are no density",
    "vq_vae": "a bound of it, terms that are no density, noise while training (noise_dropout, noise_dropout_2)",
    "cvrnn_styles": "a bound of it",
    "mixed_table": "a bound of it",
    "detector": "terms that are no density, weights or smoothed labels of level",
    "posterior": "a bound of log Z",
    "ladder": "a bound of it, a divergence with a weight of its own",
    "deep_markov": "a bound of it, a divergence with a weight of its own",
    "lstm_stacked": "noise while training (noise_dropout)",
    "made_ensemble": "noise while training (member)",
    "ridge": "a prior on weights",
    "unet": "statistics of the batch in batch_norm",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_the_loss_is_of_is_said(name: str) -> None:
    """Held to numbers: what is said to be the mean of -log_prob is."""
    m = module(name)
    said = str(verdict(m).detail["loss"])
    if name in LOSSES:
        assert said.removeprefix("not the mean of -log_prob over the batch: ").startswith(LOSSES[name])
        assert said.endswith((LOSSES[name], "and no likelihood"))
        return
    assert said == "the mean of -log_prob over the batch"
    w, given = weights(m), inputs(m, "loss", 3, 4)
    score = interpret(m.programs["log_prob"], w, given)["log_prob"]
    np.testing.assert_allclose(interpret(m.programs["loss"], w, given)["loss"], -score.mean(), rtol=1e-12)
