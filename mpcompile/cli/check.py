"""`mpcompile check PATH...`: every analysis and claim of every spec; imports no framework."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpcompile.cli._guard import debugging, internal
from mpcompile.cli._out import echo, page
from mpcompile.cli._run import (
    ForeignClaims,
    ImportCode,
    MemoryBudget,
    Overrides,
    TimeBudget,
    budget_of,
    fail,
    findings,
    settings_of,
    write_text,
)
from mpcompile.cli._specs import SpecsOnly, left_out, only_specs, require, require_some, specs_of
from mpcompile.folders import SUFFIXES

if TYPE_CHECKING:
    from mpcompile.budget import Budget
    from mpcompile.diagnostics.report import Checked, Report


def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Specs, or folders to search for them.")] = None,
    output_format: Annotated[
        str, typer.Option("--output-format", help="full, concise, json, json-lines, sarif, github or junit.")
    ] = "full",
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report", metavar="FORMAT=FILE", help="Also write this format to a file; several times."
        ),
    ] = None,
    set_: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Check again what changes, until Ctrl-C.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(help="When everything is proved, write what was proved of which text to this file."),
    ] = None,
    verify_certificate: Annotated[
        Path | None, typer.Option(help="Prove everything in a certificate again; takes no paths.")
    ] = None,
    import_code: ImportCode = None,
    claim: ForeignClaims = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths",
            help="Lengths at which a factory(length=...), or a file with open axes, is recorded: 11,13,17,29.",
        ),
    ] = None,
    second_opinion: Annotated[
        bool,
        typer.Option(
            "--second-opinion", help="Run its exported program too, and say where it is another one."
        ),
    ] = False,
    weights_as_written: Annotated[
        bool, typer.Option("--weights-as-written", help="Take its weights, and zeros in them, as they are.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that check specs.")] = 1,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take answers about unchanged specs from the disk.")
    ] = True,
    specs_only: SpecsOnly = False,
    time_budget: TimeBudget = 60.0,
    memory_budget: MemoryBudget = "4GB",
) -> None:
    """Prove the properties that specs claim.

    Exits with 0 when all of them hold, 1 with findings, 2 on wrong usage or an internal error.
    """
    files = _formats(output_format, report or [])
    if import_code or claim or second_opinion or weights_as_written:
        files_given = bool(paths) and all(p.suffix == ".onnx" for p in paths or [])
        if (
            not claim
            or bool(import_code) == files_given
            or set_
            or watch
            or certificate
            or verify_certificate
        ):
            fail("--claim is for --import-code or for .onnx files, without specs and their options")
        with findings([]):
            result = _foreign(
                [import_code] if import_code else list(paths or []), claim, _lengths(lengths),
                budget_of(time_budget, memory_budget), written=weights_as_written, second=second_opinion,
            )  # fmt: skip
        _publish(result, output_format, files)
        raise typer.Exit(0 if result.holds else 1)
    given, overrides = paths or [], settings_of(set_ or [])
    budget = budget_of(time_budget, memory_budget)
    if verify_certificate:
        if given or overrides or certificate or watch:
            fail("--verify-certificate takes its specs and settings from the certificate")
        require([verify_certificate])
    else:
        require(given)
        given = only_specs(given) if specs_only else given
        if not watch:
            require_some(specs_of(given), given)
    if watch and (certificate or files):
        fail("--watch writes no files: leave out --certificate and --report")
    for file in (*files.values(), *([certificate] if certificate else [])):
        if file.suffix in SUFFIXES:
            fail(f"{file} has the name of a spec and would be overwritten")
    if watch:
        from mpcompile.cli._watch import watch as run

        run(given, lambda s: _examine(s, overrides, budget, cache), lambda r: _publish(r, output_format, {}))
        return
    kept = cache and not certificate  # a certificate is of proofs that were made for it
    result = (
        _verified(verify_certificate, budget)
        if verify_certificate
        else _checked(given, overrides, budget, kept, jobs)
    )
    _publish(result, output_format, files)
    _tell_left_out(given)
    if certificate:
        _certify(result, certificate, overrides)
    raise typer.Exit(2 if any(spec.crash for spec in result.specs) else 0 if result.holds else 1)


def _lengths(text: str | None) -> tuple[int, ...] | None:
    """The numbers of --lengths; None without it. Exits with 2 for what is none."""
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        fail(f"--lengths takes numbers such as 11,13,17,29, not '{text}'")
    return tuple(map(int, parts)) or None


def _tell_left_out(given: Iterable[Path]) -> None:
    """Say which YAML files of folders were not checked."""
    if others := left_out(given):
        shown = ", ".join(map(str, others[:3])) + (", ..." if len(others) > 3 else "")
        which = f"{len(others)} YAML files are" if len(others) > 1 else "1 YAML file is"
        echo(f"{which} no spec, and left out: {shown}; [tool.mpcompile] specs in pyproject.toml names folders in which "
             "every file is one", err=True)  # fmt: skip


def _foreign(
    models: Sequence[str | Path],
    claims: list[str],
    lengths: Sequence[int] | None,
    budget: Budget,
    **how: bool,
) -> Report:
    """The answers about files, and models whose code is imported."""
    from mpcompile.diagnostics.report import Report

    found = [_answered(model, claims, lengths, budget, **how) for model in models]
    texts = {path: source for report in found for path, source in report.texts.items()}
    return Report(tuple(spec for report in found for spec in report.specs), texts=texts)


def _answered(
    model: str | Path, claims: list[str], lengths: Sequence[int] | None, budget: Budget, **how: bool
) -> Report:
    from mpcompile.budget import OutOfBudget, capped, within
    from mpcompile.diagnostics import Diagnostic, Span, SpecError
    from mpcompile.diagnostics.report import Checked, Report
    from mpcompile.foreign import (
        LENGTHS,
        Lengthened,
        Sized,
        Unimportable,
        Unrecordable,
        checked,
        imported,
        model_of,
    )

    try:
        if isinstance(model, str):  # its own code may take what it takes
            foreign = imported(model)
            if lengths is not None and not isinstance(foreign, Sized):
                fail(f"--lengths is for a factory that takes `length`, which {model} does not")
            with within(budget):
                return checked(foreign, claims, lengths or LENGTHS, **how)
        with within(budget), capped(budget.memory):
            file = model_of(model, {})
            if lengths is not None and isinstance(file, Lengthened):
                return checked(Sized(file.name, file.at), claims, lengths, **how)
            return checked(file, claims, LENGTHS, **how)
    except Unimportable:
        raise
    except SpecError as problem:
        return Report((Checked(str(model), findings=tuple(problem.diagnostics)),))
    except (Unrecordable, OutOfBudget) as fault:
        what = fault.what if isinstance(fault, Unrecordable) else f"it was not read within {fault}"
        return Report((Checked(str(model), findings=(Diagnostic("MP700", what, Span.none()),)),))


def _formats(output_format: str, report: Iterable[str]) -> dict[str, Path]:
    """The files of --report by format. Exits with 2 for a format that does not exist."""
    from mpcompile.diagnostics.render import RENDERERS

    files: dict[str, Path] = {}
    for text in report:
        name, equals, file = text.partition("=")
        if not equals or not file:
            fail(f"--report takes FORMAT=FILE, not '{text}'")
        files[name] = Path(file)
    for name in (output_format, *files):
        if name not in RENDERERS:
            fail(f"no output format is named '{name}' ({', '.join(RENDERERS)})")
    return files


def _checked(
    paths: Iterable[Path], overrides: Mapping[str, str], budget: Budget, cache: bool, jobs: int
) -> Report:
    """Every spec, in several processes those that are not known yet."""
    from mpcompile.diagnostics.report import Report

    specs = specs_of(paths)
    if jobs == 1:
        return Report(tuple(_examine(spec, overrides, budget, cache) for spec in specs))
    from mpcompile import cached
    from mpcompile.cli._jobs import mapped

    found = {spec: cached.known(spec, overrides, budget) if cache else None for spec in specs}
    rest = [spec for spec in specs if found[spec] is None]
    made = mapped(_examined, rest, min(jobs, len(rest)), dict(overrides), budget, cache) if rest else []
    for spec, answer in zip(rest, made, strict=True):
        found[spec] = _answer(spec, answer)
    return Report(tuple(answer for answer in found.values() if answer is not None))


def _examined(spec: Path, overrides: Mapping[str, str], budget: Budget, cache: bool) -> dict[str, Any]:
    """One spec in a process of its own, as plain data."""
    from mpcompile import cached

    answer = _examine(spec, overrides, budget, cache)
    return cached.encoded(answer) | {"crash": answer.crash}


def _answer(spec: Path, data: Mapping[str, Any]) -> Checked:
    from dataclasses import replace

    from mpcompile import cached
    from mpcompile.diagnostics.report import Checked

    if data.get("died"):
        echo(f"error: {spec}: the process that checked it was killed", err=True)
        return Checked(str(spec), crash="the process that checked it was killed")
    return replace(cached.decoded(data), crash=data["crash"])


def _examine(spec: Path, overrides: Mapping[str, str], budget: Budget, cache: bool) -> Checked:
    """One spec, within a budget. An internal error stops the check of this spec only; it is said at once, on stderr."""
    from mpcompile import api, cached
    from mpcompile.budget import capped
    from mpcompile.diagnostics.render import printable
    from mpcompile.diagnostics.report import Checked

    try:
        with capped(budget.memory):
            examine = cached.examine if cache else api.examine
            return examine(spec, overrides, budget)
    except Exception as fault:
        if debugging():
            traceback.print_exc()
        crash = internal(fault)
        echo(f"error: {printable(f'{spec}: {crash}')}", err=True)
        return Checked(str(spec), crash=crash)


def _verified(certificate: Path, budget: Budget) -> Report:
    from mpcompile.certificate import verify

    return verify(certificate, budget)


def _certify(report: Report, file: Path, overrides: Mapping[str, str]) -> None:
    from mpcompile.certificate import certify

    if not all(spec.proved for spec in report.specs):
        echo(f"error: not everything is proved, so {file} was not written", err=True)
        return
    write_text(file, certify(report, file.parent, overrides))


def _publish(report: Report, output_format: str, files: Mapping[str, Path]) -> None:
    """The report on stdout and in every file that was asked for."""
    from mpcompile.diagnostics.render import RENDERERS, use_colour

    page(RENDERERS[output_format](report, use_colour(sys.stdout)))
    for name, file in files.items():
        write_text(file, RENDERERS[name](report, False))
