"""Specs to start from, as package data: one `.mp` file each, whose first comment says what it is."""

from __future__ import annotations

from importlib.resources import files

_HERE = files(__name__)


def templates() -> list[str]:
    """Return the names of the templates."""
    return sorted(entry.name.removesuffix(".mp") for entry in _HERE.iterdir() if entry.name.endswith(".mp"))


def read_template(name: str) -> str:
    """Return the text of one template."""
    return (_HERE / f"{name}.mp").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """Return the first comment of a template."""
    return read_template(name).split("\n", 1)[0].removeprefix("#").strip()


__all__ = ["read_template", "summary", "templates"]
