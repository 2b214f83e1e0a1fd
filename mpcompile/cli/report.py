"""`mpcompile report RUN -o page.html`: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._out import echo
from mpcompile.cli._run import OtherBackend, OtherDevice, Trust, fail, findings, read_run, write_text
from mpcompile.cli.evaluate import Split

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    output: Annotated[Path | None, typer.Option("-o", "--out", help="The page (default: RUN.html).")] = None,
    split: Annotated[Split, typer.Option(help="Part of the data.")] = Split.test,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=4096, help="Number of samples.")] = 64,
    backend: OtherBackend = None,
    device: OtherDevice = None,
    trust: Trust = False,
) -> None:
    """Show a run as one HTML page.

    It has verdicts, curves, metrics of targets, the likelihood of each held-out example beside a baseline, samples and
    receptive fields.
    """
    target = output if output is not None else run.with_name(f"{run.resolve().name}.html")
    if target.suffix.lower() not in (".html", ".htm"):
        fail(f"'{target.name}': the page is .html")
    sources: list[Source] = []
    with findings(sources):
        from mpcompile import api
        from mpcompile.backend import find_backend
        from mpcompile.report.run_page import page
        from mpcompile.runner import sampling, told
        from mpcompile.runner.resume import reached
        from mpcompile.runner.summary import summarise

        opened, module = read_run(run, sources, trust=trust)
        spelled = find_backend(backend) if backend else None
        found = summarise(opened, module, split=split.value, count=count, backend=spelled, device=device)
        proved = zip(api.property_names(module), api.verdicts(module), strict=True)
        verdicts = [(name, str(v.status), v.how) for name, v in proved]
        drawn = found.samples
        words = (
            drawn is not None
            and drawn.vocabulary is not None
            and drawn.values[drawn.first()].dtype.kind in "iu"
        )
        sets = [] if found.values is None else [("the model", found.values)]
        facts = {
            "data": opened.facts["data"] or "none", "split": found.split, "step": found.step,
            "trained": reached(opened.facts, found.metrics),
            "backend": backend or opened.facts["backend"], "seed": opened.facts["seed"], **opened.overrides,
        }  # fmt: skip
        text = page(
            module, verdicts, facts, found.metrics, found.figures,
            [*sets, *((b.name, b.values) for b in found.baselines)],
            {} if drawn is None or words else drawn.values,
            sampling.texts(drawn)[:8] if drawn is not None and words else (),
            told.rows(found.figures),
        )  # fmt: skip
    write_text(target, text)
    echo(f"wrote {target}", err=True)


__all__ = ["report"]
