"""The public door in Python: `load`, `check`, `compile`, and `build`, which writes a standalone model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpcompile.budget import Budget, OutOfBudget, ensured, within
from mpcompile.diagnostics import Diagnostic, SpecError, error

if TYPE_CHECKING:
    from mpcompile.analysis import Verdict
    from mpcompile.diagnostics import Source
    from mpcompile.diagnostics.report import Checked, Property
    from mpcompile.distributions.sampling import Sampling
    from mpcompile.ir import Array, Graph, Module, NoiseSpec
    from mpcompile.passes.pipeline import Optimised
    from mpcompile.runner.disk import Payload


def load(
    path: Path | str,
    overrides: Mapping[str, str | int | float] | None = None,
    sampling: Sampling | None = None,
) -> Module:
    """Parse and lower a spec. `overrides` sets the model's parameters, `sampling` changes the `sample` program.

    Raises `SpecError` with all findings, or with MP310 where reading takes more than the open budget, or the default.
    """
    from mpcompile.diagnostics import Span
    from mpcompile.frontend import parse
    from mpcompile.lowering import lower

    place = Span(str(path), 1, 1, 1, 1)
    try:
        with ensured():
            model, source = parse(path)
            place = model.span
            numbers = {k: _number(k, v, model.span) for k, v in (overrides or {}).items()}
            return lower(model, source, numbers, sampling)
    except OutOfBudget as limit:
        help = "allow more with --time-budget and --memory-budget, or set smaller numbers with --set"
        raise error("MP310", f"the spec is not read within {limit}", place, help=help) from None


def _number(name: str, value: str | int | float, span: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    raise error("MP113", f"`{name}` is set to {value[:40]!r}, which is no number", span)


def check(module: Module) -> list[Diagnostic]:
    """Return every finding of every analysis and claim: first what is refuted or not proven, then warnings."""
    proved = dict.fromkeys(
        d for v in verdicts(module) for d in v.diagnostics
    )  # of claims that repeat each other, once
    return [*proved, *warnings(module)]


def verdicts(module: Module) -> list[Verdict]:
    """Return the answer to every claim of a module, including the claims that its densities imply.

    A claim that is not decided within the open budget, or the default, is not proven (MP310).
    """
    from mpcompile.analysis import prove
    from mpcompile.analysis.findings.pooled_norm import explained

    with ensured():
        return [explained(module, v) for v in prove(module)]


def warnings(module: Module) -> list[Diagnostic]:
    """Return the warnings about a module, without those that its `check` section allows. No warning stops a build.

    A kind of warning that is not decided within the open budget, or the default, is a note.
    """
    from mpcompile.analysis.findings import findings

    with ensured():
        return sorted([*findings(module), *name_warnings(module)], key=lambda d: d.span)


def name_warnings(module: Module) -> list[Diagnostic]:
    """Return the warnings about names of the spec: unused, shadowed and misspelt ones, without those that it allows.

    They are looked for where the source is named like a spec, so that its syntax is known.
    """
    from mpcompile.analysis.findings import unless_allowed
    from mpcompile.frontend import SUFFIXES, parse_text
    from mpcompile.frontend.unused import unused_names
    from mpcompile.lowering.misspelt import misspelt
    from mpcompile.lowering.shadowed import shadowed_names

    source = module.source
    syntax = SUFFIXES.get(Path(source.path).suffix.lower())
    if syntax is None:
        return []
    model = parse_text(source.text, source.path, syntax)
    found = [*unused_names(model), *shadowed_names(model)]
    return [*unless_allowed(module, found), *misspelt(model)]


def property_names(module: Module) -> list[str]:
    """Return a name for each claim that gets a verdict, in that order, as the spec writes it: `parameters <= 2000`.

    No two are the same: a repeated one has `#2`, `#3` behind it.
    """
    names: list[str] = []
    for claim in module.claims:
        name = str(claim)
        repeats = sum(n.split(" #")[0] == name for n in names)
        names.append(f"{name} #{repeats + 1}" if repeats else name)
    return names


def properties(module: Module) -> list[Property]:
    """Return the verdicts under the names of `property_names`."""
    from mpcompile.diagnostics.report import Property

    seen = set[Diagnostic]()  # claims that repeat each other have their findings once
    found = list[Property]()
    for name, v in zip(property_names(module), verdicts(module), strict=True):
        own = tuple(d for d in v.diagnostics if d not in seen)
        seen.update(own)
        shown = str(v.status), v.how, v.claim.span, own, str(v.scope or ""), v.method, v.assumptions
        found.append(Property(name, *shown))
    return found


def examine(
    path: Path | str,
    overrides: Mapping[str, str | int | float] | None = None,
    budget: Budget | None = None,
) -> Checked:
    """Run `mpcompile check` on one spec, within a budget (or the default).

    What is wrong with the spec is in the answer, not raised.
    """
    from mpcompile.diagnostics.report import Checked

    try:
        with within(budget or Budget()):
            module = load(path, overrides)
            proved, warned = properties(module), warnings(module)
    except SpecError as problem:
        return Checked(str(path), excerpts(path), (), problem.diagnostics)
    return Checked(str(path), module.source, tuple(proved), tuple(warned))


def excerpts(path: Path | str) -> Source | None:
    """Read as much of a file as findings about it need to be shown, whatever is wrong with it; None for no file."""
    from mpcompile.diagnostics import Source
    from mpcompile.frontend.intake import MAX_BYTES

    if not Path(path).is_file():
        return None
    try:
        with open(path, "rb") as handle:
            text = handle.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    return Source(str(path), text.removeprefix("\ufeff"))


def require_proven(module: Module, allow_unproven: bool = False) -> list[Verdict]:
    """Return the verdicts of a module that holds all it promises. Raises `SpecError` for a module that does not.

    `allow_unproven` lets pass what is undecided or held where it was tried; nothing lets pass what is refuted.
    """
    from mpcompile.analysis import unproven

    found = verdicts(module)
    if wrong := unproven(found, allow_unproven):
        raise SpecError(dict.fromkeys(d for v in wrong for d in v.diagnostics))
    return found


def compile(
    module: Module | Path | str,
    backend: str = "torch",
    *,
    seed: int = 0,
    device: str = "cpu",
    parameters: Mapping[str, Array] | None = None,
    allow_unproven: bool = False,
) -> Any:
    """Compile a module or a spec to the live object of a backend: for torch an `nn.Module`.

    Weights are `parameters`, or the initial ones of `seed`. Raises `SpecError` when a claim is refuted, or is not proved
    and `allow_unproven` is not set.
    """
    from mpcompile.backend import find_backend
    from mpcompile.passes.pipeline import optimise
    from mpcompile.runner.initial import initial
    from mpcompile.runner.renames import renamed

    if isinstance(module, Path | str):
        module = load(module)
    require_proven(module, allow_unproven)
    weights = renamed(parameters, module) if parameters is not None else initial(module, seed)
    return find_backend(backend).compile(optimise(module).module, weights, device=device)


def build(
    module: Module,
    backend: str,
    folder: Path,
    *,
    seed: int = 0,
    parameters: Mapping[str, Array] | None = None,
    allow_unproven: bool = False,
    overrides: Mapping[str, str] | None = None,
    inline: bool = False,
    inference: bool = False,
    force: bool = False,
    replaced: list[str] | None = None,
    names: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    verify_each: bool = False,
    card: bool = False,
) -> list[Verdict]:
    """Write the standalone model: the backend's files, weights.safetensors and manifest.json.

    The folder is written whole or not at all. An earlier build in it is replaced; with `force` also files of these
    names that are others', whose paths `replaced` takes. ONNX files read the weights from `weights.safetensors` beside
    them; `inline` puts them into each file too, so that one file is a whole program. `inference` leaves out the programs
    that learn, and folds all that depends on weights alone into them. `names` says what the numbers of a run's data
    stand for: its `vocabulary`, and `classes` by field.
    `card` adds a model card, README.md.
    The proofs have a budget, or the default. `verify_each` verifies every program between passes.

    Raises `SpecError` when a claim is refuted, or is not proved and `allow_unproven` is not set, and the manifest says
    what was not proved; for `parameters` that are not finite numbers for all of the module's (MP521, MP526); for a
    folder that is not a build (MP524).
    """
    from mpcompile import __version__
    from mpcompile.backend import find_backend
    from mpcompile.emission import tensors
    from mpcompile.passes.pipeline import optimise
    from mpcompile.passes.running import verified
    from mpcompile.runner import builds
    from mpcompile.runner.initial import initial
    from mpcompile.runner.run import fit, renamed
    from mpcompile.runner.settings import settings

    with within(budget or Budget()):
        found = require_proven(module, allow_unproven)
    weights = renamed(parameters, module) if parameters is not None else initial(module, seed)
    fit(weights, module, "the weights given")
    with verified(verify_each):
        optimised = optimise(module, weights if inference else None)
    module, weights = optimised.module, optimised.weights or weights
    rule = settings(module).optimizer
    emitted = find_backend(backend, live=False).emit(module, weights, rule, inline=inline)
    payload = tensors.serialise(weights, tensors.neighbours(module))
    files = _encoded(emitted) | {tensors.WEIGHTS: payload} | (_card(module, backend, found) if card else {})
    manifest = {
        "model": module.name,
        "backend": backend,
        "mpcompile": __version__,
        "spec": _spec(module),
        "set": dict(sorted((overrides or {}).items())),
        "seed": seed,
        "proofs": [_proof(v) for v in found],
        "allow_unproven": allow_unproven,
        "inference": inference,
        **_contents(optimised),
        **(names or {}),
        "files": builds.digests(files),
    }
    files[builds.MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    taken = builds.write(folder, files, force)
    if replaced is not None:
        replaced += taken
    return found


def _encoded(emitted: Mapping[str, str | bytes]) -> dict[str, Payload]:
    """Return the files of a backend as bytes."""
    return {name: text.encode() if isinstance(text, str) else text for name, text in emitted.items()}


def _spec(module: Module) -> dict[str, str]:
    """The text of a module as the manifest names it."""
    digest = sha256(module.source.text.encode()).hexdigest()
    return {"name": Path(module.source.path).name, "sha256": digest}


def _card(module: Module, backend: str, found: list[Verdict]) -> dict[str, Payload]:
    """Return the model card as a file."""
    from mpcompile import __version__
    from mpcompile.emission.card import CARD, card

    claims = [(name, str(v.status), v.how) for name, v in zip(property_names(module), found, strict=True)]
    return {CARD: card(module, backend, claims, __version__).encode()}


def _proof(v: Verdict) -> dict[str, Any]:
    """A verdict as the manifest has it."""
    return {
        "claim": v.claim.kind,
        "subject": v.claim.subject,
        "status": str(v.status),
        "scope": str(v.scope or ""),
        "method": v.method,
        "assumptions": list(v.assumptions),
        "how": v.how,
    }


def _contents(optimised: Optimised) -> dict[str, Any]:
    """Describe a build, as the manifest has it: how samplers run, programs, parameters, names of classes."""
    module = optimised.module
    labels = {name: list(f.labels) for name, f in module.fields.items() if f.labels}
    return {
        "samplers": {program: list(ways) for program, ways in optimised.samplers.items()},
        "reference_samplers": {
            program: [str(r) for r in reasons] for program, reasons in optimised.refusals.items()
        },
        "programs": {name: _signature(graph, module.noise[name]) for name, graph in module.regions.items()},
        "parameters": {p.name: list(p.shape) for p in module.parameters.values()},
        **({"classes": labels} if labels else {}),
    }


def _signature(graph: Graph, noise: Mapping[str, NoiseSpec]) -> dict[str, dict[str, str]]:
    """Inputs, noise and outputs of a program as the manifest has them."""
    return {
        "inputs": {k: str(v.type) for k, v in graph.inputs.items()},
        "noise": {k: n.kind for k, n in noise.items()},
        "outputs": {k: str(v.type) for k, v in graph.outputs.items()},
    }
