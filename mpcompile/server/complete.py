"""Names that fit at a place of an unfinished text: statements, names of the language and the spec, arguments, choices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from lark import Token
from lsprotocol import types

from mpcompile.diagnostics import Source
from mpcompile.frontend import Syntax
from mpcompile.frontend.locate import Fragment, Locator
from mpcompile.frontend.tokens import HEADS, scan
from mpcompile.frontend.yamlform import KEYS, RECURRENCE_KEYS
from mpcompile.ir.training import LISTS, TABLES, Training
from mpcompile.ranges import Slot, slots
from mpcompile.reference import KINDS, Kind, entry, options, summary
from mpcompile.server.document import Document
from mpcompile.server.hover import word_at

#: Kinds of names that a pipeline is made of, and those that stand for laws.
STEPS, LAWS = ("layers", "functions", "bijectors"), ("distributions", "posteriors")
#: Kinds of names by the type of the argument that takes one.
OF_TYPE = {
    "Mask": ("masks",), "Relation": ("relations",), "Order": ("orders",), "Start": ("starts",),
    "Law": ("coupling_laws",), "Family": ("distributions",), "Bijector": ("bijectors",),
}  # fmt: skip
_SECTIONS = {"nets": "net", "blocks": "block", "masks": "mask", "weights": "weight", "input": "input", "target": "target",
             "condition": "condition", "params": "model"}  # fmt: skip
_ITEM = dict.fromkeys(("layers", "functions", "bijectors"), types.CompletionItemKind.Function)

#: A line that ends so goes on in the next one.
_OPEN_ENDED = frozenset(("->", ",", "=", "~", ":", "+", "*", "|", "&", "@"))


@dataclass(frozen=True)
class Where:
    """The place of the cursor in an unfinished text.

    head      the word that begins the statement, `input` or `train`; the section of a YAML text; "" for none
    callee    whose parentheses are open; "" for none
    argument  of which a value is due, as in `pad = `
    given     the arguments that are there already
    before    the token right before, "" at the start of a statement
    first     whether a statement, or a key, begins here
    number    of the argument of the callee, from 0
    step      whether the callee is a step behind an arrow
    """

    head: str = ""
    callee: str = ""
    argument: str = ""
    given: frozenset[str] = frozenset()
    before: str = ""
    first: bool = False
    number: int = 0
    step: bool = False


def where(text: str, offset: int, syntax: Syntax) -> Where:
    """Find the place of a character: what is open before it, however the text goes on."""
    _, start = word_at(text[:offset], offset)
    if syntax == "yaml":
        head, part, first = _yaml(text[:start])
        found = _scanned(part)
        if head in ("density", "recurrence") and found.head in (*HEADS, "minimise"):
            head = found.head
        return replace(found, head=head, first=first and not found.before)
    return _scanned(text[:start])


def _yaml(text: str) -> tuple[str, str, bool]:
    """The section at the end of a YAML text, the beginning of its last expression, and whether a key is due."""
    *above, line = text.split("\n")
    head = ""
    if line[:1] in (" ", "\t", "-") or re.match(r"[a-z]+[ \t]*:", line):
        sections = [m[1] for row in (*above, line) if (m := re.match(r"([a-z]+)[ \t]*:", row))]
        head = sections[-1] if sections else ""
    if head in ("density", "recurrence") and _is_step(above, line):
        head = "steps"
    part = re.sub(r"^[\s-]*", "", line)
    if re.search(r":[ \t]*\{", part):  # `train: {optimizer: adam(`
        part = re.split(r"[{,](?![^(]*\))", part)[-1].strip()
    keyed = re.match(r"""[\w(), =.]+?[ \t]*:[ \t]+["']?|["'][^"']*["']?:[ \t]+["']?""", part)
    key = re.match(r"\w+", part)
    if keyed and not ("~" in part[: keyed.end()] and head == "density"):
        rest = part[keyed.end() :]
        if head in ("train", "objective") and key:
            return head, f"{head} {{ {key[0]} : {rest}", False
        mark = {"input": ":", "target": ":", "condition": ":", "weights": ":"}.get(head, "=")
        return _SECTIONS.get(head, head), f"name {mark} {rest}", False
    quote = part[:1] if part[:1] in ("'", '"') else ""
    return _SECTIONS.get(head, head), part.removeprefix(quote), not part


def _is_step(above: Sequence[str], line: str) -> bool:
    """Whether a line of a list is a step of the call in the line above the list, as in `- x ~ flow():`."""
    indent = len(line) - len(line.lstrip())
    parent = next(
        (row for row in reversed(above) if row.strip() and len(row) - len(row.lstrip()) < indent), ""
    )
    return not re.fullmatch(r"\s*[a-z]+[ \t]*:\s*", parent)


@dataclass
class _Open:
    """An open bracket: the name before it, the argument of which a value is due, and the arguments given by name.

    `commas` counts those between its arguments, and `step` says whether its name stands behind an arrow.
    """

    bracket: str
    callee: str = ""
    argument: str = ""
    given: set[str] = field(default_factory=set)
    commas: int = 0
    step: bool = False


def _scanned(text: str) -> Where:
    """The place behind the tokens of a text of the language."""
    tokens, _ = scan(Fragment(Locator(Source("", text)), text))
    stack: list[_Open] = []
    head, before, first = "", "", True
    for i, token in enumerate(tokens):
        value, quoted = str(token), token.type == "STRING"
        if value in ("\n", ";"):
            if not any(o.bracket in "([" for o in stack) and before not in _OPEN_ENDED:
                before, first, head = "", True, head if stack else ""
                if stack:
                    stack[-1].argument = ""
            continue
        if first and not stack:
            head = value if value in HEADS or value == "minimise" else "name"
        first = False
        if value in "([{" and not quoted:
            named = value == "(" and i > 0 and _is_callee(tokens[i - 1])
            listed = stack[-1].argument if stack and value == "[" else ""
            step = named and i > 1 and tokens[i - 2] == "->"
            stack.append(_Open(value, str(tokens[i - 1]) if named else "", listed, step=step))
            first = value == "{"
        elif value in ")]}" and not quoted and stack:
            stack.pop()
        elif value == "," and stack and stack[-1].bracket != "[":
            stack[-1].argument, first = "", stack[-1].bracket == "{"
            stack[-1].commas += 1
        elif value in ("=", ":") and i > 0 and stack:
            stack[-1].argument = str(tokens[i - 1])
            stack[-1].given.add(stack[-1].argument)
        before = value
    inner = stack[-1] if stack else _Open("")
    call = inner
    for call in reversed(stack):
        if call.callee or call.bracket == "{":
            break
    if call.callee:
        due, given = inner.argument or call.argument, frozenset(call.given)
        return Where(head, call.callee, due, given, before, first, call.commas, call.step)
    return Where(head, "", inner.argument, frozenset(inner.given), before, first)


def _is_callee(token: Token) -> bool:
    """Whether a token before a parenthesis is called: a name, a word that begins a statement, or `over`."""
    value = str(token)
    called = token.type == "NAME" or value in HEADS
    return called or (value.isidentifier() and bool(_kinds_of(value)))


# --- what fits ---


def complete(document: Document, position: types.Position) -> list[types.CompletionItem]:
    """Return the names that fit at a position."""
    offset = document.places.offset(position)
    at = where(document.text, offset, document.syntax)
    seen: dict[str, types.CompletionItem] = {}
    for item in _fitting(document, at):
        seen.setdefault(item.label, item)
    return list(seen.values())


def _fitting(document: Document, at: Where) -> Iterator[types.CompletionItem]:
    if at.callee:
        yield from _in_call(document, at)
    elif at.first and not at.head:
        words = KEYS if document.syntax == "yaml" else sorted(HEADS - {"carry"} | {"minimise", "recurrence"})
        yield from _words(words, "a section" if document.syntax == "yaml" else "a statement")
        yield from _own(document, ("variable",))
    elif at.head in ("train", "objective"):
        yield from _of_training(at)
    elif at.head == "check":
        yield from _names(("claims",) if at.before != "allow" else ("warnings", "claims"))
        yield from _words(("allow",), "an exception with a reason")
        yield from _own(document, ("variable", "latent"))
    elif at.head == "recurrence" and at.first and document.syntax == "yaml":
        yield from _words(RECURRENCE_KEYS, "a part of a recurrence")
    elif at.before == ":" and at.head in ("input", "target", "condition", "weight", "latent"):
        yield from _names(("types",))
    elif at.before == "~" or at.before == "prior":
        yield from _names(LAWS)
        yield from _own(document)
    elif at.head == "mask":
        yield from _names(("masks",))
        yield from _own(document, ("mask", "parameter", "counter"))
    elif at.head == "minimise":
        yield from _names(("losses", *STEPS))
        yield from _own(document)
    elif at.first and at.head == "density":
        yield from _words(("latent", "missing", "minimise", "prior"), "a statement")
        yield from _own(document, ("variable", "latent"))
    elif at.first and at.head == "recurrence":
        yield from _words(("carry", "latent", "missing"), "a statement")
        yield from _own(document)
    else:
        yield from _names(STEPS)
        yield from _own(document)


def _in_call(document: Document, at: Where) -> Iterator[types.CompletionItem]:
    """Within parentheses: arguments by name, and what the value of one may be."""
    found = [slot for kind in _kinds_of(at.callee) for slot in options(kind, at.callee)]
    slot = next((s for s in found if s.name == at.argument), None)
    if slot is not None:
        yield from _values(slot)
    else:
        rows = {s.name: s for s in found if s.name not in at.given}
        about = {n: t for kind in _kinds_of(at.callee) for n, t in entry(kind, at.callee).arguments}
        for name in rows:
            yield types.CompletionItem(name, kind=types.CompletionItemKind.Property, insert_text=f"{name} = ",
                                       detail=about.get(name, ""), sort_text=f"0{name}")  # fmt: skip
        if found and found[0].by_place and not at.given:
            yield from _values(found[0])
    block = document.known
    for d in block.definitions if block is not None else ():
        if d.kind == "block" and d.name == at.callee:
            yield from _words([p.name for p in getattr(d.node, "params", ())], f"a parameter of {d.name}")
    yield from _own(document)
    if slot is None or slot.choice is None:
        yield from _names(STEPS)


def _values(slot: Slot) -> Iterator[types.CompletionItem]:
    """The values that an argument may have: its choices, or the names of the kind that it takes."""
    yield from _words(slot.choice.names if slot.choice is not None else (), slot.name)
    if slot.type is bool:
        yield from _words(("true", "false"), slot.name)
    yield from _names(OF_TYPE.get(getattr(slot.type, "__name__", ""), ()))


def _of_training(at: Where) -> Iterator[types.CompletionItem]:
    """Settings, and the values of one."""
    own = {slot.name: slot for slot in slots(Training)} if at.head == "train" else {}
    if at.argument in TABLES or at.argument in LISTS:
        yield from _names(
            [title for title in KINDS if set((TABLES | LISTS)[at.argument]) == set(KINDS[title].rows())]
        )
    elif at.argument == "data":
        yield from _names(("data_sets",))
    elif at.argument in own:
        yield from _values(own[at.argument])
    else:
        for name in own:
            if name not in at.given:
                yield from _words((name,), summary(KINDS["settings"], name), ": ")
        yield from _words(() if own else ("beta",), "the weight of the divergence from the priors", ": ")


def _kinds_of(name: str) -> list[Kind]:
    return [kind for kind in KINDS.values() if name in kind.rows()]


def _names(titles: Iterable[str]) -> Iterator[types.CompletionItem]:
    """The names of some kinds, with the first line about each."""
    for title in titles:
        item = _ITEM.get(title, types.CompletionItemKind.Class)
        yield from (_item(name, about, item) for name, about in _about(title))


@cache
def _about(title: str) -> tuple[tuple[str, str], ...]:
    """Each name of a kind with its noun and the first line about it."""
    kind = KINDS[title]
    return tuple((name, f"{kind.noun}: {summary(kind, name)}") for name in kind.rows())


def _words(words: Iterable[str], about: str, behind: str = "") -> Iterator[types.CompletionItem]:
    for word in words:
        yield types.CompletionItem(
            word, kind=types.CompletionItemKind.Keyword, detail=about, insert_text=word + behind
        )


def _own(document: Document, kinds: Iterable[str] | None = None) -> Iterator[types.CompletionItem]:
    """The names of the spec, of all kinds or some."""
    for d in document.known.definitions if document.known is not None else ():
        if kinds is None or d.kind in kinds:
            item = _item(d.name, f"a {d.kind} of the model", types.CompletionItemKind.Variable)
            item.sort_text = f"1{d.name}"
            yield item


def _item(name: str, about: str, kind: types.CompletionItemKind) -> types.CompletionItem:
    return types.CompletionItem(name, kind=kind, detail=about, sort_text=f"2{name}")


__all__ = ["Where", "complete", "where"]
