"""`mpcompile server`: the language server for editors."""

from __future__ import annotations

from importlib.util import find_spec

from mpcompile.cli._run import fail


def server() -> None:
    """Serve an editor over stdin and stdout.

    It gets findings as they are typed, completion, shapes, names, fixes and formatting. An editor starts the command
    itself; `docs/editors.md` has the settings of some.
    """
    if find_spec("pygls") is None:
        fail("the language server needs pygls: pip install 'mpcompile[editor]'")
    from mpcompile.server.session import serve

    serve()


__all__ = ["server"]
