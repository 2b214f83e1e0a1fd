"""`mpcompile schema`: the JSON Schema of the YAML syntax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._out import echo, result
from mpcompile.cli._run import write_text


def schema(
    output: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file.")] = None,
) -> None:
    """Print the draft-07 JSON Schema of YAML specs, for editors.

    Put `# yaml-language-server: $schema=mpcompile.schema.json` on the first line of a spec to use it.
    """
    from mpcompile.reference import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if output is None:
        result(text)
    else:
        write_text(output, text)
        echo(f"wrote {output}")


__all__ = ["schema"]
