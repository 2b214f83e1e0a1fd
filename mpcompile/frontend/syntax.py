"""Tokens to lark trees, with recovery: every independent syntax error of a text is reported in one run.

After an error the parser goes back to the state it was in at the last statement break that it reached, and
reads on from the next break at that depth. Nothing of the failed statement is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lark import Token, Tree
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from mpcompile.diagnostics import Diagnostic, error
from mpcompile.diagnostics.nearest import meant
from mpcompile.frontend.grammar import start
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.tokens import HEADS, KEYWORDS, MAX_ERRORS, RESYNC, SEPARATOR, Tokens, tokenize

MAX_PENDING = 1000

_SHOWN = {
    "ARROW": "`->`", "DOTS": "`..`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`", "COMMA": "`,`", "COLON": "`:`", "EQUAL": "`=`", "TILDE": "`~`",
    "STRING": "a quoted string",
    "MAYBE": "`?`",
    "AS": "`as`", "IN": "`in`", "PRIOR": "`prior`", "ON": "`on`", "OVER": "`over`", "YIELD": "`yield`",
    "BECAUSE": "`because`", SEPARATOR: "a new line", "$END": "the end",
}  # fmt: skip
_COMPARISONS = frozenset(("LESSTHAN", "LESSEQUAL", "MORETHAN", "MOREEQUAL", "EQUALEQUAL", "IS"))
_OPERATORS = _COMPARISONS | frozenset("VBAR AMPERSAND AT PLUS MINUS STAR SLASH FLOOR PERCENT POWER".split())
#: Where a keyword belongs that begins no statement.
_BELONGS = {
    "REPEAT": "a repeat is a stage of a pipeline: net f = repeat i in 0..3 { dense(8) -> relu }",
    "YIELD": "it ends a block: block both on a, b { yield concat(a, b) }",
    "ALLOW": 'it stands in check: check { allow unused_name because "..." }',
}
_SOFT = frozenset(name for word, name in KEYWORDS.items() if word in HEADS) | {"ON", "OVER", "BACKWARD"}
_ORDER = ("EQUAL", "TILDE", "COLON", "COMMA", "RPAR", "RSQB", "RBRACE", "ARROW", "DOTS", "LPAR", "LBRACE")


@dataclass(slots=True)
class _Snapshot:
    """The parser's state at a statement break, and the bracket depth there."""

    states: list[Any]
    values: list[Any]
    depth: int


class _Run:
    """One pass over a token stream."""

    def __init__(self, fragment: Fragment, rule: str, tokens: Tokens) -> None:
        self.fragment = fragment
        self.rule = rule
        self.stream = tokens
        self.diagnostics = tokens.diagnostics
        self.engine: InteractiveParser = start(rule)
        self.snapshots = [self._snapshot(0)]
        self.fed = 0  # tokens since the last recovery; an error right there is the old one again
        self.skipping = False
        self.at = 0  # index of the token being read

    def _snapshot(self, depth: int) -> _Snapshot:
        state = self.engine.parser_state
        return _Snapshot(state.state_stack[:], state.value_stack[:], depth)

    def _restore(self) -> None:
        saved, state = self.snapshots[-1], self.engine.parser_state
        state.state_stack[:] = saved.states
        state.value_stack[:] = saved.values

    def parse(self) -> Tree[Token] | None:
        previous: Token | None = None
        for at, (token, depth) in enumerate(zip(self.stream.tokens, self.stream.depths, strict=True)):
            self.at = at
            if len(self.diagnostics) >= MAX_ERRORS:
                return None
            if self.skipping:
                while len(self.snapshots) > 1 and depth < self.snapshots[-1].depth - 1:
                    self.snapshots.pop()
                here = self.snapshots[-1].depth
                if token.type == SEPARATOR and depth <= here:
                    while self.snapshots[-1].depth > depth:
                        self.snapshots.pop()
                    self._restore()
                    self.skipping, self.fed = False, 0
                    continue
                if not (token.type == "RBRACE" and depth == here - 1):
                    continue
                self._restore()
                self.skipping, self.fed = False, 0
            if token.type == RESYNC:
                self._recover(depth)
            elif self._feed(token, previous):
                self.fed += 1
                if token.type == "LBRACE":
                    self.snapshots.append(self._snapshot(depth + 1))
                elif token.type == SEPARATOR:
                    self._drop(depth)
                    if self.snapshots[-1].depth == depth:
                        self.snapshots.pop()
                    self.snapshots.append(self._snapshot(depth))
                elif token.type == "RBRACE":
                    self._drop(depth)
            else:
                self._recover(depth)
            previous = token
        if self.skipping:
            del self.snapshots[1:]
            if self.rule != "model":
                return None
            self._restore()
        return self._finish(previous)

    def _drop(self, depth: int) -> None:
        while len(self.snapshots) > 1 and self.snapshots[-1].depth > depth:
            self.snapshots.pop()

    def _recover(self, depth: int) -> None:
        self._drop(depth + 1)
        self.skipping = True

    def _feed(self, token: Token, previous: Token | None) -> bool:
        saved = self._snapshot(0)
        if len(saved.states) > MAX_PENDING:  # `- - - - x`: nesting without brackets
            span = self.fragment.span(token.start_pos or 0, token.end_pos or 0)
            raise error("MP006", "this expression is nested too deeply", span)
        try:
            self.engine.feed_token(token)
        except UnexpectedToken:
            if self.fed or len(self.snapshots) == 1 or token.type != "RBRACE":
                state = self.engine.parser_state
                state.state_stack[:], state.value_stack[:] = saved.states, saved.values
                self.diagnostics.append(self._explain(token, previous))
            elif len(self.snapshots) > 1:
                self.snapshots.pop()
            return False
        return True

    def _finish(self, previous: Token | None) -> Tree[Token] | None:
        end = len(self.fragment.text.rstrip()) if previous is None else previous.end_pos or 0
        token = Token("$END", "", end, 0, 0, 0, 0, end)
        saved = self._snapshot(0)
        try:
            result: Tree[Token] | Token = self.engine.feed_token(token)
        except UnexpectedToken:
            state = self.engine.parser_state
            state.state_stack[:], state.value_stack[:] = saved.states, saved.values
            if not self.diagnostics:
                self.diagnostics.append(self._explain(token, previous))
            return None
        # a start rule that is inlined may come back as the bare token: give it a node
        return result if isinstance(result, Tree) else Tree("token", [result])

    # --- messages ----------------------------------------------------------------------------------------

    def _explain(self, token: Token, previous: Token | None) -> Diagnostic:
        accepted = self.engine.accepts()  # type: ignore[no-untyped-call]  # lark has no types for it
        start_, end = token.start_pos or 0, token.end_pos or 0
        if token.type in (SEPARATOR, "$END") and previous is not None:
            start_ = end = previous.end_pos or 0
        span = self.fragment.span(start_, end)
        head = self._unknown_head(token, previous, accepted)
        if head is not None:
            return head
        found = self._found(token)
        expected = _expected(accepted)
        message = f"expected {expected}, found {found}" if expected else f"unexpected {found}"
        return Diagnostic("MP100", message, span, help=self._help(token, previous, accepted))

    def _found(self, token: Token) -> str:
        if token.type == SEPARATOR:
            return "the end of the line"
        if token.type == "$END":
            return "the end of the file" if self.rule == "model" else "the end of the text"
        if token.value in KEYWORDS and token.type not in _SOFT:
            return f"the keyword `{token}`"
        shown = _short(token)
        return shown if token.type == "STRING" else f"`{shown}`"

    def _unknown_head(self, token: Token, previous: Token | None, accepted: set[str]) -> Diagnostic | None:
        """`inputt x: ...`: the mistake is the first word of the statement, not the second."""
        waiting = "TILDE" in accepted and "INT" not in accepted  # read a name, and nothing else
        if previous is None or previous.type != "NAME" or not waiting or not self._starts(previous):
            return None
        if token.type not in ("NAME", "LBRACE", *_SOFT):
            return None
        span = self.fragment.span(previous.start_pos or 0, previous.end_pos or 0)
        heads = ", ".join(f"`{word}`" for word in sorted(HEADS - {"carry"}))
        known = f"a statement starts with one of {heads}, or is `name ~ distribution`"
        hint = meant(str(previous), sorted(HEADS), span, known)
        return Diagnostic("MP102", f"unknown statement `{_short(previous)}`", span, **hint)

    def _starts(self, token: Token) -> bool:
        """Whether a token is the first of its statement."""
        at = self.at if self.stream.tokens[self.at] is token else self.at - 1
        return at <= 0 or self.stream.tokens[at - 1].type in (SEPARATOR, RESYNC, "LBRACE")

    def _help(self, token: Token, previous: Token | None, accepted: set[str]) -> str:
        kind = token.type
        named = previous is not None and (previous.type == "NAME" or previous.type in _SOFT)
        if kind == "EQUAL" and "TILDE" in accepted and named:
            name = _short(previous)
            return f"`{name} ~ ...` says how a variable is distributed; `net {name} = ...` names a network"
        if kind == "TILDE" and "EQUAL" in accepted:
            return "`=` defines a name; only a variable of the model is followed by `~`"
        if kind == "SLASH" or (str(token) == "//" and self._starts(token)):
            return "a comment starts with `#`"
        if kind == "PRIOR":
            return "only a latent has a prior: latent z ~ ... prior ..."
        if kind in _COMPARISONS:
            return "comparisons belong into `check`"
        if kind == "EQUAL" and "COLON" in accepted:
            return "options are written `name: value`"
        if kind == "COLON" and "EQUAL" in accepted:
            return "write `=` here"
        if kind == "DOTS":
            return "ranges belong into `repeat i in 0..3` and `integer(0..255)`"
        if kind in _BELONGS and "NAME" in accepted and self._starts(token):
            return _BELONGS[kind]
        if token.value in KEYWORDS and kind not in _SOFT and "NAME" in accepted:
            return f"`{token}` is a keyword; choose another name"
        if kind in ("NAME", "INT", "FLOAT", "STRING") and "COMMA" in accepted:
            return "is a `,` or an operator missing before it?"
        return ""


def _short(token: Token | None) -> str:
    """A token as a message shows it."""
    text = str(token)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _expected(accepted: set[str]) -> str:
    """Return the tokens that the parser would take, in words, most telling first."""
    names = set(accepted)
    words: list[str] = []
    if {"INT", "NAME"} <= names:
        words.append("an expression")
        names -= {
            "INT",
            "FLOAT",
            "NAME",
            "STRING",
            "LPAR",
            "LSQB",
            "MINUS",
            "TILDE",
            "REPEAT",
            "ALLOW",
        } | _SOFT
    elif "LATENT" in names and "NAME" in names:
        words.append("a statement")
        names -= {"NAME", *_SOFT}
    elif "NAME" in names:
        words.append("a name")
        names -= {"NAME", *_SOFT}
    if names - _OPERATORS - {"LPAR", "LBRACE", "AS"}:
        names -= _OPERATORS | {"LPAR", "LBRACE", "AS"}  # an expression may always go on: not news
    ordered = [n for n in _ORDER if n in names] + sorted(names - set(_ORDER))
    words += [_SHOWN[n] for n in ordered if n in _SHOWN]
    words = words[:5]
    return " or ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + f" or {words[-1]}"


def read(
    fragment: Fragment, rule: str, diagnostics: list[Diagnostic], *, first_only: bool = False
) -> Tree[Token] | None:
    """Parse a fragment from a start rule; append what is wrong and return what could be read."""
    tokens = tokenize(fragment, statements=rule == "model")
    tree = _Run(fragment, rule, tokens).parse()
    found = tokens.diagnostics
    if found:
        # the text of a YAML string is one statement: its first error is the one to mend
        diagnostics += found[:1] if first_only else found
        if rule != "model":
            return None
    return tree


__all__ = ["read"]
