"""A recording as a module, as lowering makes one of a spec: backends emit it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from mpcompile import ops
from mpcompile.diagnostics import Source, Span
from mpcompile.foreign.observed import Observed
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.foreign.rolled import rolled
from mpcompile.foreign.tidy import tidy
from mpcompile.ir import (
    Builder,
    Frame,
    Graph,
    Init,
    Module,
    Node,
    NoiseSpec,
    Parameter,
    ParameterSpec,
    Programs,
    Scope,
    Value,
)
from mpcompile.ir.names import element, part, split

#: The program that a recorded call becomes.
PROGRAM = "forward"
#: Modules whose weights are all of these are layers, and no functions of their own.
_LAYER = {"weight", "bias", "running_mean", "running_var"}


def identifier(name: str) -> str:
    """Return a name for a module: `name` without what no identifier has."""
    found = re.sub(r"\W+", "_", name.removesuffix(".onnx"), flags=re.ASCII).strip("_").lower()
    return found if found[:1].isalpha() else f"model_{found}".rstrip("_")


def as_module(recording: Recording, name: str, source: str = "") -> Module:
    """Return a module of one program, `forward`: the call that was recorded. `source` says what it was made of.

    Its parameters have the names of the `state_dict`; modules that have modules with weights are functions. Raises
    `Unrecordable` for an operation that is known by its results alone.
    """
    graph = recording.graph.live()
    for node in graph.nodes():
        if isinstance(node.op, Observed):
            raise Unrecordable(
                f"{node.op.of} has no primitive: its results were recorded, not its rule", node.span
            )
    both = _list_and_module(graph.parameters())
    names = {path: legal(path, both) for path in graph.parameters()}
    if len(set(names.values())) < len(names):
        raise Unrecordable(f"weights would share a name: {', '.join(sorted(names))}", Span.none())
    graph = tidy(_scoped(graph, names, both))
    module = Module(name, Source(source or name, ""), remark=_remark(recording))
    module.programs = Programs(lambda _, regions: ops.unrolled(regions))
    module.programs[PROGRAM] = rolled(graph)
    module.parameters = {
        new: ParameterSpec(new, tuple(recording.parameters[path].shape), Init("zeros"), Span.none(), former=path,
                           trainable=not path.rpartition(".")[2].startswith("running_"))
        for path, new in names.items()
    }  # fmt: skip
    noise = {k: NoiseSpec("uniform") for k in recording.noise if k in graph.inputs}
    module.noise[PROGRAM] = noise
    return module


def _remark(recording: Recording) -> str:
    """Return the sentences that the head of a file says of a recorded call."""
    graph = recording.graph
    known = [(k, list(graph.inputs[k].shape)) for k in recording.inputs if k in graph.inputs]
    sizes = ", ".join(f"{k} {shape}" for k, shape in known)
    which = "N is any number of examples, and other" if "N" in graph.symbols() else "other"
    parts = [f"A call that was recorded at {sizes}: {which} sizes are another program."]
    if recording.reads:
        parts.append(f"Its code read {len(recording.reads)} numbers of its inputs, which stay as they were.")
    return " ".join(parts)


def _functions(weights: Collection[str]) -> set[tuple[str, ...]]:
    """Return the paths of modules that are functions: they hold modules with weights, or weights that no layer has."""
    found: set[tuple[str, ...]] = set()
    for path in weights:
        *above, last = split(path)
        found |= {tuple(above[:n]) for n in range(1, len(above) + (last not in _LAYER))}
    return found


def _list_and_module(paths: Collection[str]) -> frozenset[str]:
    """Return the paths of modules some of whose parts are numbers, while others have names: no class writes both."""
    kinds: dict[str, set[bool]] = {}
    for path in paths:
        words = path.split(".")
        for n, word in enumerate(words):
            kinds.setdefault(".".join(words[:n]), set()).add(word.isdigit())
    return frozenset(above for above, found in kinds.items() if above and len(found) == 2)


def legal(path: str, both: Collection[str] = ()) -> str:
    """Return the name of a weight, or of a module, as parts of names may be: itself for nearly all names.

    A number without a list gets one (`0.weight` is `layers.0.weight`), and so does one of a module of `both`, which has
    parts with names too (`net.0.weight` beside `net.head.weight` is `net.layers.0.weight`). What no identifier has
    becomes an underscore, and what a module of torch calls its own attributes has an underscore behind it.
    """
    parts: list[str] = []
    words = path.split(".")
    for n, word in enumerate(words):
        if word.isdigit():
            if not parts or element(parts[-1]) is not None or ".".join(words[:n]) in both:
                parts.append("layers")
            parts[-1] += f".{int(word)}"
        else:
            plain = re.sub(r"\W", "_", word, flags=re.ASCII) or "_"
            parts.append(part(plain if plain.isidentifier() else f"_{plain}"))
    return ".".join(parts)


def _scoped(graph: Graph, names: Mapping[str, str], both: Collection[str]) -> Graph:
    """Return the graph with the names of its weights, and frames of its modules as lowering makes those of blocks."""
    functions = _functions(names.values())
    known: dict[Scope, Scope] = {}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        scope = known.get(node.scope)
        if scope is None:
            scope = known[node.scope] = _scope(node.scope, functions, both)
        with b.within(scope, node.span):
            op = replace(node.op, path=names[node.op.path]) if isinstance(node.op, Parameter) else node.op
            return b.emit_all(op, *inputs)

    return graph.rebuild(rewrite)


def _scope(scope: Scope, functions: Collection[tuple[str, ...]], both: Collection[str]) -> Scope:
    """A scope whose names are the parts of a weight's name: root and operation go, numbers join what they are of."""
    modules = scope[1:-1]
    paths = [split(legal(".".join(f.name for f in modules[: n + 1]), both)) for n in range(len(modules))]
    labels = {parts: f for parts, f in zip(paths, modules, strict=True) if parts in functions}
    if not labels:
        return ()
    whole = max(labels, key=len)
    return tuple(
        replace(labels[whole[:n]], name=name, function=True)
        if whole[:n] in labels
        else Frame(name, "", Span.none())
        for n, name in enumerate(whole, 1)
    )


__all__ = ["PROGRAM", "as_module", "identifier", "legal"]
