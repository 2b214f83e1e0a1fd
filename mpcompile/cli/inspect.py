"""`mpcompile inspect SPEC`: what a model is made of, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpcompile.cli._out import echo, result
from mpcompile.cli._run import (
    ForeignClaims,
    ImportCode,
    MemoryBudget,
    Overrides,
    TimeBudget,
    budget_of,
    fail,
    findings,
    read_run,
    read_spec,
    settings_of,
    write_text,
)

if TYPE_CHECKING:
    from mpcompile.budget import Budget
    from mpcompile.diagnostics import Source
    from mpcompile.ir import Module


def inspect(
    spec: Annotated[Path | None, typer.Argument(help="A spec (.mp or .yaml), or an .onnx file.")] = None,
    output_format: Annotated[str, typer.Option("--output-format", help="full, json or html.")] = "full",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write there instead of printing.")
    ] = None,
    set_: Overrides = None,
    gradient_flow: Annotated[
        Path | None, typer.Option(help="A run: how far gradients reach through the loops of its loss.")
    ] = None,
    import_code: ImportCode = None,
    claim: ForeignClaims = None,
    time_budget: TimeBudget = 60.0,
    memory_budget: MemoryBudget = "4GB",
) -> None:
    """Show the layers, programs and claims of a model.

    Layers have shapes, parameters and operations; programs have memory and path lengths.
    """
    if output_format not in ("full", "json", "html"):
        fail(f"no output format is named '{output_format}' (full, json, html)")
    if output is not None and output_format == "full":
        fail("-o goes with --output-format json or html")
    if (spec is None) == (import_code is None):
        fail("inspect takes a spec, an .onnx file or --import-code")
    foreign = import_code or (spec if spec is not None and spec.suffix == ".onnx" else None)
    if foreign is not None:
        if output_format != "html" or set_ or gradient_flow:
            fail("a model that is no spec is drawn: give --output-format html, and no settings of specs")
        _write(_drawn(foreign, claim or [], budget_of(time_budget, memory_budget)), output)
        return
    if claim:
        fail("--claim is for --import-code or for .onnx files")
    assert spec is not None
    from mpcompile.budget import within

    sources: list[Source] = []
    with findings(sources), within(budget_of(time_budget, memory_budget)):
        module = read_spec(spec, settings_of(set_ or []), sources)
        if output_format == "html":
            _write(_page(module), output)
            return
        facts = _facts(module)
        if gradient_flow is not None:
            facts["gradient_flow"] = _flow(gradient_flow, sources)
    if output_format == "json":
        _write(json.dumps(facts, indent=2) + "\n", output)
        return
    from mpcompile.report.terminal import show

    show(facts)
    if gradient_flow is not None:
        from mpcompile.report.gradient_flow import lines

        echo(*lines(facts["gradient_flow"]))


def _page(module: Module) -> str:
    """The page of a spec."""
    from mpcompile import api
    from mpcompile.report.page import page

    proved = zip(api.property_names(module), api.verdicts(module), strict=True)
    return page(module, list(proved), api.warnings(module))


def _facts(module: Module) -> dict[str, Any]:
    """The facts of a spec, with the answers to its claims."""
    from mpcompile import api
    from mpcompile.report.facts import describe

    facts = describe(module)
    facts["claims"] = [
        {"claim": v.claim.kind, "subject": v.claim.subject, "status": str(v.status), "how": v.how,
         "detail": dict(v.detail)}
        for v in api.verdicts(module)
    ]  # fmt: skip
    return facts


def _drawn(model: str | Path, claims: list[str], budget: Budget) -> str:
    """The page of a model that was not written here."""
    from mpcompile.budget import within
    from mpcompile.diagnostics import error
    from mpcompile.foreign import LENGTHS, Sized, Unrecordable, imported, model_of
    from mpcompile.foreign.picture import picture
    from mpcompile.foreign.report import source_of
    from mpcompile.report.page.recorded import page

    with findings([]):
        try:
            foreign = imported(model) if isinstance(model, str) else model_of(model, {})
            if isinstance(foreign, Sized):
                foreign = foreign.at(LENGTHS[0])
            with within(budget):
                shown = picture(foreign, claims)
                recording = shown.recording
                weights = {n: tuple(x.shape) for n, x in recording.parameters.items()}
                return page(recording.graph, shown.source, shown.order, weights, list(recording.noise),
                            source_of(shown.path), shown.answers, shown.notes)  # fmt: skip
        except Unrecordable as fault:
            raise error("MP700", fault.what, fault.span) from fault


def _flow(folder: Path, sources: list[Source]) -> dict[str, Any]:
    """Gradients at the weights of a run, on its first training batch."""
    from mpcompile.report.gradient_flow import describe
    from mpcompile.runner.batches import Batches
    from mpcompile.runner.run_data import data_of

    run, module = read_run(folder, sources)
    options, weights = run.facts["settings"], run.parameters(module)[0]
    data = data_of(run, module)
    batch = Batches(
        module, data.split("train"), min(32, options["batch"]), int(run.facts["seed"]), run.facts["order"]
    ).at(0)
    return describe(module, weights, batch, options["optimizer"].get("clip") or None)


def _write(text: str, path: Path | None) -> None:
    """Write to a file, or to stdout. Exits with 2 where the file cannot be written."""
    if path is None:
        result(text)
        return
    write_text(path, text)
    echo(f"wrote {path}", err=True)
