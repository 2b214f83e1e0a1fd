"""The page of `inspect` of models that were not written here: reach, masks and witness are those of the recording."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import decoder
from graphs import model as graph_of
from onnx import helper, save

CLAIM = "autoregressive(input_ids -> logits)"


def inspected(*arguments: str) -> tuple[int, str]:
    import typer

    from mpcompile.cli.inspect import inspect

    app = typer.Typer()
    app.command("inspect")(inspect)
    app.command("other")(lambda: None)  # so that the name of a command is asked for
    found = CliRunner().invoke(app, ["inspect", *arguments])
    return found.exit_code, found.output


def facts(file: Path) -> dict[str, Any]:
    text = file.read_text()
    start = text.index("{", text.index('type="application/json"'))
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text, start)[0]
    return found


def pairs(shown: dict[str, Any]) -> np.ndarray:
    (one,) = shown["dependence"]
    bits = np.unpackbits(np.frombuffer(b64decode(shown["blobs"][one["blob"]]), np.uint8), bitorder="little")
    size = (*one["outputs"], *one["inputs"])
    matrix: np.ndarray = bits[: int(np.prod(size))].reshape(size).astype(bool)
    return matrix


def test_a_module_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    for factory, ahead in (("sound", 0), ("leaking", 1)):
        page = tmp_path / f"{factory}.html"
        options = ["--claim", CLAIM, "--output-format", "html", "-o", str(page)]
        done = inspected("--import-code", f"decoder:{factory}", *options)
        assert done[0] == 0, done[1]
        shown = facts(page)
        wanted = np.tril(np.ones((7, 7), bool), 2 * ahead)  # two layers
        np.testing.assert_array_equal(pairs(shown), wanted)
        assert [v["status"] for v in shown["verdicts"]] == ["refuted" if ahead else "proved"]
        assert (
            shown["parameters"]
            == sum(p.numel() for p in decoder.sound()[0].parameters() if p.ndim) - _unused()
        )
        assert {m["kind"] for m in shown["masks"]} == {"attention"} and len(shown["masks"]) == 2
        assert all(abs(m["fill"] - np.tril(np.ones((7, 7)), ahead).mean()) < 1e-6 for m in shown["masks"])
        names = {c["name"] for c in shown["cells"]}
        assert {"input_ids", "Decoder.embed", "Decoder.layers.0.qkv", "Decoder.head"} <= names
        assert shown["spec"]["name"] == "decoder.py"
    (finding,) = shown["findings"]
    line = shown["spec"]["lines"][finding["line"] - 1]
    assert line.endswith("# WEIGHTS") and finding["walk"]["cells"]
    route = [shown["cells"][i]["name"] for i in finding["walk"]["cells"]]
    assert route[0] == "input_ids" and route[-1] == "Decoder.head"


def _unused() -> int:
    """Weights of the recurrence that only one of the faults uses."""
    return sum(p.numel() for p in decoder.sound()[0].rnn.parameters())


def test_a_file_is_drawn_and_wrong_usage_is_said(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]
    file = tmp_path / "m.onnx"
    save(graph_of(nodes, {"x": (2, 5, 4)}, axis=np.array(1), w=weight), str(file))
    claims = ["--claim", "autoregressive(x -> y, order = axis 1)", "--output-format", "html"]
    page = tmp_path / "m.html"
    assert inspected(str(file), *claims, "-o", str(page))[0] == 0
    shown = facts(page)
    sets = pairs(shown).reshape(5, 5, 4)
    np.testing.assert_array_equal(sets.any(-1), np.tril(np.ones((5, 5), bool)))
    assert shown["spec"]["lines"] == [""] and shown["parameters"] == 16
    assert inspected(str(file))[0] == 2 and inspected()[0] == 2
    code, said = inspected(str(file), "--claim", "autoregressive(z -> y)", "--output-format", "html")
    assert code == 1 and "no input is named 'z'" in said
