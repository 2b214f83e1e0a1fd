"""`mpcompile inspect SPEC`: what a model is made of, layer by layer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpcompile.cli._run import fail, findings, read_spec, settings_of

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.ir import Module, Scope


def inspect(
    spec: Annotated[Path, typer.Argument(help="A spec (.mp or .yaml).")],
    output_format: Annotated[str, typer.Option("--output-format", help="full or json.")] = "full",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a parameter: name=value.")] = None,
) -> None:
    """Programs, layers with their shapes and parameters, and the verdict on every claim."""
    if output_format not in ("full", "json"):
        fail(f"no output format is named '{output_format}' (full, json)")
    sources: list[Source] = []
    with findings(sources):
        from mpcompile import api

        module = read_spec(spec, settings_of(set_ or []), sources)
        facts = describe(module)
        facts["claims"] = [
            {"claim": v.claim.kind, "subject": v.claim.subject, "status": v.status, "how": v.how,
             "detail": dict(v.detail)}
            for v in api.verdicts(module)
        ]  # fmt: skip
    if output_format == "json":
        typer.echo(json.dumps(facts, indent=2))
        return
    _show(facts)


def describe(module: Module) -> dict[str, Any]:
    """Layers in order of use in the loss, programs and the number of parameters."""
    from mpcompile.ir import Parameter

    graph = module.programs["loss"]
    layers: dict[Scope, dict[str, Any]] = {}
    for node in graph.nodes():
        if not node.scope:
            continue
        row = layers.setdefault(
            node.scope,
            {"name": node.path, "layer": node.scope[-1].label, "line": node.span.line, "parameters": 0},
        )
        row["shape"] = str(node.types[0])
        if isinstance(node.op, Parameter):
            row["parameters"] += math.prod(module.parameters[node.op.path].shape)
    return {
        "model": module.name,
        "parameters": sum(math.prod(p.shape) for p in module.parameters.values() if p.trainable),
        "layers": list(layers.values()),
        "programs": {
            n: {
                "inputs": {k: str(v.type) for k, v in g.inputs.items()},
                "outputs": {k: str(v.type) for k, v in g.outputs.items()},
                "primitives": len(g),
            }
            for n, g in module.programs.items()
        },
    }


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{facts['model']}: {facts['parameters']:,} parameters")
    for column in ("layer", "written as", "line", "output", "parameters"):
        table.add_column(column, justify="right" if column in ("line", "parameters") else "left")
    for r in facts["layers"]:
        table.add_row(r["name"], r["layer"], str(r["line"]), r["shape"], f"{r['parameters']:,}")
    console.print(table)
    programs = Table(title="programs")
    for column in ("program", "inputs", "outputs", "primitives"):
        programs.add_column(column)
    for name, p in facts["programs"].items():
        inputs = ", ".join(f"{k}: {v}" for k, v in p["inputs"].items())
        outputs = ", ".join(f"{k}: {v}" for k, v in p["outputs"].items())
        programs.add_row(name, inputs, outputs, str(p["primitives"]))
    console.print(programs)
    for c in facts["claims"]:
        console.print(f"{c['claim']}({c['subject']}): {c['status']}, {c['how']} {c['detail']}", markup=False)
