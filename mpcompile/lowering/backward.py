"""`recurrence over time backward { ... }`: values of every step that depend on it and on all that is still to come.

Its statements are assignments. Each name that it assigns is a sequence afterwards: a step of a forward recurrence sees
its element of that step. Posteriors may read any (smoothing, Krishnan et al. 2017). A law or a prior may read one that
reads no modelled variable; another one would hand the future of its variable to it, and is hidden from it (MP127).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.frontend import ast
from mpcompile.ir import Type, Value
from mpcompile.ir.axes import Axes
from mpcompile.layers import Context
from mpcompile.lowering.forward import Step
from mpcompile.lowering.reading import Hidden, Order
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Sequence:
    """A name that a backward recurrence assigns: its type and axes in a step, and the modelled variables it reads."""

    type: Type
    axes: Axes
    reads: frozenset[str]

    def hidden(self, name: str) -> Hidden:
        """Return why a law, a prior or a value that they may read must not read it."""
        of = ", ".join(f"`{n}`" for n in sorted(self.reads))
        return Hidden(
            f"a law, a prior or a value reads `{name}`",
            f", which reads {of} of later steps",
            "only a posterior may read it: write what is made of it there, or as a block that the posterior calls",
        )


def check_backward(s: ast.Recurrence) -> None:
    """Raise MP129 for a density in a backward recurrence, and MP125 for one that assigns nothing."""
    for inner in s.statements:
        if isinstance(inner, ast.Density):
            raise error("MP129", "a law in a backward recurrence cannot be compiled", inner.span,
                        help="state it in a recurrence without `backward`")  # fmt: skip
    if not s.statements:
        raise error("MP125", "the recurrence assigns nothing", s.span, help="g = gru(x, g)")


@dataclass(frozen=True)
class Backward:
    """One backward recurrence, with the parts of it that are those of any recurrence.

    `over` are the variables along its axis.
    """

    statement: ast.Recurrence
    order: Order
    over: tuple[str, ...]
    start: Callable[[Context, Scope, ast.Carry], Value]
    update: Callable[[Step, ast.Update, Value | None], Value]
    know: Callable[[Context, str, Value], None]

    @property
    def reads(self) -> set[str]:
        """Names to which it refers, through nets, blocks and named values."""
        return self.order.refers([self.statement])

    def sequences(
        self, ctx: Context, scope: Scope, size: Value | None
    ) -> tuple[dict[str, Value], dict[str, Sequence]]:
        """Build the loop; return the sequences that it gives, [N, time, ...], and what is known of each.

        `size` says which positions are real, bool [N, time]; behind the end of an example the state stays as it starts.
        """
        carried = [c.name for c in self.statement.carries]
        names = list(dict.fromkeys(s.name for s in self.statement.statements))
        known: dict[str, tuple[Type, Axes]] = {}
        wide = {n: scope.values[n] for n in self.over if n in scope.values}

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            data = dict(zip(wide, slices, strict=False))
            for name, value in data.items():
                self.know(ctx, name, value)
            values = {k: v for k, v in scope.values.items() if k not in wide} | data
            values |= dict(zip(carried, state, strict=True))
            here = replace(scope, values=values)
            at = Step(ctx, here, data, set())
            for s in self.statement.statements:
                assert isinstance(s, ast.Update), "densities are refused before"
                with ctx.frame(s.name, scope.label(s.span), s.span):
                    values[s.name] = self.update(at, s, values[s.name] if s.name in carried else None)
                at.now.add(s.name)
            known.update({n: (values[n].type, ctx.axes_of(values[n])) for n in names})
            following = [values[n] for n in carried]
            if size is not None:
                following = [_kept(ctx, slices[-1], n, old) for n, old in zip(following, state, strict=True)]
            return following, [values[n] for n in names]

        starts = [self.start(ctx, scope, c) for c in self.statement.carries]
        scanned = [*wide.values(), *([] if size is None else [size])]
        length = next(iter(wide.values())).shape[1]
        _, ys = ctx.scan(step, starts, scanned, reverse=True, length=length, noise=True)
        modelled = frozenset(self.reads & self.order.place.keys())
        found = {n: Sequence(*known[n], modelled) for n in names}
        axis = self.statement.axis
        return {
            n: ctx.name_axes(ctx.kept(y), (axis, *known[n][1])) for n, y in zip(names, ys, strict=True)
        }, found


def _kept(ctx: Context, real: Value, new: Value, old: Value) -> Value:
    """The next state where the position is real, bool [N], and the old one elsewhere."""
    b = ctx.b
    wide = F.reshape(b, real, (real.shape[0], *(1,) * (new.type.rank - 1)))
    return b.emit(ops.Where(), wide, new, old)


def hidden_sequences(found: Mapping[str, Sequence]) -> dict[str, Hidden]:
    """Return the sequences that laws and priors may not read, each with the reason."""
    return {name: s.hidden(name) for name, s in found.items() if s.reads}


__all__ = ["Backward", "Sequence", "check_backward", "hidden_sequences"]
