"""The YAML form as pydantic models, from which its JSON Schema is derived.

Parsing does not go through these classes: reading the tree by hand gives a better place to every error and
costs no start-up time. A test holds their keys and those of the reader together.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Scalar = Annotated[str | int | float | bool, Field(description="an expression")]
Value = Annotated[Scalar | list[Any], Field(description="an expression, or a vector or matrix as a list")]
Pipeline = Annotated[
    Scalar | list[Any] | dict[str, Any], Field(description="stages, as `a -> b` or as a list")
]
Type = Annotated[
    str, Field(description="a type: binary[784], real[time, 88], integer(0..255)[3, 32, 32], category(10)")
]
Statement = Annotated[
    str | dict[str, Any],
    Field(description="`x ~ dist(...)`, `latent z ~ q prior p`, or such a head with a list"),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecurrencePart(_Part):
    """A recurrence: values carried from step to step, and what happens in a step."""

    over: str = Field(description="the symbolic length it runs along")
    carry: dict[str, Value] = Field(default={}, description="`h[hidden]: 0`: carried values with their start")
    steps: list[Statement] = Field(description="densities, latents and `h = ...`, in order")


class RegionPart(_Part):
    """A block with several inputs and outputs."""

    on: str | list[str] = Field(description="names of the inputs")
    let: dict[str, Pipeline] | list[Statement] = Field(default={}, description="local values")
    outputs: str | list[Pipeline] = Field(alias="yield", description="the outputs")


class SpecFile(_Part):
    """A model for mpcompile."""

    model: str = Field(description="name of the model")
    params: dict[str, Scalar | None] = Field(
        default={}, description="numbers with defaults, changed with --set"
    )
    input: dict[str, Type] = Field(default={}, description="inputs and their types")
    target: dict[str, Type] = Field(default={}, description="targets and their types")
    condition: dict[str, Type] = Field(default={}, description="conditions and their types")
    masks: dict[str, Value] = Field(default={}, description="named masks")
    nets: dict[str, Pipeline] = Field(default={}, description="named pipelines")
    blocks: dict[str, RegionPart | Pipeline] = Field(
        default={}, description="`name(args)`: parametrised pipelines"
    )
    density: list[Statement] | Statement = Field(default=[], description="how each variable is distributed")
    recurrence: RecurrencePart | None = Field(default=None, description="a recurrence, if there is only one")
    objective: dict[str, Value] = Field(default={}, description="weights of the derived objective")
    train: dict[str, Value] = Field(default={}, description="optimiser, batch, data")
    check: list[str] | str = Field(default=[], description="claims that must hold")


def json_schema() -> dict[str, Any]:
    """The draft-07 JSON Schema of the YAML form."""
    made: dict[str, Any] = _draft7(SpecFile.model_json_schema(by_alias=True))
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "title": "mpcompile spec"}


def _draft7(node: Any) -> Any:
    """pydantic writes draft 2020-12; for what is used here only the home of definitions differs."""
    if isinstance(node, dict):
        return {
            ("definitions" if key == "$defs" else key): (
                value.replace("#/$defs/", "#/definitions/") if key == "$ref" else _draft7(value)
            )
            for key, value in node.items()
            if key != "default"  # a section that is left out is absent, not null or empty
        }
    return [_draft7(item) for item in node] if isinstance(node, list) else node


__all__ = ["RecurrencePart", "RegionPart", "SpecFile", "json_schema"]
