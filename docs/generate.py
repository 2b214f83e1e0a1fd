"""Writes the pages that are made from tables of the code: `docs/codes/` and `docs/reference/`. A test compares them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import typer

from mpcompile.cli import COMMANDS
from mpcompile.diagnostics import Source
from mpcompile.diagnostics.codes import CODES
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower
from mpcompile.reference import KINDS, Entry, entry
from mpcompile.report.facts import describe
from mpcompile.runner.answers import NOUNS
from mpcompile.runner.scores import METRICS, OF_DRAWS

DOCS = Path(__file__).parent
GROUPS = {
    "MP0": "Intake", "MP1": "Syntax and names", "MP2": "Shapes and types", "MP3": "Dependence and proofs",
    "MP4": "Flows and Jacobians", "MP5": "Training and data", "MP6": "Certificates", "MP7": "Foreign models",
    "MP9": "Faults of the compiler",
}  # fmt: skip

#: Words of the types of parameters of commands.
VALUES = {
    "int": "whole number",
    "float": "number",
    "Path": "path",
    "str": "text",
    "Format": "one of its names",
}
#: Words of a help text that are typed: options, and paths with a name to fill in, which would be read as HTML.
WRITTEN = re.compile(r"(?<![\w-])(--[a-z][\w-]*|[\w./]*<\w+>[\w./<>]*)")


def reference() -> dict[str, str]:
    """Every page of `docs/reference/` by file name: a page a kind, with a section a name."""
    index = [
        "# Reference",
        "",
        "Every name of the language, from the tables of the compiler: `mpcompile list NAME` prints the same.",
        "",
    ]
    made = {}
    for title, kind in KINDS.items():
        heading = title.replace("_", " ").capitalize()
        names = sorted(kind.rows())
        linked = ", ".join(f"[{name}]({title}.md#{name})" for name in names)
        index.append(f"- [{heading}]({title}.md): {linked}")
        lines = [f"# {heading}"]
        for name in names:
            each = entry(kind, name)
            prose, told = split("\n".join(each.about), [word for word, _ in each.arguments])
            lines += ["", f"## {name}", "", f"`{each.usage}`", "", *prose]
            facts = [*each.facts, *(measured(each) if title in MEASURED else ())]
            pairs = [f"- {word}: {text}" for word, text in facts]
            pairs += [
                f"- `{word}`: {f'{told[word]} ({text})' if word in told else text}"
                for word, text in each.arguments
            ]
            lines += ["", *pairs] if pairs else []
            lines += ["", "```mp", *each.example.splitlines(), "```"]
        made[f"{title}.md"] = "\n".join(lines) + "\n"
    index.append("- [Metrics](metrics.md): what `mpcompile eval` computes of targets")
    names = ", ".join(f"[{name}](commands.md#mpcompile-{name})" for name in COMMANDS)
    index.append(f"- [Commands](commands.md) with their options: {names}")
    index.append("- [Diagnostic codes](../codes/README.md)")
    return made | {"metrics.md": metrics(), "commands.md": commands(), "README.md": "\n".join(index) + "\n"}


#: Kinds of which an example shows the shape of a result.
MEASURED = ("layers", "functions", "bijectors")
#: A row of a docstring: names, two spaces, text, and its further lines, which are indented.
ROW = re.compile(r"^(\w+(?:, \w+)*) {2,}(\S.*(?:\n {3,}\S.*)*)\n?", re.MULTILINE)


def split(about: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return a description without its rows about arguments, and those rows by the name of the argument."""
    told: dict[str, str] = {}

    def taken(row: re.Match[str]) -> str:
        names = row[1].split(", ")
        if not set(names) <= set(arguments):
            return row[0]
        told.update(dict.fromkeys(names, " ".join(row[2].split())))
        return ""

    prose = re.sub(r"\n{3,}", "\n\n", ROW.sub(taken, about)).strip().splitlines()
    aligned = any("  " in line.strip() for line in prose)
    return (["```text", *prose, "```"] if aligned else prose), told


def measured(each: Entry) -> list[tuple[str, str]]:
    """Return the shape of the result and the parameters of a name in its example, from the program of the example."""
    source = Source("example.mp", each.example)
    module = lower(parse_text(each.example, source.path), source)
    rows = [
        r for r in describe(module)["layers"] if re.search(rf"(^|\.){each.name}([_.]\d+)*(\.|$)", r["name"])
    ]
    if not rows:
        return []
    root = re.match(rf"(.*?(^|\.){each.name}([_.]\d+)*)(\.|$)", rows[0]["name"])[1]  # type: ignore[index]  # it matched
    own = [r for r in rows if r["name"] == root or r["name"].startswith(f"{root}.")]
    shape = next((r for r in own if r["name"] == root), own[-1])["shape"].partition("[")[2].rstrip("]")
    count = sum(r["parameters"] for r in own)
    return [("in the example", f"its result is [{shape}]" + (f"; {count:,} parameters" if count else ""))]


def commands() -> str:
    """The page of the commands: each with its arguments and all of its options, from their declarations."""
    lines = ["# Commands", "", "With `-h` each command prints the same."]
    for name, (module, attribute) in COMMANDS.items():
        function = getattr(import_module(f"mpcompile.cli.{module}"), attribute)
        rows = [Parameter.of(p, hint) for p, hint in _declared(function)]
        usage = " ".join(["mpcompile", name, *(r.usage for r in rows if r.usage)])
        lines += ["", f"## mpcompile {name}", "", *(inspect.getdoc(function) or "").splitlines(), ""]
        lines += ["```text", usage, "```", ""]
        lines += ["| argument or option | what it does | value | if left out |", "| --- | --- | --- | --- |"]
        lines += [r.row for r in sorted(rows, key=lambda r: not r.argument)]
    return "\n".join(lines) + "\n"


def _declared(function: Any) -> list[tuple[inspect.Parameter, Any]]:
    hints = get_type_hints(function, include_extras=True)
    return [(p, hints[p.name]) for p in inspect.signature(function).parameters.values() if p.name in hints]


class Parameter(NamedTuple):
    """An argument or an option of a command, as the cells of a row; `usage` is how it is written where it matters."""

    argument: bool
    names: str
    value: str
    unless: str
    help: str
    usage: str

    @classmethod
    def of(cls, parameter: inspect.Parameter, hint: Any) -> Parameter:
        """Read a parameter of a command's function, which is `Annotated` by typer's `Argument` or `Option`."""
        kind, info = get_args(hint)[:2]
        argument = isinstance(info, typer.models.ArgumentInfo)
        several = get_origin(kind) is list or any(get_origin(k) is list for k in get_args(kind))
        needed = parameter.default in (inspect.Parameter.empty, ...)
        choices = [each.value for each in getattr(kind, "__members__", {}).values()]
        name = "|".join(choices) or (info.metavar or parameter.name).strip("{}[]<>").upper()
        written = name + ("..." if several else "")
        first = (
            [info.default] if str(info.default).startswith("-") else []
        )  # in `Annotated` a name stands there
        named = [*first, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"]
        given = parameter.default if isinstance(parameter.default, list | tuple) else [parameter.default]
        default = (
            ""
            if needed or given[0] is None or given[0] is False or given[0] == ""
            else ", ".join(map(str, given))
        )
        return cls(
            argument, written if argument else "`, `".join(n for word in named for n in word.split("/")),
            _value(kind, info, several), "must be given" if needed else f"`{default}`" if default else "",
            (info.help or "").replace("; several times", ""),
            (written if needed else f"[{written}]") if argument else f"{named[0]} {written}" if needed else "",
        )  # fmt: skip

    @property
    def row(self) -> str:
        parts = re.split(r"(`[^`]+`)", " ".join(self.help.split()))  # code at odd places
        parts[::2] = [WRITTEN.sub(r"`\1`", part) for part in parts[::2]]
        told = "".join(parts).replace("|", "\\|")
        cells = (f"`{self.names}`", told, self.value, self.unless)
        return f"| {' | '.join(cells)} |"


def _value(kind: Any, info: Any, several: bool) -> str:
    """The values of a parameter; nothing for a flag."""
    said = str(kind)
    if "bool" in said:
        return ""
    noun = next((text for word, text in VALUES.items() if word in said), "one of its names")
    if info.metavar:
        noun = f"`{info.metavar}`"
    bounds = (
        ""
        if info.min is None
        else f", {info.min} or more"
        if info.max is None
        else f", {info.min} to {info.max}"
    )
    return noun + bounds + (", several times" if several else "")


def metrics() -> str:
    """The page of the metrics of targets, from their table."""
    lines = [
        "# Metrics",
        "",
        "`mpcompile eval RUN` computes these of each target from the program `predict`, streaming over batches. Which",
        "of them a target has follows from its type and its law. Elements whose truth is missing, or that lie behind the",
        "end of a sequence, count for nothing. Standard errors are over examples.",
        "",
        "| metric | of | definition |",
        "| --- | --- | --- |",
    ]
    for row in METRICS:
        of = ", ".join(name for name in NOUNS if name in row.kinds)
        of += " with probabilities" if row.certain else ""
        lines += [f"| `{name}`{' (also in validation)' if row.cheap else ''} | {of} | {about} |"
                  for name, about in row.metrics.items()]  # fmt: skip
    lines += [f"| `{name}` | levels, quantity; `--samples K` | {about} |" for name, about in OF_DRAWS.items()]
    return "\n".join([*lines, "", *(f"- {name}: {about}" for name, about in NOUNS.items())]) + "\n"


def codes() -> dict[str, str]:
    """Every page of `docs/codes/` by file name."""
    made = {f"{code.code}.md": code.page() for code in CODES.values()}
    index = ["# Diagnostic codes", "", "`mpcompile explain CODE` prints the same pages."]
    for prefix, title in GROUPS.items():
        rows = [c for c in CODES.values() if c.code.startswith(prefix)]
        if rows:
            index += ["", f"## {title}", ""]
            index += [f"- [{c.code}]({c.code}.md) {c.name}" for c in rows]
    return made | {"README.md": "\n".join(index) + "\n"}


def main() -> None:
    """Write what differs and remove what is no page any more."""
    for folder, made in (("codes", codes()), ("reference", reference())):
        (DOCS / folder).mkdir(exist_ok=True)
        for path in (DOCS / folder).glob("*.md"):
            if path.name not in made:
                path.unlink()
        for name, text in made.items():
            (DOCS / folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
