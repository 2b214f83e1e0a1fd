"""The model card of a build: README.md with the front matter that hubs of models read."""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.ir import Module

#: The file of a card.
CARD = "README.md"
#: Names of the libraries, as hubs have them.
_LIBRARIES = {"torch": "pytorch", "jax": "jax", "onnx": "onnx"}


def card(module: Module, backend: str, claims: Sequence[tuple[str, str, str]], version: str) -> str:
    """Return the card of a module: what it is of, its claims as (claim, status, how), parameters, programs and spec.

    Text of the spec stands in code alone, so that it cannot become markup.
    """
    size = sum(p.live for p in module.parameters.values() if p.trainable)
    fields = [
        f"| {_code(f.name)} | {f.role} | {f.base} | {_code(str(list(map(str, f.type.shape[1:]))))} |"
        for f in module.fields.values()
    ]
    proofs = [f"| {_code(claim)} | {status} | {how} |" for claim, status, how in claims]
    lines = [
        "---",
        f"library_name: {_LIBRARIES.get(backend, backend)}",
        "tags:",
        "- mpcompile",
        "- density-estimation",
        "---",
        "",
        f"# {module.name}",
        "",
        f"{size:,} parameters, written by mpcompile {version} for {backend}. This card says what follows from the spec; "
        "how well the model was trained, and for which use it is fit, is for its author to add.",
        "",
        "## Variables", "", "| name | role | values | shape of an example |", "| --- | --- | --- | --- |", *fields, "",
        "## Properties", "", "Answers of the proofs that ran before this model was written.", "",
        "| claim | answer | argument |", "| --- | --- | --- |", *proofs, "",
        "## Programs", "", ", ".join(_code(name) for name in module.regions), "",
        "## Spec", "", *_fenced(module.source.text), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _code(text: str) -> str:
    """Quote text as code within a cell of a table."""
    plain = text.replace("|", "\\|").replace("\n", " ").replace("`", "'")
    return f"`{plain}`"


def _fenced(text: str) -> list[str]:
    """Fence text with more ticks than any line of it begins with."""
    longest = max(
        (len(line) - len(line.lstrip("`")) for line in map(str.strip, text.splitlines())), default=0
    )
    fence = "`" * max(3, longest + 1)
    return [fence, *text.rstrip("\n").split("\n"), fence]


__all__ = ["CARD", "card"]
