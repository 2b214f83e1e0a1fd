"""The reach of gradients through the loops of a loss (Bengio et al. 1994; notes, sections 4.1 and 4.3).

For a loop with state s, the derivative of the last state by the one `d` steps before is a product of d Jacobians. Its
size, that of v^T ds_T / ds_{T-d} for random unit vectors v, decays or grows with d as the products do. It is measured at
given weights and data, by the primitives' own gradient rules: zeros are added to the state before every step, and the
gradient by them is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Graph, Input, Module, Node, Value, multiple_of
from mpcompile.ir.walk import inline
from mpcompile.passes.gradient import differentiate, gradient_name


@dataclass(frozen=True, slots=True)
class Reach:
    """One loop: its name, and by distance d = 0, 1, ... the root mean square over examples of the derivative's norm."""

    loop: str
    norms: Array

    @property
    def rate(self) -> float:
        """The factor of one step: the geometric mean over all distances (0 where nothing arrives)."""
        last = float(self.norms[-1])
        return float((last / self.norms[0]) ** (1 / max(1, len(self.norms) - 1)))


def reaches(
    module: Module, weights: Mapping[str, Array], inputs: Mapping[str, Array], seed: int = 0
) -> list[Reach]:
    """Measure every loop of the loss that carries real numbers from step to step; `inputs` are those of `loss`.

    Sequences that state their length are cut to the shortest, so that no step is padding.
    """
    graph, given = module.programs["loss"], _cut(module, inputs)
    found: list[Reach] = []
    for node in graph.nodes():
        if isinstance(node.op, ops.Scan) and node.op.carries and all(
            v.dtype is DType.FLOAT and v.type.rank == 2 for v in node.op.split(node.inputs).carries
        ):  # fmt: skip
            reach = _reach(graph, node, weights, given, seed)
            again = sum(
                r.loop.split(" #")[0] == reach.loop for r in found
            )  # the layers of a stack have one name
            found.append(replace(reach, loop=f"{reach.loop} #{again + 1}") if again else reach)
    return found


def _cut(module: Module, inputs: Mapping[str, Array]) -> dict[str, Array]:
    given = dict(inputs)
    for name, field in module.fields.items():
        if field.counts and name in given:
            least = int(given[name].min())
            given[name] = np.full_like(given[name], least)
            for other, value in module.programs["loss"].inputs.items():
                for axis, size in enumerate(value.shape):
                    length, times = multiple_of(size) or ("", 1)
                    if length == field.counts:
                        given[other] = given[other].take(range(least * times), axis)
    return given


def _reach(
    graph: Graph, loop: Node, weights: Mapping[str, Array], given: dict[str, Array], seed: int
) -> Reach:
    op = loop.op
    assert isinstance(op, ops.Scan)
    env = {s: given[name].shape[axis] // times for s, (name, axis, times) in graph.symbols().items()}
    steps = op.trip_count([v.type for v in loop.inputs])
    types = [v.type for v in op.split(loop.inputs).carries]
    wide = [op.stacked_type(t, steps) for t in types]
    rng = np.random.default_rng(seed)
    ways = [rng.standard_normal(t.concrete(env)) for t in types]
    norm = np.sqrt(sum((w**2).sum(1, keepdims=True) for w in ways))
    feed = given | {f"way_{i}": w / norm for i, w in enumerate(ways)}
    feed |= {f"nudge_{i}": np.zeros(t.concrete(env)) for i, t in enumerate(wide)}

    last: list[Value] = []

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.id != loop.id:
            return None
        carries, ys = _nudged(b, op, inputs, [b.input(f"nudge_{i}", t) for i, t in enumerate(wide)])
        last.extend(carries)
        return (*carries, *ys)

    new = graph.rebuild(rewrite)
    b, total = Builder(new), None
    for i, value in enumerate(last):
        along = b.emit(ops.Mul(), value, b.input(f"way_{i}", value.type))
        part = b.emit(ops.Sum((0, 1), False), along)
        total = part if total is None else b.emit(ops.Add(), total, part)
    assert total is not None
    names = [f"nudge_{i}" for i in range(op.carries)]
    new.outputs = {"along": total}
    new.inputs |= {n: v for n, v in _inputs(new).items() if n in names}
    new = new.live()
    feed = {k: v for k, v in feed.items() if k in new.inputs}
    out = interpret(differentiate(new, "along", names), dict(weights), feed)
    squares = sum((out[gradient_name(n)] ** 2).sum(-1) for n in names)  # [N, time]
    norms = np.sqrt(np.asarray(squares).mean(0))
    order = norms if op.reverse else norms[::-1]
    return Reach(".".join(f.name for f in loop.scope) or "recurrence", np.concatenate([[1.0], order]))


def _inputs(graph: Graph) -> dict[str, Value]:
    return {n.op.path: n.outputs[0] for n in graph.nodes() if isinstance(n.op, Input)}


def _nudged(
    b: Builder, op: ops.Scan, inputs: Sequence[Value], nudges: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    """The loop with one more scanned value for each carry, which is added to it before the step."""
    loop, formals = ops.LoopBuilder(b, axis=op.axis, reverse=op.reverse), op.formals
    starts, scanned, captured = op.split(inputs)
    moved = {v: loop.carry(name, x) for (name, v), x in zip(formals.carries.items(), starts, strict=True)}
    moved |= {v: loop.scan(name, x) for (name, v), x in zip(formals.scanned.items(), scanned, strict=True)}
    for i, (v, nudge) in enumerate(zip(formals.carries.values(), nudges, strict=True)):
        moved[v] = loop.body.emit(ops.Add(), moved[v], loop.scan(f"nudge_{i}", nudge))
    moved |= {
        v: loop.capture(name, x) for (name, v), x in zip(formals.captured.items(), captured, strict=True)
    }
    moved[formals.step] = loop.step
    moved = inline(loop.body, op.body, moved)
    following, ys = op.divide(list(op.body.outputs.items()))
    return loop.close([moved[v] for _, v in following], {name: moved[v] for name, v in ys})


def radii(module: Module, weights: Mapping[str, Array]) -> dict[str, list[float]]:
    """Compute the spectral radius of every recurrent weight, gate by gate: `weight_hh` [gates U, U]."""
    found = {}
    for name in module.parameters:
        if name.rpartition(".")[2].startswith("weight_hh"):
            w = np.asarray(weights[name], np.float64)
            gates = w.reshape(-1, w.shape[1], w.shape[1])
            found[name] = [float(np.abs(np.linalg.eigvals(g)).max()) for g in gates]
    return found


def clipping(
    module: Module, weights: Mapping[str, Array], inputs: Mapping[str, Array], threshold: float
) -> tuple[float, float]:
    """Return the norm of the gradient of the loss by all weights, and the factor by which `threshold` clips it."""
    names = [n for n in module.programs["loss"].parameters() if module.parameters[n].trained]
    out = interpret(differentiate(module.programs["loss"], "loss", names), dict(weights), dict(inputs))
    norm = float(np.sqrt(sum((out[gradient_name(n)] ** 2).sum() for n in names)))
    return norm, min(1.0, threshold / norm) if norm else 1.0


def describe(
    module: Module, weights: Mapping[str, Array], inputs: Mapping[str, Array], clip: float | None
) -> dict[str, Any]:
    """Describe the gradient flow of a module as plain data: reaches, radii and clipping."""
    norm, scale = clipping(module, weights, inputs, clip or float("inf"))
    return {
        "loops": [
            {"loop": r.loop, "rate": r.rate, "norms": [float(n) for n in r.norms]}
            for r in reaches(module, weights, inputs)
        ],
        "spectral_radius": radii(module, weights),
        "gradient_norm": norm,
        "clip": {"threshold": clip, "scale": scale},
    }


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Format `describe` as text: norms at distances 1, 2, 4, ... and the last."""
    out = []
    for loop in facts["loops"]:
        last = len(loop["norms"]) - 1
        shown = [d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256) if d < last] + [last]
        out.append(f"gradient through {loop['loop']}: x {loop['rate']:.3f} a step")
        out.append("  " + "  ".join(f"{d}: {loop['norms'][d]:.2e}" for d in shown))
    for name, found in facts["spectral_radius"].items():
        out.append(f"spectral radius of {name}, by gate: {', '.join(f'{r:.3f}' for r in found)}")
    threshold, scale = facts["clip"]["threshold"], facts["clip"]["scale"]
    clipped = "not clipped" if threshold is None else f"clipped at {threshold:g}: x {scale:.3f}"
    return [*out, f"gradient of the loss: norm {facts['gradient_norm']:.4g}, {clipped}"]
