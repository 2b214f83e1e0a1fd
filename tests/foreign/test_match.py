"""Weights of others for a spec: found by the structure of both programs, laid out, loaded, and both programs run."""

from __future__ import annotations

import json
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.foreign import model_of
from mpcompile.importing import Import, Matched, import_model, match, write_match
from mpcompile.ir import Module
from mpcompile.ir.layouts import Layout, ranges
from mpcompile.runner.weights import start

DECODER = """model decoder(d = 4, layers = 2)
input ids: category(7)[time]
block layer = residual(layer_norm -> attention(2, mask = causal)) -> residual(layer_norm -> dense(6) -> gelu -> dense(d))
ids ~ autoregressive(likelihood = categorical) {
  embedding(d) -> shift -> position(9)
  repeat i in 1..layers { layer }
  layer_norm -> dense(7)
}
"""
PICTURES = """model pictures
input x: real[2, 4, 4]
target y: category(3)
block unit(ch, kernel, stride = 1) = conv(ch, kernel, stride = stride, pad = kernel // 2, bias = false) -> batch_norm
y ~ categorical(logits = x -> unit(4, 3) -> relu -> residual(unit(4, 3) -> relu -> unit(4, 3)) -> relu
    -> residual(unit(6, 3, 2), shortcut = unit(6, 1, 2)) -> relu -> global_avgpool -> dense(3))
"""


class Attention(nn.Module):
    """Weights in one of the layouts that are seen in the wild."""

    def __init__(self, fused: str) -> None:
        super().__init__()
        self.fused = fused
        if fused == "apart":
            self.v, self.q, self.k = (nn.Linear(4, 4) for _ in range(3))
        else:
            self.qkv = nn.Linear(4, 12)
            if fused == "transposed":
                self.qkv.weight = nn.Parameter(self.qkv.weight.detach().T.contiguous())
        self.out = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        if self.fused == "apart":
            parts = [m(x).view(n, t, 2, 2) for m in (self.q, self.k, self.v)]
        elif self.fused == "transposed":
            parts = [p.view(n, t, 2, 2) for p in (x @ self.qkv.weight + self.qkv.bias).chunk(3, -1)]
        else:  # queries, keys and values of each head together
            parts = list(self.qkv(x).view(n, t, 2, 6).chunk(3, -1))
        q, k, v = (p.transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, t, 4))


class Layer(nn.Module):
    def __init__(self, fused: str) -> None:
        super().__init__()
        self.attn, self.up, self.down = Attention(fused), nn.Linear(4, 6), nn.Linear(6, 4)
        self.one, self.two = nn.LayerNorm(4), nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attn(self.one(x)) + x
        return self.down(F.gelu(self.up(self.two(x)))) + x


class Decoder(nn.Module):
    def __init__(self, fused: str, eps: float = 1e-5) -> None:
        super().__init__()
        self.head = nn.Linear(4, 7)
        self.places, self.table = nn.Embedding(9, 4), nn.Embedding(7, 4)
        self.last = nn.LayerNorm(4, eps=eps)
        self.layers = nn.ModuleList(Layer(fused) for _ in range(2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.places(torch.arange(ids.shape[1])) + self.table(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.last(x))


class Unit(nn.Module):
    def __init__(self, given: int, made: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(made)
        self.conv = nn.Conv2d(given, made, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short, self.third = Unit(4, 6, 1, 2), Unit(4, 6, 3, 2)
        self.stem, self.first, self.second = Unit(2, 4, 3), Unit(4, 4, 3), Unit(4, 4, 3)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.second(F.relu(self.first(x))))
        return self.fc(F.relu(self.short(x) + self.third(x)).mean((2, 3)))


def random(model: nn.Module) -> nn.Module:
    """Every weight and statistic drawn, so that none hides another."""
    generator = torch.Generator().manual_seed(0)
    for x in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
        x.data = torch.rand(x.shape, generator=generator) + 0.2
    return model.eval()


def imported(model: nn.Module, **inputs: torch.Tensor) -> Import:
    return import_model(model_of(random(model), inputs, name="theirs"), any_batch=False)


def spec(text: str, folder: Path) -> Module:
    (folder / "spec.mp").write_text(text)
    return api.load(folder / "spec.mp")


IDS = torch.tensor([[1, 4, 0, 6, 2]])


@pytest.mark.parametrize("fused", ["apart", "transposed", "by head"])
def test_a_decoder_is_found_and_both_are_run(fused: str, tmp_path: Path) -> None:
    made, module = imported(Decoder(fused), ids=IDS), spec(DECODER, tmp_path)
    found = match(made, module)
    assert not found.match.left and not found.match.unread
    assert found.difference is not None and found.difference < 1e-6 and found.unshifted
    assert "spec.mp:7" in found.value
    row = found.names()["ids.net.layer.1.residual_0.net.attention_0.weight_qkv"]
    assert (
        row
        == {
            "apart": {"from": [f"layers.1.attn.{n}.weight" for n in "qkv"]},
            "transposed": {"from": "layers.1.attn.qkv.weight", "transpose": [1, 0]},
            "by head": {
                "from": "layers.1.attn.qkv.weight",
                "take": [[0, 2], [6, 8], [2, 4], [8, 10], [4, 6], [10, 12]],
            },
        }[fused]
    )
    loaded(found, made, module, tmp_path)


def loaded(found: Matched, made: Import, module: Module, folder: Path) -> None:
    """What a training starts from is what the match found."""
    write_match(found, made, folder / "names")
    said: list[str] = []
    begun = start(folder / "names/weights.safetensors", folder / "names/names.json", module, 0, said.append)
    assert begun.loaded == set(module.parameters) and "0 of its" in said[0]
    given = {p.former: made.weights[p.name] for p in made.module.parameters.values()}
    for name, layout in found.match.rows.items():
        np.testing.assert_array_equal(begun.weights[name], layout.apply(given))


def test_a_residual_network_is_found(tmp_path: Path) -> None:
    made, module = imported(Pictures(), x=torch.rand(2, 2, 4, 4)), spec(PICTURES, tmp_path)
    found = match(made, module)
    assert not found.match.left and not found.match.unread and not found.unshifted
    assert found.difference is not None and found.difference < 1e-6
    loaded(found, made, module, tmp_path)


def test_what_differs_is_said(tmp_path: Path) -> None:
    module = spec(DECODER, tmp_path)
    with pytest.raises(SpecError, match="MP722"):  # the same weights, another norm
        match(imported(Decoder("apart", eps=0.5), ids=IDS), module)
    narrow = spec(DECODER.replace("dense(6)", "dense(5)").replace("layers = 2", "layers = 3"), tmp_path)
    found = match(imported(Decoder("apart"), ids=IDS), narrow)
    assert found.difference is None and len(found.match.rows) > 20
    assert (
        "the model has no product [5, 4]; it has"
        in found.match.left["ids.net.layer.0.residual_1.net.dense_0.weight"]
    )
    assert any("up" in name for name in found.match.unread)
    with pytest.raises(SpecError, match=r"MP721.*no input for `x`"):
        match(imported(Decoder("apart"), ids=IDS), spec(PICTURES, tmp_path))


def test_layouts_say_what_they_do() -> None:
    x = np.arange(24.0).reshape(4, 6)
    for turned in permutations(range(2)):
        layout = Layout(("x",), turned, (((1, 3), (0, 1)),))
        assert Layout.parse(json.loads(json.dumps(layout.row()))) == layout
        np.testing.assert_array_equal(layout.apply({"x": x}), x.transpose(turned)[[1, 2, 0]])
    joined = Layout.parse({"from": ["x", "y"], "take": [[[0, 1]], []], "reshape": [3, 2, 3]})
    np.testing.assert_array_equal(
        joined.apply({"x": x, "y": x[2:]}), np.concatenate([x[:1], x[2:]]).reshape(3, 2, 3)
    )
    assert Layout.parse("a.b").row() == "a.b" and ranges([3, 4, 0, 7]) == ((3, 5), (0, 1), (7, 8))


@pytest.mark.parametrize("row", [
    3, {}, {"from": 1}, {"from": []}, {"from": "x", "turn": [1]}, {"from": "x", "transpose": [0, 2]},
    {"from": "x", "take": 3}, {"from": "x", "take": [[2, 1]]}, {"from": "x", "take": [[0, 1, 2]]},
    {"from": ["x", "y"], "take": [[[0, 1]]]}, {"from": "x", "reshape": [-1]}, {"from": "x", "take": [[True, 2]]},
])  # fmt: skip
def test_rows_that_say_nothing_are_refused(row: object) -> None:
    with pytest.raises(ValueError, match=r"is no|says|has|takes"):
        Layout.parse(row)


@pytest.mark.parametrize("layout", [
    Layout(("x",), (1, 0, 2)), Layout(("x",), (), (((0, 9),),)), Layout(("x", "y")), Layout(("x",), (), (), (5, 5)),
])  # fmt: skip
def test_layouts_that_do_not_fit_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match=r"axes|rows|differ|reshape"):
        layout.apply({"x": np.zeros((4, 6)), "y": np.zeros((4, 5))})


def test_the_command_writes_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpcompile.cli.importing import import_

    monkeypatch.chdir(Path(__file__).parent)
    spec(DECODER, tmp_path)
    app = typer.Typer()
    app.command()(import_)
    given = [
        "--import-code",
        "test_match:theirs",
        "--match",
        str(tmp_path / "spec.mp"),
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "30 of 30 weights of decoder are found" in done.output and "without its `shift`" in done.output
    assert json.loads((tmp_path / "out/names.json").read_text())["ids.net.dense_0.weight"] == "head.weight"
    assert CliRunner().invoke(app, ["--import-code", "a:b", "--set", "layers=1"]).exit_code == 2


def theirs() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return random(Decoder("apart")), {"ids": IDS}
