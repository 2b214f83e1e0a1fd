"""Claims about a model that was not written here: `autoregressive(input_ids -> logits, order = axis 1, sees = own)`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

#: Kind of claim: whether it has an order.
KINDS = {
    "autoregressive": True,
    "complete": True,
    "independent": False,
    "jacobian": False,
    "receptive_field": True,
    "path_length": True,
    "padding": False,
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
    mask    of `padding`, the input that is not zero at real places, or the number of real places of each example
    padded  whether `mask` is not zero at padded places instead: `mask = not pad`
    most    of `path_length`, the most steps that a path may have; None for an answer that says how many there are
    """

    kind: str
    source: str
    output: str = ""
    order: int | None = None
    before: bool = False
    mask: str = ""
    padded: bool = False
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> ForeignClaim:
        """Read a claim. Raises `ValueError` with what is wrong and what is known."""
        found = _CLAIM.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text}' is no claim: write kind(input -> output, order = axis 1, sees = own)")
        kind, source, output, rest = found.groups()
        if kind not in KINDS:
            raise ValueError(f"no claim is named '{kind}' ({', '.join(KINDS)})")
        claim = cls(kind, source, output or "")
        for option in filter(None, (o.strip() for o in rest.split(","))):
            name, _, value = (part.strip() for part in option.partition("="))
            if name == "order" and KINDS[kind] and re.fullmatch(r"axis\s+\d+", value):
                claim = replace(claim, order=int(value.split()[1]))
            elif name == "sees" and KINDS[kind] and value in ("own", "before"):
                claim = replace(claim, before=value == "before")
            elif name == "mask" and kind == "padding" and re.fullmatch(r"(not\s+)?[\w.]+", value):
                claim = replace(claim, mask=value.split()[-1], padded=value.startswith("not "))
            elif name == "most" and kind == "path_length" and re.fullmatch(r"\d{1,9}", value):
                claim = replace(claim, most=int(value))
            else:
                raise ValueError(f"'{option}' is no option of {kind}: {_options(kind)}")
        if kind == "padding" and not claim.mask:
            raise ValueError("padding needs the input that says what places are real: mask = NAME")
        return claim

    def __str__(self) -> str:
        parts = [f"{self.source} -> {self.output}" if self.output else self.source]
        parts += [f"order = axis {self.order}"] if self.order is not None else []
        parts += ["sees = before"] if self.before else []
        parts += [f"mask = {'not ' if self.padded else ''}{self.mask}"] if self.mask else []
        parts += [f"most = {self.most}"] if self.most is not None else []
        return f"{self.kind}({', '.join(parts)})"


def _options(kind: str) -> str:
    known = ["order = axis K", "sees = own or before"] if KINDS[kind] else []
    known += {"padding": ["mask = NAME or mask = not NAME"], "path_length": ["most = N"]}.get(kind, [])
    return ", ".join(known) or "it has none"
