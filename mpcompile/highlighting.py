"""A Pygments lexer for `.mp` specs, which Sphinx and other printers of code find by the name `mp`."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from mpcompile.frontend.tokens import HARD_KEYWORDS, HEADS

TYPES = ("binary", "real", "integer", "category", "angle")


class SpecLexer(RegexLexer):
    """Tokens of a spec in the syntax of `.mp`.

    A soft keyword (`mask`, `net`) is one at the start of a statement alone, so that `mask = up` is an argument.
    """

    name = "mpcompile"
    aliases: ClassVar[list[str]] = ["mp", "mpcompile"]
    filenames: ClassVar[list[str]] = ["*.mp"]
    mimetypes: ClassVar[list[str]] = ["text/x-mpcompile"]
    url = "https://pypi.org/project/mpcompile/"
    version_added = ""
    _soft = "|".join(sorted(HEADS))
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (
                rf"(^|[;{{])([ \t]*)({_soft})(?=[ \t]+[A-Za-z_]|[ \t]*\{{)",
                bygroups(Punctuation, Whitespace, Keyword),
            ),
            (r"\n+", Whitespace),
            (r"[ \t\r]+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (r"\"([^\"\\\n]|\\.)*\"|'([^'\\\n]|\\.)*'", String),
            (r"(?<=[:~] )(" + "|".join(TYPES) + r")\b", Keyword.Type),
            (words(sorted(HARD_KEYWORDS), prefix=r"\b", suffix=r"\b"), Keyword),
            (r"\b(over)(?=[ \t]+[A-Za-z_]+[ \t]*(?:backward[ \t]*)?\{)", Keyword),
            (r"\b(backward)(?=[ \t]*\{)", Keyword),
            (r"\b(on)(?=[ \t]+[A-Za-z_][\w, \t]*\{)", Keyword),
            (r"\bprior\b(?![ \t]*[=:])", Keyword),
            (r"\bweight\b(?![ \t]*[=:])", Keyword),
            (r"(?<=\s)(true|false)\b", Keyword.Constant),
            (r"[A-Za-z_][A-Za-z0-9_]*(?=[ \t]*\()", Name.Function),
            (r"[A-Za-z_][A-Za-z0-9_]*", Name),
            (r"(\d+(_\d+)*)?\.\d+(_\d+)*([eE][+-]?\d+)?|\d+(_\d+)*[eE][+-]?\d+", Number.Float),
            (r"\d+(_\d+)*", Number.Integer),
            (r"->|\*\*|//|\.\.|<=|>=|==|[-+*/%&|@~=<>?.]", Operator),
            (r"[()\[\]{},:;]", Punctuation),
        ]
    }


__all__ = ["SpecLexer"]
