"""Operations, parameters and memory: against torch's own counter, closed forms and hand counts."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from specs_under_test import NAMES, full, inputs, module, optimised, weights
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mpcompile import api
from mpcompile.analysis import cost
from mpcompile.backend import find_backend
from mpcompile.ir import Builder, Graph, Module, NoRule, Primitive, Work, float_type, substitute, symbol
from mpcompile.ops import Add, Exp, Mul, Relu, Reshape, Scan, Sum
from mpcompile.passes.gradient import differentiate
from mpcompile.report.facts import describe, text
from mpcompile.report.terminal import show


def spec(folder: Path, body: str) -> Module:
    path = folder / "m.mp"
    path.write_text(f"model m\n{body}\n", encoding="utf-8")
    return api.load(path)


@cache
def live(name: str) -> Any:
    """The torch module of specs/<name>."""
    return find_backend("torch").compile(optimised(name), weights(module(name)))


def test_a_primitive_without_a_rule_raises() -> None:
    class Strange(Primitive):
        name: ClassVar[str] = "strange"

    with pytest.raises(NoRule, match="strange"):
        Strange().cost([], [])


RUN = [
    (n, p)
    for n in NAMES
    for p in ("conditionals", "predict", "forward", "reconstruct")
    if p in module(n).programs
]

#: Running sums, and tables that are read by row: no product of matrices.
NO_PRODUCT = {"nade", "hmm"}


def of_recurrent_kernel(x: Any, w_ih: Any, w_hh: Any, *_: Any, **__: Any) -> int:
    """torch's own table has no entry for its LSTM on a CPU: both products of every step, of x [time, N, F]."""
    return 2 * x[0] * x[1] * (math.prod(w_ih) + math.prod(w_hh))


def of_attention(q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    """Nor for its attention on a CPU: both products, of which none is left out where the mask is causal."""
    return sdpa_flop_count(q, k, v)


KERNELS = {
    torch.ops.aten.mkldnn_rnn_layer: of_recurrent_kernel,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: of_attention,
}


def may_exit(graph: Graph) -> bool:
    """Whether a loop of the graph, or one inside it, may end before its count."""
    loops = [n.op for n in graph.nodes() if isinstance(n.op, Scan)]
    return any(op.until_fixed_point or may_exit(op.body) for op in loops)


@pytest.mark.parametrize(("name", "program"), RUN)
def test_products_are_those_that_torch_counts(name: str, program: str) -> None:
    """FlopCounterMode sees the matrix products and convolutions of the emitted torch code as it runs."""
    m = optimised(name)  # what is compiled
    graph = m.programs[program]
    net = live(name)
    given = {k: torch.tensor(v) for k, v in inputs(m, program, 3, length=6).items()}
    given = {k: v.float() if v.is_floating_point() else v for k, v in given.items()}
    with FlopCounterMode(display=False, custom_mapping=KERNELS) as counter, torch.no_grad():
        getattr(net, program)(**given)
    sizes = {s: given[of].shape[axis] // scale for s, (of, axis, scale) in graph.symbols().items()}
    stated, ran = substitute(cost.work(graph).products, sizes), counter.get_total_flops()
    assert stated >= ran if may_exit(graph) else stated == ran
    assert counter.get_total_flops() > 0 or name in NO_PRODUCT


def test_attention_is_quadratic_in_time_and_a_recurrence_linear() -> None:
    """Two products of 2 N T T d for each layer (Vaswani et al. 2017, table 1)."""
    transformer = dict(cost.work(full("transformer").programs["conditionals"]).products.terms)
    assert transformer[("N", "time", "time")] == 2 * 2 * 2 * 64
    lstm = dict(cost.work(full("char_lstm").programs["conditionals"]).products.terms)
    assert lstm == {("N", "time"): 2 * (512 * 64 + 512 * 128 + 128 * 36)}


def test_operations_of_layers_add_up() -> None:
    for name in NAMES:
        graph = module(name).programs["loss"]
        assert sum(cost.by_scope(graph).values(), Work()) == cost.work(graph)


def test_a_loop_costs_its_body_as_often_as_it_runs() -> None:
    """The reference sampler runs the whole network once for each pixel."""
    made = full("made")
    sample, network = (cost.work(made.programs[p]).products for p in ("sample", "conditionals"))
    assert sample == network * 64


@pytest.mark.parametrize("name", NAMES)
def test_parameters_by_formula(name: str) -> None:
    """The formulas of all layers are sums that give the number of elements that torch has."""
    m = module(name)
    graph = m.programs["loss"]
    scopes = {n.scope for n in graph.nodes()}
    layers = [cost.weights(m, [n for n in graph.nodes() if n.scope == s]) for s in scopes]
    total = 0
    for layer in layers:
        terms = [term.split(" * ") for term in layer.formula.split(" + ") if term]
        numbers = [int(torch.tensor([int(f) for f in term]).prod()) for term in terms]
        assert sum(numbers) == layer.total
        total += layer.total
    assert total == sum(p.numel() for p in live(name).parameters())


def test_convolution_has_kernel_times_channels(tmp_path: Path) -> None:
    m = spec(tmp_path, "input x: real[16, 8, 8]\ntarget y: real[32, 6, 6]\ny ~ normal(x -> conv(32, 3), 1)")
    graph = m.programs["loss"]
    assert cost.weights(m, graph.nodes()) == cost.Weights("3 * 3 * 16 * 32 + 32", 4640, 4640)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_fvsbn_has_half_a_square_of_weights_that_matter(tmp_path: Path, n: int) -> None:
    """(n^2 + n) / 2 (Gan et al. 2015; Germain et al. 2015): a strict triangle and the biases."""
    body = f"input x: binary[{n}]\nx ~ autoregressive {{ dense({n}, mask = strict(degrees)) }}"
    m = spec(tmp_path, body)
    graph = m.programs["loss"]
    found = cost.weights(m, graph.nodes())
    assert (found.total, found.live) == (n * n + n, (n * n + n) // 2)


def test_a_weight_is_live_where_any_use_reads_it(tmp_path: Path) -> None:
    """A net used twice with one mask shares weight and mask; a use without the mask makes every weight live."""
    net = "net f = dense(4, mask = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bias = false)\n"
    m = spec(tmp_path, f"input x: real[4]\ntarget y: real[4]\n{net}y ~ normal(f(x -> f -> tanh), 1)")
    graph = m.programs["loss"]
    assert cost.weights(m, graph.nodes()).live == 10


def test_bytes_kept_for_the_backward_pass_by_hand() -> None:
    """x -> dense(8) -> tanh -> dense(1): x for its weights, tanh for itself and weights, logits, y."""
    graph = module("mlp").programs["loss"]
    both = differentiate(graph, "loss", list(graph.parameters()))
    assert cost.saved_for_backward(both, graph) == symbol("N") * 4 * (2 + 8 + 1 + 1)


def test_a_view_is_kept_once() -> None:
    """The gradient of sum(x x) + sum(r r), where r is x in another shape, reads one array of four."""
    g = Graph("g")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 4))
    r = b.emit(Reshape((symbol("N"), 2, 2)), x)
    squares = [b.emit(Mul(), v, v) for v in (x, r)]
    sums = [b.emit(Sum(tuple(range(len(v.shape))), False), v) for v in squares]
    g.outputs["loss"] = b.emit(Add(), *sums)
    assert cost.saved_for_backward(differentiate(g, "loss", ["x"]), g) == symbol("N") * 16


def test_peak_by_hand() -> None:
    """a = relu(x), b = exp(a), c = a + b: x, a; a, b (x is gone); a, b, c. A reshape takes no memory."""
    g = Graph("g")
    b = Builder(g)
    x = b.input("x", float_type(symbol("N"), 4))
    a = b.emit(Relu(), b.emit(Reshape((symbol("N"), 2, 2)), x))
    g.outputs["c"] = b.emit(Add(), a, b.emit(Exp(), a))
    assert cost.peak(g, {"N": 5}) == 3 * 5 * 4 * 4
    g.outputs["a"] = a
    g.outputs["x"] = x
    assert cost.peak(g, {"N": 5}) == 4 * 5 * 4 * 4


def test_sizes_as_text() -> None:
    n, t = symbol("N"), symbol("time")
    assert text(n * t * t * 64 - n * 2 + 3) == "64*N*time^2 - 2*N + 3"
    assert text(n * 1) == "N"
    assert text(7) == "7"


@pytest.mark.parametrize("name", ["made", "transformer", "unet"])
def test_facts_are_plain_data_and_their_layers_add_up(name: str) -> None:
    facts = describe(module(name))
    assert json.loads(json.dumps(facts)) == facts
    for total in ("parameters", "stored"):
        assert sum(r[total] for r in facts["layers"]) == facts[total]
    assert sum(r["share"] for r in facts["layers"]) == pytest.approx(1, abs=1e-3)


def test_the_terminal_shows_a_repeated_block_once(capsys: pytest.CaptureFixture[str]) -> None:
    show(describe(full("transformer")) | {"claims": []})
    shown = capsys.readouterr().out
    assert "layer.0 .. layer.1, each" in shown and "192 * 64 + 192 + 64 * 64 + 64" in shown
    assert shown.count("attention_0") == 1
    assert "path length of text: constant: 1, 1, 1, 1 at length 8, 16, 32, 64" in shown
