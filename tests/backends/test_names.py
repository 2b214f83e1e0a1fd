"""Names of a spec build on every backend, whatever the generated code means by them; and what parts of it are called."""

from __future__ import annotations

import ast
import keyword
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import specs_under_test
import torch
from written import lowered

import mpcompile_jax
import mpcompile_torch
from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.emission.names import arguments, camel, free
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.ir.names import ATTRIBUTES, part
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_jax.body import RESERVED as JAX
from mpcompile_torch.body import RESERVED as TORCH
from mpcompile_torch.classes import TAKEN

BACKENDS = ("torch", "jax", "onnx")

#: Names that the generated code means something by, or has made for itself.
MADE = {
    "torch": "h h2 n N n_size loss sample x_ self_ a__b mask net dense_0 noise_r z blank Model time gate",
    "jax": "f h body carry inputs params params_ log_prob MASK_0 INDEX_0 CONSTANT_0 member out",
    "onnx": "loss sample log_prob z n N add mat_mul literal step",
}
WORDS = {
    "torch": TORCH | {a for a in ATTRIBUTES if a[0] != "_"} | {"_modules"} | set(keyword.softkwlist),
    "jax": JAX | set(keyword.kwlist) - {"as", "is", "in"},  # words of the language
    "onnx": set[str](),
}
NAMES = {
    backend: sorted(
        w
        for w in (WORDS[backend] | set(MADE[backend].split())) - {"repeat", "yield"}
        if not w.startswith("__")  # which no spec may have
    )
    for backend in BACKENDS
}

#: Every kind of thing that has a name, as a spec in which {w} is that name.
KINDS = {
    "variable": "input {w}: binary[3]\nmask up = degrees(order = natural)\n"
                "{w} ~ autoregressive {{ dense(4, mask = up) -> relu -> dense(3, mask = strict(up)) }}",
    "input": "input {w}: real[3]\ntarget r: binary[2]\nr ~ bernoulli(logits = {w} -> dense(2))",
    "target": "input q: real[3]\ntarget {w}: real[2]\n{w} ~ normal(q -> dense(4))",
    "net": "input q: real[3]\ntarget r: real[2]\nnet {w} = dense(4) -> tanh -> dense(4)\nr ~ normal({w}(q))",
    "block": "input q: real[3]\ntarget r: real[2]\nblock {w}(k) = dense(k) -> tanh -> dense(3)\n"
             "r ~ normal(q -> {w}(4) -> {w}(5) -> dense(4))",
    "latent": "input q: real[3]\nlatent {w} ~ normal(q -> dense(4)) prior normal(0, 1)\nq ~ normal({w} -> dense(6))",
    "tap": "input q: real[3]\ntarget r: real[2]\nr ~ normal(q -> dense(3) as {w} -> dense(4))",
    "length": "input q: real[{w}, 3]\nrecurrence over {w} {{\n  carry s[2] = 0\n  q ~ normal(s -> dense(6))\n"
              "  s = s + (q -> dense(2) -> tanh)\n}}",
    "carry": "input q: real[time, 2]\nrecurrence over time {{\n  carry {w}[3] = 0\n  q ~ normal({w} -> dense(4))\n"
             "  {w} = gru(q, {w})\n}}",
    "condition": "input q: real[4]\ncondition {w}: real[2]\n"
                 "q ~ flow(base = normal) {{ coupling(mask = checkerboard, net = dense(4) -> tanh, condition = {w}) }}",
    "parameter": "input q: real[3]\ntarget r: real[2]\nnet c = dense({w}) -> relu -> dense(4)\nr ~ normal(c(q))",
    "mask": "input q: binary[3]\nmask {w} = degrees(order = natural)\n"
            "q ~ autoregressive {{ dense(4, mask = {w}) -> relu -> dense(3, mask = strict({w})) }}",
}  # fmt: skip


def spec(kind: str, word: str) -> Module:
    model = (
        f"model m({word} = 4)" if kind == "parameter" else f"model {word}" if kind == "mask" else "model m"
    )
    return lowered(f"{model}\n{KINDS[kind].format(w=word)}\n")


def emit(module: Module, backend: str) -> None:
    """Write it; both Python backends compile what they write, ONNX has its checker."""
    for name, data in find_backend(backend).emit(module, example_weights(module), inline=True).items():
        if name.endswith(".onnx"):
            onnx.checker.check_model(onnx.load_from_string(data))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_name_builds(backend: str) -> None:
    """Each name as one kind of thing, in turn."""
    kinds = [*KINDS]
    for number, word in enumerate(NAMES[backend]):
        emit(spec(kinds[number % len(kinds)], word), backend)


@pytest.mark.parametrize(("package", "reserved"), [(mpcompile_jax, JAX), (mpcompile_torch, TORCH)])
def test_no_name_is_that_of_a_helper(package: ModuleType, reserved: frozenset[str]) -> None:
    """Whatever a text of a backend defines at the left margin is a name that no spec gets."""
    written = set[str]()
    for file in Path(str(package.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written |= set(re.findall(r"^(?:def|class) (?!__)(\w+)\(", node.value, re.MULTILINE))
    assert len(written) > 5
    assert written <= reserved


@pytest.mark.parametrize("word", ["stacked", "below"])
def test_layers_in_a_loop_are_taken_by_a_helper_of_any_name(word: str) -> None:
    text = "model m\ninput {0}: real[3]\ntarget r: binary[1]\nblock {1}(k) = dense(k) -> tanh\n"
    text += "r ~ bernoulli(logits = {0} -> {1}(3) -> repeat i in 1..9 {{ residual({1}(3)) }} -> dense(1))\n"
    for a, b in ((word, "g"), ("g", word)):
        module = lowered(text.format(a, b))
        weights, inputs = example_weights(module), example_inputs(module, "loss", 2)
        found = find_backend("jax").session(optimise(module).module, weights).run("loss", inputs)
        wanted = interpret(module.programs["loss"], weights, inputs)
        np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_words_of_the_generated_code_build_as_everything(kind: str, backend: str) -> None:
    for word in {"torch": ("self", "F", "train", "_"), "jax": ("jnp", "f", "_"), "onnx": ("loss",)}[backend]:
        emit(spec(kind, word), backend)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_changes_no_value(kind: str) -> None:
    """The same weights, whatever they are called, give the same values on the backends and the oracle."""
    plain = optimise(spec(kind, "plain_name")).module
    weights = example_weights(plain)
    for backend, word in (("torch", "self"), ("jax", "lax"), ("onnx", "loss"), ("torch", "lambda")):
        module = optimise(spec(kind, word)).module
        renamed = dict(zip(module.parameters, weights.values(), strict=True))
        session = find_backend(backend).session(module, renamed)
        for program in ("loss", "sample"):
            if program in module.programs:
                inputs = example_inputs(plain, program, 3)
                given = dict(zip(module.programs[program].inputs, inputs.values(), strict=True))
                wanted = interpret(plain.programs[program], weights, inputs)
                found = session.run(program, given)
                for a, b in zip(wanted.values(), found.values(), strict=True):
                    np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


def test_keys_of_checkpoints_are_attributes_of_a_module() -> None:
    own = {n for n in dir(torch.nn.Module()) if not n.startswith("__")}
    assert own <= ATTRIBUTES
    assert {n for n in dir(torch.nn.Module) if not n.startswith("__")} <= TAKEN  # no spec has a name in "__"
    words = sorted(ATTRIBUTES | {"f", "x", "train_", "train__", "_", "__0", "class"})
    assert len({part(w) for w in words}) == len(words)
    for word in words:
        found = part(word)
        assert found.isidentifier() and not keyword.iskeyword(found) and not found.startswith("__")
        assert not hasattr(torch.nn.Module(), found)
    assert (part("net"), part("train"), part("half_"), part("a__b")) == ("net", "train_", "half__", "a__b")


def test_a_key_is_the_same_on_every_backend() -> None:
    module = spec("net", "train")
    assert next(iter(module.parameters)) == "train_.dense_0.weight"
    files = find_backend("torch").emit(optimise(module).module)
    assert "self.train_ = Train()" in str(files["model.py"])


def test_names_of_arguments_differ() -> None:
    assert arguments(["self", "self_", "x"], {"self"}) == ["self__", "self_", "x"]
    assert arguments(["_", "blank"], {"_"}) == ["blank_", "blank"]
    assert free("class") == "class_"
    assert camel("true") == "True2" and camel("f", {"F"}) == "F2" and camel("_0") == "Model0"


@pytest.mark.parametrize("bad", ["a b", "a-b", "x;import os", "x\n", "é", "__import__"])
def test_nothing_else_becomes_code(bad: str) -> None:
    with pytest.raises(ValueError):
        free(bad)


def test_noise_is_no_variable_of_the_same_name() -> None:
    """A condition `noise_x` is data; the noise of `x` is another input."""
    module = lowered(
        "model m\ninput x: real[2]\ncondition noise_x: real[2]\nx ~ normal(noise_x -> dense(4))\n"
    )
    assert set(module.noise["sample"]) == {"noise_x_2"}
    assert set(module.programs["sample"].inputs) == {"noise_x", "noise_x_2"}


def test_an_input_that_the_runner_makes_is_no_variable() -> None:
    text = "model m\ninput x: real[2]\ncondition examples: real[2]\nprior weights ~ normal(0, 1)\n"
    text += "x ~ normal(examples -> dense(4))\n"
    with pytest.raises(SpecError, match="MP104"):
        lowered(text)


@pytest.mark.parametrize(
    "text", ["def f(a, a):\n    return a\n", "return 1\n", "def f(:\n", "f(a=1, a=2)\n", "x = (\n"]
)
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_source_that_does_not_compile_is_refused(backend: str, text: str) -> None:
    from mpcompile.emission.verify import SourceRefused
    from mpcompile_jax import verify as of_jax
    from mpcompile_torch import verify as of_torch

    with pytest.raises(SourceRefused):
        (of_torch if backend == "torch" else of_jax).verify_source(text)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_ensemble_over_few_elements_runs(backend: str, size: int) -> None:
    """Loops without carries and without slices: `def body(_, _)` would be no Python."""
    module = lowered(
        f"model m\ninput x: binary[{size}]\nmask up = degrees(seed = 3)\n"
        f"x ~ autoregressive(order = random, orders = 2) {{ dense(4, mask = up) -> tanh "
        f"-> dense({size}, mask = strict(up)) }}\n"
    )
    weights = example_weights(module)
    made = optimise(module).module
    session = find_backend(backend).session(made, weights)
    for program, graph in module.programs.items():
        inputs = example_inputs(module, program, 3)
        wanted, found = interpret(graph, weights, inputs), session.run(program, inputs)
        for name in graph.outputs:
            np.testing.assert_allclose(wanted[name], found[name], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", specs_under_test.NAMES)
def test_buffers_are_contiguous(name: str) -> None:
    """Data-parallel training writes into them."""
    from mpcompile_torch.emit import emit_module
    from mpcompile_torch.loading import build_model

    module = optimise(specs_under_test.module(name)).module
    model = build_model(emit_module(module), example_weights(module))
    for key, buffer in [*model.named_buffers(), *model.named_parameters()]:
        assert (
            buffer.is_contiguous()
            and buffer.untyped_storage().nbytes() >= buffer.numel() * buffer.element_size()
        ), key


@pytest.mark.parametrize(
    ("name", "parts"),
    [("made", {"prepare", "iteration"}), ("transformer", {"step"}), ("pixelcnn", {"prepare", "pixel"}),
     ("rgb_pixelcnn", {"prepare"}), ("pixel_rnn", {"prepare", "pixel"})],
)  # fmt: skip
def test_parts_of_a_sampler_are_called_after_what_they_do(name: str, parts: set[str]) -> None:
    """Its functions by when they run, what they are given by the weight or the layer that it is of."""
    files = find_backend("torch").emit(optimise(specs_under_test.module(name)).module)
    text = str(files["sampling.py"])
    assert set(re.findall(r"def \w*_(prepare|step|row|pixel|iteration)\(", text)) == parts
    assert not re.findall(r"captured_\d+|forward_\d+", text)
