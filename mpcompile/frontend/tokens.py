"""Text to tokens: the lexer and the layout step that decides where statements end.

The terminals are those of `mpcompile.lark`; a test holds the two together. Lexing is done here because the
guards against hostile input (nesting, token count) and the recovery from a forgotten bracket need the raw
tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lark import Token

from mpcompile.diagnostics import Diagnostic, SpecError, error
from mpcompile.frontend.locate import Fragment

MAX_DEPTH = 64
MAX_TOKENS = 50_000
MAX_ERRORS = 100  # beyond, a file is noise; explaining every error of it would take minutes

_SCAN = re.compile(
    r"(?P<SPACE>[ \t\r]+|\#[^\n]*)"
    r"|(?P<BREAK>[\n;])"
    r"|(?P<NAME>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<FLOAT>(?:[0-9]+(?:_[0-9]+)*)?\.[0-9]+(?:_[0-9]+)*(?:[eE][+-]?[0-9]+)?"
    r"|[0-9]+(?:_[0-9]+)*[eE][+-]?[0-9]+)"
    r"|(?P<INT>[0-9]+(?:_[0-9]+)*)"
    r"""|(?P<STRING>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"|(?P<OP>->|\*\*|//|\.\.|<=|>=|==|[-+*/%&|@~=<>()\[\]{},:.?])"
)

# Names of the grammar's terminals.
OPERATORS = {
    "->": "ARROW", "**": "POWER", "//": "FLOOR", "..": "DOTS", "<=": "LESSEQUAL", ">=": "MOREEQUAL",
    "==": "EQUALEQUAL", "-": "MINUS", "+": "PLUS", "*": "STAR", "/": "SLASH", "%": "PERCENT",
    "&": "AMPERSAND",
    "|": "VBAR", "@": "AT", "~": "TILDE", "=": "EQUAL", "<": "LESSTHAN", ">": "MORETHAN", "(": "LPAR",
    ")": "RPAR", "[": "LSQB", "]": "RSQB", "{": "LBRACE", "}": "RBRACE", ",": "COMMA", ":": "COLON",
    ".": "DOT", "?": "MAYBE",
}  # fmt: skip

HEADS = frozenset(
    "model input target condition weight mask net block latent missing prior recurrence carry objective train"
    " check".split()
)
HARD_KEYWORDS = frozenset("yield because is as repeat in allow minimise".split())
KEYWORDS = {word: word.upper() for word in (*HEADS, *HARD_KEYWORDS, "on", "over", "backward")}

_CLOSER = {"(": ")", "[": "]", "{": "}"}
_ENDS_OPEN = frozenset("-> , = ~ : + - * / // % & | @ ** ..".split())
# A comparison is not among them: a claim that lacks its right side should not swallow the next claim.
_BLOCK_HEADS = frozenset(("objective", "train", "check"))
_TOP_HEADS = HEADS - {"latent", "missing", "prior", "carry", "weight"}

SEPARATOR = "_SEP"
RESYNC = "RESYNC"
"""A token that tells the parser: what comes here was reported already, go on at the next statement."""


@dataclass(slots=True)
class Tokens:
    """The token stream of a fragment, with the bracket depth of each token, and what was wrong on the way."""

    tokens: list[Token]
    depths: list[int]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)


def _scan(fragment: Fragment, diagnostics: list[Diagnostic], comments: list[tuple[int, int]]) -> list[Token]:
    text, raw, at, size = fragment.text, [], 0, len(fragment.text)
    match = _SCAN.match
    while at < size:
        found = match(text, at)
        if found is None:
            if len(diagnostics) >= MAX_ERRORS:
                raise SpecError(diagnostics)
            at = _unreadable(fragment, at, diagnostics)
            raw.append(Token(RESYNC, "", at - 1, end_pos=at))
            continue
        kind, value, end = found.lastgroup or "", found.group(), found.end()
        if kind == "SPACE":
            if value[0] == "#":
                comments.append((at, end))
        else:
            if kind == "NAME":
                kind = KEYWORDS.get(value, kind)
            elif kind == "OP":
                kind = OPERATORS[value]
            # lark copies line and column from tokens; only the positions mean anything here
            raw.append(Token(kind, value, at, 0, 0, 0, 0, end))
            if len(raw) > MAX_TOKENS:
                raise error("MP007", f"the spec has more than {MAX_TOKENS} tokens", fragment.span(at, end))
        at = end
    return raw


def scan(fragment: Fragment) -> tuple[list[Token], list[tuple[int, int]]]:
    """Return the tokens of a fragment as they stand, breaks among them, and where its comments are."""
    comments: list[tuple[int, int]] = []
    return _scan(fragment, [], comments), comments


#: The help for characters that mean nothing here, most of them of word processors.
_INSTEAD = {
    "!": "`~` negates a mask",
    "^": "powers are written `**`",
    "→": "pipelines are written `->`",
    **dict.fromkeys("“”„«»‘’", 'strings stand in straight quotes: "..."'),
    **dict.fromkeys("–—−", "minus is written `-`, and a pipeline `->`"),
    **dict.fromkeys("×·∗", "products are written `*`"),
    **dict.fromkeys("≤≥≠", "comparisons are written `<=`, `>=` and `==`"),
    "∼": "`~` is the tilde of the keyboard",
    "…": "a range is written `0..3`",
}
_PLAIN = (
    "outside of strings and comments a spec is plain ASCII: names have the letters a to z, digits and `_`"
)


def _unreadable(fragment: Fragment, at: int, diagnostics: list[Diagnostic]) -> int:
    """Report what no token matches and say where to go on."""
    char = fragment.text[at]
    if char in "\"'":
        end = fragment.text.find("\n", at)
        end = len(fragment.text) if end < 0 else end
        diagnostics.append(
            Diagnostic(
                "MP109",
                "this string is never closed",
                fragment.span(at, at + 1),
                label=f"no closing `{char}` on this line",
                help=f"close it with `{char}`",
            )
        )
        return end
    shown = char if char.isprintable() else f"U+{ord(char):04X}"
    help_ = _INSTEAD.get(char) or (_PLAIN if not char.isascii() else "")
    diagnostics.append(
        Diagnostic("MP109", f"unexpected character `{shown}`", fragment.span(at, at + 1), help=help_)
    )
    return at + 1


def _starts_statement(raw: list[Token], at: int) -> bool:
    """Whether a statement of the top level surely starts at `at`: nothing inside brackets looks like it."""
    first = raw[at]
    if at + 1 >= len(raw):
        return False
    second = raw[at + 1]
    named = second.type == "NAME" or (second.value in KEYWORDS and second.value not in HARD_KEYWORDS)
    if first.type == "MINIMISE":
        return True
    if first.value in _TOP_HEADS:
        return named or (first.value in _BLOCK_HEADS and second.type == "LBRACE")
    return False


def _starts_density(raw: list[Token], at: int) -> bool:
    """Whether `latent z ~`, `weight w:` or `x ~` starts at `at`; inside `{ }` a statement may, inside `( )` never."""
    first, rest = raw[at], raw[at + 1 : at + 2]
    if first.value in ("latent", "missing", "prior", "weight") and rest and rest[0].type in ("NAME",):
        return True
    return (first.type == "NAME" or first.value in HEADS) and bool(rest) and rest[0].type == "TILDE"


def tokenize(fragment: Fragment, *, statements: bool = True) -> Tokens:
    """Return the tokens of a fragment, statement breaks decided. Raises `SpecError`, MP006 and MP007 among others.

    `statements=False` is for a single expression (a YAML string): its own newlines mean nothing there.
    """
    out = Tokens([], [])
    raw = _scan(fragment, out.diagnostics, out.comments)
    stack: list[Token] = []
    slipped = False  # a wrong closer was reported in this statement: what it upsets further on is not news
    pending: Token | None = None  # a break seen, not yet known to matter
    for at, token in enumerate(raw):
        kind, value = token.type, token.value
        if kind == "BREAK":
            if pending is None or value == ";":
                pending = token
            continue
        if pending is not None:
            if pending.value == "\n" and stack and statements:
                _forgotten(fragment, raw, at, stack, out)
            inside = stack[-1].value if stack else ""
            matters = inside == "{" or (not inside and statements) or (not inside and pending.value == ";")
            last = out.tokens[-1] if out.tokens else None
            if (
                matters and last is not None and last.type != SEPARATOR and last.type != "LBRACE"
                and kind != "ARROW" and kind != "RBRACE" and last.value not in _ENDS_OPEN
            ):  # fmt: skip
                out.tokens.append(Token(SEPARATOR, "\n", pending.start_pos, 0, 0, 0, 0, pending.end_pos))
                out.depths.append(len(stack))
                slipped = False
            pending = None
        if value in _CLOSER and kind != "STRING":
            if len(stack) >= MAX_DEPTH:
                raise error(
                    "MP006",
                    f"brackets are nested more than {MAX_DEPTH} deep",
                    fragment.span(token.start_pos or 0, token.end_pos or 0),
                )
            out.depths.append(len(stack))
            stack.append(token)
            out.tokens.append(token)
        elif value in (")", "]", "}") and kind != "STRING":
            if stack and _CLOSER[stack[-1].value] == value:
                stack.pop()
                out.tokens.append(token)
            else:
                if len(out.diagnostics) >= MAX_ERRORS:
                    raise SpecError(out.diagnostics)
                if stack or not slipped:
                    _mismatched(fragment, token, stack, out)
                slipped = True
                out.tokens.append(Token(RESYNC, "", token.start_pos, end_pos=token.end_pos))
            out.depths.append(len(stack))
        else:
            out.tokens.append(token)
            out.depths.append(len(stack))
    if stack:
        _unclosed(fragment, stack[-1], out)
        out.tokens.append(Token(RESYNC, "", len(fragment.text), end_pos=len(fragment.text)))
        out.depths.append(0)
    return out


def _forgotten(fragment: Fragment, raw: list[Token], at: int, stack: list[Token], out: Tokens) -> None:
    """Report a bracket that was left open, where a statement starts at the start of a line inside of it."""
    opener = stack[-1]
    if len(out.diagnostics) >= MAX_ERRORS:
        raise SpecError(out.diagnostics)
    if _starts_statement(raw, at) or (opener.value != "{" and _starts_density(raw, at)):
        keep = 0
        if not _starts_statement(
            raw, at
        ):  # `x ~` may be a line of the recurrence around it: close only ( and [
            keep = next((i + 1 for i in range(len(stack) - 1, -1, -1) if stack[i].value == "{"), 0)
        _unclosed(fragment, opener, out)
        del stack[keep:]
        out.tokens.append(Token(RESYNC, "", opener.start_pos, end_pos=opener.end_pos))
        out.depths.append(len(stack))


def _unclosed(fragment: Fragment, opener: Token, out: Tokens) -> None:
    closer = _CLOSER[opener.value]
    out.diagnostics.append(
        Diagnostic(
            "MP101",
            f"this `{opener.value}` is never closed",
            fragment.span(opener.start_pos or 0, opener.end_pos or 0),
            label=f"no matching `{closer}`",
            help=f"add the missing `{closer}`",
        )
    )


def _mismatched(fragment: Fragment, token: Token, stack: list[Token], out: Tokens) -> None:
    span = fragment.span(token.start_pos or 0, token.end_pos or 0)
    notes: tuple[str, ...] = ()
    if stack:
        opener = stack[-1]
        line = fragment.span(opener.start_pos or 0, opener.end_pos or 0)
        notes = (f"`{opener.value}` was opened at {line}",)
        message, help_ = f"expected `{_CLOSER[opener.value]}`, found `{token.value}`", ""
        # close up to the bracket this one was meant for, so that one slip is one error
        for depth in range(len(stack) - 1, -1, -1):
            if _CLOSER[stack[depth].value] == token.value:
                del stack[depth:]
                break
        else:  # `dense(3]`: it was meant for the innermost one
            stack.pop()
    else:
        message, help_ = f"this `{token.value}` closes nothing", "remove it, or open a bracket before it"
    out.diagnostics.append(Diagnostic("MP101", message, span, notes=notes, help=help_))


__all__ = [
    "HEADS",
    "KEYWORDS",
    "MAX_DEPTH",
    "MAX_ERRORS",
    "MAX_TOKENS",
    "RESYNC",
    "SEPARATOR",
    "SpecError",
    "Tokens",
    "scan",
    "tokenize",
]
