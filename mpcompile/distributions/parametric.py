"""Laws of single elements that a table of slots describes: each parameter a number or a value, or all from one net."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import exp, log
from typing import Any, Self

from mpcompile import ops
from mpcompile.distributions.base import Elementwise, learned
from mpcompile.distributions.slots import Operand, Slot, arguments_of
from mpcompile.distributions.subject import Subject
from mpcompile.ir import Builder, Value
from mpcompile.layers.base import Context


@dataclass(frozen=True)
class Parametric(Elementwise):
    """Base of the laws whose fields are their slots, in order; a positive slot is held as its logarithm.

    A number leaves no node in the graph until it is asked for as a value (`at`, `positive`).
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "slots" in vars(cls):
            cls.arguments = arguments_of(cls.slots)

    @classmethod
    def stated(cls, ctx: Context, given: Any, subject: Subject) -> Self:
        """Build the law from what a spec states; one net gives all other parameters, in the order of the slots.

        Raises `SpecError`: MP123 for a slot without a value, MP124 for one with two, MP207 for values of other shapes.
        """
        raw = {slot.held: cls._raw(ctx, given, slot, subject) for slot in cls.slots}
        cls._fill(ctx, getattr(given, "net", None), raw, subject)
        first: Value | None = None
        for i, slot in enumerate(cls.slots):
            value = raw[slot.held]
            if value is None:
                raise subject.fail("MP123", f"`{cls.keyword}` needs `{slot.name}`",
                                   help=f"{cls.keyword}({', '.join(f'{s.name} = ...' for s in cls.slots)})")  # fmt: skip
            if isinstance(value, Value):
                first = value if first is None else first
                raw[slot.held] = subject.fit(ctx, value) if i == 0 else subject.beside(ctx, value, first)
        return cls(**raw)

    @classmethod
    def _raw(cls, ctx: Context, given: Any, slot: Slot, subject: Subject) -> Operand | None:
        """Return what a spec states of a slot, as the law holds it; None for nothing."""
        value: Operand | None = getattr(given, slot.name)
        if slot.domain == "real":
            return value
        logarithm: Operand | None = getattr(given, slot.held)
        if logarithm is not None:
            if value is not None:
                raise subject.fail("MP124", f"{cls.keyword} has a `{slot.name}` and a `{slot.held}`",
                                   help=f"state one of them: {cls.keyword}({slot.held} = ...)")  # fmt: skip
            return logarithm
        if value is None:
            return None
        return ctx.b.emit(ops.Log(), value) if isinstance(value, Value) else log(value)

    @classmethod
    def _fill(cls, ctx: Context, net: Value | None, raw: dict[str, Operand | None], subject: Subject) -> None:
        """Give the slots that are not stated their parts of a net, or their defaults."""
        open_ = [slot for slot in cls.slots if raw[slot.held] is None]
        first = cls.slots[0]
        stated = raw[first.held] if net is None and open_ and first.domain == "real" else None
        if isinstance(stated, Value) and (
            not subject.fits(ctx, stated) or any(s.default is None for s in open_)
        ):
            net, open_ = stated, [first, *open_]
        if net is not None and not open_:
            raise subject.fail("MP124", f"{cls.keyword} has a `net`, and all that it gives is stated",
                               help=f"state the net alone: {cls.keyword}(net)")  # fmt: skip
        if net is not None:
            parts = subject.parts(ctx, cls.keyword, net, [s.name for s in open_])
            raw.update(zip((s.held for s in open_), parts, strict=True))
            return
        for slot in open_:
            if slot.default is not None:
                raw[slot.held] = log(slot.default) if slot.domain == "positive" else slot.default

    def at(self, ctx: Context, held: str) -> Value:
        """Return a field as a value."""
        value: Operand = getattr(self, held)
        return value if isinstance(value, Value) else ctx.b.constant(value)

    def positive(self, ctx: Context, name: str) -> Value:
        """Return the value of a positive slot: the exponential of what is held."""
        value: Operand = getattr(self, f"log_{name}")
        return ctx.b.emit(ops.Exp(), value) if isinstance(value, Value) else ctx.b.constant(exp(value))

    def parameters(self) -> dict[str, Value]:
        pairs = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in pairs.items() if isinstance(v, Value)}

    def sharpens(self, b: Builder) -> bool:
        scales = [getattr(self, slot.held) for slot in self.slots if slot.domain == "positive"]
        return self.scaled and any(isinstance(s, Value) and learned(b.graph, s, b) for s in scales)


__all__ = ["Parametric"]
