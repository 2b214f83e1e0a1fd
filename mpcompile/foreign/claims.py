"""Claims about a model that was not written here: `autoregressive(input_ids -> logits, order = axis 1, sees = own)`."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Kind of claim: whether it has an order.
KINDS = {
    "autoregressive": True,
    "complete": True,
    "independent": False,
    "jacobian": False,
    "receptive_field": True,
}
_CLAIM = re.compile(r"\s*(\w+)\s*\(\s*([\w.]+)\s*(?:->\s*([\w.]+)\s*)?((?:,\s*\w+\s*=\s*[^,()]+)*)\)\s*")


@dataclass(frozen=True, slots=True)
class ForeignClaim:
    """A statement about the elements of `output` that read elements of `source`.

    kind    one of `KINDS`
    source  an input of the call; `batch` of `independent`, whose examples are along the first axis of all inputs
    output  an output of the call; empty for the first
    order   the axis of the source along which elements come one after another; None for the only axis that the source and
            the output share
    before  whether the output at a place may not read the place itself, as in a density; else it may, as logits of the
            next token do
    """

    kind: str
    source: str
    output: str = ""
    order: int | None = None
    before: bool = False

    @classmethod
    def parse(cls, text: str) -> ForeignClaim:
        """Read a claim. Raises `ValueError` with what is wrong and what is known."""
        found = _CLAIM.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text}' is no claim: write kind(input -> output, order = axis 1, sees = own)")
        kind, source, output, rest = found.groups()
        if kind not in KINDS:
            raise ValueError(f"no claim is named '{kind}' ({', '.join(KINDS)})")
        order, before = None, False
        for option in filter(None, (o.strip() for o in rest.split(","))):
            name, _, value = (part.strip() for part in option.partition("="))
            if name == "order" and re.fullmatch(r"axis\s+\d+", value):
                order = int(value.split()[1])
            elif name == "sees" and value in ("own", "before"):
                before = value == "before"
            else:
                raise ValueError(f"'{option}' is no option of a claim: order = axis K, sees = own or before")
        if not KINDS[kind] and (order is not None or before):
            raise ValueError(f"{kind} has no order")
        return cls(kind, source, output or "", order, before)

    def __str__(self) -> str:
        parts = [f"{self.source} -> {self.output}" if self.output else self.source]
        parts += [f"order = axis {self.order}"] if self.order is not None else []
        parts += ["sees = before"] if self.before else []
        return f"{self.kind}({', '.join(parts)})"
