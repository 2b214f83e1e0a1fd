"""YAML text to a small tree of strings, lists and mappings, guarded against hostile input.

Only PyYAML's pure event stream is used: its composer recurses, its constructor guesses types, and the C
loader can be crashed. Every guard acts while events arrive, before anything large exists. Scalars stay
strings: what they mean is decided by the grammar, so `1e-3` is a number and `no` is a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from mpcompile.diagnostics import Diagnostic, SpecError, error
from mpcompile.frontend.intake import forbidden
from mpcompile.frontend.locate import Locator

MAX_DEPTH = 64
MAX_EVENTS = 20_000
MAX_EXPANDED = 20_000


@dataclass(slots=True, eq=False)
class Scalar:
    """A scalar of a YAML text, with its place and its style of quotes."""

    value: str
    style: str | None
    start: int
    end: int
    flow: Collection | None = None
    size: int = 1


@dataclass(slots=True, eq=False)
class Collection:
    """A list (`keys` is None) or a mapping; `flow` is the outermost `[ ]` or `{ }` it stands in, or is.

    `first` has the first key of each name, so that duplicates are found in one look.
    """

    start: int
    end: int
    keys: list[Scalar] | None
    first: dict[str, Scalar] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    flow: Collection | None = None
    size: int = 1
    closed: bool = False

    def pairs(self) -> Iterator[tuple[Scalar, Node]]:
        return zip(self.keys or [], self.items, strict=True)


Node = Scalar | Collection


def _ends(event: yaml.Event) -> tuple[int, int]:
    """Return where an event starts and ends in the text; the pure parser marks all of them."""
    assert event.start_mark is not None and event.end_mark is not None
    return event.start_mark.index, event.end_mark.index


class _Composer:
    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.diagnostics: list[Diagnostic] = []
        self.anchors: dict[str, Node] = {}
        self.stack: list[Collection] = []
        self.key: list[Scalar | None] = []  # of each open mapping: the key that waits for its value
        self.root: Node | None = None
        self.expanded = 0
        self.scalars: list[tuple[int, int]] = []

    def fail(self, code: str, message: str, event: yaml.Event, help: str = "") -> SpecError:
        start, end = _ends(event)
        stop = self.locator.source.text.find("\n", start)
        return error(
            code, message, self.locator.span(start, min(end, stop) if stop >= start else end), help=help
        )

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._check(event)
                self._scalar(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._check(event)
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close(event)
            case yaml.DocumentStartEvent():
                if self.root is not None:
                    raise self.fail("MP008", "a spec is one YAML document", event, "split it into files")
                if event.version or event.tags:
                    raise self.fail("MP008", "YAML directives are not allowed", event, "remove the line")

    def _check(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise self.fail(
                "MP008", f"YAML tags are not allowed, found `{event.tag[:40]}`", event, "remove it"
            )

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if forbidden(event.value.replace("\n", " ")):
            raise self.fail("MP004", "an escape in this string stands for a control character", event)
        start, end = _ends(event)
        if event.anchor is not None:  # the mark of an anchored scalar starts at the anchor
            start = self._after_anchor(start)
        node = Scalar(event.value, event.style, start, end, self._flow())
        self.scalars.append((start, end))
        self._place(node, event.anchor, event)

    def _after_anchor(self, start: int) -> int:
        text = self.locator.source.text
        while start < len(text) and not text[start].isspace():
            start += 1
        while start < len(text) and text[start].isspace():
            start += 1
        return start

    def _flow(self) -> Collection | None:
        return self.stack[-1].flow if self.stack else None

    def _alias(self, event: yaml.AliasEvent) -> None:
        node = self.anchors.get(event.anchor or "")
        if node is None:
            raise self.fail("MP008", f"the alias `*{event.anchor}` stands for nothing", event)
        if isinstance(node, Collection) and not node.closed:
            raise self.fail("MP008", f"the alias `*{event.anchor}` holds itself", event)
        self._place(node, None, event)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self.fail("MP006", f"lists and mappings are nested more than {MAX_DEPTH} deep", event)
        if self.stack and self.stack[-1].keys is not None and self.key[-1] is None:
            raise self.fail("MP106", "a key must be a string", event, "quote it if it is one")
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Collection(*_ends(event), [] if mapping else None)
        node.flow = self._flow() or (node if event.flow_style else None)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.stack.append(node)
        self.key.append(None)

    def _close(self, event: yaml.Event) -> None:
        node = self.stack.pop()
        self.key.pop()
        node.closed = True
        node.end = _ends(event)[1] if node.flow else (node.items[-1].end if node.items else node.end)
        node.size = 1 + sum(item.size for item in node.items)
        self._place(node, None, event, counted=True)

    def _place(self, node: Node, anchor: str | None, event: yaml.Event, counted: bool = False) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        self.expanded += 1 if counted else node.size
        if self.expanded > MAX_EXPANDED:
            raise self.fail("MP007", f"the spec has more than {MAX_EXPANDED} values, aliases expanded", event)
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if parent.keys is None:
            parent.items.append(node)
        elif self.key[-1] is None:
            if not isinstance(node, Scalar):
                raise self.fail("MP106", "a key must be a string", event)
            self._new_key(parent, node, event)
        else:
            parent.keys.append(self.key[-1])
            parent.first.setdefault(self.key[-1].value, self.key[-1])
            parent.items.append(node)
            self.key[-1] = None

    def _new_key(self, parent: Collection, node: Scalar, event: yaml.Event) -> None:
        if node.value == "<<" and node.style is None:
            raise self.fail("MP008", "merge keys are not allowed", event, "write the values out")
        first = parent.first.get(node.value)
        if first is not None:
            span = self.locator.span(node.start, node.end)
            note = f"first at {self.locator.span(first.start, first.end)}"
            self.diagnostics.append(
                Diagnostic("MP105", f"the key `{node.value[:60]}` is given twice", span, notes=(note,))
            )
        self.key[-1] = node


def walk(root: Node | None) -> list[Node]:
    """Return every node of a tree once, keys included."""
    out: list[Node] = []
    todo, seen = [root], set[int]()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        out.append(node)
        if isinstance(node, Collection):
            todo += [*(node.keys or []), *node.items]
    return out


def compose(locator: Locator, diagnostics: list[Diagnostic]) -> tuple[Node | None, list[tuple[int, int]]]:
    """Build the tree of a YAML text, and return it with the places of its scalars; other text may be a comment.

    Raises `SpecError` for a text that is no YAML, or has too many nodes.

    Raises `SpecError` for a text that is no YAML, or has too many nodes.
    """
    composer = _Composer(locator)
    text = locator.source.text
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if count > MAX_EVENTS:
                raise composer.fail("MP007", f"the spec has more than {MAX_EVENTS} YAML events", event)
            composer.feed(event)
    except yaml.MarkedYAMLError as problem:
        begun = any(part in (problem.problem or "") for part in ("end of stream", "find expected ':'"))
        mark = (problem.context_mark if begun else None) or problem.problem_mark or problem.context_mark
        at = min(mark.index, len(text)) if mark else 0
        raise _not_yaml(locator, at, problem.problem or "this is not YAML", problem.context or "") from None
    except yaml.reader.ReaderError as problem:
        raise _not_yaml(locator, problem.position, "this character is not allowed in YAML", "") from None
    except (ValueError, OverflowError):  # an escape beyond the last character: `"\\U99999999"`
        raise _not_yaml(
            locator, 0, "an escape in a double-quoted string stands for no character", ""
        ) from None
    diagnostics += composer.diagnostics
    return composer.root, composer.scalars


#: What the parser of YAML says, by a part of it, as a finding and its help.
_YAML_SAYS = (
    ("expected <block end>", "this line is indented unlike the others of its list or mapping",
     "the lines of one list or mapping begin in the same column"),
    ("expected ',' or ']'", "expected `,` or `]`", "a list is written [a, b]; a value that holds brackets is quoted"),
    ("expected ',' or '}'", "expected `,` or `}`", "a mapping is written {a: b}; a value that holds brackets is quoted"),
    ("could not find expected ':'", "expected `:` behind a key", "write `key: value`"),
    ("expected the node content", "expected a value", "write one, or quote it where it starts with a sign of YAML"),
    ("sequence entries are not allowed", "no item of a list begins here", "begin the list on a line of its own"),
    ("mapping values are not allowed", "this value holds `: `", "quote a value that holds `: `"),
    ("mapping keys are not allowed", "no key begins here", "begin the mapping on a line of its own"),
    ("found unexpected end of stream", "this quoted value is never closed", "close it with its quote"),
    ("found unknown escape character", "double quotes have no such escape", "double its backslash, or quote it singly"),
)  # fmt: skip


def _not_yaml(locator: Locator, at: int, problem: str, context: str) -> SpecError:
    text = locator.source.text
    said = " ".join(problem.split())[:200].rstrip(".")
    message, help_ = next(((m, h) for part, m, h in _YAML_SAYS if part in said), (said, ""))
    if text[at : at + 1] == "\t":
        message, help_ = "a tab begins this value", "YAML is indented with spaces"
    elif "cannot start any token" in said:
        sign = text[at : at + 1]
        message, help_ = f"no value begins with `{sign}`", f"quote a value that starts with `{sign}`"
    elif text[at : at + 1] in ("@", "`", "%", "&", "*", "!"):
        help_ = f"quote a value that starts with `{text[at]}`"
    elif "flow" in context and text[at : at + 1] in ("[", "{"):
        start, end = _plain_value(text, at)
        if start < at:
            return error(
                "MP107", f"inside YAML's `{{ }}` and `[ ]` a value ends before a bracket: `{text[start:at]}`",
                locator.span(start, end), help=f'quote it: "{text[start:end]}"',
            )  # fmt: skip
    notes = (" ".join(context.split()),) if context and message == said else ()
    return error("MP107", message, locator.span(at, min(at + 1, len(text))), notes=notes, help=help_)


def _plain_value(text: str, at: int) -> tuple[int, int]:
    """Start and end of the unquoted value in which a bracket stands at `at`: `real[time, 4]`."""
    line = text.rfind("\n", 0, at) + 1
    start = (
        max(text.rfind(mark, line, at) + len(mark) for mark in (", ", "{", "[", ": ", "- "))
        if at > line
        else at
    )
    start = max(start, line)
    stop = text.find("\n", at)
    stop = len(text) if stop < 0 else stop
    depth, end = 0, at
    while end < stop:
        depth += (text[end] in "[{(") - (text[end] in "]})")
        if depth < 0 or (depth == 0 and text[end] in ",\"'#"):
            break
        end += 1
    return start, end


__all__ = ["Collection", "Node", "Scalar", "compose"]
