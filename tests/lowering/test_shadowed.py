"""A declared name that the language has in the same places is found, whatever declares it, in both syntaxes."""

from __future__ import annotations

import pytest

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import Syntax, format_model, parse_text
from mpcompile.frontend.arithmetic import CONSTANTS
from mpcompile.frontend.arithmetic import FUNCTIONS as NUMERIC
from mpcompile.lowering import holes, lower
from mpcompile.lowering.shadowed import shadowed_names
from mpcompile.reference import KINDS
from mpcompile.server.document import read

HEAD = "input _x: real[4]\n"

#: For each declaring statement a text with `{}` for the name, and `{n}` for a number.
STATEMENTS = {
    "net": "net {} = dense(2)",
    "block": "block {} = dense(2)",
    "mask": "mask {} = degrees",
    "input": "input {}: real[4]",
    "target": "target {}: real[4]",
    "condition": "condition {}: real[4]",
    "weight": "weight {}: real[4]",
    "value": "{} = dense(_x, 2)",
    "latent": "latent {}: real[2] ~ normal(_x -> dense(4)) prior normal(0, 1)",
    "parameter of a block": "block _b{n}({}) = dense(2)",
    "input of a block": "block _b{n} on {} {{ yield _x }}",
    "value of a block": "block _b{n} on _h {{ {} = _h; yield _h }}",
    "weight of a block": "block _b{n} on _h {{ weight {}: real[4]; yield _h }}",
    "tap": "net _n{n} = dense(2) as {} -> relu",
    "counter": "net _n{n} = repeat {} in 1..2 {{ dense(2) }}",
    "carried value": "carry {} = 0",
    "value of a step": "{} = _c",
}  # fmt: skip
STEPS = ("carried value", "value of a step")


def taken(*kinds: str) -> set[str]:
    return {n for kind in kinds for n in KINDS[kind].rows()}


VALUES = taken("layers", "functions") | NUMERIC.keys() | CONSTANTS.keys() | {*holes.FUNCTIONS}
BESIDE = {
    "mask": taken("masks", "relations"),
    **dict.fromkeys(("net", "block"), VALUES | taken("losses", "distributions", "bijectors")),
}


#: The names of all of these kinds, and one of each other kind.
NAMES = sorted(
    set().union(VALUES, *BESIDE.values(), (min(kind.rows()) for kind in KINDS.values())) - {"batch"}
)


def of_statement(title: str, names: list[str]) -> str:
    """A spec that declares some names in one kind of statement."""
    if title == "parameter":
        return f"model m({', '.join(f'{n} = 1' for n in names)})\n{HEAD}"
    lines = [STATEMENTS[title].format(name, n=i) for i, name in enumerate(names)]
    if title in STEPS:
        lines = ["recurrence over time {", "carry _c = 0", *lines, "_c = 1", "}"]
    return f"model m\n{HEAD}" + "\n".join(lines)


def found(text: str, syntax: Syntax) -> set[str]:
    model = parse_text(text)
    if syntax == "yaml":
        model = parse_text(format_model(model, syntax), "m.yaml", syntax)
    return {d.message.split("`")[1] for d in shadowed_names(model)}


@pytest.mark.parametrize("title", ["parameter", *STATEMENTS])
def test_every_name_of_the_language_is_found_in_every_declaring_statement(title: str) -> None:
    wanted = BESIDE.get(title, VALUES)
    assert found(of_statement(title, NAMES), "mp") == wanted
    assert found(of_statement(title, NAMES[::20]), "yaml") == wanted & {*NAMES[::20]}


def test_axes_classes_and_the_model_have_places_of_their_own() -> None:
    for name in NAMES[::10]:
        text = f'model {name}\ninput x: real[{name}: 2]\ninput y: category("{name}", "b")\ny ~ normal(x)'
        assert not found(text, "mp"), name


def test_a_shadowed_name_is_a_warning_that_a_spec_may_allow() -> None:
    text = "model m\n\ninput x: real[4]\ntarget y: real[4]\n\nnet dense = relu\n\ny ~ normal(x -> dense, scale = 1)\n"
    (warning,) = api.name_warnings(lower(parse_text(text, "m.mp"), Source("m.mp", text)))
    assert (warning.code, warning.span.line) == ("MP333", 6)
    assert warning.message == "net `dense` has the name of a layer of the language"
    assert "MP333" in [d.code for d in read("m.mp", text, "mp").findings]
    allowed = text + 'check { allow shadowed_name because "it is relu here" }\n'
    assert not api.name_warnings(lower(parse_text(allowed, "m.mp"), Source("m.mp", allowed)))


def test_an_error_of_arguments_names_the_net_that_hides_the_layer() -> None:
    text = "model m\ninput x: real[4]\ntarget y: real[4]\nnet dense = relu\ny ~ normal(x -> dense(4), scale = 1)\n"
    with pytest.raises(SpecError) as raised:
        lower(parse_text(text, "m.mp"), Source("m.mp", text))
    (found,) = raised.value.diagnostics
    assert (found.code, found.span.line) == ("MP121", 5)
    assert found.help.startswith("give the net of line 4 another name, such as `my_dense`")
