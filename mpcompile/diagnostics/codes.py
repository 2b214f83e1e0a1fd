"""Every diagnostic code: one table for `mpcompile explain`, the documentation and editors.

To add a code, append a row. MP0xx is intake, MP1xx syntax and names, MP2xx shapes and types, MP3xx
dependence and proofs, MP4xx flows and Jacobians, MP5xx training and data, MP9xx internal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One diagnostic code and the page about it."""

    code: str
    name: str
    what: str
    why: str
    example: str = ""
    instead: str = ""

    def page(self) -> str:
        """The whole page, as Markdown."""
        parts = [
            f"# {self.name} ({self.code})",
            f"## What it does\n\n{self.what}",
            f"## Why it is bad\n\n{self.why}",
        ]
        if self.example:
            parts.append(f"## Example\n\n```\n{self.example}\n```")
        if self.instead:
            parts.append(f"## Use instead\n\n```\n{self.instead}\n```")
        return "\n\n".join(parts) + "\n"


_TABLE = (
    Code(
        "MP001", "unreadable-file",
        "Reports a spec that cannot be opened, or whose name does not end like a spec.",
        "Nothing can be said about a file that cannot be read.", "mpcompile check model.txt",
        "mpcompile check model.mp",
    ),
    Code(
        "MP002", "file-too-large", "Reports a spec of more than 256 KiB.",
        "A spec describes a model in tens of lines; a large file is data, or an attack on the parser.",
    ),
    Code(
        "MP003", "not-utf-8", "Reports the first byte that is not UTF-8.",
        "A text in an unknown encoding could mean something else than it shows.",
    ),
    Code(
        "MP004", "control-character", "Reports NUL bytes, control characters and halves of surrogate pairs.",
        "They do not show in an editor and can hide what a spec says.",
    ),
    Code("MP005", "line-too-long", "Reports a line of more than 10 000 characters.",
         "Nobody can review such a line."),
    Code(
        "MP006", "nested-too-deep",
        "Reports brackets, lists or expressions nested beyond what a model can need.",
        "Deep nesting exhausts the stack of every program that reads the spec.", "((((...((1))...))))",
        "mask inner = a & b",
    ),
    Code(
        "MP007", "too-many-values",
        "Reports a spec with more tokens or values than allowed, aliases expanded.",
        "A few hundred bytes of YAML aliases can stand for billions of values.",
    ),
    Code(
        "MP008", "yaml-feature",
        "Reports YAML tags, directives, merge keys, several documents and broken aliases.",
        "They make values depend on the loader, and a spec has one meaning.",
        "x: !!python/object:os.system ls",
        "x: binary[784]",
    ),
    Code("MP009", "number-out-of-range", "Reports a literal that is too long or too large.",
         "It has no value that a model could use.", "1e999", "1e9"),
    Code(
        "MP100", "syntax-error",
        "Reports text that the grammar does not allow: what was expected and what was found.",
        "The spec has no meaning until it is mended.", "y = bernoulli(logits = net(x))",
        "y ~ bernoulli(logits = net(x))",
    ),
    Code("MP101", "unbalanced-bracket", "Reports a bracket that is never closed, or closes nothing.",
         "Everything after it would be read as part of it.", "dense(hidden", "dense(hidden)"),
    Code(
        "MP102", "unknown-statement", "Reports a statement or YAML key that the language does not have.",
        "It would have been ignored, and a misspelt key would silently change the model.",
        "inputs: {x: real[3]}",
        "input: {x: 'real[3]'}",
    ),
    Code("MP103", "missing-part", "Reports a part that cannot be left out, such as the model's name.",
         "There is no sensible default for it.", "input x: real[3]", "model m\n\ninput x: real[3]"),
    Code(
        "MP104", "invalid-name",
        "Reports names that are too long, start with two underscores or are reserved words of Python.",
        "Names of a spec become names in the generated code.", "model lambda", "model lambda_",
    ),
    Code("MP105", "duplicate-name", "Reports a name, key or argument that is given twice.",
         "Only one of the two could count.", "mask m = a\nmask m = b", "mask m = a\nmask n = b"),
    Code("MP106", "wrong-yaml-value", "Reports a list where a mapping belongs, and the like.",
         "The structure of the YAML form is fixed.", "params: [hidden, 4]", "params: {hidden: 4}"),
    Code("MP107", "invalid-yaml", "Reports text that is not YAML.", "It cannot be read.",
         "x: a: b", "x: 'a: b'"),
    Code("MP108", "unknown-type", "Reports a type that does not exist, or is written incompletely.",
         "Shapes and distributions are checked against the types.", "input x: integers[3]",
         "input x: integer(0..255)[3]"),
    Code("MP109", "unreadable-character", "Reports characters and escapes the language does not know.",
         "They have no meaning here.", "mask m = !a", "mask m = ~a"),
    Code("MP110", "unknown-number", "Reports a name or function in arithmetic that is not defined.",
         "Sizes must be known to build a model.", "dense(hiden)", "dense(hidden)"),
    Code("MP111", "no-value", "Reports arithmetic without a result, such as a division by zero.",
         "There is no number to go on with.", "dense(4 / 0)", "dense(4)"),
    Code("MP112", "number-too-large", "Reports arithmetic whose result or exponent is beyond all bounds.",
         "It would take all memory to compute, and no model has such a size.", "dense(9**9**9)",
         "dense(9**3)"),
    Code("MP113", "not-a-number", "Reports an expression that is no number where one is needed.",
         "A size must be a number.", 'dense("wide")', "dense(64)"),
    Code("MP114", "misplaced-statement", "Reports a statement in a place where another kind belongs.",
         "It would have no meaning there.", "density: [mask m = a]", "masks: {m: a}"),
    Code("MP900", "internal-error", "Reports a fault of mpcompile itself.",
         "The result cannot be trusted; please report it with the spec."),
)  # fmt: skip

CODES: dict[str, Code] = {code.code: code for code in _TABLE}

__all__ = ["CODES", "Code"]
