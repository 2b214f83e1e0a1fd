"""Facts about a module, as plain data: the one source for the terminal, JSON and the HTML page."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mpcompile.analysis import cost, paths
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.receptive import receptive_fields
from mpcompile.analysis.stencils import axes_of, spatial_axes
from mpcompile.budget import OutOfBudget, share
from mpcompile.ir import Field, Graph, Module, Node, NoRule, Scope, Symbolic, Type, Work, substitute
from mpcompile.ir.axes import role
from mpcompile.ops import Scan
from mpcompile.passes.gradient import differentiate
from mpcompile.passes.incremental import DeriveSamplers
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.passes.packing import FuseMasks
from mpcompile.specialize import member, member_count

#: Length of a sequence for figures in numbers, where the `train` section gives none.
LENGTH = 64


def describe(module: Module) -> dict[str, Any]:
    """Describe a module: layers in order of use in the loss, programs, and their costs.

    Operations are those of the forward pass of the loss. What is symbolic in the batch `N` or in a length stands as
    text. `at` has the sizes for which memory is a number; a number of operations is that of one example.
    """
    graph = module.programs["loss"]
    at = sizes_of(module, graph)
    one, work = at | {"N": 1}, cost.work(graph)
    trained = [p for p in module.parameters.values() if p.trainable]
    return {
        "model": module.name,
        "parameters": sum(p.live for p in trained),
        "stored": sum(p.size for p in trained),
        "at": at,
        "variables": [_variable(f) for f in (*module.fields.values(), *module.latents.values())],
        "layers": layers(module, graph, one),
        "flops": {
            "total": text(work.total),
            "products": text(work.products),
            "example": substitute(work.total, one),
            "fused": _fused(graph),
        },
        "memory": _memory(graph, at),
        "paths": _paths(module),
        "receptive": _receptive(module),
        "sampling": _sampling(module, one),
        "programs": {
            n: {
                "inputs": {k: str(v.type) for k, v in g.inputs.items()},
                "outputs": {k: str(v.type) for k, v in g.outputs.items()},
                "primitives": len(g),
                "flops": text(cost.work(g).total),
            }
            for n, g in module.programs.items()
        },
    }


def _variable(f: Field) -> dict[str, Any]:
    """Describe a declared variable, or a latent with a type: what it is, and the name, size and role of each axis."""
    sizes = zip(f.axes, f.type.shape[1:], strict=True)
    kind = f"category({f.classes})" if f.base == "category" else f.kind
    return {
        "name": f.name,
        "role": f.role,
        "kind": kind + ("?" if f.optional else ""),
        "axes": [{"name": name, "size": text(size), "role": role(name, size).value} for name, size in sizes],
        "line": f.span.line,
    }


def _fused(graph: Graph) -> dict[str, Any] | None:
    """Describe what is left of the operations with weights stored without what masks remove; None where none are."""
    result = FuseMasks()(graph.live())
    return (
        {"total": text(cost.work(result.graph).total), "weights": list(result.done)} if result.done else None
    )


def sizes_of(module: Module, graph: Graph) -> dict[str, int]:
    """Return the sizes for figures in numbers: the batch and the length of the `train` section."""
    length, batch = module.train.length or LENGTH, module.train.batch or 1
    return {"N": batch} | {s: length for s in sorted(graph.symbols()) if s != "N"}


def text(size: int | Symbolic) -> str:
    """Format a polynomial with powers: `512*N*time^2 + 4*N`."""
    if isinstance(size, int):
        return str(size)
    parts = []
    for monomial, c in size.terms:
        powers = {s: monomial.count(s) for s in monomial}
        factors = [s if n == 1 else f"{s}^{n}" for s, n in powers.items()]
        parts.append("*".join(([str(c)] if c != 1 or not factors else []) + factors))
    return " + ".join(parts).replace("+ -", "- ")


def layers(module: Module, graph: Graph, one: dict[str, int]) -> list[dict[str, Any]]:
    """Describe each layer of a program: its weights, what it gives, and its share of the operations."""
    nodes: dict[Scope, list[Node]] = {}
    for node in graph.nodes():
        if node.scope:
            nodes.setdefault(node.scope, []).append(node)
    work = cost.by_scope(graph)
    whole = substitute(cost.work(graph).total, one)
    rows = []
    for scope, own in nodes.items():
        weights, flops = cost.weights(module, own), work.get(scope, Work()).total
        number = substitute(flops, one)
        rows.append(
            {
                "name": own[0].path,
                "layer": scope[-1].label,
                "line": own[0].span.line,
                "parameters": weights.live,
                "formula": weights.formula,
                "stored": weights.total,
                "shape": str(_result(graph, scope, own)),
                "flops": text(flops),
                "flops_example": number,
                "share": number / whole if whole else 0.0,
            }
        )
    return rows


def _result(graph: Graph, scope: Scope, own: list[Node]) -> Type:
    """The type of what a layer gives to others: of several results the one with most axes, then the last."""
    given = [
        value
        for node in own
        for value in node.outputs
        if value in graph.outputs.values()
        or any(value in user.inputs and user.scope[: len(scope)] != scope for user in graph.users(node.id))
    ]
    return max(reversed(given), key=lambda v: v.type.rank).type if given else own[-1].types[0]


def _memory(graph: Graph, at: dict[str, int]) -> dict[str, Any]:
    """Bytes at single precision: what the backward pass reads, and the most that live at once."""
    found: dict[str, Any] = {"peak_forward": cost.peak(graph, at)}
    try:
        both = differentiate(graph, "loss", list(graph.parameters()))
    except NoRule as missing:
        return found | {"saved_for_backward": None, "why": str(missing)}
    saved = cost.saved_for_backward(both, graph)
    return found | {
        "saved_for_backward": text(saved),
        "saved_at": substitute(saved, at),
        "peak_training": cost.peak(both, at),
    }


def _paths(module: Module) -> dict[str, Any]:
    """Longest shortest path from each variable, at one or several lengths; a variable that is too large says so.

    A flow has none: its latents stand at no positions of their own.
    """
    found: dict[str, Any] = {}
    for name in module.fields:
        program = paths.program_of(module, name)
        if program is None or program.name == "forward":
            continue
        try:
            with share():
                reaches = paths.reaches(module, name)
        except (NoRule, TooLarge, OutOfBudget) as problem:
            why = f"not decided within {problem}" if isinstance(problem, OutOfBudget) else str(problem)
            found[name] = {"program": program.name, "why": why}
            continue
        found[name] = {
            "program": program.name,
            "growth": paths.growth([r.longest for r in reaches]),
            "measured": [
                {
                    "length": r.length,
                    "longest": r.longest if r.joined else None,
                    "from": list(r.source),
                    "to": [r.name, *r.output],
                    "joined": r.joined,
                    "pairs": r.pairs,
                }
                for r in reaches
            ],
        }
    return found


def _receptive(module: Module) -> dict[str, Any]:
    """Describe from where on each axis of an image or sequence outputs and layers read; None stands for no end."""
    found: dict[str, Any] = {}
    for name in module.fields:
        program = paths.program_of(module, name)
        if (
            program is None
            or program.name == "forward"
            or not spatial_axes(program.inputs[name].type, axes_of(program, name))
        ):
            continue
        layers: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        for key, field in receptive_fields(program, name).items():
            place = outputs if key in program.outputs else layers
            if isinstance(field, NoRule):
                place[key] = {"why": str(field)}
                continue
            place[key] = {
                "size": [axis.size for axis in field.axes],
                "from": [_least([h.low for h in axis.phases]) for axis in field.axes],
                "exact": field.exact,
                "aligned": field.aligned,
            }
        found[name] = {"program": program.name, "layers": layers, "outputs": outputs}
    return found


def _sampling(module: Module, one: dict[str, int]) -> dict[str, Any]:
    """Describe the sampler of each autoregressive density, and of each flow with masked autoregressive bijectors.

    `how` says which loops it has. `work` is in passes of the network over all elements, `step_flops` in operations a step
    (of blocks: for the most iterations that they may take), `kept` in bytes of one example; where the sampler is
    the reference one, `refused` says why. Of a mixture over `members` orders and masks it is about the first.

    The facts are the elements that are drawn one after the other (of all bijectors), and what the derived sampler
    computes and keeps.
    """
    found: dict[str, Any] = {}
    many, module = member_count(module), member(module, 0)
    for name in module.fields:
        if "sample" not in module.programs or (steps := _elements(module, name)) is None:
            continue
        derived = DeriveSamplers()(module.programs["sample"])
        ways = Counter(derived.done)
        facts: dict[str, Any] = {
            "steps": text(steps), "how": [f"{n} times {way}" if n > 1 else way for way, n in ways.items()],
            "members": many, "refused": [str(r) for r in derived.refused],
        }  # fmt: skip
        if not derived.refused:
            whole = substitute(cost.work(module.programs[_score(module)]).total, one)
            work = substitute(cost.work(derived.graph).total, one)
            facts["work"] = work / whole
            facts["step_flops"] = work / substitute(steps, one)
            facts["kept"] = substitute(_carried(derived.graph), one)
        found[name] = facts
    return found


def _elements(module: Module, name: str) -> int | Symbolic | None:
    """Elements that a draw of a variable computes one after the other; None where there are none such."""
    if any(c.kind == "jacobian" and c.subject == name for c in module.claims):
        loops = [
            ref for n in module.programs["sample"].nodes() if (ref := recognise(n)) and ref.ranks is not None
        ]
        return sum(int(ref.ranks.max()) + 1 for ref in loops if ref.ranks is not None) or None
    return paths.sampling_steps(module, name)


def _carried(graph: Graph) -> int | Symbolic:
    """Bytes of what loops carry, and those inside of them."""
    total: int | Symbolic = 0
    for node in graph.nodes():
        if isinstance(node.op, Scan):
            for v in node.op.split(node.inputs).carries:
                total = total + cost.size_in_bytes(v)
            total = total + _carried(node.op.body)
    return total


def _score(module: Module) -> str:
    """The program that is one pass of the network over all elements."""
    return next(p for p in ("conditionals", "log_prob", "elbo") if p in module.programs)


def _least(numbers: list[int | None]) -> int | None:
    known = [n for n in numbers if n is not None]
    return min(known, default=0) if len(known) == len(numbers) else None
