"""Modules for inference: each pass keeps what programs mean, on the oracle, and never costs more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import flows_under_test as flows
import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, optimised, weights

from mpcompile import ops
from mpcompile.analysis import prove
from mpcompile.analysis.cost import work
from mpcompile.backend import find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Graph, Module, Parameter, Primitive
from mpcompile.ops import PRIMITIVES, Conv, Flip, Gather, Inverse, LogAbsDet, MatMul, Scan, Slice
from mpcompile.ops._base import type_of
from mpcompile.passes import stepwise
from mpcompile.passes.affine import FoldAffine
from mpcompile.passes.incremental import block_loop
from mpcompile.passes.permutations import AbsorbPermutations
from mpcompile.passes.pipeline import INFERENCE, for_inference, optimise
from mpcompile.passes.weight_only import weight_only_values

FLOWS = [n for n in NAMES if module(n).flow_steps]


def reorderings(graph: Graph) -> int:
    """Gathers, flips and slices of what depends on inputs."""
    weight_only = weight_only_values(graph)
    return sum(
        isinstance(n.op, Gather | Flip | Slice) and n.outputs[0] not in weight_only for n in graph.nodes()
    )


def data_nodes(graph: Graph) -> int:
    weight_only = weight_only_values(graph)
    return sum(n.outputs[0] not in weight_only for n in graph.nodes())


def agree(m: Module, fast: Module, w: dict[str, Array], v: dict[str, Array]) -> None:
    for program in fast.programs:
        x = inputs(m, program, 3)
        expected, found = interpret(m.programs[program], w, x), interpret(fast.programs[program], v, x)
        assert expected.keys() == found.keys()
        for key in expected:
            np.testing.assert_allclose(
                found[key], expected[key], rtol=1e-9, atol=1e-9, err_msg=f"{program} {key}"
            )


@pytest.mark.parametrize("name", [*FLOWS, "made", "cnn", "unet", "vae", "transformer", "bilstm"])
def test_a_module_for_inference_means_what_it_meant_and_costs_less(name: str) -> None:
    """Equal on the oracle in double precision; fewer nodes, no more operations, nothing left to do to weights alone."""
    m = module(name)
    w = weights(m)
    before = optimised(name)
    folded = for_inference(before, w)
    assert not {"loss", "initialize"} & {*folded.module.programs}
    agree(m, folded.module, w, folded.weights)
    for program, graph in folded.module.programs.items():
        old = before.programs[program]
        assert len(graph) <= len(old)
        env = dict.fromkeys(graph.symbols(), 7)
        assert value(work(graph).total, env) <= value(work(old).total, env)
        assert set(graph.parameters()) <= {*folded.weights}
        weight_only = weight_only_values(graph)
        left = [
            n.op.name
            for n in graph.nodes()
            if n.outputs[0] in weight_only and isinstance(n.op, MatMul | Scan | Inverse)
        ]
        assert left == []


def value(size: object, env: dict[str, int]) -> float:
    from mpcompile.ir.size import substitute

    return float(str(substitute(size, env)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["maf", "realnvp", "glow", "mixture_flow", "made", "pixelcnn", "vae_iaf"])
def test_what_was_proven_is_proven_of_the_rewritten_programs(name: str) -> None:
    """Permutations and affine maps are moved in sight of the analyses, so that every claim can be proven again."""
    m = module(name)
    programs = dict(m.programs)
    for program in programs:
        programs[program] = INFERENCE.run(programs[program]).graph
    assert [(v.claim.kind, v.status) for v in prove(replace(m, programs=programs))] == [
        (v.claim.kind, v.status) for v in prove(m)
    ]


CHAIN = "autoregressive(hidden = [9, 8]) -> actnorm -> permute(random, seed = 3)"


@pytest.mark.parametrize("law", flows.LAWS)
def test_permutations_between_masked_layers_go_into_weights(law: str) -> None:
    """Of three, log_prob has none left, and `forward` the one that its result is in."""
    chain = " -> ".join([CHAIN.replace("[9, 8]", f"[9, 8], law = {law}")] * 3)
    m = flows.flow("real[5]", chain)
    w = flows.weights(m)
    cuts = {"additive": 0, "affine": 2}.get(
        law, 5
    )  # slices that cut the parameters of a law out of one product
    for program, left in (("log_prob", 0), ("forward", 1)):
        old = m.programs[program]
        new = AbsorbPermutations()(old).graph
        assert reorderings(old) - left >= 3 - left and reorderings(new) <= left + 3 * cuts
        assert str(work(new).total) == str(work(old).total)
        x = inputs(m, program, 4)
        for key, expected in interpret(old, w, x).items():
            np.testing.assert_allclose(interpret(new, w, x)[key], expected, atol=1e-12)


def test_couplings_of_halves_read_the_halves_themselves() -> None:
    """What one coupling joins and the next takes apart is never joined."""
    m = flows.flow(
        "real[6]",
        " -> ".join(f"coupling(mask = checkerboard(parity = {i % 2}), {flows.NET})" for i in range(4)),
    )
    old, new = m.programs["log_prob"], AbsorbPermutations()(m.programs["log_prob"]).graph
    cuts = 2 * 4 + 2  # scale and shift of each, and the halves of the data
    assert reorderings(new) <= cuts < reorderings(old)


STACK = "actnorm -> conv1x1 -> actnorm -> conv1x1(form = plain) -> batch_norm"


@pytest.mark.parametrize("type", ["real[4]", "real[4, 3, 2]"])
def test_actnorm_and_convolutions_become_one_weight_and_one_bias_each(type: str) -> None:
    m = flows.flow(type, STACK)
    w = flows.weights(m)
    folded = for_inference(optimise(m).module, w)
    for program in ("forward", "inverse"):
        ops = [n.op for n in folded.module.programs[program].nodes() if not isinstance(n.op, Parameter)]
        products = sum(isinstance(o, MatMul | Conv) for o in ops)
        sums = sum(o.name in ("add", "sub") for o in ops)
        assert (products, sum(o.name == "mul" for o in ops)) == (2, 0)
        assert sums <= 3 and not any(isinstance(o, Scan | Inverse | LogAbsDet) for o in ops)
    agree(m, folded.module, w, folded.weights)


@pytest.mark.parametrize(
    ("net", "folds"),
    [
        ("conv(4, 1)", True),
        ("conv(4, 3)", True),
        ("conv(4, 3, pad = same)", False),
        ("conv(4, 3, groups = 2)", False),
    ],
)
def test_a_shift_before_a_convolution_is_folded_where_no_padding_stands_for_it(net: str, folds: bool) -> None:
    """Zeros at the border are not the shift's; a scale goes through either."""
    from mpcompile.diagnostics import Source
    from mpcompile.frontend import parse_text
    from mpcompile.lowering import lower

    logits = f"x -> batch_norm -> {net} -> flatten -> dense(3)"
    text = f"model m\ninput x: real[2, 5, 5]\ntarget y: category(3)\ny ~ categorical(logits = {logits})"
    m = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})
    w = {k: np.abs(v) + 0.1 if k.endswith("running_var") else v for k, v in weights(m, spread=0.3).items()}
    old = m.programs["predict"]
    new = FoldAffine()(old).graph
    x = inputs(m, "predict", 3)
    for key, expected in interpret(old, w, x).items():
        np.testing.assert_allclose(interpret(new, w, x)[key], expected, atol=1e-12)
    assert data_nodes(new) < data_nodes(old)
    first = next(n for n in new.nodes() if isinstance(n.op, Conv))
    direct = new.node(first.inputs[0]).op.name == "input"
    assert direct == folds


def test_what_two_layers_read_is_not_folded_into_one() -> None:
    """The result of actnorm goes into a net and into a law: no product can take it."""
    m = flows.flow("real[4]", f"actnorm -> coupling(mask = checkerboard, {flows.NET}) -> actnorm -> scale")
    new = FoldAffine()(m.programs["forward"]).graph
    w, x = flows.weights(m), inputs(m, "forward", 3)
    for key, expected in interpret(m.programs["forward"], w, x).items():
        np.testing.assert_allclose(interpret(new, w, x)[key], expected, atol=1e-12)


@pytest.mark.parametrize("backend", ["torch", "onnx", "jax"])
@pytest.mark.parametrize("name", ["maf", "glow"])
def test_backends_run_a_module_for_inference(name: str, backend: str) -> None:
    m = module(name)
    w = {k: v.astype(np.float32) for k, v in weights(m, spread=0.02).items()}
    folded = for_inference(optimised(name), w)
    assert all(v.dtype == np.float32 for v in folded.weights.values())
    session = find_backend(backend).session(folded.module, folded.weights)
    for program in ["log_prob"] if backend == "jax" else ["log_prob", "inverse"]:
        x = inputs(m, program, 3)
        expected = interpret(m.programs[program], w, x)
        for key, found in session.run(program, x).items():
            np.testing.assert_allclose(found, expected[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("most", "left"), [(2, 0), (0, 2)])
def test_a_step_reads_what_weights_decide_from_a_stack(
    most: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows and columns of a block's weights, unless stacks would be much larger than the weights."""
    monkeypatch.setattr(block_loop, "block_length", lambda *_: 4)
    monkeypatch.setattr(stepwise, "MOST", most)
    m = module("made")
    w = weights(m)
    before = optimise(m).module
    folded = for_inference(before, w)
    agree(m, folded.module, w, folded.weights)
    (loop,) = (n for n in folded.module.programs["sample"].nodes() if isinstance(n.op, Scan))
    assert isinstance(loop.op, Scan)
    body = loop.op.body
    captured = list(body.inputs.values())[loop.op.carries : -1]
    picks = [n for n in body.nodes() if isinstance(n.op, Gather) and n.inputs[1].type.rank]
    assert sum(n.inputs[0] in captured and n.inputs[0].type.rank == 2 for n in picks) == left
    old = sum(np.size(a) for a in w.values())
    assert sum(a.size for a in folded.weights.values()) <= (1 + 2 * most) * old


def beside_a_permutation(op: Primitive, arrays: Sequence[Array], axis: int) -> tuple[Graph, dict[str, Array]]:
    """The sum of a primitive's result, of data or of weights, and of data permuted along an axis; floats are weights."""
    graph = Graph("p")
    b = Builder(graph)
    values, weights = [], dict[str, Array]()
    for i, x in enumerate(map(np.asarray, arrays)):
        if i == 0:
            values.append(b.input("x0", type_of(x)))
        elif x.dtype.kind == "f":
            weights[f"w{i}"] = x
            values.append(b.emit(ops.Parameter(f"w{i}", type_of(x))))
        else:
            values.append(b.constant(x))
    y = b.emit_all(op, *values)[0]
    order = np.roll(np.arange(y.type.concrete({})[axis]), 1)
    moved = b.emit(ops.Gather(axis), b.input("z", y.type), b.constant(order))
    graph.outputs["y"] = b.emit(ops.Sum((axis,)), b.emit(ops.Tanh(), b.emit(ops.Add(), moved, y)))
    return graph, weights


@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_permutation_is_absorbed_past_every_primitive(name: str) -> None:
    """Channels of a grouped convolution, for one, are not permuted across groups."""
    for example in PRIMITIVES[name].examples():
        results = example.op.infer(*map(type_of, example.inputs)) if example.inputs else ()
        if not results or results[0].dtype is not DType.FLOAT:
            continue
        for axis in range(results[0].rank):
            graph, weights = beside_a_permutation(example.op, example.inputs, axis)
            rng = np.random.default_rng(0)
            inputs = {"x0": np.asarray(example.inputs[0]), "z": rng.normal(size=results[0].concrete({}))}
            wanted = interpret(graph, weights, inputs)["y"]
            found = interpret(AbsorbPermutations()(graph).graph, weights, inputs)["y"]
            np.testing.assert_allclose(
                found, wanted, rtol=1e-9, atol=1e-12, err_msg=f"{example.op}, axis {axis}"
            )


@pytest.mark.parametrize("name", NAMES)
def test_permutations_are_absorbed_only_where_less_is_moved(name: str) -> None:
    """And nothing more is multiplied; any other program stays as it is."""
    for program in module(name).programs.values():
        made = AbsorbPermutations()(program)
        if made.changed:
            assert reorderings(made.graph) < reorderings(program)
            assert str(work(made.graph).products) == str(work(program).products)
