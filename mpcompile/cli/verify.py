"""`mpcompile verify SPEC...`: every backend against the numpy oracle, numbers against proofs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._bar import late_bar
from mpcompile.cli._run import fail, findings, read_spec, settings_of
from mpcompile.cli.check import specs_in

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.runner.verify import Row


def verify(
    paths: Annotated[list[Path], typer.Argument(help="Specs, or folders to search for them.")],
    backends: Annotated[
        str | None, typer.Option(help="Comma-separated; default: all that are installed.")
    ] = None,
    output_format: Annotated[str, typer.Option("--output-format", help="full or json.")] = "full",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a parameter: name=value.")] = None,
) -> None:
    """Run the same weights, inputs and noise everywhere. Exit 1 with the first value that differs."""
    from mpcompile.backend import installed
    from mpcompile.runner.verify import verify as compare

    if output_format not in ("full", "json"):
        fail(f"no output format is named '{output_format}' (full, json)")
    names = backends.split(",") if backends else installed()
    report, failed = [], 0
    for path in (f for p in paths for f in specs_in(p)):
        sources: list[Source] = []
        with findings(sources), late_bar() as watch:
            module = read_spec(path, settings_of(set_ or []), sources)
            rows: list[Row] = []
            for row in compare(module, names):
                rows.append(row)
                if watch is not None:
                    watch(len(rows), None, f"{path.name}: {row.backend} {row.precision} {row.program}")
        bad = [r for r in rows if not r.holds]
        failed += bool(bad)
        report.append({"spec": str(path), "rows": [asdict(r) | {"holds": r.holds} for r in rows]})
        if output_format == "full":
            _table(path, rows)
        if bad:
            r = bad[0]
            place = module.programs[r.program]
            value = place.outputs.get(r.value)
            span = place.node(value).span if value is not None else None
            at = f"{span}" if span is not None and span.path else str(path)
            typer.echo(
                f"{at}: {r.backend} {r.precision}: {r.program}.{r.value} differs by {r.difference:.1e} "
                f"(tolerance {r.tolerance:.0e})",
                err=True,
            )
    if output_format == "json":
        typer.echo(json.dumps(report, indent=2))
    raise typer.Exit(1 if failed else 0)


def _table(path: Path, rows: list[Row]) -> None:
    """The worst difference of every (check, backend, precision)."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(path), title_justify="left")
    for column in ("check", "backend", "precision", "compared", "worst difference", "at", ""):
        table.add_column(column)
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for r in rows:
        groups.setdefault((r.check, r.backend, r.precision), []).append(r)
    for (check, backend, precision), members in groups.items():
        worst = max(members, key=lambda r: r.difference / r.tolerance if r.tolerance else r.difference)
        verdict = "ok" if all(r.holds for r in members) else "DIFFERS"
        table.add_row(
            check, backend, precision, str(len(members)), f"{worst.difference:.1e}",
            f"{worst.program}: {worst.value}", verdict,
        )  # fmt: skip
    Console().print(table)
