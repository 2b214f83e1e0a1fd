"""Repeats as regions: the program without them is the one of every iteration lowered on its own, to the last place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layered import LAYERED, answers, deepened, flat, load_flat, lowered, mean, repeating
from specs_under_test import ROOT, small

from mpcompile import api
from mpcompile.analysis.few import few_layers
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Graph, Module
from mpcompile.ir.same import same_graph
from mpcompile.ir.verify import verify_graph
from mpcompile.lowering.scope import MAX_OPERATIONS
from mpcompile.ops.repeating import Repeat
from mpcompile.ops.unrolling import shortened
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.text import parse, printed


def held_to(found: Module, whole: Module) -> int:
    """How many regions a module has; its programs and weights are those of the other one."""
    assert list(found.programs) == list(whole.programs)
    for name, graph in whole.programs.items():
        assert same_graph(found.programs[name], graph), name
        verify_graph(found.regions[name])
    specs = [[(p.name, p.shape, p.span, p.trainable, p.init.kind, p.init.scale) for p in m.parameters.values()]
             for m in (found, whole)]  # fmt: skip
    assert specs[0] == specs[1]
    assert found.noise == whole.noise
    return sum(len(repeats(graph)) for graph in found.regions.values())


def repeats(graph: Graph) -> list[tuple[Repeat, int]]:
    """The regions of a graph, and how many iterations they have."""
    return [
        (n.op, n.op.iterations([v.type for v in n.inputs])) for n in graph.nodes() if isinstance(n.op, Repeat)
    ]


@pytest.mark.parametrize("path", repeating(), ids=lambda p: str(p.relative_to(ROOT / "specs")))
def test_every_spec_unrolls_to_its_iterations_and_has_their_answers(path: Path) -> None:
    """Small, and with five layers where a parameter says how many.

    Answers are compared where they are those of a few layers: otherwise the whole is looked at, which is the same graph.
    """
    overrides = small(path.stem) | deepened(path)
    try:
        whole = load_flat(path, overrides)
    except SpecError as fault:
        with pytest.raises(SpecError) as refused:
            api.load(path, overrides)
        assert refused.value.diagnostics == fault.diagnostics
        return
    found = api.load(path, overrides)
    held_to(found, whole)
    if few_layers(found) is not None:
        assert answers(found) == answers(whole)


@pytest.mark.parametrize("name", LAYERED)
def test_iterations_that_are_alike_are_a_region(name: str) -> None:
    text, period, first = LAYERED[name]
    found = lowered(text)
    regions = held_to(found, flat(text))
    assert bool(regions) == bool(period)
    if period and name != "of repeats":
        counted = [count for _, count in repeats(found.regions["predict"])]
        start, stop = (int(k) for k in text.split(" in ")[1].split(" ")[0].split(".."))
        assert counted[0] == (stop - start + 1) // period - first


@pytest.mark.parametrize("name", [n for n, (_, period, _) in LAYERED.items() if period])
def test_a_region_computes_what_its_iterations_do(name: str) -> None:
    module = lowered(LAYERED[name][0])
    weights, inputs = example_weights(module), example_inputs(module, "log_prob", 2)
    found = interpret(module.regions["log_prob"], weights, inputs)
    wanted = interpret(module.programs["log_prob"], weights, inputs)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n, (_, period, _) in LAYERED.items() if period])
def test_a_region_is_text_that_reads_back(name: str) -> None:
    graph = lowered(LAYERED[name][0]).regions["loss"]
    assert same_graph(parse(printed(graph)), graph)


@pytest.mark.parametrize(
    "body",
    ["dense(4) -> batch_norm -> tanh", "dense(4) -> dropout(0.5)"],
    ids=["statistics of the batch", "noise"],
)
def test_what_an_iteration_draws_or_updates_is_its_own(body: str) -> None:
    text = mean(f"repeat i in 1..4 {{ {body} }}")
    found = lowered(text)
    held_to(found, flat(text))
    assert not repeats(found.regions["loss"])
    assert repeats(found.regions["log_prob"])  # no noise there, and running statistics


def test_a_prior_on_weights_is_of_those_in_a_region_too() -> None:
    text = mean("repeat i in 1..4 { dense(4) -> tanh }") + "prior weights ~ normal(0, 1)\n"
    assert held_to(lowered(text), flat(text))


def test_no_graph_grows_with_the_number_of_layers() -> None:
    """The sampler's neither, whose network stands in the body of a loop."""
    path = ROOT / "specs" / "transformer.mp"
    sizes = [{n: count(g) for n, g in api.load(path, {"layers": n}).regions.items()} for n in (4, 40)]
    assert sizes[0] == sizes[1]


def count(graph: Graph) -> int:
    """Nodes, those of bodies included."""
    return sum(1 + sum(map(count, n.op.bodies())) for n in graph.nodes())


def test_a_few_iterations_are_the_first_ones() -> None:
    text = LAYERED["block"][0]
    few = shortened(lowered(text).regions["predict"], 2)
    shorter = lowered(text.replace("1..4", "1..2")).programs["predict"]
    assert [cut.left for cut in few.cuts] == [2]
    assert same_graph(few, shorter, places=False)  # the label of the statement has the number of iterations


def test_more_operations_than_a_program_may_have_are_refused_at_the_repeat() -> None:
    wide = "repeat i in 1..2000 { residual(layer_norm -> dense(4) -> tanh -> dense(4) -> tanh -> dense(4)) }"
    with pytest.raises(SpecError) as found:
        lowered(mean(wide))
    (fault,) = found.value.diagnostics
    assert fault.code == "MP120" and str(MAX_OPERATIONS) in fault.message
