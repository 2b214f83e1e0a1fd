"""Claims to prove about a model, and the exceptions that its spec allows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mpcompile.diagnostics import Span
from mpcompile.ir.primitive import Array

#: Comparisons of a claim, by the sign that a spec writes.
HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison of a claim with a number: `<= 2000`."""

    op: str
    number: int | float

    def holds(self, value: float) -> bool:
        """Whether a value is as the claim says."""
        return HOLDS[self.op](value, self.number)

    def __str__(self) -> str:
        return f"{self.op} {self.number}"


@dataclass(frozen=True, slots=True)
class Ordering:
    """The order of an autoregressive variable.

    ranks    rank of each element, flattened; None for a sequence, whose order is time
    axis     the axis of the parameters that the variable does not have (classes, components); None where there is none
    name     of the order, which is known at every size by it, never by its ranks at one; None for steps of a recurrence
    members  ranks for each member of a mixture over orders, a row each, the first of which is `ranks`; None for one order
    """

    ranks: Array | None
    axis: int | None
    name: str | None = None
    members: Array | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Something to prove about a program.

    kind       picks the analysis: a row of `analysis/claims`
    subject    the variable; empty for a claim about the whole model
    bound      what is said of a number, if anything is
    structure  what is said of the structure of a Jacobian; empty for nothing
    order      of the variable, for a claim about what comes before what
    stated     False: derived from the kind of density, not written by the user
    axis       the name of the axis that it is about; empty for none
    matrix     of parents, bool, with its name in the spec, for a claim about one
    """

    kind: str
    subject: str
    program: str
    span: Span
    bound: Bound | None = None
    structure: str = ""
    order: Ordering | None = None
    stated: bool = True
    axis: str = ""
    matrix: tuple[str, Array] | None = None

    @property
    def matrix_name(self) -> str:
        """The name of the matrix in the spec. Raises `ValueError` for a claim without one."""
        return self._matrix()[0]

    @property
    def stated_matrix(self) -> Array:
        """The matrix, bool. Raises `ValueError` for a claim without one."""
        return self._matrix()[1]

    def _matrix(self) -> tuple[str, Array]:
        if self.matrix is None:
            raise ValueError(f"{self} names no matrix")
        return self.matrix

    @property
    def ordering(self) -> Ordering:
        """The order of the variable. Raises `ValueError` for a claim about none."""
        if self.order is None:
            raise ValueError(f"{self.kind}({self.subject}) is about no order")
        return self.order

    @property
    def limit(self) -> Bound:
        """The comparison of the claim with a number. Raises `ValueError` for a claim without one."""
        if self.bound is None:
            raise ValueError(f"{self} has no bound")
        return self.bound

    def __str__(self) -> str:
        """Format the claim as a spec writes it: `parameters <= 2000`."""
        said = f" {self.bound}" if self.bound else f" is {self.structure}" if self.structure else ""
        names = (self.subject, self.axis, "" if self.matrix is None else self.matrix[0])
        about = ", ".join(filter(None, names))
        return (f"{self.kind}({about})" if about else self.kind) + said


@dataclass(frozen=True, slots=True)
class Allowance:
    """A warning that a spec silences, or a claim that it allows to be refuted, with the reason that it gives."""

    name: str
    subject: str
    span: Span
    because: str


__all__ = ["HOLDS", "Allowance", "Bound", "Claim", "Ordering"]
