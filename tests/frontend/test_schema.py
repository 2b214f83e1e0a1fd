"""The JSON Schema of the YAML form agrees with the parser, and explains every key to an editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from mpcompile.diagnostics import SpecError
from mpcompile.frontend import format_model, parse, parse_text
from mpcompile.reference import json_schema

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
VALIDATOR = Draft7Validator(SCHEMA)
FILES = [*sorted((ROOT / "specs").rglob("*")), *sorted((ROOT / "grammar" / "accepted").iterdir())]
SPECS = [p for p in FILES if p.suffix in (".yaml", ".mp")]


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


#: What the schema finds in specs with settings that there are not.
WRONG_SETTINGS = {
    "mask_and_optimizer.yaml": ["'adm("],
    "training_settings.yaml": [
        "Additional properties are not allowed ('clipp'",
        "0 is not valid",
        "2.5 is not",
    ],
    "everything.mp": ["["],  # a claim that the grammar accepts, and that there is not
    "everything.yaml": ["["],
    "unknown_layers.mp": ["['y ~"],
}


@pytest.mark.parametrize("path", SPECS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_spec_that_parses_is_valid(path: Path) -> None:
    """As it is written in YAML and as it is printed; but for settings of training, whose values a schema checks."""
    try:
        model, source = parse(path)
    except SpecError:
        assert (ROOT / "specs" / "invalid") in path.parents
        return
    wrong = sorted(WRONG_SETTINGS.get(path.name, []))
    for text in (source.text if path.suffix == ".yaml" else None, format_model(model, "yaml")):
        if text is not None:
            found = sorted(problems(text))
            assert [p[: len(w)] for p, w in zip(found, wrong, strict=True)] == wrong


GOOD = """\
model: m
params: {n: 4}
input: {x: "real[n]"}
target: {y: "binary[1]"}
nets: {f: dense(n) -> relu}
density: [y ~ bernoulli(logits = x -> f -> dense(1))]
train: {batch: 8}
check: [parameters <= 100]
"""

#: Typos of names in strings, each found by `check` too.
TYPOS = {
    "optimiser": ("train: {batch: 8}", "train: {optimizer: adma(1e-3)}"),
    "data set": ("train: {batch: 8}", "train: {data: dgiits}"),
    "layer": ("dense(n) -> relu", "desne(n) -> relu"),
    "layer without parentheses": ("dense(n) -> relu", "dense(n) -> rleu"),
    "layer in a list": ("dense(n) -> relu", "[dense(n), softplsu]"),
    "layer in a law": ("dense(1)", "desne(1)"),
    "law": ("y ~ bernoulli", "y ~ bernuolli"),
    "claim": ("parameters <= 100", "paramters <= 100"),
    "allowed claim": ("check: [parameters <= 100]", "check: [allow complet(x) because 'it is']"),
    "mask": ("nets:", "masks: {m: degreees(natural)}\nnets:"),
    "setting": ("batch: 8", "bacth: 8"),
    "statement": ("density: [y ~", "density: [latnet y ~"),
}


@pytest.mark.parametrize("name", TYPOS)
def test_typos_are_found_by_the_schema(name: str) -> None:
    text = GOOD.replace(*TYPOS[name])
    assert text != GOOD and problems(text) != []


def test_own_names_are_not_taken_for_typos() -> None:
    for own in (
        "encoder",
        "stem",
        "dense2",
        "conv_",
        "block1",
        "up",
        "down",
        "listen",
        "phi",
        "head",
        "tower",
    ):
        text = GOOD.replace("{f: dense(n) -> relu}", f"{{{own}: dense(n) -> relu, f: {own} -> relu}}")
        assert problems(text.replace("x -> f", f"x -> f -> {own}(x)")) == [], own


#: What an author may get wrong in the structure, each found by the parser too.
FAULTS = {
    "misspelt key": ("density:", "densty:"),
    "no model": ("model: m\n", ""),
    "model is a list": ("model: m", "model: [m]"),
    "model is no name": ("model: m", "model: my model"),
    "params is a list": ("params: {n: 4}", "params: [n, 4]"),
    "input is a text": ('input: {x: "real[n]"}', "input: x"),
    "unknown type": ('"real[n]"', '"reel[n]"'),
    "type is a list": ('"real[n]"', "[real, n]"),
    "nets is a list": ("nets: {f: dense(n) -> relu}", "nets: [f]"),
    "train is a list": ("train: {batch: 8}", "train: [batch]"),
    "check is a mapping": ("check: [parameters <= 100]", "check: {parameters: 100}"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_structure_are_found_by_both(name: str) -> None:
    assert problems(GOOD) == []
    parse_text(GOOD, "m.yaml", "yaml")
    text = GOOD.replace(*FAULTS[name])
    assert text != GOOD and problems(text) != []
    with pytest.raises(SpecError):
        parse_text(text, "m.yaml", "yaml")


def test_most_rejected_yaml_is_rejected() -> None:
    """YAML that no parser reads is rejected before a schema sees it."""

    def rejected(path: Path) -> bool:
        try:
            return bool(problems(path.read_text(encoding="utf-8")))
        except yaml.YAMLError:
            return True

    found = [rejected(path) for path in (ROOT / "grammar" / "rejected").glob("*.yaml")]
    assert len(found) > 1 and sum(found) > len(found) / 2


def described(node: Any, path: str = "") -> list[str]:
    """Paths of properties without a description."""
    if isinstance(node, list):
        return [p for i, item in enumerate(node) for p in described(item, f"{path}/{i}")]
    if not isinstance(node, dict):
        return []
    bare = [
        f"{path}/{name}"
        for name, value in node.get("properties", {}).items()
        if not str(value.get("description", "")).endswith(".")
    ]
    return bare + [p for key, value in node.items() for p in described(value, f"{path}/{key}")]


def test_every_property_is_described() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert described(SCHEMA) == []
