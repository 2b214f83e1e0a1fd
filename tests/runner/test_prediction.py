"""`predict`: what a run says of each row, as a table; whatever the batches, the backend and what the data lack."""

from __future__ import annotations

import csv
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from in_process import Cli

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, train
from mpcompile.runner.prediction import predict
from mpcompile.runner.run import Run, open_run
from mpcompile.runner.sampling import Samples, write_arrays
from mpcompile.runner.tables import WRITERS, Column, Csv, table

KINDS = """
model kinds
input x: real[2]
target kind: category(3)
target score: integer(1..4)
kind ~ categorical(logits = x -> dense(3))
score ~ ordinal(x -> dense(1))
train { optimizer: adam(0.1), batch: 16, steps: 30 }
"""
LENGTHS = """
model lengths
input x: real[time, 2]
condition length: integer(1..time)
target y: category(3)[time]
target z: real[time]
y ~ categorical(logits = x -> gru(4) -> dense(3))
z ~ normal(x -> dense(2))
train { optimizer: adam(0.1), batch: 4, steps: 2 }
"""
WORDS = ("ant", "bee", "cat")


def points(count: int, seed: int = 0) -> tuple[Array, Array, Array]:
    r = np.random.default_rng(seed)
    kind = r.integers(0, 3, count)
    return kind[:, None] + 0.3 * r.standard_normal((count, 2)), kind, 1 + kind


def written(path: Path, count: int, labels: bool = True, seed: int = 0) -> Path:
    x, kind, score = points(count, seed)
    lines = ["a,b,kind,score" if labels else "a,b"]
    for (a, b), k, s in zip(x.tolist(), kind, score, strict=True):
        lines.append(f"{a!r},{b!r}" + (f",{WORDS[k]},{s}" if labels else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


def trained(folder: Path, text: str, data: Path) -> Run:
    (folder / "spec.mp").write_text(text)
    train(api.load(folder / "spec.mp"), folder / "run", Options(data=str(data)))
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("kinds")
    return trained(folder, KINDS, written(folder / "all.csv", 60))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(run: Run, x: Array) -> Array:
    """The probabilities of `kind`, from the weights of the run."""
    weights, _ = run.parameters(api.load(run.spec))
    logits = x @ weights["kind.dense_0.weight"].T + weights["kind.dense_0.bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


@pytest.mark.parametrize("count", [1, 64, 150])
def test_a_row_for_each_row(kinds: Run, tmp_path: Path, count: int) -> None:
    """In the order of the file, by the words of the run, with the likelihood of what the file says."""
    module = api.load(kinds.spec)
    data = written(tmp_path / "d.csv", count, seed=count)
    made = predict(kinds, module, str(data), tmp_path / "p.csv")
    x, kind, _ = points(count, count)
    p = by_hand(kinds, x)
    found = rows(tmp_path / "p.csv")
    heads = ["kind.ant", "kind.bee", "kind.cat"]
    assert made.rows == count == len(found) and made.columns == list(found[0])
    assert list(found[0]) == ["row", "kind", *heads, "score", "score_mean", "log_prob"]
    assert [r["row"] for r in found] == [str(i) for i in range(count)]
    assert [r["kind"] for r in found] == [WORDS[k] for k in p.argmax(1)]
    np.testing.assert_allclose([[float(r[h]) for h in heads] for r in found], p, rtol=1e-4)
    mean = np.array([float(r["score_mean"]) for r in found])
    assert [int(r["score"]) for r in found] == np.rint(mean).astype(int).tolist()
    score = np.array([float(r["log_prob"]) for r in found]) - np.log(p[np.arange(count), kind])
    assert (score < 0).all()  # what is left is the likelihood of the other target
    predict(
        kinds,
        module,
        str(written(tmp_path / "bare.csv", count, labels=False, seed=count)),
        tmp_path / "q.csv",
    )
    assert [{k: v for k, v in r.items() if k != "log_prob"} for r in found] == rows(tmp_path / "q.csv")
    text = data.read_text().replace(",score", "")
    data.write_text(
        "\n".join(line if "kind" in line else line.rpartition(",")[0] for line in text.splitlines())
    )
    predict(kinds, module, str(data), tmp_path / "r.csv")  # one of the targets is there
    assert rows(tmp_path / "q.csv") == rows(tmp_path / "r.csv")


def test_the_data_of_the_run_are_read_whole_unless_a_split_is_named(kinds: Run, tmp_path: Path) -> None:
    module, data = api.load(kinds.spec), str(kinds.facts["data"])
    assert predict(kinds, module, data, tmp_path / "p.csv").rows == 60
    assert [r["row"] for r in rows(tmp_path / "p.csv")] == [str(i) for i in range(60)]
    assert predict(kinds, module, data, tmp_path / "q.csv", split="test").rows == 6
    table = {r["row"]: r for r in rows(tmp_path / "p.csv")}
    assert all(r["kind"] == table[r["row"]]["kind"] for r in rows(tmp_path / "q.csv"))


def test_an_archive_has_the_same_numbers_and_other_backends_too(kinds: Run, tmp_path: Path) -> None:
    module, data = api.load(kinds.spec), str(written(tmp_path / "d.csv", 70))
    predict(kinds, module, data, tmp_path / "p.csv")
    found = rows(tmp_path / "p.csv")
    for name in ("torch", "jax", "onnx"):
        predict(kinds, module, data, tmp_path / f"{name}.npz", backend=find_backend(name))
        with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as archive:
            assert archive["kind_probability"].shape == (70, 3)
            assert archive["kind_classes"][archive["kind"]].tolist() == [r["kind"] for r in found]
            assert archive["score"].tolist() == [int(r["score"]) for r in found]
            np.testing.assert_allclose(archive["log_prob"], [float(r["log_prob"]) for r in found], rtol=1e-4)


NAMED = """
model named
input a: real
input b: real
target kind: category("ant", "bee", "cat")
kind ~ categorical(logits = concat(a, b) -> dense(3))
train { optimizer: adam(0.1), steps: 1 }
"""
SERIALS, SITES = [7, 2**60, 2**60 + 1, 0], [10, 2, 10, 2]


def beside(path: Path, ids: bool = True) -> Path:
    """Rows with columns that no variable takes."""
    r = np.arange(4)
    words = [WORDS[i % 3] for i in r]
    if path.suffix == ".npz":
        np.savez(path, a=r + 0.5, b=-r, kind=r % 3, **({"site": SITES, "serial": SERIALS} if ids else {}))
        return path
    table = {"a": r + 0.5, "b": -r, "kind": words}
    if ids:
        table = {
            "who": ["Zoë", "a,b", None, "x"],
            **table,
            "site": SITES,
            "serial": [str(n) for n in SERIALS],
        }
    writer = pyarrow.csv.write_csv if path.suffix == ".csv" else pyarrow.parquet.write_table
    writer(pyarrow.table(table), path)
    return path


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("named")
    (folder / "all.csv").write_text("a,b,kind\n1,2,ant\n2,1,bee\n")
    return trained(folder, NAMED, folder / "all.csv")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_columns_that_no_variable_takes(named: Run, tmp_path: Path, ending: str) -> None:
    """`ids` are copied as they are written, `by` makes groups of them, and the numbers are those without them."""
    module, data = api.load(named.spec), beside(tmp_path / f"d{ending}")
    ids = ["serial", "site"] if ending == ".npz" else ["serial", "site", "who"]
    predict(named, module, str(data), tmp_path / "p.csv", ids=ids)
    found = rows(tmp_path / "p.csv")
    assert list(found[0]) == ["row", *ids, "kind", "kind.ant", "kind.bee", "kind.cat", "log_prob"]
    assert [r["serial"] for r in found] == [str(n) for n in SERIALS]
    assert [r["site"] for r in found] == [str(n) for n in SITES]
    assert ending == ".npz" or [r["who"] for r in found] == ["Zoë", "a,b", "", "x"]
    figures = evaluate(named, module, data=str(data), by="site")["by"]
    scores = np.array([float(r["log_prob"]) for r in found])
    assert [*figures["groups"]] == ["2", "10"] and figures["groups"]["10"]["examples"] == 2
    np.testing.assert_allclose(figures["groups"]["10"]["nats"]["mean"], scores[[0, 2]].mean(), rtol=1e-5)
    predict(named, module, str(beside(tmp_path / f"bare{ending}", ids=False)), tmp_path / "q.csv")
    assert [{k: v for k, v in r.items() if k not in ids} for r in found] == rows(tmp_path / "q.csv")
    with pytest.raises(SpecError, match="MP544"):
        evaluate(named, module, data=str(data), by="sit")
    with pytest.raises(SpecError, match="MP502"):
        predict(named, module, str(data), tmp_path / "p.csv", ids=["sit"])


def test_a_number_beside_is_no_target(named: Run, tmp_path: Path) -> None:
    """The one column that is left is a target where it has no name of its own, not where it has another's."""
    (tmp_path / "d.csv").write_text("a,b,site\n0.5,1,2\n")
    predict(named, api.load(named.spec), str(tmp_path / "d.csv"), tmp_path / "p.csv")
    assert "log_prob" not in rows(tmp_path / "p.csv")[0]


def test_a_column_of_x_makes_groups(kinds: Run, tmp_path: Path) -> None:
    """`by` may name one of the columns that x is made of, and x keeps it; a sole column left is no target."""
    module = api.load(kinds.spec)
    (tmp_path / "d.csv").write_text("a,b,kind,score\n0,1,ant,1\n1,1,bee,2\n0,2,ant,1\n")
    groups = evaluate(kinds, module, data=str(tmp_path / "d.csv"), by="a")["by"]["groups"]
    assert {name: g["examples"] for name, g in groups.items()} == {"0": 2, "1": 1}


@pytest.mark.parametrize(("text", "code"), [
    ("", "MP506"), ("a,b\n", "MP506"), ("a\n1\n", "MP503"), ("a,b,c\n1,2,3\n", "MP503"), ("a,b\n1,\n", "MP506"),
    ("a,b\n1,nan\n", "MP506"), ("a,b,kind,score\n1,2,dog,1\n", "MP505"), ("a,b,kind,score\n1,2,ant,9\n", "MP504"),
    ("kind,score\nant,1\n", "MP502"), ("a,b\n1,2,3\n", "MP506"),
])  # fmt: skip
def test_data_that_do_not_fit(kinds: Run, tmp_path: Path, text: str, code: str) -> None:
    """Each is a finding, and leaves the table that was there as it was."""
    (tmp_path / "d.csv").write_text(text)
    (tmp_path / "p.csv").write_text("before")
    with pytest.raises(SpecError, match=code):
        predict(kinds, api.load(kinds.spec), str(tmp_path / "d.csv"), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "before" and sorted(os.listdir(tmp_path)) == ["d.csv", "p.csv"]


def test_a_model_that_says_nothing_of_a_row(kinds: Run, tmp_path: Path) -> None:
    module = api.load(kinds.spec)
    for name in ("predict", "log_prob"):
        del module.programs[name]
    with pytest.raises(SpecError, match="MP540"):
        predict(kinds, module, "d.csv", tmp_path / "p.csv")
    (tmp_path / "spec.mp").write_text(KINDS.replace("kind", "row"))
    data = written(tmp_path / "d.csv", 40)
    data.write_text(data.read_text().replace("kind", "row"))
    train(api.load(tmp_path / "spec.mp"), tmp_path / "run", Options(data=str(data), steps=0))
    with pytest.raises(SpecError, match="MP541"):
        predict(open_run(tmp_path / "run"), api.load(tmp_path / "spec.mp"), str(data), tmp_path / "p.csv")


def test_draws_say_which_row_they_are_given(kinds: Run, tmp_path: Path, cli: Cli) -> None:
    """`sample --given FILE`: conditions row by row, from a file that has no more."""
    data = written(tmp_path / "d.csv", 5, labels=False)
    sample = partial(cli, "sample", kinds.folder, "--given", data)
    assert sample("-n", "12", "-o", tmp_path / "s.npz").code == 0
    x = points(5)[0].astype(np.float32)
    with np.load(tmp_path / "s.npz") as archive:
        assert archive["row"].tolist() == [i % 5 for i in range(12)]
        assert (archive["given_x"] == x[archive["row"]]).all() and set(archive["kind"].tolist()) <= {0, 1, 2}
        kind = [WORDS[k] for k in archive["kind"]]
    assert sample("-n", "12", "-o", tmp_path / "s.csv").code == 0
    assert [(r["row"], r["kind"]) for r in rows(tmp_path / "s.csv")] == [
        (str(i % 5), k) for i, k in enumerate(kind)
    ]
    data.write_text("a\n1\n")
    done = sample("-o", tmp_path / "t.csv")
    assert done.code == 1 and "MP503" in done.err


def test_sequences_end_where_they_end(tmp_path: Path) -> None:
    """A row is as wide as the longest, empty behind its end, and what it is alone."""
    r = np.random.default_rng(0)
    ends = np.array([3, 40, 7, 1, 20, 5, 9, 2, 12, 30, 4, 8])
    total = int(ends.sum())
    x, y, z = r.standard_normal((total, 2)), r.integers(0, 3, total), r.standard_normal(total)
    np.savez(tmp_path / "all.npz", x=x, y=y, z=z, length=ends)
    run = trained(tmp_path, LENGTHS, tmp_path / "all.npz")
    module = api.load(run.spec)
    np.savez(tmp_path / "some.npz", x=x, length=ends)  # another file: read whole, and without targets
    predict(run, module, str(tmp_path / "some.npz"), tmp_path / "p.npz")
    predict(run, module, str(tmp_path / "some.npz"), tmp_path / "p.csv")
    with np.load(tmp_path / "p.npz") as archive:
        y_, z_, p = archive["y"], archive["z"], archive["y_probability"]
    there = np.arange(y_.shape[1]) < ends[:, None]
    assert y_.shape == z_.shape == (12, 48) and p.shape == (12, 48, 3)
    assert (
        ((y_ >= 0) == there).all() and (np.isnan(z_) != there).all() and (np.isnan(p[..., 0]) != there).all()
    )
    for row, end, labels in zip(rows(tmp_path / "p.csv"), ends, y_, strict=True):
        cells = [row[f"y_{i}"] for i in range(48)]
        assert cells == [str(k) for k in labels[:end]] + [""] * (48 - end)
    np.savez(tmp_path / "one.npz", x=np.stack([x[3:43]]), length=np.array([40]))
    predict(run, module, str(tmp_path / "one.npz"), tmp_path / "one_.npz")
    with np.load(tmp_path / "one_.npz") as archive:
        np.testing.assert_allclose(archive["z"][0, :40], z_[1, :40], rtol=1e-4, atol=1e-6)


def test_a_table_is_there_once_all_of_it_is_written(tmp_path: Path) -> None:
    columns = [Column("a", whole=True, low=-3, words=("x", "y, z")), Column("b", (2,))]
    with table(tmp_path / "t.csv", columns, 2) as made:
        assert isinstance(made, Csv)
        made.add({"a": np.array([-2, -4]), "b": np.array([[0.1], [-np.inf]])})
        assert not (tmp_path / "t.csv").exists()
    assert (tmp_path / "t.csv").read_text() == 'a,b_0,b_1\n"y, z",0.1,\n,-inf,\n'
    for ending in (".csv", ".npz"):
        with pytest.raises(KeyError), table(tmp_path / f"t{ending}", columns, 2) as made:
            made.add({})
    assert os.listdir(tmp_path) == ["t.csv"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it fills up when the file is begun; the message names the file that was asked for."""

    def full(path: Path, *_: object, **__: object) -> Csv:
        path.write_bytes(b"PK")
        raise OSError(28, "No space left on device", path)

    monkeypatch.setitem(WRITERS, ".csv", full)
    monkeypatch.setattr(np, "savez_compressed", full)
    for name in ("t.csv", "s.npz"):
        (tmp_path / name).write_text("before")
    with pytest.raises(OSError, match=r"/t\.csv"), table(tmp_path / "t.csv", [], 2):
        pass
    with pytest.raises(OSError, match=r"/s\.npz"):
        write_arrays(tmp_path / "s.npz", Samples({"x": np.zeros(3)}, {}, {}, None, {}))
    assert sorted(os.listdir(tmp_path)) == ["s.npz", "t.csv"]
    assert all(path.read_text() == "before" for path in tmp_path.iterdir())
