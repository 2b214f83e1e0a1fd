"""Every setting of the `train` section, every optimiser and schedule, swept in both syntaxes and from a program."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from wrong_values import BAD, FOREIGN, outcome

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.ir.training import SCHEDULES, TABLES, Training
from mpcompile.ranges import slots
from mpcompile.reference import json_schema
from mpcompile.runner.settings import settings

MP = """\
model m
input x: real[4]
x ~ normal(loc = 0, scale = 1)
train {{
  # {name}: 0, and {name} again, in a comment
  {name}: {value}
}}
"""
YAML = """\
model: m
input: {{x: "real[4]"}}
density: ["x ~ normal(loc = 0, scale = 1)"]
# train: {{{name}: 0}}
train:
  # {name}: 0, and {name} again, in a comment
  {name}: {value}
"""
PLAIN = [s.name for s in slots(Training) if s.name not in TABLES]
CALLS = [
    ("optimizer", name, s.name) for name, cls in OPTIMIZERS.items() for s in slots(cls)
] + [("schedule", name, s.name) for name, cls in SCHEDULES.items() for s in slots(cls)]  # fmt: skip
#: In YAML a value that starts like this is something else than text of the language.
QUOTED = {bad: "'" + bad + "'" for bad in BAD if bad[0] in '[~"'}


def tried(tmp_path: Path, text: str, suffix: str, line: int) -> str:
    """The outcome in a file; what is refused is refused on this line."""
    path = tmp_path / f"m{suffix}"
    path.write_text(text, encoding="utf-8")
    try:
        module = api.load(path)
    except SpecError as problem:
        for d in problem.diagnostics:
            assert d.span.line == line, (d, text)
            assert not FOREIGN.search(d.message + d.help), d
        return problem.diagnostics[0].code
    settings(module)
    return "accepted"


@pytest.mark.parametrize("name", PLAIN)
def test_a_setting_is_accepted_or_refused_where_it_is_written(name: str, tmp_path: Path) -> None:
    found = set()
    for bad in BAD:
        one = tried(tmp_path, MP.format(name=name, value=bad), ".mp", 6)
        two = tried(tmp_path, YAML.format(name=name, value=QUOTED.get(bad, bad)), ".yaml", 7)
        assert one == two or bad[0] in '["', (bad, one, two)
        found.add(one)
    assert len(found) > 1, f"{name} takes everything"


@pytest.mark.parametrize(("setting", "name", "argument"), CALLS)
def test_an_argument_is_accepted_or_refused_where_it_is_written(
    setting: str, name: str, argument: str, tmp_path: Path
) -> None:
    found = {
        tried(tmp_path, MP.format(name=setting, value=f"{name}({argument} = {bad})"), ".mp", 6) for bad in BAD
    }
    assert found - {"accepted"}, f"{argument} of {name} takes everything"


@pytest.mark.parametrize(
    "value", ["adm", "adam()(x)", "adam { relu }", "3", '"adam"', "[adam]", "adam(1, 2, 3, 4, 5, 6)"]
)
def test_what_is_no_optimiser_is_refused(value: str) -> None:
    assert outcome(MP.format(name="optimizer", value=value), emit=False).startswith("MP")


def test_the_caret_is_on_the_value(tmp_path: Path) -> None:
    for text, suffix, column in ((MP, ".mp", 10), (YAML, ".yaml", 10)):
        path = tmp_path / f"m{suffix}"
        path.write_text(text.format(name="batch", value="0"), encoding="utf-8")
        with pytest.raises(SpecError) as caught:
            api.load(path)
        (found,) = caught.value.diagnostics
        assert (found.code, found.span.column, found.span.end_column) == ("MP511", column, column + 1)


def test_every_fault_of_the_section_is_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        Training().changed(batch=0, steps=2.5, clip=-1.0, bacth=3, optimizer={"kind": "adam", "rate": -1})
    assert [d.code for d in caught.value.diagnostics] == ["MP511", "MP511", "MP511", "MP510", "MP511"]


@pytest.mark.parametrize("name", PLAIN)
def test_the_schema_and_the_check_agree(name: str, tmp_path: Path) -> None:
    """Of numbers: what the JSON Schema refuses, the check refuses, and the other way round."""
    validator = Draft7Validator(json_schema()["properties"]["train"])
    for value in (-1, 0, 1, 2.5, 10**17, 1e29, True):
        text = YAML.format(name=name, value=str(value).lower())
        accepted = tried(tmp_path, text, ".yaml", 7) == "accepted"
        assert accepted == validator.is_valid({name: value}) or (name == "data" and value is True), (
            name,
            value,
        )
