"""`mpcompile verify SPEC...`: every backend against the numpy oracle, numbers against proofs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._bar import late_bar
from mpcompile.cli._complete import several_backends
from mpcompile.cli._out import echo, result
from mpcompile.cli._run import Overrides, fail, findings, read_spec, settings_of
from mpcompile.cli._specs import require, require_some, specs_of

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.runner.verify import Row


def verify(
    paths: Annotated[list[Path], typer.Argument(help="Specs, or folders to search for them.")],
    backends: Annotated[
        str | None,
        typer.Option(
            autocompletion=several_backends, help="Comma-separated; default: all that are installed."
        ),
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option("--output-format", help="full, concise (the default for several specs) or json."),
    ] = None,
    set_: Overrides = None,
    device: Annotated[str, typer.Option(help="cpu or cuda: where backends run.")] = "cpu",
) -> None:
    """Compare every backend with the numpy oracle.

    All run the same weights, inputs and noise. Exits with 1 where a value differs.
    """
    require(paths)
    specs = specs_of(paths)
    require_some(specs, paths)
    from mpcompile.backend import installed
    from mpcompile.runner.verify import verify as compare

    form = output_format or ("full" if len(specs) == 1 else "concise")
    if form not in ("full", "concise", "json"):
        fail(f"no output format is named '{form}' (full, concise, json)")
    names = backends.split(",") if backends else installed()
    if not names:
        fail("no backend is installed to compare: pip install 'mpcompile[torch]', [jax] or [onnx]")
    report, compared, failed = [], 0, 0
    if form == "concise":
        echo(*_heads())
    for path in specs:
        sources: list[Source] = []
        start = time.process_time()
        with findings(sources), late_bar() as watch:
            module = read_spec(path, settings_of(set_ or []), sources)
            rows: list[Row] = []
            for row in compare(module, names, device=device):
                rows.append(row)
                if watch is not None:
                    watch(len(rows), None, f"{path.name}: {row.backend} {row.precision} {row.program}")
        bad = [r for r in rows if not r.holds]
        failed += bool(bad)
        compared += len(rows)
        if form == "json":
            report.append({"spec": str(path), "rows": [asdict(r) | {"holds": r.holds} for r in rows]})
        elif form == "concise":
            echo(_summary(path, rows, time.process_time() - start))
        if form == "full" or (bad and form == "concise"):
            _table(path, rows)
        if bad:
            r = bad[0]
            place = module.programs[r.program]
            value = place.outputs.get(r.value)
            span = place.node(value).span if value is not None else None
            at = f"{span}" if span is not None and span.path else str(path)
            echo(
                f"{at}: {r.backend} {r.precision}: {r.program}.{r.value} differs by {r.difference:.1e} "
                f"(tolerance {r.tolerance:.0e})",
                err=True,
            )
    if form == "json":
        result(json.dumps(report, indent=2) + "\n")
    elif form == "concise":
        verdict = f"{failed} differ" if failed else "all hold"
        echo(f"{len(specs)} specs on {', '.join(names)}: {compared} comparisons, {verdict}")
    raise typer.Exit(1 if failed else 0)


#: What the summary shows the worst difference of.
COLUMNS = [(check, precision) for check in ("values", "gradients") for precision in ("float32", "float64")]


def _line(spec: str, cells: list[str], verdict: str) -> str:
    return f"{spec:<36}" + "".join(f"{c:>10}" for c in cells) + f"  {verdict}"


def _heads() -> tuple[str, str]:
    """Two lines: what is compared, in which precision."""
    checks = _line("", ["", *(check for check, _ in COLUMNS), ""], "")
    return checks, _line("spec", ["compared", *(precision for _, precision in COLUMNS), "seconds"], "")


def _summary(path: Path, rows: list[Row], seconds: float) -> str:
    """One line: the worst differences over all backends, and processor time."""
    cells = [str(len(rows))]
    for group in COLUMNS:
        worst = max((r.difference for r in rows if (r.check, r.precision) == group), default=0.0)
        cells.append(f"{worst:.1e}")
    return _line(str(path), [*cells, f"{seconds:.0f}"], _verdict(rows))


def _verdict(rows: list[Row]) -> str:
    """Sum up rows, and say which hold only because float32 does not determine the value itself more sharply."""
    if any(not r.holds for r in rows):
        return "DIFFERS"
    unclear = [r for r in rows if r.difference > r.tolerance]
    if not unclear:
        return "ok"
    from mpcompile.runner.verify import ROUNDINGS

    most = max(r.moved for r in unclear)
    return f"ok; {ROUNDINGS} roundings of weights and inputs move {len(unclear)} by up to {most:.1e}"


def _table(path: Path, rows: list[Row]) -> None:
    """The worst difference of every (check, backend, precision)."""
    from rich.table import Table

    from mpcompile.report.terminal import Terminal, plain

    table = Table(title=plain(str(path)), title_justify="left")
    for column in ("check", "backend", "precision", "compared", "worst difference", "at", ""):
        table.add_column(column)
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for r in rows:
        groups.setdefault((r.check, r.backend, r.precision), []).append(r)
    for (check, backend, precision), members in groups.items():
        worst = max(members, key=lambda r: r.difference / r.tolerance if r.tolerance else r.difference)
        cells = (check, backend, precision, str(len(members)), f"{worst.difference:.1e}",
                 f"{worst.program}: {worst.value}", _verdict(members))  # fmt: skip
        table.add_row(*map(plain, cells))
    Terminal().print(table)
