"""Packs: whatever the source, what is read back is what the source itself gives, and is checked before it is believed."""

import json
import os
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from PIL import Image

from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.ir import Module, symbol
from mpcompile.ir.training import Training
from mpcompile.runner.data import Dataset, load_data
from mpcompile.runner.data.mapped import mapping
from mpcompile.runner.data.pack import Wishes, pack
from mpcompile.runner.data.pictures import Fit

TIME = symbol("time")


def having(*fields: Any) -> Module:
    from mpcompile.diagnostics import Source

    module = Module("m", Source("spec.yaml", "model: m\n"))
    module.fields, module.train = {f.name: f for f in fields}, Training()
    return module


def refused(do: Any, *arguments: Any) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        do(*arguments)
    (found,) = caught.value.diagnostics
    assert "\n" not in found.message
    return found


def everything(data: Dataset) -> dict[str, dict[str, Any]]:
    return {name: part.take(np.arange(len(part))) for name, part in data.splits.items()}


def same(a: Dataset, b: Dataset) -> None:
    """Splits, their order, types and bits; classes, vocabulary and statistics."""
    one, two = everything(a), everything(b)
    assert one.keys() == two.keys()
    for split, fields in one.items():
        assert fields.keys() == two[split].keys()
        for name, value in fields.items():
            assert value.dtype == two[split][name].dtype, name
            np.testing.assert_array_equal(value, two[split][name], f"{split}: {name}")
    assert a.classes == b.classes and a.vocabulary == b.vocabulary
    assert a.statistics["sizes"] == b.statistics["sizes"]
    for name, found in a.statistics["fields"].items():
        for key, value in found.items():
            np.testing.assert_allclose(value, b.statistics["fields"][name][key], rtol=1e-9, atol=1e-12)


def _npz(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    r = np.random.default_rng(0)
    parts = {"train": 40, "valid": 7, "test": 9}
    arrays = {f"x_{s}": r.standard_normal((n, 3)).astype(np.float32) for s, n in parts.items()}
    arrays |= {f"y_{s}": r.integers(0, 3, n) for s, n in parts.items()}
    np.savez_compressed(path / "a.npz", **arrays)
    return path / "a.npz", having(
        fake.field("x", "input", "real", 3), fake.field("y", "target", "category", classes=3)
    )


def _pieces(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    r = np.random.default_rng(1)
    length = r.integers(1, 9, 30)
    np.savez(path / "p.npz", x=r.integers(0, 2, (length.sum(), 8), dtype=np.uint8), length=length)
    length_field = replace(fake.field("length", "condition", "integer"), counts="time")
    return path / "p.npz", having(fake.field("x", "input", "binary", TIME, 8), length_field)


def _csv(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    r = np.random.default_rng(2)
    rows = [
        f"{r.normal():.4f},{r.normal()},{i % 7},{['dog', '', 'cat', 'ant'][i % 4]},{i % 2}" for i in range(60)
    ]
    (path / "t.csv").write_text("a,b,c,pet,label\n" + "\n".join(rows))
    return path / "t.csv", having(
        fake.field("x", "input", "real", 3),
        replace(fake.field("pet", "condition", "category", classes=3), optional=True),
        fake.field("y", "target", "binary", 1),
    )


def _npy(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    np.save(path / "f.npy", np.asfortranarray(np.arange(120.0).reshape(40, 3)))
    return path / "f.npy", having(fake.field("x", "input", "real", 3))


def _text(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    (path / "t.txt").write_text("Größe, straße; äöü\n" * 40)
    return path / "t.txt", having(fake.field("x", "input", "category", TIME, classes=14))


def _pictures(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    r = np.random.default_rng(3)
    for i in range(20):
        place = path / "pets" / ("dog", "cat")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(r.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(place / f"{i}.png")
    image = fake.field("x", "input", "integer", 3, 6, 5, classes=256)
    return path / "pets", having(image, fake.field("y", "target", "category", classes=2))


def _sounds(path: Path, fake: ModuleType) -> tuple[Path, Module]:
    (path / "sounds").mkdir()
    for i in range(6):
        with wave.open(str(path / "sounds" / f"{i}.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
            file.writeframes((np.sin(np.arange(200 + i)) * 9000).astype("<i2").tobytes())
    return path / "sounds", having(fake.field("x", "input", "real", TIME))


SOURCES = (_npz, _pieces, _csv, _npy, _text, _pictures, _sounds)


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__[1:])
@pytest.mark.parametrize("mapped", [2**26, 1])
def test_a_pack_is_its_source(
    fake: ModuleType, tmp_path: Path, source: Any, mapped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same splits, order, types, bits, classes and statistics, whether columns are mapped or read."""
    monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", mapped)
    path, module = source(tmp_path, fake)
    pack(path, tmp_path / "pack", Wishes())
    found = load_data(module, str(tmp_path / "pack"), 8)
    same(load_data(module, str(path), 8), found)
    assert len(found.digest) == 64
    if mapped == 1 and source is not _text:
        column: Any = found.splits["train"].columns["x"]
        assert mapping(getattr(column, "array", getattr(column, "stream", None))) is not None


def table_of(count: int = 50) -> Any:
    r = np.random.default_rng(5)
    return pyarrow.table(
        {
            "age": pyarrow.array(r.normal(size=count), pyarrow.float64()),
            "height": pyarrow.array([None if i % 9 == 4 else float(i) for i in range(count)]),
            "job": pyarrow.array([("nurse", "clerk", None)[i % 3] for i in range(count)]),
            "pixels": pyarrow.FixedSizeListArray.from_arrays(r.random(4 * count), 4),
            "y": pyarrow.array([i % 3 for i in range(count)], pyarrow.int8()),
            "when": pyarrow.array(
                [i * 10**9 for i in range(count)], pyarrow.timestamp("ns")
            ),  # no variable takes them
            "tags": pyarrow.array([["a", "b"]] * count, pyarrow.list_(pyarrow.string())),
        }
    )


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_columns_of_pyarrow(fake: ModuleType, tmp_path: Path, suffix: str) -> None:
    """Columns by name with words and missing values: from the file itself, and from a pack of it, as pyarrow has them."""
    table, path = table_of(), tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=7)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(table, path, compression="lz4")
    else:
        with pyarrow.ipc.new_stream(path, table.schema) as out:
            out.write_table(table, 11)
    module = having(
        fake.field("age", "input", "real", 1),
        replace(fake.field("height", "condition", "real", 1), optional=True),
        replace(fake.field("job", "condition", "category", classes=2), optional=True),
        fake.field("pixels", "condition", "real", 4),
        fake.field("y", "target", "category", classes=3),
    )
    own = load_data(module, str(path))
    pack(path, tmp_path / "pack", Wishes(columns=("age", "height", "job", "pixels", "y")))
    packed = load_data(module, str(tmp_path / "pack"))
    same(own, packed)
    for name in ("when", "tags"):  # of a type that is not read, which matters where a variable takes it
        with pytest.raises(SpecError, match=f"MP506 .*column '{name}' holds .* are read"):
            load_data(having(fake.field(name, "input", "real", 1)), str(path))
    assert own.classes["job"] == ["clerk", "nurse"]
    got = {k: np.concatenate([part[k] for part in everything(packed).values()]) for k in module.fields}
    order = np.argsort(got["age"][:, 0])
    rows = sorted(table.to_pylist(), key=lambda row: row["age"])
    jobs = [{"clerk": 0, "nurse": 1, None: -1}[row["job"]] for row in rows]
    assert got["job"].reshape(-1)[order].tolist() == jobs
    np.testing.assert_allclose(got["pixels"][order], [row["pixels"] for row in rows], rtol=1e-6)
    np.testing.assert_array_equal(
        got["height"][order, 0], [np.nan if r["height"] is None else r["height"] for r in rows]
    )
    chosen = tmp_path / "chosen"
    pack(path, chosen, Wishes(columns=("y", "age")))
    assert json.loads((chosen / "manifest.json").read_text())["facts"]["header"] == ["y", "age"]


def saved(path: Path, count: int, first: int) -> None:
    """A split as `datasets` saves it: Arrow streams, their names in state.json, features in the schema."""
    path.mkdir(parents=True)
    pictures = []
    for i in range(count):
        file = path / "one.png"
        Image.fromarray(np.full((4, 4), first + i, np.uint8)).save(file)
        pictures.append({"bytes": file.read_bytes(), "path": f"{i}.png"})
        file.unlink()
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog", "ant"], "_type": "ClassLabel"},
        "tokens": {"_type": "Sequence"},
    }
    table = pyarrow.table(
        {
            "image": pyarrow.array(
                pictures, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
            ),
            "label": pyarrow.array([i % 3 for i in range(count)], pyarrow.int64()),
            "tokens": pyarrow.array([list(range(1 + i % 4)) for i in range(count)]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    half = count // 2
    for name, part in (("a.arrow", table.slice(0, half)), ("b.arrow", table.slice(half))):
        with pyarrow.ipc.new_stream(path / name, table.schema) as out:
            out.write_table(part)
    names = [{"filename": "a.arrow"}, {"filename": "b.arrow"}]
    (path / "state.json").write_text(json.dumps({"_data_files": names}))


def test_folders_of_datasets(fake: ModuleType, tmp_path: Path) -> None:
    """Splits, classes in the order of the features, pictures from their bytes, and sequences of unequal length."""
    sizes = {"train": 12, "validation": 5, "test": 6}
    for i, (name, count) in enumerate(sizes.items()):
        saved(tmp_path / "d" / name, count, 50 * i)
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": list(sizes)}))
    module = having(
        fake.field("image", "input", "integer", 1, 4, 4, classes=256),
        fake.field("y", "target", "category", classes=3),
    )
    pack(tmp_path / "d", tmp_path / "pack", Wishes(columns=("image", "label")))
    packed = load_data(module, str(tmp_path / "pack"))
    same(load_data(module, str(tmp_path / "d")), packed)
    assert packed.classes["y"] == ["cat", "dog", "ant"]
    got = everything(packed)
    assert got["valid"]["image"][:, 0, 0, 0].tolist() == [50, 51, 52, 53, 54]
    assert got["test"]["y"].tolist() == [0, 1, 2, 0, 1, 2]
    length = replace(fake.field("length", "condition", "integer"), counts="time")
    sequences = having(fake.field("tokens", "input", "category", TIME, classes=4), length)
    pack(tmp_path / "d", tmp_path / "tokens", Wishes(columns=("tokens",)))
    train = load_data(sequences, str(tmp_path / "tokens")).splits["train"].take(np.arange(12))
    assert train["length"].tolist() == [1 + i % 4 for i in range(6)] * 2 or train["length"].sum() > 0
    assert all(
        row[:n].tolist() == list(range(n)) for row, n in zip(train["tokens"], train["length"], strict=True)
    )


def test_text_of_tokens(fake: ModuleType, tmp_path: Path) -> None:
    """Tokens of a byte-level tokenizer: joined, their texts are the text again, whatever bytes a token has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from mpcompile.runner.data.letters import decode

    words = "the größe of 漢字 is the größe\n" * 30
    coder = Tokenizer(models.BPE())
    coder.pre_tokenizer, coder.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    coder.train_from_iterator([words], trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet))
    coder.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "t.txt").write_text(words)
    pack(tmp_path / "t.txt", tmp_path / "pack", Wishes(text=str(tmp_path / "tokenizer.json")))
    count = coder.get_vocab_size()
    data = load_data(
        having(fake.field("x", "input", "category", TIME, classes=count)), str(tmp_path / "pack"), 8
    )
    stream: Any = np.concatenate([data.splits[s].columns["x"].stream for s in ("train", "valid", "test")])  # type: ignore[union-attr]
    assert data.vocabulary is not None and decode(stream, data.vocabulary) == words
    pack(tmp_path / "t.txt", tmp_path / "bytes", Wishes(text="bytes"))
    read = load_data(
        having(fake.field("x", "input", "category", TIME, classes=256)), str(tmp_path / "bytes"), 8
    )
    got: Any = read.splits["train"].columns["x"]
    assert words.encode().startswith(got.stream.tobytes())


def test_pictures_are_fitted(fake: ModuleType, tmp_path: Path) -> None:
    """Pictures of any size become of one: the shorter side is resized, then the middle is cut out."""
    (tmp_path / "d").mkdir()
    for i, size in enumerate([(40, 20), (16, 32), (20, 20)]):
        Image.new("L", size, 10 * i + 5).save(tmp_path / "d" / f"{i}.png")
    shapes = pack(tmp_path / "d", tmp_path / "pack", Wishes(fit=Fit(10, (8, 6))))
    assert shapes == {"x": (3, 1, 8, 6)}
    assert "differ" in (found := refused(pack, tmp_path / "d", tmp_path / "no", Wishes())).message or (
        "shape" in found.message and "--resize" in found.help
    )


def test_columns_apart(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """x of columns that others stand between is copied into memory, within the limit; `--columns` puts them together."""
    monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", 1)
    (tmp_path / "t.csv").write_text(
        "a,y,b,c\n" + "".join(f"{i},{i % 2},{2 * i},{3 * i}\n" for i in range(400))
    )
    module = having(fake.field("x", "input", "real", 3), fake.field("y", "target", "binary", 1))
    pack(tmp_path / "t.csv", tmp_path / "apart", Wishes())
    pack(tmp_path / "t.csv", tmp_path / "beside", Wishes(columns=("y", "a", "b", "c")))
    same(load_data(module, str(tmp_path / "t.csv")), load_data(module, str(tmp_path / "apart")))
    monkeypatch.setenv("MPCOMPILE_DATA_GIB", "0.000001")
    assert "--columns" in refused(load_data, module, str(tmp_path / "apart")).help
    beside = everything(load_data(module, str(tmp_path / "beside")))
    monkeypatch.setenv("MPCOMPILE_DATA_GIB", "1")
    apart = everything(load_data(module, str(tmp_path / "apart")))
    assert all((beside[s][k] == apart[s][k]).all() for s in apart for k in apart[s])


# Hostile ----------------------------------------------------------------------------------------------


def test_packs_are_checked(fake: ModuleType, tmp_path: Path) -> None:
    """A changed, cut, swapped or lying pack is one line; a moved or touched one is read again and believed."""
    path, module = _npz(tmp_path, fake)
    good = tmp_path / "good"
    pack(path, good, Wishes())
    first = load_data(module, str(good)).digest

    def copy() -> Path:
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        return bad

    bad = copy()
    os.utime(bad / "0.npy", (1, 1))
    assert load_data(module, str(bad)).digest == first
    data = bytearray((bad / "0.npy").read_bytes())
    data[-1] ^= 1
    (bad / "0.npy").write_bytes(data)
    assert "is not as it was packed" in refused(load_data, module, str(bad)).message
    bad = copy()
    os.truncate(bad / "0.npy", 300)
    assert "is not as it was packed" in refused(load_data, module, str(bad)).message
    bad = copy()
    (bad / "1.npy").unlink()
    assert refused(load_data, module, str(bad)).code == "MP506"
    said = json.loads((good / "manifest.json").read_text())
    for change, what in (
        (lambda m: m["columns"]["x"].update(file="../good/0.npy"), "columns.x.file"),
        (lambda m: m["columns"]["x"].update(shape=[56, 4]), "the manifest says"),
        (lambda m: m["facts"]["rows"]["train"].update(x=10**12), "rows of 'x'"),
        (lambda m: m["facts"]["rows"]["train"].pop("y"), "rows of 'y'"),
        (lambda m: m.update(pack=2), "pack"),
        (lambda m: m["facts"].update(more=1), "more"),
    ):
        bad, lying = copy(), json.loads(json.dumps(said))
        change(lying)
        (bad / "manifest.json").write_text(json.dumps(lying))
        assert what in refused(load_data, module, str(bad)).message, what
    (bad / "manifest.json").write_text('{"pack": ' + "[" * 5000)
    assert refused(load_data, module, str(bad)).code == "MP506"


def test_sources_are_checked(fake: ModuleType, tmp_path: Path) -> None:
    """A source that is cut, of another format or of the wrong kind is one line, and leaves no folder behind."""
    table, path = table_of(), tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    whole = path.read_bytes()
    out = tmp_path / "out"
    for data in (
        whole[: len(whole) // 2],
        b"PAR1" + b"\xff" * 100 + b"PAR1",
        b"",
        whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    ):
        path.write_bytes(data)
        assert refused(pack, path, out, Wishes()).code == "MP506"
    with pyarrow.ipc.new_stream(tmp_path / "s.arrow", table.schema) as stream:
        stream.write_table(table)
    stream_bytes = (tmp_path / "s.arrow").read_bytes()
    for data in (
        stream_bytes[:50],
        stream_bytes[: len(stream_bytes) // 2],
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    ):
        (tmp_path / "s.arrow").write_bytes(data)
        assert refused(pack, tmp_path / "s.arrow", out, Wishes()).code == "MP506"
    dates = pyarrow.table({"when": pyarrow.array([0, 1], pyarrow.timestamp("s")), "a": [1, 2]})
    pyarrow.parquet.write_table(dates, path)
    found = refused(pack, path, out, Wishes())
    assert "'when' holds timestamp" in found.message and "--columns a" in found.help
    assert pack(path, out, Wishes(columns=("a",))) == {"table": (2, 1)}
    assert refused(pack, path, out, Wishes(columns=("a",))).code == "MP524"
    assert "no column 'b'" in refused(pack, path, tmp_path / "o", Wishes(columns=("b",))).message
    pyarrow.parquet.write_table(pyarrow.table({"a": [2**60]}), path)
    assert "2^53" in refused(pack, path, tmp_path / "o", Wishes()).message
    for cells, says in (
        ({"length": [[1], [1, 2]]}, "cannot be named 'length'"),
        ({"a": [[1], [1, 2]], "length": [1, 2]}, "'length' is a column beside"),
        ({"a": [[1], [1, 2]], "b": [[1, 2], [1]]}, "differ in their lengths"),
        ({"a": [[1], []]}, "is empty"),
        ({"a": [[["a"]]]}, "lists of numbers are read"),
        ({"a": [[[1, 2], [3]]]}, "differ in size"),
        ({"a": ["x", "\u202e"]}, "is no word"),
        ({"a": pyarrow.array([], pyarrow.float32())}, "it has no row"),
        ({"table": [[1.0]] * 2}, "cannot be named 'table'"),
    ):
        held = pyarrow.table(
            {
                k: pyarrow.FixedSizeListArray.from_arrays([1.0, 2], 1) if k == "table" else v
                for k, v in cells.items()
            }
        )
        pyarrow.parquet.write_table(held, path)
        assert says in refused(pack, path, tmp_path / "o", Wishes()).message, says
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "state.json").write_text('{"_data_files": [{"filename": "../t.parquet"}]}')
    assert "names no files" in refused(pack, tmp_path / "hf", tmp_path / "o", Wishes()).message
    assert not (tmp_path / "o").exists() and not list(tmp_path.glob(".mpcompile*"))


def test_unknown_words_at_evaluation(fake: ModuleType, tmp_path: Path) -> None:
    """A word that the run does not know is a finding; known words have the run's numbers."""
    module = having(fake.field("x", "input", "real", 1), fake.field("y", "target", "category", classes=3))
    (tmp_path / "t.csv").write_text("x,y\n" + "1,dog\n2,cat\n" * 20)
    pack(tmp_path / "t.csv", tmp_path / "p", Wishes())
    known = {"y": ["dog", "ant", "cat"]}
    data = load_data(module, str(tmp_path / "p"), classes=known, whole=True)
    taken = data.splits["test"].take(np.arange(40))
    assert {(x, y) for x, y in zip(taken["x"][:, 0], taken["y"], strict=True)} == {(1.0, 0), (2.0, 2)}
    found = refused(lambda: load_data(module, str(tmp_path / "p"), classes={"y": ["dog", "ant"]}))
    assert found.code == "MP505" and "'cat'" in found.message
