"""The command line: one file per command, imported only when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

#: Command -> (module, function). `mpcompile --help` needs them all, any other call just one.
COMMANDS = {
    "build": ("build", "build"),
    "check": ("check", "check"),
    "data": ("data", "data"),
    "train": ("train", "train"),
    "eval": ("evaluate", "evaluate"),
    "predict": ("predict", "predict"),
    "sample": ("sample", "sample"),
    "verify": ("verify", "verify"),
    "import": ("importing", "import_"),
    "inspect": ("inspect", "inspect"),
    "report": ("report", "report"),
    "opt": ("opt", "opt"),
    "explain": ("explain", "explain"),
    "list": ("list", "list_"),
    "new": ("new", "new"),
    "fmt": ("fmt", "fmt"),
    "schema": ("schema", "schema"),
    "server": ("server", "server"),
}

#: Options that show the help of a command, for all of them.
HELP = {"help_option_names": ["-h", "--help"]}

#: Commands that start a framework.
FRAMEWORKS = frozenset(("build", "train", "eval", "predict", "sample", "report", "verify", "import"))


def main() -> None:
    """Run the command line.

    Exit codes: 0 clean, 1 findings, 2 wrong usage, a refusal of the machine, or an internal error.
    """
    from mpcompile.cli import _guard

    sys.exit(_guard.run(_command_line))


def _plain(arguments: list[str]) -> bool:
    """Return whether a line is `check PATH...` without an option, which is what an editor or a hook runs often."""
    return arguments[:1] == ["check"] and len(arguments) > 1 and not any(a.startswith("-") for a in arguments)


def _check(paths: list[str]) -> NoReturn:
    """Run `check PATH...` without typer's reader of options, whose import takes longer than to find the answers.

    Raises `SystemExit`.
    """
    import gc
    from pathlib import Path

    import typer

    from mpcompile.cli.check import check

    gc.enable()
    gc.freeze()
    try:
        check([Path(path) for path in paths])
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
    raise SystemExit(0)


def _command_line() -> None:
    """Read the arguments and run the command. Raises `SystemExit` in the end."""
    import gc

    from mpcompile.cli._complete import command_asked
    from mpcompile.cli._guard import require_arguments, require_folder

    require_arguments(sys.argv[1:])
    gc.disable()  # loading commands makes many objects and no garbage
    import typer

    if _plain(sys.argv[1:]):
        _check(sys.argv[2:])

    app = typer.Typer(
        name="mpcompile",
        help="Compile model specifications to proven PyTorch, JAX and ONNX.",
        no_args_is_help=True,
        context_settings=HELP,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    asked = command_asked(sys.argv[1:])
    for name in [asked] if asked in COMMANDS and sys.argv[1:2] not in (["--help"], ["-h"]) else COMMANDS:
        module, function = COMMANDS[name]
        found = getattr(import_module(f"mpcompile.cli.{module}"), function)
        app.command(name, context_settings=HELP)(found)
    gc.enable()
    gc.freeze()
    if asked in FRAMEWORKS:
        require_folder()

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version."),
        debug: bool = typer.Option(
            False, "--debug", help="Show the traceback of an internal error; also behind a command."
        ),
    ) -> None:
        if version:
            from mpcompile import __version__
            from mpcompile.cli._out import echo

            echo(__version__)

    app(prog_name="mpcompile")
