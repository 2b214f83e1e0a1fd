"""The commands of the page on data run, each on a source of its own, from the first to the last."""

import json
import re
import wave
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcompile.cli.data import data
from mpcompile.cli.train import train

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SPEC = """model table
input age: real[1]
condition job: category(2)?
target y: binary[1]
y ~ bernoulli(logits = age -> dense(1))
train { batch: 8, steps: 2 }
"""


def sources(folder: Path) -> None:
    """One source of every kind, as the page names them."""
    r = np.random.default_rng(0)
    people = {"age": r.normal(size=40), "job": ["nurse", "clerk"] * 20, "y": [0, 1, 1, 0] * 10}
    table = pyarrow.table(people)
    rows = zip(*people.values(), strict=True)
    Path(folder, "table.csv").write_text("age,job,y\n" + "".join(f"{a},{j},{y}\n" for a, j, y in rows))
    Path(folder, "table.mp").write_text(SPEC)
    np.savez(folder / "arrays.npz", x_train=r.random((9, 2)), x_test=r.random((3, 2)))
    np.save(folder / "x.npy", r.random((9, 2)))
    pyarrow.parquet.write_table(table, folder / "people.parquet")
    pyarrow.feather.write_feather(table, folder / "people.feather")
    (folder / "saved").mkdir()
    for name in ("people.arrow", "saved/d.arrow"):
        with pyarrow.ipc.new_stream(folder / name, table.schema) as out:
            out.write_table(table)
    Path(folder, "saved", "state.json").write_text(json.dumps({"_data_files": [{"filename": "d.arrow"}]}))
    for kind in ("cat", "dog"):
        (folder / "pets" / kind).mkdir(parents=True)
        Image.new("RGB", (20, 16), kind == "cat").save(folder / "pets" / kind / "a.png")
    (folder / "sounds").mkdir()
    for name in ("tone.wav", "sounds/a.wav", "sounds/b.wav", "sounds/c.wav"):
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(400))
    (folder / "book.txt").write_text("It was the best of times.\n" * 9)
    coder = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
             "model": {"type": "WordLevel", "vocab": {"?": 0, "It": 1, "was": 2}, "unk_token": "?"}}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(coder))


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    app = typer.Typer()
    app.command("data")(data)
    app.command("train")(train)
    sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ mpcompile (.*)$", PAGE.read_text(), re.M)
    assert len(commands) > 10
    for command in commands:
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code == 0, f"{command}: {done.output}{done.exception}"
