"""The variables that a law may read: those without a law, and those that the sampler draws before it.

The sampler draws latents first, then recurrences, then the other observed variables, each in the order of their
statements. A law that reads its own variable, or one that is drawn later, defines no joint density. The posterior of a
latent is no part of the joint density: it reads every observed variable, and the latents drawn before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.unused import references


@dataclass(frozen=True)
class Hidden:
    """A name that a statement may not read, with the finding that says why."""

    message: str
    help: str

    def fault(self, span: Span) -> SpecError:
        return error("MP127", self.message, span, help=self.help)


class Order:
    """The order in which the variables of a model are drawn, and who reads whom."""

    def __init__(self, model: ast.Model) -> None:
        statements = [s for s in model.density if isinstance(s, ast.Density)]
        loops = [s for s in model.density if isinstance(s, ast.Recurrence)]
        self._model = model
        #: Where each variable is drawn; the variables of one recurrence are drawn together.
        self.place: dict[str, int] = {}
        self._laws: dict[str, tuple[ast.Expr, ...]] = {}
        self._latent = {s.name for s in statements if s.role == "latent"}
        for s in (s for s in statements if s.role == "latent"):
            self._laws[s.name] = () if s.prior is None else (s.prior,)
            self.place[s.name] = len(self.place)
        for loop in loops:
            for inner in (s for s in loop.statements if isinstance(s, ast.Density) and s.role == "observed"):
                self._laws[inner.name] = (inner.distribution,)
                self.place[inner.name] = len(self.place)
        for s in (s for s in statements if s.role == "observed"):
            self._laws.setdefault(s.name, (s.distribution,))
            self.place.setdefault(s.name, len(self.place))

    def before(self, name: str) -> list[str]:
        """Observed variables that are drawn before this one."""
        return [n for n, at in self.place.items() if at < self.place[name] and n not in self._latent]

    def later(self, name: str) -> set[str]:
        """The variable itself and those that are drawn after it."""
        return {n for n, at in self.place.items() if at >= self.place[name]}

    def hidden(self, reader: str, visible: Iterable[str], what: str = "law") -> Mapping[str, Hidden]:
        """Return why the law of `reader` may not read each variable that is not visible.

        `what` is its kind: law, prior or posterior.
        """
        seen = set(visible)
        return {n: self._why(reader, n, what) for n in self.place if n not in seen}

    def hidden_in_step(self, own: Collection[str], visible: Collection[str]) -> Mapping[str, Hidden]:
        """The same for the statements and first values of a recurrence that draws the variables `own`."""
        late = self.after(own)
        others = {n: self._outside(n, n in late) for n in self.place if n not in own and n not in visible}
        help = "carry what is known of earlier steps; only a posterior may read what is observed in its step"
        return others | {n: Hidden(f"the recurrence reads `{n}` before it draws it", help) for n in own}

    def after(self, own: Collection[str]) -> set[str]:
        """Variables that are drawn after a recurrence that draws the variables `own`."""
        last = max(self.place[n] for n in own)
        return {n for n, at in self.place.items() if at > last}

    def _outside(self, name: str, late: bool) -> Hidden:
        if not late:
            return self._not_given("a step", name)
        return Hidden(
            f"a step reads `{name}`, which is drawn after the recurrence",
            f"state the law of `{name}` as a statement of the recurrence, or give it none and declare it as `condition`",
        )

    def _why(self, reader: str, name: str, what: str) -> Hidden:
        who = f"the {what} of `{reader}`"
        if name == reader:
            return Hidden(
                f"{who} reads `{reader}` itself",
                "a law reads other variables; `autoregressive { ... }` lets each element read the earlier ones",
            )
        if self.place[name] < self.place[reader]:
            return self._not_given(who, name)
        if what == "prior":
            return Hidden(
                f"{who} reads `{name}`, and latents are drawn before what is observed",
                f"a prior reads conditions and earlier latents; the posterior of `{reader}` may read `{name}`",
            )
        cycle = self._path(name, reader)
        if cycle:
            shown = " -> ".join(f"`{n}`" for n in (reader, *cycle))
            return Hidden(f"laws read each other in a circle: {shown}", "one of them must be drawn first: let its law "
                          "not read the next")  # fmt: skip
        return Hidden(
            f"{who} reads `{name}`, whose law comes later",
            f"write the statement `{name} ~ ...` before that of `{reader}`",
        )

    def _not_given(self, who: str, name: str) -> Hidden:
        """Explain, for a program that gives means, such as `predict`, and draws nothing."""
        if name in self._latent:
            return Hidden(
                f"{who} reads the latent `{name}`, and a target is predicted from the inputs alone",
                "declare the variable that is to be modelled as `input`, and what is given as `condition`",
            )
        return Hidden(
            f"{who} reads `{name}`, which has a law of its own: a mean is given for each, and none is drawn",
            f"give `{name}` no law and declare it as `condition {name}: ...`; or join both into one variable",
        )

    def _path(self, start: str, end: str) -> list[str]:
        """Variables from `start` to `end`, each of which the law of the one before it reads; empty for none."""
        names: dict[str, ast.Node] = {n.name: n for n in self._model.nets}
        names |= {b.name: b for b in self._model.blocks}

        def read(name: str) -> set[str]:
            found, todo = set[str](), list[ast.Node](self._laws[name])
            while todo:
                for other in references([todo.pop()]) - found:
                    found.add(other)
                    todo.extend([names[other]] if other in names else [])
            return found & self._laws.keys()

        paths, seen = [[start]], {start}
        while paths:
            path = paths.pop(0)
            if path[-1] == end:
                return path
            for name in sorted(read(path[-1]) - seen):
                seen.add(name)
                paths.append([*path, name])
        return []


__all__ = ["Hidden", "Order"]
