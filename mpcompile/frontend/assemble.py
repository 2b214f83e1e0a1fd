"""Statements, in the order they were written, to one `Model`; both syntaxes end here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpcompile.diagnostics import Diagnostic, Span
from mpcompile.frontend import ast
from mpcompile.frontend.build import Header, Named, Section


class Assembly:
    """Collects what a spec says, and what is wrong with it."""

    def __init__(self, path: str) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.header: Header | None = None
        self.named = False  # YAML may give `params` before `model`
        self.fields: dict[str, list[Any]] = {
            name: []
            for name in (
                "declarations",
                "weights",
                "masks",
                "nets",
                "blocks",
                "density",
                "objective",
                "train",
                "checks",
            )
        }
        self._path = path
        self._defined: dict[str, Span] = {}
        self._stated: dict[str, Span] = {}
        self._sections: dict[str, set[str]] = {}

    def report(
        self, code: str, message: str, span: Span, *, help: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, help=help, notes=notes))

    def define(self, names: Iterable[tuple[str, Span]], help: str = "choose another name") -> None:
        """Names of the model: parameters, variables, masks, nets and blocks share one space."""
        for name, span in names:
            if name in self._defined:
                first = self._defined[name]
                self.report(
                    "MP105",
                    f"the name `{name}` is taken",
                    span,
                    notes=(f"it was first used at {first}",),
                    help=help,
                )
            else:
                self._defined[name] = span

    def add(self, node: Any) -> None:
        """One statement."""
        if isinstance(node, Header):
            if self.header is not None:
                self.report(
                    "MP105",
                    "the model is named twice",
                    node.span,
                    notes=(f"first at {self.header.span}",),
                    help="a file holds one model",
                )
            else:
                self.header, self.named = node, True
        elif isinstance(node, ast.Declaration):
            self.fields["declarations"].append(node)
        elif isinstance(node, Named):
            self.fields["masks" if node.role == "mask" else "nets"].append(node.let)
        elif isinstance(node, ast.LearnedWeight):
            self.define([(node.name, node.span)])
            self.fields["weights"].append(node)
        elif isinstance(node, ast.Update):  # outside of a recurrence it is a value of the model
            help = f"choose another name; `{node.name} ~ ...` says how a variable is distributed"
            self.define([(node.name, node.span)], help)
            let = ast.Let.model_construct(span=node.span, kind="let", name=node.name, value=node.value)
            self.fields["density"].append(let)
        elif isinstance(node, ast.Block):
            self.fields["blocks"].append(node)
        elif isinstance(node, Section):
            if node.role == "check":
                self.fields["checks"] += node.entries
            else:
                for entry in node.entries:
                    self._option(node.role, entry)
        else:
            self.fields["density"].append(node)

    def _option(self, role: str, entry: Any) -> None:
        if any(entry.name == other.name for other in self.fields[role]):
            self.report("MP105", f"`{entry.name}` is given twice in `{role}`", entry.span)
        else:
            self.fields[role].append(entry)

    def _state(self, s: ast.Node) -> None:
        """Report MP105 for a variable with two laws, and for a local value of a step with a name that is taken.

        Laws of one variable would be multiplied, and a product of densities does not sum to one.
        """
        if isinstance(s, ast.Density) and s.role != "missing":  # which is no law of the model
            if s.name in self._stated and (s.role == "observed" or self._defined.get(s.name) == s.span):
                note = f"the first is at {self._stated[s.name]}"
                self.report("MP105", f"`{s.name}` has two laws", s.span, notes=(note,),
                            help="a variable has one law: leave one out, or declare a second variable")  # fmt: skip
            self._stated.setdefault(s.name, s.span)
        elif isinstance(s, ast.Recurrence):
            carried, local = {c.name for c in s.carries}, set[str]()
            for inner in s.statements:
                if isinstance(inner, ast.Density):
                    self._state(inner)
                elif inner.name in self._defined and inner.name not in carried:
                    self.define([(inner.name, inner.span)])
                if inner.name in local:
                    self.report("MP105", f"`{inner.name}` is given twice in one step", inner.span,
                                help="choose another name for the second value")  # fmt: skip
                if isinstance(inner, ast.Update):
                    local.add(inner.name)

    def model(self) -> ast.Model | None:
        """The whole, or None when it has no name."""
        for statement in self.fields["density"]:
            self._state(statement)
        if self.header is None or not self.named:
            if not self.diagnostics:
                self.report(
                    "MP103",
                    "the spec does not name its model",
                    Span(self._path, 1, 1, 1, 1),
                    help="start with `model name` (in YAML `model: name`)",
                )
            return None
        # YAML groups declarations by role; so does the tree, whichever syntax it came from
        self.fields["declarations"].sort(key=lambda d: ("input", "target", "condition").index(d.role))
        parts: dict[str, Any] = {name: tuple(items) for name, items in self.fields.items()}
        return ast.Model.model_construct(
            span=self.header.span,
            name=self.header.name,
            params=self.header.params,
            **parts,
        )


__all__ = ["Assembly"]
