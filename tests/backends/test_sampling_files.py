"""Samplers lie in a file of their own: `model.py` has what people read and train, and knows nothing of them."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import pytest
import specs_under_test as specs

from mpcompile.emission.files import MODEL, SAMPLING
from mpcompile.emission.verify import SourceRefused
from mpcompile_jax.verify import verify_source as of_jax
from mpcompile_torch.verify import verify_source as of_torch

BACKENDS = ("torch", "jax")
PARTS = ("prepare", "step", "row", "pixel", "iteration")


@cache
def trees(backend: str, name: str) -> dict[str, ast.Module]:
    files = specs.emitted(backend, name)
    return {file: ast.parse(text) for file, text in files.items() if file.endswith(".py")}


def functions(tree: ast.Module) -> set[str]:
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def imported(tree: ast.Module) -> dict[str, set[str]]:
    found = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    return {str(n.module): {a.name for a in n.names} for n in found}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", specs.NAMES)
def test_model_has_no_sampler_and_sampling_imports_from_it(name: str, backend: str) -> None:
    files, programs = trees(backend, name), specs.module(name).programs
    model = files[MODEL]
    assert (SAMPLING in files) == ("sample" in programs)
    assert "sampling" not in imported(model) and "sample" not in functions(model)
    if SAMPLING in files:
        draws = files[SAMPLING]
        assert "sample" in functions(draws)
        assert not any(isinstance(n, ast.ClassDef) for n in draws.body)
        defined = {n.name for n in model.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        defined |= {
            t.id
            for n in model.body
            if isinstance(n, ast.Assign)
            for t in n.targets
            if isinstance(t, ast.Name)
        }
        assert imported(draws).get("model", set()) <= defined
        assert not functions(draws) & {n.name for n in model.body if isinstance(n, ast.FunctionDef)}
    if not any(n.op.name == "scan" for p, g in programs.items() if p != "sample" for n in g.nodes()):
        # nothing but a draw runs step by step
        assert not [f for f in functions(model) if f.rpartition("_")[2] in PARTS]


@pytest.mark.parametrize("verify", [of_torch, of_jax])
def test_sampling_imports_what_it_was_given(verify: Any) -> None:
    verify("from model import Net\n", {"Net"})
    for text, names in (("from model import Net\n", {"Other"}), ("from model import Net\n", ()),
                        ("from models import Net\n", {"Net"}), ("import model\n", {"model"})):  # fmt: skip
        with pytest.raises(SourceRefused):
            verify(text, names)
