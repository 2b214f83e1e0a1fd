"""A model as a reader hands it over: how to record a call of it, and how to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mpcompile.diagnostics import Span
from mpcompile.foreign.recording import Recording
from mpcompile.ir import Array


class ForeignModel(Protocol):
    """A model that can be recorded, and run on other inputs of the same shapes."""

    name: str

    def record(self) -> Recording:
        """Record one call. Raises `Unrecordable`."""
        ...

    def run(self, inputs: Mapping[str, Array], trial: int) -> dict[str, Array]:
        """Run the model, in double precision where it can, with its own weights at trial 0 and others at later ones.

        The same trial has the same weights and draws the same noise.
        """
        ...


@runtime_checkable
class Lengthened(ForeignModel, Protocol):
    """A model that says itself what its inputs are at another length, as a file does whose axes are open."""

    def at(self, length: int) -> ForeignModel:
        """Return the model with a call of a length. Raises `Unrecordable`."""
        ...


@dataclass(frozen=True)
class Sized:
    """A model whose call has a length: `at(length)` gives the model with a call of that length."""

    name: str
    at: Callable[[int], ForeignModel]


@runtime_checkable
class Batched(Protocol):
    """A model whose call can have another number of examples."""

    def batched(self, count: int) -> ForeignModel | None:
        """Return the model with a call of so many examples, repeated from its own; None where the size is fixed."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """A model whose framework can export it: a second opinion of what it computes."""

    def exported(
        self, inputs: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], tuple[Span, ...]]:
        """Return what the module gives and what its exported program gives, and where code asks whether it is exported.

        Raises `Unrecordable` where the framework refuses to export it.
        """
        ...
