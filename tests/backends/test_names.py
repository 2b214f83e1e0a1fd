"""A name of a spec that means something in the generated code is a finding with a place, never a broken file; and what
is called after its use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import specs_under_test

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.passes.pipeline import optimise

MODEL = """model m
input {x}: real[3]
target y: binary[1]
net {net} = dense(4) -> relu
y ~ bernoulli(logits = {net}({x}) -> dense(1))
"""


def emit(folder: Path, backend: str, x: str, net: str) -> None:
    path = folder / "m.mp"
    path.write_text(MODEL.format(x=x, net=net), encoding="utf-8")
    api.build(api.load(path), backend, folder / "out")


@pytest.mark.parametrize(
    ("backend", "x", "net", "line"),
    [("torch", "torch", "net", 2), ("torch", "self", "net", 2), ("torch", "x", "half", 4),
     ("jax", "jnp", "net", 2), ("jax", "range", "net", 2)],
)  # fmt: skip
def test_a_taken_name_is_located(tmp_path: Path, backend: str, x: str, net: str, line: int) -> None:
    with pytest.raises(SpecError) as raised:
        emit(tmp_path, backend, x, net)
    (finding,) = raised.value.diagnostics
    taken = x if net == "net" else net
    assert (finding.code, finding.span.line) == ("MP104", line)
    assert taken in finding.message and f"`{taken}_`" in finding.help
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("backend", "x"), [("torch", "jnp"), ("jax", "torch"), ("onnx", "range")])
def test_a_name_that_another_backend_takes_is_free(tmp_path: Path, backend: str, x: str) -> None:
    emit(tmp_path, backend, x, "net")


@pytest.mark.parametrize(
    ("name", "parts"),
    [("made", {"prepare", "turn"}), ("transformer", {"prepare", "step"}), ("pixelcnn", {"prepare", "pixel"}),
     ("rgb_pixelcnn", {"prepare"}), ("pixel_rnn", {"prepare", "pixel"})],
)  # fmt: skip
def test_parts_of_a_sampler_are_called_after_what_they_do(name: str, parts: set[str]) -> None:
    """Its functions by when they run, what they are given by the weight or the layer that it is of."""
    text = find_backend("torch").emit(optimise(specs_under_test.module(name)).module)["model.py"]
    assert isinstance(text, str)
    assert {"prepare", "step", "row", "pixel", "turn"} & set(re.findall(r"def (\w+)\(", text)) == parts
    assert not re.findall(r"captured_\d+|forward_\d+", text)
