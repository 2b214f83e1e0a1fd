"""The session with an editor: what is sent when a text changes, and the answers to its requests."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from mpcompile import __version__
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.diagnostics.render import printable
from mpcompile.diagnostics.report import in_order
from mpcompile.server import complete, edits, hover, signature
from mpcompile.server.document import Document, Proved, prove, read, syntax_in

#: Seconds after the last change until the text is read, and until its proofs begin.
READ_AFTER, PROVE_AFTER = 0.05, 0.4

_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.NOTE: types.DiagnosticSeverity.Information,
}
_SYMBOLS = {
    "net": types.SymbolKind.Function, "block": types.SymbolKind.Class, "mask": types.SymbolKind.Array,
    "parameter": types.SymbolKind.Constant, "weight": types.SymbolKind.Field,
}  # fmt: skip

T = TypeVar("T")


@dataclass
class Open:
    """An open text: its document, what is proved of it, and what is still to be done about it."""

    document: Document
    proved: Proved | None = None
    stop: Event = field(default_factory=Event)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def cancel(self) -> None:
        """Drop what is due, and stop the proofs that run."""
        self.stop.set()
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Session(LanguageServer):
    """The server, with the texts that are open in the editor."""

    def __init__(self) -> None:
        super().__init__("mpcompile", __version__)
        self.open: dict[str, Open] = {}
        self.provers = ThreadPoolExecutor(1, "proofs")

    def changed(self, uri: str) -> None:
        """Take note of a change: the text is read when typing pauses, and proved when it pauses for longer."""
        text = self.workspace.get_text_document(uri)
        if uri in self.open:
            self.open[uri].cancel()
        elif syntax_in(text.path, text.source) is None:
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(READ_AFTER, self._due, uri)
        if uri in self.open:
            self.open[uri].timers.append(timer)

    def current(self, uri: str) -> Open | None:
        """Return an open text as it is now, read again where it changed; None where it is no spec."""
        text = self.workspace.get_text_document(uri)
        known = self.open.get(uri)
        if known is not None and known.document.text == text.source.removeprefix("\ufeff"):
            return known
        syntax = syntax_in(text.path, text.source)
        if known is not None:
            known.cancel()
        if syntax is None:
            self.open.pop(uri, None)
            return None
        last = known.document if known is not None else None
        self.open[uri] = Open(read(text.path, text.source, syntax, last))
        self._send(uri)
        later = asyncio.get_running_loop().call_later(PROVE_AFTER, self._prove, uri)
        self.open[uri].timers.append(later)
        return self.open[uri]

    def typed(self, uri: str) -> Document | None:
        """Return the text as it is now, read or not, with the names of the last one that was read."""
        text, known = self.workspace.get_text_document(uri), self.open.get(uri)
        syntax = syntax_in(text.path, text.source)
        if syntax is None:
            return None
        if known is not None and known.document.text == text.source:
            return known.document
        return Document(text.path, text.source, syntax, last=known.document if known is not None else None)

    def closed(self, uri: str) -> None:
        if uri in self.open:
            self.open.pop(uri).cancel()
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))

    def told(self, fault: BaseException) -> None:
        """Tell the editor's log of a fault of the compiler; the session goes on."""
        text = f"internal error: {type(fault).__name__}: {fault}"
        self.window_log_message(types.LogMessageParams(types.MessageType.Error, printable(text)))

    def _due(self, uri: str) -> None:
        try:
            self._publish(uri)
        except Exception as fault:
            self.told(fault)

    def _publish(self, uri: str) -> None:
        known = self.open.get(uri)
        if self.current(uri) is known and known is not None:  # the text is as it was
            known.stop = Event()
            self._send(uri)
            known.timers.append(asyncio.get_running_loop().call_later(PROVE_AFTER, self._prove, uri))
        elif uri not in self.open:
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))

    def _prove(self, uri: str) -> None:
        known = self.open.get(uri)
        if known is None or known.proved is not None:
            return
        known.stop = stop = Event()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self.provers, prove, known.document, stop)

        def done(result: asyncio.Future[Proved | None]) -> None:
            fault = None if result.cancelled() else result.exception()
            if fault is not None:
                self.told(fault)
            elif not stop.is_set() and not result.cancelled():
                known.proved = result.result()
                self._send(uri)

        future.add_done_callback(done)

    def _send(self, uri: str) -> None:
        """Publish the findings of a text, and of its proofs where they are there."""
        found = self.open[uri]
        listed = [*found.document.findings, *(found.proved.findings if found.proved is not None else ())]
        version = self.workspace.get_text_document(uri).version
        sent = [self.diagnostic(uri, found.document, d) for d in in_order(dict.fromkeys(listed))]
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, sent, version))

    def diagnostic(self, uri: str, document: Document, d: Diagnostic) -> types.Diagnostic:
        """Return a finding as an editor shows it: notes and help behind the message, the path of a leak beside it."""
        lines = [d.message, *(f"note: {n}" for n in d.notes), *([f"help: {d.help}"] if d.help else [])]
        related = [
            types.DiagnosticRelatedInformation(
                types.Location(uri, document.places.range(step.span)), printable(step.text)
            )
            for step in d.path
            if step.span.line
        ]
        return types.Diagnostic(
            document.places.range(d.span), "\n".join(map(printable, lines)), _SEVERITIES[d.severity], d.code,
            source="mpcompile", related_information=related or None,
        )  # fmt: skip

    def actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """Return the fixes of the findings that a range touches."""
        uri = params.text_document.uri
        known = self.current(uri)
        if known is None:
            return []
        document, found = known.document, []
        low, high = (document.places.offset(p) for p in (params.range.start, params.range.end))
        for d in document.findings:
            place = document.places.range(d.span)
            start, end = document.places.offset(place.start), document.places.offset(place.end)
            text = (
                edits.mended(document, d.fix) if d.fix is not None and start <= high and low <= end else None
            )
            if d.fix is not None and text is not None:
                change = types.WorkspaceEdit(changes={uri: edits.difference(document, text)})
                found.append(
                    types.CodeAction(
                        f"Replace `{d.fix.old}` by `{d.fix.new}`",
                        types.CodeActionKind.QuickFix,
                        [self.diagnostic(uri, document, d)],
                        is_preferred=True,
                        edit=change,
                    )
                )
        return found

    def symbols(self, document: Document) -> list[types.DocumentSymbol]:
        """Return the names that a text defines, in its order."""
        known = document.names
        return [
            types.DocumentSymbol(
                d.name, _SYMBOLS.get(d.kind, types.SymbolKind.Variable),
                document.places.range_of(d.start, d.end), document.places.range_of(d.start, d.end), detail=d.kind,
            )
            for d in (known.definitions if known is not None else ())
        ]  # fmt: skip

    def locations(self, uri: str, position: types.Position, all_places: bool) -> list[types.Location]:
        """Return the place that defines the name at a position, or every place that has it."""
        known = self.current(uri)
        names = known.document.names if known is not None else None
        if known is None or names is None:
            return []
        places = known.document.places
        found = names.at(places.offset(position))
        starts = [] if found is None else found.places if all_places else [found.start]
        size = len(found.name) if found is not None else 0
        return [types.Location(uri, places.range_of(start, start + size)) for start in starts]


def _tried(change: Callable[[], T]) -> T:
    """Run a change; one that is refused is the answer of the request, for the editor to show."""
    try:
        return change()
    except edits.Refused as problem:
        raise JsonRpcException(str(problem), types.LSPErrorCodes.RequestFailed) from problem


def session() -> Session:
    """Return a server with all its features."""
    server = Session()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(ls: Session, params: types.DidOpenTextDocumentParams) -> None:
        ls.current(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(ls: Session, params: types.DidChangeTextDocumentParams) -> None:
        ls.changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: Session, params: types.DidCloseTextDocumentParams) -> None:
        ls.closed(params.text_document.uri)

    @server.feature(
        types.TEXT_DOCUMENT_COMPLETION,
        types.CompletionOptions(trigger_characters=["(", ",", " ", "=", ">", "~", ":"]),
    )
    def completed(ls: Session, params: types.CompletionParams) -> list[types.CompletionItem]:
        document = ls.typed(params.text_document.uri)
        return complete.complete(document, params.position) if document is not None else []

    @server.feature(types.TEXT_DOCUMENT_SIGNATURE_HELP, types.SignatureHelpOptions(["(", ","]))
    def signed(ls: Session, params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        document = ls.typed(params.text_document.uri)
        return None if document is None else signature.signatures(document, params.position)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(ls: Session, params: types.HoverParams) -> types.Hover | None:
        known = ls.current(params.text_document.uri)
        return None if known is None else hover.hover(known.document, known.proved, params.position)

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT)
    def hinted(ls: Session, params: types.InlayHintParams) -> list[types.InlayHint]:
        known = ls.current(params.text_document.uri)
        return [] if known is None else hover.hints(known.document, params.range)

    _looking(server)
    _changing(server)
    return server


def _looking(server: Session) -> None:
    """Add the features that find places in a text."""

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(ls: Session, params: types.DefinitionParams) -> list[types.Location]:
        return ls.locations(params.text_document.uri, params.position, all_places=False)

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def referred(ls: Session, params: types.ReferenceParams) -> list[types.Location]:
        return ls.locations(params.text_document.uri, params.position, all_places=True)

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def listed(ls: Session, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        known = ls.current(params.text_document.uri)
        return [] if known is None else ls.symbols(known.document)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix]),
    )
    def fixed(ls: Session, params: types.CodeActionParams) -> list[types.CodeAction]:
        return ls.actions(params)


def _changing(server: Session) -> None:
    """Add the features that change a text."""

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def prepared(ls: Session, params: types.PrepareRenameParams) -> types.Range | None:
        known = ls.current(params.text_document.uri)
        if known is None:
            return None
        places = known.document.places
        offset = places.offset(params.position)
        found = _tried(lambda: edits.renamable(known.document, offset))
        start = next(p for p in found.places if p <= offset <= p + len(found.name))
        return places.range_of(start, start + len(found.name))

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def renamed(ls: Session, params: types.RenameParams) -> types.WorkspaceEdit | None:
        uri = params.text_document.uri
        known = ls.current(uri)
        if known is None:
            return None
        document = known.document
        offset = document.places.offset(params.position)
        return types.WorkspaceEdit({uri: _tried(lambda: edits.renaming(document, offset, params.new_name))})

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatted(ls: Session, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        known = ls.current(params.text_document.uri)
        if known is None:
            return None
        return edits.difference(known.document, _tried(lambda: edits.tidy(known.document)))


def serve() -> None:
    """Serve one editor over stdin and stdout, until it says that it goes. Raises `SystemExit` then.

    Whatever a library prints goes to stderr, so that nothing stands between the messages.
    """
    logging.getLogger("pygls").addFilter(lambda record: not _answered(record))
    logging.getLogger("pygls.protocol.json_rpc").addFilter(lambda record: not _answered(record))
    with (
        os.fdopen(os.dup(0), "rb") as given,
        os.fdopen(os.dup(1), "wb") as taken,
        redirect_stdout(sys.stderr),
    ):
        session().start_io(given, taken)


def _answered(record: logging.LogRecord) -> bool:
    """Whether a record is about a change that was refused, which the editor is told."""
    return record.exc_info is not None and isinstance(record.exc_info[1], JsonRpcException)


__all__ = ["Session", "serve", "session"]
