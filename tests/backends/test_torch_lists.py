"""Equal layers are one class, a list and a loop in emitted torch, however many they are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from layered import DEEP, LAYERED, MANY, lowered, transformer

from mpcompile.backend import DOUBLE, open_session
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_torch.emit import emit_module
from mpcompile_torch.lists import assignments

#: Models of few and of many layers that are alike; bodies with loops, and bodies without weights, stay as they are.
ALIKE = {n: text for n, (text, period, _) in LAYERED.items() if period} | {
    f"many, {n}": t for n, t in DEEP.items()
}
for name in ("a shared net", "loops", "no weights"):
    del ALIKE[name]
OVER = re.compile(r"(?m)^ +for [\w, ]+ in (self\.|zip\(\n? *self\.)")


def text(module: Module) -> str:
    return emit_module(optimise(module).module).text


@pytest.mark.parametrize("name", ALIKE)
def test_a_loop_over_layers_has_the_numbers_of_the_oracle(name: str) -> None:
    held(lowered(ALIKE[name]), gradients=name in LAYERED)


def test_a_transformer_in_a_loop_has_the_numbers_of_the_oracle() -> None:
    held(transformer(3))


def held(module: Module, gradients: bool = True) -> None:
    weights, inputs = example_weights(module), example_inputs(module, "loss", 3)
    session = open_session("torch", module, weights, options=DOUBLE)
    assert OVER.search(text(module).partition("def forward")[2])
    assert {k for k in session.state() if k.startswith("parameter/")} == {
        f"parameter/{n}" for n in module.parameters
    }
    if not gradients:
        wanted = interpret(module.programs["loss"], weights, inputs)
        np.testing.assert_allclose(session.run("loss", inputs)["loss"], wanted["loss"], rtol=1e-12)
        return
    names = list(module.parameters)
    wanted = interpret(differentiate(module.programs["loss"], "loss", names), weights, inputs)
    outputs, found = session.gradients(inputs)
    np.testing.assert_allclose(outputs["loss"], wanted["loss"], rtol=1e-12)
    for n in names:
        exact = wanted[gradient_name(n)]
        np.testing.assert_allclose(found[n], exact, rtol=1e-9, atol=1e-12 * (1 + np.abs(exact).max()))


@pytest.mark.parametrize("name", ["residual", "block", "of a period", "wider first", "attention"])
def test_the_text_does_not_grow_with_the_number_of_layers(name: str) -> None:
    """But for numbers, and for comments, which the text of the spec may be too long for."""
    few, many = (
        re.sub(r" *#.*\n|\d+", "", text(lowered(re.sub(r"1\.\.\d", f"1..{n}", LAYERED[name][0]))))
        for n in (4, 6 * MANY)
    )
    assert few == many


def test_the_text_of_a_program_of_a_transformer_does_not_grow() -> None:
    """The sampler's does: it has a state for each layer."""
    found = []
    for layers in (4, 64):
        module = transformer(layers)
        for programs in (module.programs, module.noise):
            del programs["sample"]
        found.append(text(module))
    assert "for layer in self.layer:\n" in found[0]
    assert found[0].replace("range(4)", "range(64)") == found[1]


def test_a_list_is_written_by_its_runs() -> None:
    a, b = ("A()", []), ("B()", ["@.c = C()"])
    assert assignments("self", {f"l[{n}]": a for n in range(3)}, ()) == [
        "self.l: Any = nn.ModuleList(A() for _ in range(3))"
    ]
    assert assignments("self", {"l[0]": a, "l[2]": a}, ()) == [
        "self.l: Any = nn.ModuleList([A(), nn.Identity(), A()])"
    ]
    found = assignments("self.x", {f"l[{n}]": (a, b)[n % 2] for n in range(5)} | {"l[5]": b}, {"l"})
    assert found == [
        "self.x.l = nn.ModuleList()", "for _ in range(3):", "    self.x.l.append(A())", "    self.x.l.append(B())",
        "for l_ in self.x.l[1:6:2]:", "    l_.c = C()",
    ]  # fmt: skip


def test_an_unequal_list_is_written_out() -> None:
    made = {f"l[{n}]": (f"A({n})", [f"@.c = C({n})"]) for n in range(3)}
    assert assignments("self", made, ()) == [
        "self.l: Any = nn.ModuleList([A(0), A(1), A(2)])", *(f"self.l[{n}].c = C({n})" for n in range(3)),
    ]  # fmt: skip
