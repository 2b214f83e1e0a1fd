"""`mpcompile build SPEC --backend B`: proves a spec and writes it as a standalone model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._complete import backends
from mpcompile.cli._out import echo
from mpcompile.cli._run import (
    MemoryBudget,
    Overrides,
    TimeBudget,
    Trust,
    budget_of,
    fail,
    findings,
    read_run,
    read_spec,
    settings_of,
    warn,
)

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source


def build(
    spec: Annotated[
        Path, typer.Argument(help="A spec (.mp or .yaml), or the folder of a run, for its best weights.")
    ],
    backend: Annotated[
        str, typer.Option("--backend", "-b", autocompletion=backends, help="torch, jax or onnx.")
    ] = "torch",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder (default build/<model>/<backend>).")
    ] = None,
    set_: Overrides = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights.")] = 0,
    inline: Annotated[
        bool,
        typer.Option("--inline", help="Weights inside ONNX files too, so that each is a whole program."),
    ] = False,
    inference: Annotated[
        bool,
        typer.Option("--inference", help="Fold all that depends on weights alone; no programs that learn."),
    ] = False,
    allow_unproven: Annotated[
        bool,
        typer.Option(
            "--allow-unproven",
            help="Build what is undecided; the manifest says so. What is refuted never builds.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of the same names that no build wrote; says which.")
    ] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Write a model card, README.md, beside the model.")
    ] = False,
    verify_each: Annotated[
        bool, typer.Option("--verify-each", help="Verify every program before, between and behind passes.")
    ] = False,
    time_budget: TimeBudget = 60.0,
    memory_budget: MemoryBudget = "4GB",
    trust: Trust = False,
) -> None:
    """Prove, optimise and emit a model."""
    budget = budget_of(time_budget, memory_budget)
    overrides = settings_of(set_ or [])
    sources: list[Source] = []
    with findings(sources):
        from mpcompile import api
        from mpcompile.budget import within
        from mpcompile.diagnostics.report import STATUSES

        weights, known = None, {}
        if spec.is_dir():
            if overrides:
                fail("--set changes a spec; a run has its own settings")
            run, module = read_run(spec, sources, trust=trust)
            weights, overrides = run.parameters(module)[0], dict(run.overrides)
            known = {k: run.facts[k] for k in ("vocabulary", "classes") if run.facts.get(k)}
        else:
            with within(budget):
                module = read_spec(spec, overrides, sources)
        with within(budget):
            warn(module)
        folder = output if output is not None else Path("build") / module.name / backend
        replaced: list[str] = []
        verdicts = api.build(
            module,
            backend,
            folder,
            seed=seed,
            parameters=weights,
            allow_unproven=allow_unproven,
            overrides=overrides,
            inline=inline,
            inference=inference,
            budget=budget,
            force=force,
            replaced=replaced,
            names=known,
            verify_each=verify_each,
            card=card,
        )
        for v in verdicts:
            claim = f"{v.claim.kind}({v.claim.subject})" if v.claim.subject else v.claim.kind
            echo(f"{claim}: {STATUSES[v.status]} ({v.how})")
            for name, kind in v.detail.items():
                echo(f"  {name}: {kind}")
        for path in replaced:
            echo(f"replaced {path}")
        echo(f"wrote {folder}")
        for file in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
            echo(f"  {file}  {file.stat().st_size:,} bytes")
