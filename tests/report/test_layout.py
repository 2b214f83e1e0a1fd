"""The layered drawing and the gathering of primitives, as laws over random graphs and over all specs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from specs_under_test import ROOT, SPECS

from mpcompile import api
from mpcompile.ir import Constant, Input, Parameter
from mpcompile.ir.graph import topological_order
from mpcompile.report.page.cells import Box, cells_of, edges, gather
from mpcompile.report.page.formula import formula
from mpcompile.report.page.layout import crossings, layered
from mpcompile.report.page.raster import averaged
from mpcompile.report.page.reach import Reach, chosen


def random_graph(seed: int, count: int = 24) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    name = rng.permutation(count)  # items are not numbered in a topological order
    pairs = [(i, j) for j in range(count) for i in range(j) if rng.random() < 2.0 / count]
    return [(int(name[i]), int(name[j]), int(name[i])) for i, j in pairs]


@pytest.mark.parametrize("seed", range(12))
def test_links_go_down_one_row_and_join_what_edges_join(seed: int) -> None:
    found = random_graph(seed)
    top, bottom = [24, 25], [26]
    found += [(24, 3, 24), (25, 3, 25), (25, 7, 25), (5, 26, 5)]
    drawn = layered(27, found, top, bottom)
    row = {item: r for r, items in enumerate(drawn.rows) for item in items}
    assert sorted(row) == list(range(27 + len(drawn.dummies)))
    assert all(row[b] == row[a] + 1 for a, b, _ in drawn.links)
    assert {row[i] for i in top} == {0} and {row[i] for i in bottom} == {len(drawn.rows) - 1}
    joined = set()
    for a, b, value in found:
        ends = {a}
        while ends:
            ends = {y for x, y, v in drawn.links if x in ends and v == value and (y == b or y >= 27)}
            if b in ends:
                joined.add((a, b, value))
                break
    assert joined == set(found)


@pytest.mark.parametrize("seed", range(12))
def test_sweeps_cross_no_more_than_before(seed: int) -> None:
    drawn = layered(24, random_graph(seed))
    links = [(a, b) for a, b, _ in drawn.links]
    assert crossings(drawn.rows, links) <= crossings([sorted(r) for r in drawn.rows], links)


def test_crossings_are_counted() -> None:
    links = [(0, 4), (1, 3), (2, 5), (0, 5)]
    rows = [[0, 1, 2], [3, 4, 5]]
    brute = sum(
        (a < c and b > d) or (a > c and b < d) for i, (a, b) in enumerate(links) for c, d in links[:i]
    )
    assert crossings(rows, links) == brute == 2
    assert crossings(layered(6, [(a, b, a) for a, b in links]).rows, links) == 0


def boxes(box: Box) -> list[Box]:
    return [box, *(b for child in box.children if isinstance(child, Box) for b in boxes(child))]


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_boxes_hold_every_node_once_and_are_convex(path: Path) -> None:
    module = api.load(path)
    for program in module.programs:
        graph = module.programs[program].live()
        root = gather(graph)
        nodes = [n.id for c in cells_of(root) for n in c.nodes]
        assert len(nodes) == len(set(nodes))
        rest = [n for n in graph.nodes() if n.id not in set(nodes)]
        assert all(isinstance(n.op, Parameter | Constant | Input) for n in rest)
        for box in boxes(root):
            after: dict[int, list[int]] = {i: [] for i in range(len(box.children))}
            for a, b, _ in edges(graph, box.children):
                after[a].append(b)
            assert topological_order(after) is not None


def test_repeats_are_folded() -> None:
    module = api.load(ROOT / "specs" / "pixelcnn.mp", {"layers": 9})
    folded = [b for b in boxes(gather(module.programs["conditionals"].live())) if b.repeats]
    # The last block makes no vertical stack that anything reads, so it is another one.
    assert [(b.repeats, len(b.children)) for b in folded] == [(7, 7)]


def test_a_net_that_is_used_twice_is_two_boxes(tmp_path: Path) -> None:
    spec = tmp_path / "twice.yaml"
    spec.write_text(
        "model: twice\ninput: {x: 'real[4]'}\ntarget: {y: 'binary[4]'}\nnets:\n  f: [dense(8), tanh, dense(4)]\n"
        "density:\n  - y ~ bernoulli(logits = x -> f -> tanh -> f)\n"
    )
    module = api.load(spec)
    root = gather(module.programs["predict"].live())
    assert [b.name for b in boxes(root) if b.name.endswith("f")] == ["f", "f"]
    assert len(module.parameters) == 4


def test_formulas() -> None:
    expected = {
        "dense_0": ["x @ (W * M)' + b"], "relu_0": ["relu(x)"],
        "dense_2": ["x @ (W * M)' + b"],
    }  # fmt: skip
    module = api.load(ROOT / "specs" / "made.yaml")
    reach = Reach(module, chosen(module))
    found = {c.name.split(".")[-1]: formula(reach.graph, c.nodes) for c in cells_of(gather(reach.graph))}
    assert {k: found[k] for k in expected} == expected


@pytest.mark.parametrize(("rows", "limit"), [(12, 4), (13, 4), (4, 4), (3, 8)])
def test_averages_keep_the_mean_of_what_they_stand_for(rows: int, limit: int) -> None:
    matrix = np.random.default_rng(0).random((rows, 5))
    small = averaged(matrix, limit)
    assert small.shape == (min(rows, limit), 5)
    parts = (
        np.array_split(np.arange(rows), [i * rows // limit for i in range(1, limit)])
        if rows > limit
        else None
    )
    wanted = matrix if parts is None else np.stack([matrix[p].mean(0) for p in parts])
    assert np.allclose(small, wanted)
