"""Every import of the installed packages is declared in pyproject.toml, and every declaration is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PACKAGES = [ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
OWN = {package.name for package in PACKAGES}
BACKENDS = {
    package.name: package.name.removeprefix("mpcompile_")
    for package in PACKAGES
    if "backends" in package.parts
}
#: Extras that the core imports inside functions, where the feature is asked for.
FEATURES = ("plots", "tensorboard", "data", "wandb", "mlflow", "editor")
#: Rooms that are one feature as a whole: nothing else imports them but inside functions.
ROOMS = {"mpcompile/server/": "editor"}
#: pytest and Pygments import their plugins, so that they are there; nothing else may ask for them.
HOSTS = {"mpcompile/pytest_plugin.py": "pytest", "mpcompile/highlighting.py": "pygments"}
#: Functions that import what their first argument names.
IMPORTERS = {"import_module", "find_spec", "__import__"}
CORE = {"lark", "networkx", "numpy", "pydantic", "pyyaml", "rich", "safetensors", "typer"}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(r).name) for r in requirements}


DEPENDENCIES = names(PROJECT["dependencies"])
EXTRAS = {extra: names(needed) for extra, needed in PROJECT["optional-dependencies"].items()}


@cache
def distributions() -> dict[str, set[str]]:
    """Module -> the distributions that bring it."""
    return {module: set(map(canonicalize_name, found)) for module, found in packages_distributions().items()}


def called(function: ast.expr) -> str:
    """The last name of a function that is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def imports_of(path: Path) -> tuple[tuple[str, bool, int], ...]:
    """The imports of a file, read once."""
    return tuple(imports(ast.parse(path.read_text(encoding="utf-8"))))


def imports(tree: ast.Module) -> Iterator[tuple[str, bool, int]]:
    """Top-level name, whether it is imported with the file, and line, of every import of a file.

    What stands in a function, or under `if TYPE_CHECKING`, is not imported with the file.
    """

    def walk(node: ast.AST, loaded: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], loaded, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0], loaded, node.lineno
        elif isinstance(node, ast.Call) and called(node.func) in IMPORTERS:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield str(argument.value).partition(".")[0], False, node.lineno
        lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, loaded and not lazy)

    yield from walk(tree, True)


def undeclared(package: Path) -> list[str]:
    """Imports of a package that an installation with its extra, or a plain one of the core, may lack."""
    always = DEPENDENCIES | EXTRAS.get(BACKENDS.get(package.name, ""), set())
    later = always if package.name in BACKENDS else always.union(*(EXTRAS[extra] for extra in FEATURES))
    found = []
    for path in sorted(package.rglob("*.py")):
        shown = path.relative_to(package.parent).as_posix()
        room = next((EXTRAS[extra] for start, extra in ROOMS.items() if shown.startswith(start)), set[str]())
        for name, loaded, line in imports_of(path):
            if name in sys.stdlib_module_names or name in OWN or HOSTS.get(shown) == name:
                continue
            if not distributions().get(name, {name}) & (always | room if loaded else later):
                found.append(f"{shown}:{line}: {name}")
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_import_is_declared(package: Path) -> None:
    assert undeclared(package) == []


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("import click", 1),
        ("def f():\n    from sklearn import datasets", 1),
        ("import matplotlib.figure", 1),  # of an extra, and imported with the file
        ("def f():\n    import matplotlib.figure", 0),
        ("from importlib.util import find_spec\nfind_spec('scipy')", 1),
        ("def f():\n    import torch", 1),
        ("import numpy as np, json\nfrom lark import Token\nimport yaml", 0),
    ],
)
def test_an_undeclared_import_is_found(text: str, complaints: int, tmp_path: Path) -> None:
    (tmp_path / "mpcompile").mkdir()
    (tmp_path / "mpcompile" / "a.py").write_text(text, encoding="utf-8")
    assert len(undeclared(tmp_path / "mpcompile")) == complaints


def test_every_declaration_is_imported() -> None:
    used = {name for package in PACKAGES for path in package.rglob("*.py") for name, _, _ in imports_of(path)}
    brought = set().union(*(distributions().get(name, {canonicalize_name(name)}) for name in used))
    declared = DEPENDENCIES.union(*(EXTRAS[extra] for extra in (*BACKENDS.values(), *FEATURES)))
    assert declared - brought == set()


def test_the_core_is_slim() -> None:
    """Nothing is added here without need: an installation of the core stays below 160 MB."""
    assert DEPENDENCIES == CORE
    assert all(re.search(r">=\d", requirement) for requirement in PROJECT["dependencies"]), "no lower bound"


def test_all_means_all() -> None:
    (everything,) = (Requirement(r) for r in PROJECT["optional-dependencies"]["all"])
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(EXTRAS) - {"all", "dev", "docs"}
