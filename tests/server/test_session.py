"""A session with the language server over its pipes: a text goes in as it is typed, findings and answers come out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

pytest.importorskip("pygls")

SPEC = """\
model m(hidden = 8)

# ein Maß, 𝒩(0, 1)
input x: real[time, 4]

net f = dense(hidden) -> relu
block two(k = 2) = f -> conv1d(4, k)

x ~ autoregressive(likelihood = normal) {
  shift -> two(3) -> conv1d(8, 2)
}

check { autoregressive(x) }
"""
YAML = """\
model: m
params:
  hidden: 8
input:
  x: "binary[time, 4]"
nets:
  f: dense(hidden) -> relu
density:
  - x ~ autoregressive():
      - shift
      - f
      - conv1d(4, 2)
"""


class Editor:
    """A client: messages of JSON-RPC 2.0, as the base protocol of LSP 3.17 frames them."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "mpcompile", "server"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ids, self.notes = count(1), list[dict[str, Any]]()
        self.texts: dict[str, str] = {}

    def send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        size = 0
        while (line := self.process.stdout.readline()) != b"\r\n":
            assert line, "the server ended"
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self.process.stdout.read(size))
        return message

    def ask(self, method: str, **params: Any) -> Any:
        """Send a request; give its result, or its error."""
        number = next(self.ids)
        self.send(id=number, method=method, params=params)
        while (message := self.read()).get("id") != number:
            self.notes.append(message)
        return message.get("result", message.get("error"))

    def type(self, uri: str, text: str) -> None:
        """Make a text the whole text of a file."""
        document = {"uri": uri, "version": next(self.ids)}
        if uri in self.texts:
            self.send(method="textDocument/didChange",
                      params={"textDocument": document, "contentChanges": [{"text": text}]})  # fmt: skip
        else:
            whole = {**document, "languageId": "mpcompile", "text": text}
            self.send(method="textDocument/didOpen", params={"textDocument": whole})
        self.texts[uri] = text

    def findings(self, uri: str) -> list[dict[str, Any]]:
        """The next findings that are published of a file."""
        while True:
            message = self.notes.pop(0) if self.notes else self.read()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                found: list[dict[str, Any]] = message["params"]["diagnostics"]
                return found

    def at(self, uri: str, part: str, into: int = 0, after: str = "") -> dict[str, Any]:
        """The parameters of a request about the place of a part of the text."""
        text = self.texts[uri]
        offset = text.index(part, text.index(after)) + into
        line = text[:offset].count("\n")
        before = text[text.rfind("\n", 0, offset) + 1 : offset]
        return {"textDocument": {"uri": uri},
                "position": {"line": line, "character": len(before.encode("utf-16-le")) // 2}}  # fmt: skip

    def applied(self, uri: str, edits: list[dict[str, Any]]) -> str:
        """The text with edits."""
        text = self.texts[uri]
        lines = text.split("\n")

        def offset(p: dict[str, int]) -> int:
            units = lines[p["line"]].encode("utf-16-le")[: 2 * p["character"]]
            return sum(len(row) + 1 for row in lines[: p["line"]]) + len(units.decode("utf-16-le"))

        for edit in sorted(edits, key=lambda e: offset(e["range"]["start"]), reverse=True):
            start, end = offset(edit["range"]["start"]), offset(edit["range"]["end"])
            text = text[:start] + edit["newText"] + text[end:]
        return text


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    made, able = Editor(), {"textDocument": {"rename": {"prepareSupport": True}}}
    offered = made.ask("initialize", processId=None, rootUri=None, capabilities=able)["capabilities"]
    assert offered["hoverProvider"] and offered["renameProvider"]["prepareProvider"], offered
    made.send(method="initialized", params={})
    yield made
    assert made.ask("shutdown") is None
    made.send(method="exit")
    assert made.process.wait(20) == 0, "a session that ends as it should is no failure"


@pytest.mark.parametrize("uri", ["file:///specs/typo.mp", "file:///specs/typo.yaml"])
def test_findings_follow_the_typing_and_have_fixes(editor: Editor, uri: str) -> None:
    good = SPEC if uri.endswith(".mp") else YAML
    editor.type(uri, good.replace("relu", "rleu"))
    (found,) = editor.findings(uri)
    assert (found["code"], found["severity"]) == ("MP110", 1) and "did you mean `relu`?" in found["message"]
    actions = editor.ask("textDocument/codeAction", textDocument={"uri": uri}, range=found["range"],
                         context={"diagnostics": []})  # fmt: skip
    assert [a["title"] for a in actions] == ["Replace `rleu` by `relu`"]
    mended = editor.applied(uri, actions[0]["edit"]["changes"][uri])
    assert mended == good
    editor.type(uri, mended)
    assert editor.findings(uri) == []
    assert editor.findings(uri) == [], "the proofs follow, and hold"


def test_a_leak_is_found_by_the_proofs_with_its_path(editor: Editor) -> None:
    uri = "file:///specs/leak.mp"
    editor.type(uri, SPEC.replace("shift ->", "shift(0) ->"))
    editor.type(uri, SPEC.replace("shift -> two(3)", "two(3)"))  # what runs about the first text is dropped
    assert editor.findings(uri) is not None
    while not (found := editor.findings(uri)):
        pass
    leak = next(d for d in found if d["code"] == "MP301")
    assert leak["relatedInformation"], "the path of the leak stands beside it"


def test_names_of_the_language_and_of_the_spec_are_completed(editor: Editor) -> None:
    uri = "file:///specs/complete.mp"
    editor.type(uri, SPEC)

    def labels(text: str, part: str) -> set[str]:
        """Of a text that is broken at the end of a part."""
        editor.type(uri, text)
        place = editor.at(uri, part, len(part))
        return {item["label"] for item in editor.ask("textDocument/completion", **place)}

    assert {"dense", "f", "two", "softmax"} <= labels(SPEC.replace("-> two(3)", "-> "), "shift -> ")
    assert {"init", "mask", "bias", "hidden"} <= labels(
        SPEC.replace("dense(hidden)", "dense(4, "), "dense(4, "
    )
    assert {"he", "glorot"} <= labels(SPEC.replace("dense(hidden)", "dense(4, init = "), "init = ")
    assert {"same", "causal"} <= labels(SPEC.replace("(8, 2)", "(8, 2, pad = )"), "pad = ")
    assert {"adam", "sgd"} <= labels(SPEC + "train { optimizer: ", "optimizer: ")
    assert {"moons", "digits"} <= labels(SPEC + "train { data: ", "data: ")
    assert {"steps", "clip"} <= labels(SPEC + "train { batch: 4, ", "batch: 4, ")
    assert {"complete", "x"} <= labels(SPEC.replace("{ auto", "{ complete(x); auto"), "{ ")
    assert {"input", "recurrence"} <= labels(SPEC + "\n", "check { autoregressive(x) }\n\n")
    editor.type(uri, SPEC.replace("dense(hidden)", "dense(4, "))
    (signed,) = editor.ask("textDocument/signatureHelp", **editor.at(uri, "dense(4, ", 9))["signatures"]
    start, end = signed["parameters"][signed["activeParameter"]]["label"]
    assert signed["label"].startswith("dense(units, ") and signed["label"][start:end] == "mask"
    assert {"real", "category"} <= labels(SPEC + "target y: ", "target y: ")
    assert {"normal", "bernoulli"} <= labels(SPEC + "x ~ ", "x ~ ") & labels(SPEC + "latent z ~ ", "z ~ ")


@pytest.mark.parametrize("uri", ["file:///specs/hover.mp", "file:///specs/hover.yaml"])
def test_places_tell_signatures_axes_and_parameters(editor: Editor, uri: str) -> None:
    editor.type(uri, SPEC if uri.endswith(".mp") else YAML)

    def about(part: str, after: str = "") -> str:
        found: str = editor.ask("textDocument/hover", **editor.at(uri, part, 1, after))["contents"]["value"]
        return found

    editor.findings(uri), editor.findings(uri)  # of the text, and of its proofs
    layer = about("dense")
    assert "dense(units, bias = true, init = uniform" in layer and "1 and at most 16777216" in layer
    assert "[time, channel: 8]" in layer and "channel (channel)" in layer and "time (ordered)" in layer
    assert f"parameters: {4 * 8 + 8}" in layer
    assert "variable `x`" in about("x ~") and "`time: time`, ordered" in about("x ~")
    assert "parameter `hidden`" in about("hidden", "dense(") and "value: `8`" in about("hidden", "dense(")
    assert "net `f`" in about("f ->" if uri.endswith(".mp") else "f\n", "relu"), "where it is used"
    assert "reads 4 of `x`" in about("conv1d(8" if uri.endswith(".mp") else "conv1d(4") or "reads 2" in about(
        "conv1d"
    )
    assert editor.ask("textDocument/hover", **editor.at(uri, "4]", 2)) is None
    whole = {"start": {"line": 0, "character": 0}, "end": {"line": 99, "character": 0}}
    hints = editor.ask("textDocument/inlayHint", textDocument={"uri": uri}, range=whole)
    assert "[time, channel: 8]" in [h["label"] for h in hints]


@pytest.mark.parametrize("uri", ["file:///specs/names.mp", "file:///specs/names.yaml"])
def test_names_are_found_and_changed_everywhere(editor: Editor, uri: str) -> None:
    text = SPEC if uri.endswith(".mp") else YAML
    editor.type(uri, text)
    used = editor.at(
        uri, "f ->" if uri.endswith(".mp") else "f\n", 0, "f = " if uri.endswith(".mp") else "x ~"
    )
    used = editor.at(uri, "f -> conv1d") if uri.endswith(".mp") else used
    (place,) = editor.ask("textDocument/definition", **used)
    defined = editor.at(uri, "f =" if uri.endswith(".mp") else "f:", 0, "net")
    assert place["range"]["start"] == defined["position"]
    assert len(editor.ask("textDocument/references", **used, context={"includeDeclaration": True})) == 2
    changes = editor.ask("textDocument/rename", **used, newName="features")["changes"][uri]
    assert editor.applied(uri, changes) == text.replace("f ->", "features ->").replace("net f", "net features").replace(
        "  f:", "  features:").replace("- f\n", "- features\n")  # fmt: skip
    for bad in ("hidden", "x", "relu", "a b", "__f", "yield", ""):
        assert "message" in editor.ask("textDocument/rename", **used, newName=bad), bad
    data = editor.ask("textDocument/prepareRename", **editor.at(uri, "x ~"))
    assert "data are read by that name" in data["message"]
    symbols = {
        s["name"]: s["detail"] for s in editor.ask("textDocument/documentSymbol", textDocument={"uri": uri})
    }
    assert symbols.items() >= {"f": "net", "x": "variable", "hidden": "parameter"}.items()


def test_texts_are_formatted(editor: Editor) -> None:
    uri = "file:///specs/format.mp"
    editor.type(uri, SPEC.replace("dense(hidden) -> relu", "dense( hidden )->relu"))
    options = {"tabSize": 2, "insertSpaces": True}
    edits = editor.ask("textDocument/formatting", textDocument={"uri": uri}, options=options)
    assert editor.applied(uri, edits) == SPEC
    editor.type(uri, SPEC)
    assert editor.ask("textDocument/formatting", textDocument={"uri": uri}, options=options) == []
    editor.type(uri, SPEC + "net (")
    assert "message" in editor.ask("textDocument/formatting", textDocument={"uri": uri}, options=options)


def test_other_files_and_other_texts_are_left_alone(editor: Editor) -> None:
    uri = "file:///other/compose.yaml"
    editor.type(uri, "services:\n  web: {image: nginx}\n")
    assert editor.ask("textDocument/hover", **editor.at(uri, "web")) is None
    assert editor.ask("textDocument/completion", **editor.at(uri, "web", 1)) == []
    for text in (
        "",
        "model",
        "model: [",
        "model: m\n\t- x",
        "\ufeffmodel m\n",
        "model m\r\ninput x: real[4]\r\n",
        "𝒩 ~",
    ):
        for suffix in ("mp", "yaml"):
            uri = f"file:///specs/odd.{suffix}"
            editor.type(uri, text)
            place = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 3}}
            assert "code" not in (editor.ask("textDocument/hover", **place) or {}), text
            assert isinstance(editor.ask("textDocument/completion", **place), list), text
            assert isinstance(editor.ask("textDocument/documentSymbol", textDocument={"uri": uri}), list), (
                text
            )
    editor.send(method="textDocument/didClose", params={"textDocument": {"uri": uri}})
    while editor.findings(uri):
        pass
