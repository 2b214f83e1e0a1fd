"""The variables that a law may read: those without a law, and those that are stated before it.

The order of the statements is the order of generation: the sampler draws latents, recurrences and observed variables in
it. A law that reads its own variable, or one that is stated later, defines no joint density. The posterior of a latent
is no part of the joint density: it reads every declared variable, and other latents, as long as no two posteriors wait
for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.unused import references


@dataclass(frozen=True)
class Hidden:
    """A name that a statement may not read, with the finding that says why: `who` reads it, and `why` that is wrong."""

    who: str
    why: str
    help: str

    def fault(self, span: Span, through: Sequence[tuple[str, int]] = ()) -> SpecError:
        """Return the finding (MP127); `through` are the nets and blocks, with their lines, that led to the name."""
        path = "".join(f" through `{name}` (line {line})" for name, line in through[-1:])
        message = f"{self.who}{path}{self.why}"
        return error("MP127", message, span, help=self.help)


class Order:
    """The order in which the variables of a model are drawn, and who reads whom."""

    def __init__(self, model: ast.Model) -> None:
        self._model = model
        #: Where each variable is drawn; the variables of one recurrence are drawn together.
        self.place: dict[str, int] = {}
        self._laws: dict[str, tuple[ast.Expr, ...]] = {}
        self._posteriors: dict[str, ast.Expr] = {}
        for s in model.density:
            if isinstance(s, ast.Recurrence):
                for inner in s.statements:
                    if isinstance(inner, ast.Density) and inner.role == "observed":
                        self._place(inner.name, inner.distribution)
            elif isinstance(s, ast.Density) and s.role == "latent":
                self._place(s.name, s.prior)
                self._posteriors[s.name] = s.distribution
            elif isinstance(s, ast.Density) and s.role == "observed":
                self._place(s.name, s.distribution)

    def _place(self, name: str, law: ast.Expr | None) -> None:
        self._laws.setdefault(name, () if law is None else (law,))
        self.place.setdefault(name, len(self.place))

    def before(self, name: str) -> list[str]:
        """Observed variables that are drawn before this one."""
        return [n for n, at in self.place.items() if at < self.place[name] and n not in self._posteriors]

    def later(self, name: str) -> set[str]:
        """The variable itself and those that are drawn after it."""
        return {n for n, at in self.place.items() if at >= self.place[name]}

    def parents(self, name: str) -> set[str]:
        """Variables and latents to which the text of a law or prior refers: all that it reads, perhaps more."""
        return self._read([*self._laws[name]])

    def read_by_step(self, loop: ast.Recurrence) -> set[str]:
        """The same of all statements of a recurrence."""
        return self._read([loop])

    def inferred_from(self, names: set[str], drawn: Iterable[str]) -> set[str]:
        """Return the latents of `drawn`, in the order of inference, whose posterior depends on some of `names`."""
        found = set[str]()
        for name in drawn:
            if self._read([self._posteriors[name]]) & (names | found):
                found.add(name)
        return found

    def may_be_read(self, name: str) -> bool:
        """Whether the text of another law or prior refers to a variable: never false of one that is a parent."""
        return any(name in self._read([*law]) for n, law in self._laws.items() if n != name)

    def infers_as_stated(self) -> bool:
        """Whether no posterior refers to a latent that is stated later, so that latents are inferred as they stand."""
        return not any(
            self._read([q]) & self.later(n) & self._posteriors.keys() for n, q in self._posteriors.items()
        )

    def hidden(self, reader: str, visible: Iterable[str], what: str = "law") -> Mapping[str, Hidden]:
        """Return why the law of `reader` may not read each variable that is not visible.

        `what` is its kind: law, prior or posterior.
        """
        seen = set(visible)
        return {n: self._why(reader, n, what) for n in self.place if n not in seen}

    def hidden_in_step(self, own: Collection[str], visible: Collection[str]) -> Mapping[str, Hidden]:
        """The same for the first values of a recurrence that draws the variables `own`, and for its statements."""
        others = {
            n: Hidden(f"a step reads `{n}`", ", which is stated after the recurrence",
                      f"write the statement `{n} ~ ...` before the recurrence, or within it")
            for n in self.place if n not in own and n not in visible
        }  # fmt: skip
        help = "carry what is known of earlier steps; only a posterior may read what is observed in its step"
        return others | {n: Hidden(f"the recurrence reads `{n}`", " before it draws it", help) for n in own}

    def after(self, own: Collection[str]) -> set[str]:
        """Variables that are drawn after a recurrence that draws the variables `own`."""
        last = max(self.place[n] for n in own)
        return {n for n, at in self.place.items() if at > last}

    def _why(self, reader: str, name: str, what: str) -> Hidden:
        who = f"`{reader}` reads" if what == "law" else f"the {what} of `{reader}` reads"
        if name == reader:
            return Hidden(
                f"{who} itself", "",
                "a law reads other variables; `autoregressive { ... }` lets each element read the earlier ones",
            )  # fmt: skip
        if what == "posterior":
            circle = self._path(
                reader, reader, lambda n: self._read([self._posteriors[n]]) & self._posteriors.keys()
            )
            return Hidden(f"{who} `{name}`", f", and posteriors read each other in a circle: {_shown(circle)}",
                          "one of them must be inferred first: let it read what is observed alone")  # fmt: skip
        circle = self._path(reader, reader, lambda n: self._read([*self._laws[n]]) & self._laws.keys())
        if name in circle:
            return Hidden(f"{who} `{name}`", f", and laws read each other in a circle: {_shown(circle)}",
                          "one of them must be drawn first: let its law not read the next")  # fmt: skip
        help = f"write the statement `{name} ~ ...` before that of `{reader}`"
        if what == "prior":
            help += f"; the posterior of `{reader}` may read `{name}` where it stands"
        return Hidden(f"{who} `{name}`", ", which is stated after it", help)

    def _read(self, trees: list[ast.Node]) -> set[str]:
        """Variables to which some expressions refer, also through nets, blocks and values that they name."""
        return self.refers(trees) & (self._laws.keys() | self._posteriors.keys())

    def refers(self, trees: list[ast.Node]) -> set[str]:
        """Return every name to which some expressions refer, also through nets, blocks and values that they name."""
        names: dict[str, ast.Node] = {n.name: n for n in self._model.nets}
        names |= {b.name: b for b in self._model.blocks}
        names |= {s.name: s for s in self._model.density if isinstance(s, ast.Let)}
        found, todo = set[str](), list(trees)
        while todo:
            for other in references([todo.pop()]) - found:
                found.add(other)
                todo.extend([names[other]] if other in names else [])
        return found

    @staticmethod
    def _path(start: str, end: str, read: Callable[[str], set[str]]) -> list[str]:
        """The shortest way from `start` to `end` along `read`, with both; empty for none."""
        paths, seen = [[start]], set[str]()
        while paths:
            path = paths.pop(0)
            for name in sorted(read(path[-1]) - seen):
                if name == end:
                    return [*path, name]
                seen.add(name)
                paths.append([*path, name])
        return []


def _shown(path: Iterable[str]) -> str:
    return " -> ".join(f"`{n}`" for n in path)


__all__ = ["Hidden", "Order"]


def later_in_step(who: str, own: str, name: str) -> Hidden:
    """Return why a statement of a step reads no name that a later one gives."""
    help = f"carry what is known of earlier steps, or put this behind `{name}`; "
    help += "only a posterior may read what is observed"
    if name == own:
        return Hidden(f"{who} itself", "", help)
    return Hidden(f"{who} `{name}`", ", which is stated after it", help)
