"""The YAML form as pydantic models, from which its JSON Schema is derived.

Parsing does not go through these classes: reading the tree by hand gives a better place to every error and
costs no start-up time. A test holds their keys and those of the reader together.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mpcompile.ir.data_sets import DATA_SETS
from mpcompile.ir.training import LISTS, TABLES, Training
from mpcompile.ranges import slots
from mpcompile.reference.spelling import data, definitions

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

Scalar = Annotated[str | int | float | bool, Field(description="An expression, such as `2 * hidden`.")]
_NAMES: dict[str, Any] = {"spelt": "names"}
Value = Annotated[
    Scalar | list[Any],
    Field(description="An expression, or a vector or matrix as a list (of lists).", json_schema_extra=_NAMES),
]
Pipeline = Annotated[
    Scalar | list[Any] | dict[str, Any],
    Field(
        description="Layers in order: `dense(64) -> relu` on one line, or a list with one or more a line.",
        json_schema_extra=_NAMES,
    ),
]
Type = Annotated[
    str,
    Field(
        description="A type with its shape: `binary[784]`, `real[time, 88]`, `integer(0..255)[3, 32, 32]`, "
        "`category(10)`, `real(0..)`, `real(0..1)`, `integer(0..)`, "
        '`angle`, `category("no", "yes")`. An axis may have a name, `channel: 3`; `?` behind the type allows for '
        "missing values. A dimension that is no number or parameter, such as `time`, is a symbolic length.",
        pattern=r"^\s*(binary|real|integer|category|angle)\b",
        examples=[
            "binary[784]",
            "real[time, 88]",
            "integer(0..255)[3, 32, 32]",
            "category(10)",
            "real(0..)",
            "integer(0..)",
            "angle[2]",
            "real[channel: 3, height: 32, width: 32]",
            "integer(0..)?",
        ],
    ),
]
Weight = Annotated[
    str,
    Field(
        description="The type of a learned tensor, and how it starts.",
        pattern=r"^\s*(binary|real|integer|category|angle)\b",
        examples=["real[channel: 64] = normal(0.02)"],
    ),
]
Statement = Annotated[
    str | dict[str, Any],
    Field(
        description="`x ~ dist(...)`, `latent z ~ q(...) prior p(...)`, `missing y ~ q(...)`, `minimise term`, "
        "`name = value`, or such a head as a key with a list of layers below it.",
        json_schema_extra={"spelt": "statement"},
    ),
]

MaskValue = Annotated[Scalar | list[Any], Field(json_schema_extra={"spelt": "mask"})]
Claim = Annotated[str, Field(json_schema_extra={"spelt": "claim"})]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecurrencePart(_Part):
    """A recurrence: values carried from step to step, and what happens in a step."""

    over: str = Field(description="The symbolic length it runs along.", examples=["time"])
    backward: bool = Field(default=False, description="Whether it starts at the last element.")
    carry: dict[str, Value] = Field(
        default={},
        description="Values handed from step to step, each with its shape or its type, and its start: `h[hidden]: 0`, "
        "`'k: category(8)': start`.",
    )
    steps: list[Statement] = Field(
        description="What happens in one step, in order: densities, latents, and `h = ...` for the next state."
    )


class RegionPart(_Part):
    """A block with several inputs and outputs."""

    on: str | list[str] = Field(description="The names of the inputs: a list, or `v, h`.")
    let: dict[str, Pipeline] | list[Statement] = Field(default={}, description="Local values, by name.")
    outputs: str | list[Pipeline] = Field(alias="yield", description="The outputs: a list, or `v2, h2`.")


class SpecFile(_Part):
    """A model for mpcompile: what is observed, how it is distributed, and what must be provable about it."""

    model: str = Field(
        description="The name of the model; its class and its build folder get it.", pattern=NAME
    )
    params: dict[str, Scalar | None] = Field(
        default={},
        description="Numbers with their defaults, for use in every expression; `--set name=value` changes one. "
        "One without a value must be set.",
    )
    input: dict[str, Type] = Field(default={}, description="Observed variables, by name, with their types.")
    target: dict[str, Type] = Field(default={}, description="Variables to predict, with their types.")
    condition: dict[str, Type] = Field(
        default={}, description="Variables that are given, never modelled, with their types."
    )
    weights: dict[str, Weight] = Field(
        default={}, description="Learned tensors by name: `real[channel: 64] = normal(0.02)`."
    )
    masks: dict[str, MaskValue] = Field(
        default={},
        description="Masks by name: `degrees(...)`, `causal2d(...)`, a matrix; `a & b`, `a | b`, `~a`, `a @ b`.",
    )
    nets: dict[str, Pipeline] = Field(
        default={}, description="Networks by name. Every use of a name shares the same weights."
    )
    blocks: dict[str, RegionPart | Pipeline] = Field(
        default={},
        description="Pipelines with parameters, `name(a, b = 2)`. Every use has weights of its own.",
    )
    density: list[Statement] | Statement = Field(
        default=[],
        description="How each variable is distributed, and what else is minimised. The objective, the samplers and "
        "what must be proved follow from these statements.",
        examples=["y ~ bernoulli(logits = x -> dense(1))"],
    )
    recurrence: RecurrencePart | None = Field(
        default=None, description="A recurrence along a symbolic length."
    )
    objective: dict[str, Value] = Field(
        default={},
        description="Weights of the derived objective: `beta`, that of the divergence from the priors.",
    )
    train: dict[str, Value] = Field(
        default={},
        description="Settings of training: `optimizer`, `batch`, `steps` or `epochs`, `data`, `clip`, `patience`.",
    )
    check: list[Claim] | Claim = Field(
        default=[],
        description="Claims that must hold: `autoregressive(x)`, `complete(x)`, `jacobian(x) is triangular`, "
        "`transformed(x)`, `parameters <= 200_000`, `flops <= 2_000_000`; "
        '`allow CLAIM because "reason"` states an exception.',
        examples=["autoregressive(x)", "complete(x)"],
    )


def json_schema() -> dict[str, Any]:
    """Build the draft-07 JSON Schema of the YAML form."""
    made: dict[str, Any] = _draft7(SpecFile.model_json_schema(by_alias=True))
    made["properties"]["train"] |= _training()
    made["definitions"] |= definitions()
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "title": "mpcompile spec"}


def _training() -> dict[str, Any]:
    """The settings of training, each with the range that `ir.Training` declares; a text is an expression."""
    properties: dict[str, Any] = {}
    for slot in slots(Training):
        if slot.name in TABLES:
            names = "|".join(TABLES[slot.name])
            shown = f"One of {', '.join(TABLES[slot.name])}, with its arguments."
            properties[slot.name] = {"type": "string", "pattern": rf"^\s*({names})\b", "description": shown}
        elif slot.name in LISTS:
            calls = {"type": "string", "pattern": rf"^\s*({'|'.join(LISTS[slot.name])})\b"}
            shown = f"Calls of {', '.join(LISTS[slot.name])}, one after the other."
            properties[slot.name] = {
                "anyOf": [calls, {"type": "array", "items": calls}],
                "description": shown,
            }
        elif slot.type == tuple[str, ...]:
            listed = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
            properties[slot.name] = {
                **listed,
                "description": "The name of a net, a block or a parameter, or a list.",
            }
        elif slot.choice is not None and slot.range is None:
            shown = f"One of {slot.choice}."
            properties[slot.name] = {"type": "string", "enum": list(slot.choice.names), "description": shown}
        elif slot.range is None:
            properties[slot.name] = {
                **data(),
                "description": f"The name of a data set, or a file. {', '.join(DATA_SETS)}.",
            }
        else:
            number: dict[str, Any] = {
                "type": "integer" if slot.type is int else "number",
            }
            number["exclusiveMaximum" if slot.range.below else "maximum"] = slot.range.most
            number["exclusiveMinimum" if slot.range.above else "minimum"] = slot.range.least
            named = f", or {slot.choice}" if slot.choice is not None else ""
            stated = f"A number, or an expression: {slot.range}{named}."
            properties[slot.name] = {"anyOf": [number, {"type": "string"}], "description": stated}
    return {"properties": properties, "additionalProperties": False}


def _draft7(node: Any) -> Any:
    """pydantic writes draft 2020-12; for what is used here only the home of definitions differs.

    It follows every reference itself, so that those to `definitions()` stand as `spelt` in the models.
    """
    if isinstance(node, dict):
        made: dict[str, Any] = {}
        for key, value in node.items():
            if key == "spelt":
                made["allOf"] = [{"$ref": f"#/definitions/{value}"}]
            elif key != "default":  # a section that is left out is absent, not null or empty
                kept = value.replace("#/$defs/", "#/definitions/") if key == "$ref" else _draft7(value)
                made["definitions" if key == "$defs" else key] = kept
        return made
    return [_draft7(item) for item in node] if isinstance(node, list) else node


__all__ = ["RecurrencePart", "RegionPart", "SpecFile", "json_schema"]
