"""Claims -> verdicts. Every verdict says how it was reached and for which sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mpcompile.analysis.dependence import Step, TooLarge, elements, environment_for, support, tau, witness
from mpcompile.analysis.jacobian import coupling_structure, structure_of
from mpcompile.diagnostics import Diagnostic, PathStep
from mpcompile.ir import Abstract, Array, Claim, Graph, Input, Module, NoRule

#: Length at which sequences of symbolic length are analysed.
LENGTH = 8


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim.

    `status` is proved, refuted or unproven (no rule); `how` says by which analysis and for which sizes; `detail`
    holds numbers for reports.
    """

    claim: Claim
    status: str
    how: str
    diagnostics: tuple[Diagnostic, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


def prove(module: Module, length: int = LENGTH) -> list[Verdict]:
    """A verdict for every claim of a module, in order; a claim that repeats a derived one is answered once more."""
    known: dict[tuple[str, str], Verdict] = {}
    suppressed = {
        (c.kind.removeprefix("allow:"), c.subject) for c in module.claims if c.kind.startswith("allow:")
    }
    verdicts: list[Verdict] = []
    for claim in module.claims:
        if claim.kind.startswith("allow:"):
            continue
        key = (claim.kind, claim.subject)
        reusable = known.get(key) if claim.kind in ("autoregressive", "complete") else None
        if reusable is not None:
            verdicts.append(Verdict(claim, reusable.status, reusable.how, (), reusable.detail))
            continue
        try:
            verdict = RULES[claim.kind](module, claim, length)
        except (NoRule, TooLarge) as missing:
            verdict = Verdict(
                claim,
                "unproven",
                "no rule",
                (
                    Diagnostic(
                        "MP309", f"{claim.kind}({claim.subject}) cannot be proven: {missing}", claim.span
                    ),
                ),
            )
        if claim.kind == "complete" and key in suppressed and verdict.status == "refuted":
            verdict = Verdict(claim, "allowed", verdict.how, (), verdict.detail)
        known[key] = verdict
        verdicts.append(verdict)
    return verdicts


def _sizes(env: Mapping[str, int]) -> str:
    rest = [f"{k} = {v}" for k, v in env.items() if k != "N"]
    return f" at {', '.join(rest)}" if rest else ""


def _ranks(graph: Graph, claim: Claim, env: Mapping[str, int]) -> Array:
    """Ranks of the elements of the subject, in its shape."""
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    ranks = claim.arguments["ranks"]
    if ranks is None:
        return np.broadcast_to(np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)), shape)
    return np.asarray(ranks).reshape(shape)


def _allowed(ranks: Array, facts: Abstract, axis: int | None) -> Array:
    """Rank of the variable that each element of a parameter belongs to, in the parameter's shape."""
    wide = ranks[None] if axis is None else np.expand_dims(ranks[None], axis)
    return np.broadcast_to(wide, facts.shape)


def _autoregressive(module: Module, claim: Claim, length: int) -> Verdict:
    graph = module.programs[claim.program]
    env = environment_for(graph, length)
    how = f"availability of every element{_sizes(env)}"
    if claim.subject not in graph.inputs:
        return Verdict(claim, "proved", how, (), {"elements": 0})
    ranks = _ranks(graph, claim, env)
    memory = tau(graph, claim.subject, ranks, env)
    for value in graph.outputs.values():
        facts = memory[value]
        late = facts.full()[..., 0] - _allowed(ranks, facts, claim.arguments["axis"])
        if (late > 0).any():
            bad = np.argwhere(late > 0)
            order = np.argsort(_allowed(ranks, facts, claim.arguments["axis"])[tuple(bad.T)], kind="stable")
            index = tuple(int(i) for i in bad[order[0]])
            path = witness(graph, memory, env, value, index)
            return Verdict(claim, "refuted", how, (_leak(claim, index, path, ranks),))
    return Verdict(claim, "proved", how, (), {"elements": int(ranks.size)})


def _leak(claim: Claim, index: tuple[int, ...], path: list[Step], ranks: Array) -> Diagnostic:
    axis = claim.arguments["axis"]
    own = tuple(i for a, i in enumerate(index) if a != axis)
    culprit = _culprit(path, ranks)
    steps = _readable(path)
    start, out = path[0], f"{claim.subject}\N{COMBINING CIRCUMFLEX ACCENT}{elements(own)}"
    steps.append(PathStep(out, claim.span))
    frame = culprit.node.scope[-1] if culprit.node.scope else None
    where = f"{claim.subject}{elements(start.index)}"
    ahead = _jump(path, ranks) is not None
    return Diagnostic(
        "MP301",
        f"output {claim.subject}{elements(own)} depends on input {where}, which comes later or at the same "
        "place in the order",
        frame.span if frame else claim.span,
        label=f"`{frame.label}` lets it through" if frame else "",
        notes=(f"order: {claim.subject}{elements(own)} is number {int(ranks[own[1:]]) + 1}, "
               f"{where} is number {int(ranks[start.index[1:]]) + 1}",),
        help="an output layer needs a strict mask: strict(...), causal2d(type=A) or a shift before the first layer"
        if not ahead else "mask this layer, or pad it causally, so that it reads nothing ahead of itself",
        path=tuple(steps),
    )  # fmt: skip


def _readable(path: list[Step]) -> list[PathStep]:
    """One step for each layer on the path, the last element in it; unnamed plumbing is left out."""
    steps: list[PathStep] = []
    for here, following in zip(path, [*path[1:], None], strict=True):
        frame = here.node.scope[-1] if here.node.scope else None
        if isinstance(here.node.op, Input):
            steps.append(PathStep(f"{here.node.op.path}{elements(here.index)}", here.node.span))
            continue
        if following is not None and frame is not None and following.node.scope[-1:] == (frame,):
            continue
        if frame is not None and len(here.index) > 1:
            steps.append(PathStep(f"{frame.name}{elements(here.index)}", frame.span))
    return steps


def _clock(step: Step, ranks: Array) -> int | None:
    """Nominal rank of an element of an image or a sequence, from its place; None where places mean nothing."""
    if ranks.ndim == 3 and len(step.index) == 4 and step.node.types[step.output].shape[2:] == ranks.shape[1:]:
        return int(ranks[:, step.index[2], step.index[3]].max())
    if ranks.ndim in (1, 2) and len(step.index) == 3 and not isinstance(step.node.types[0].shape[1], int):
        return int(ranks[step.index[1]].max())
    return None


def _jump(path: list[Step], ranks: Array) -> Step | None:
    """The first step whose element comes earlier in the order than one it reads from, where places mean something."""
    last: int | None = None
    for step in path:
        clock = _clock(step, ranks)
        if clock is None:
            continue
        if last is not None and last > clock and step.node.scope:
            return step
        last = clock
    return None


def _culprit(path: list[Step], ranks: Array) -> Step:
    """The step that jumps ahead of its own place; else a layer that should have been strict, or masked at all.

    Where elements have places that is the first masked layer (mask A, a shift). In a dense network it is the first
    layer without a mask that mixes units, or else the last masked one.
    """
    jump = _jump(path, ranks)
    if jump is not None:
        return jump
    weighted = [s for s in path if s.node.op.name in ("mat_mul", "conv") and s.node.scope]
    masked = [s for s in weighted if "mask" in s.node.scope[-1].label]
    if not masked:
        return weighted[0] if weighted else path[-1]
    if _clock(masked[0], ranks) is not None:
        return masked[0]
    for before, after in pairwise(path):
        free = after.node.scope and "mask" not in after.node.scope[-1].label
        mixes = after.node.op.name in ("mat_mul", "conv") or before.index[1:] != after.index[1:]
        if free and mixes:
            return after
    return masked[-1]


def _complete(module: Module, claim: Claim, length: int) -> Verdict:
    graph = module.programs[claim.program]
    env = environment_for(graph, length)
    how = f"exact sets of inputs{_sizes(env)}"
    ranks = _ranks(graph, claim, env)
    axis, size = claim.arguments["axis"], int(ranks.size)
    seen = np.zeros((size, size), bool)
    for name, value in graph.outputs.items():
        bits = support(graph, claim.subject, name, env)
        shape = value.type.concrete(env)
        cube = bits.reshape(*shape, size)[0]
        seen |= (cube if axis is None else cube.any(axis - 1)).reshape(size, size)
    flat = ranks.reshape(-1)
    missing = (flat[:, None] > flat[None, :]) & ~seen
    detail = {"missing": int(missing.sum()), "allowed": int((flat[:, None] > flat[None, :]).sum())}
    if not missing.any():
        return Verdict(claim, "proved", how, (), detail)
    i, j = (int(k[0]) for k in np.nonzero(missing))
    shape = ranks.shape
    out, inp = (tuple(int(k) for k in np.unravel_index(e, shape)) for e in (i, j))
    share = missing.sum() / max(1, detail["allowed"])
    finding = Diagnostic(
        "MP302",
        f"{claim.subject} is not complete: output {claim.subject}{list(out)} never sees {claim.subject}{list(inp)}, "
        "which comes before it",
        claim.span,
        notes=(f"{detail['missing']} of {detail['allowed']} allowed dependencies are missing ({share:.1%})",),
        help='widen the layers or kernels, add a vertical stack, or state `allow complete(...) because "..."`',
    )
    return Verdict(claim, "refuted", how, (finding,), detail)


def _jacobian(module: Module, claim: Claim, length: int) -> Verdict:
    """Every bijector's structure must bear out how its log-determinant is computed."""
    del length
    findings: list[Diagnostic] = []
    detail: dict[str, str] = {}
    for piece in module.pieces[claim.subject]:
        env = environment_for(piece.graph, LENGTH)
        direct = support(piece.graph, "x", "y", env)
        seen = (
            support(piece.graph, "seen", "y", env) if "seen" in piece.graph.inputs else np.zeros_like(direct)
        )
        structure, fault = coupling_structure(direct, seen)
        detail[piece.name] = structure.kind
        if fault is not None:
            shape = piece.graph.inputs["x"].type.concrete(env)[1:]
            i, j = (list(map(int, np.unravel_index(k, shape))) for k in fault)
            findings.append(
                Diagnostic(
                    "MP402",
                    f"the log-determinant of {piece.name} is not that of its Jacobian: output {i} reads input {j} "
                    f"through the conditioner, and input {j} is transformed itself",
                    piece.span,
                    label="what is transformed must be hidden from the net",
                    help="the mask must hide from the net every element that the coupling transforms",
                )
            )
    if claim.arguments.get("op") == "is":
        wanted = str(claim.arguments["bound"])
        whole = structure_of(module.programs["forward"], claim.subject, "z").kind
        detail["whole"] = whole
        ranking = ["diagonal", "triangular", "dense"]
        if wanted not in ranking or ranking.index(whole) > ranking.index(wanted):
            findings.append(
                Diagnostic("MP403", f"the Jacobian of {claim.subject} is {whole}, not {wanted}", claim.span)
            )
    how = "exact sets of inputs, bijector by bijector"
    return Verdict(claim, "refuted" if findings else "proved", how, tuple(findings), detail)


def _parameters(module: Module, claim: Claim, length: int) -> Verdict:
    del length
    total = sum(math.prod(p.shape) for p in module.parameters.values() if p.trainable)
    op, bound = claim.arguments.get("op", "<="), claim.arguments.get("bound", math.inf)
    holds = {"<=": total <= bound, "<": total < bound, ">=": total >= bound, ">": total > bound,
             "==": total == bound}[op]  # fmt: skip
    findings = () if holds else (
        Diagnostic("MP304", f"the model has {total} parameters, claimed {op} {bound}", claim.span),
    )  # fmt: skip
    return Verdict(claim, "proved" if holds else "refuted", "counted", findings, {"parameters": total})


RULES = {
    "autoregressive": _autoregressive, "complete": _complete, "jacobian": _jacobian, "parameters": _parameters,
}  # fmt: skip


def unproven(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts that stop a build: what a density needs and what the author claimed."""
    return [v for v in verdicts if v.status in ("refuted", "unproven")]


__all__ = ["LENGTH", "Verdict", "prove", "unproven"]
