"""Data are untrusted: every reader against every corruption gives data or one located line, and nothing hangs."""

import os
import random
import socket
import tracemalloc
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpcompile.diagnostics import Diagnostic, Source, SpecError
from mpcompile.ir import Field, Module, symbol
from mpcompile.runner.data import Dataset, load_data
from mpcompile.runner.data.opening import LIMIT

TIME = symbol("time")
SEED = 20


def having(*fields: Field) -> Module:
    module = Module("m", Source("spec.yaml", "model: m\ntrain: {data: d}\n"))
    module.fields = {f.name: f for f in fields}
    return module


def attempt(module: Module, path: Path) -> Dataset | Diagnostic:
    """The data, or the one finding, which names the file on one printable line."""
    try:
        return load_data(module, str(path), 5)
    except SpecError as problem:
        (found,) = problem.diagnostics
        assert found.code in ("MP501", "MP502", "MP503", "MP504", "MP505", "MP506", "MP507")
        assert path.name in found.message or found.code == "MP502", found.message
        assert (found.message + found.help).isprintable() and len(found.message) < 600
        return found


def refused(module: Module, path: Path, code: str = "MP506") -> str:
    found = attempt(module, path)
    assert isinstance(found, Diagnostic) and found.code == code, found
    return found.message


def _npy(path: Path) -> None:
    np.save(path, np.random.default_rng(0).random((40, 3)).astype(np.float32))


def _npz(path: Path) -> None:
    np.savez_compressed(path, x=np.random.default_rng(0).random((40, 3)))


def _csv(path: Path) -> None:
    path.write_text("a,b,c\n" + "1,2.5,3e1\n" * 30)


def _txt(path: Path) -> None:
    path.write_text("the quick brown fox " * 10)


def _wav(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(400)) * 2**14).astype("<i2").tobytes())


def _png(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)).save(path)


MAKERS: dict[str, Callable[[Path], None]] = {
    ".npy": _npy, ".npz": _npz, ".csv": _csv, ".txt": _txt, ".wav": _wav, ".png": _png, ".jpg": _png,
}  # fmt: skip


def place(folder: Path, ending: str) -> tuple[Path, Path]:
    """A sound file, and the path that is the data: the file, or its folder of pictures."""
    pictures = ending in (".png", ".jpg")
    file = folder / ("pictures" if pictures else "") / f"data{ending}"
    file.parent.mkdir(exist_ok=True)
    MAKERS[ending](file)
    return file, file.parent if pictures else file


def fitting(fake: ModuleType, ending: str) -> Module:
    if ending == ".txt":
        return having(fake.field("x", "input", "category", TIME, classes=16))
    if ending == ".wav":
        return having(fake.field("x", "input", "real", TIME))
    shape = (3, 6, 5) if ending in (".png", ".jpg") else (3,)
    return having(fake.field("x", "input", "real", *shape))


def _spoiled(data: bytes) -> dict[str, bytes]:
    r = random.Random(SEED)
    spoiled = {"empty": b"", "one byte": data[:1], "zeros": bytes(len(data)), "noise": r.randbytes(200),
               "text": b"%!PS-Adobe-3.0\n", "twice": data + data, "utf-16": "1,2,3\n".encode("utf-16")}  # fmt: skip
    for share in (0.1, 0.5, 0.9, 0.99):
        spoiled[f"first {share}"] = data[: int(share * len(data))]
    for i in range(120):
        at, bit = r.randrange(len(data)), r.randrange(8)
        spoiled[f"bit {i}"] = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        spoiled[f"head {i}"] = bytes(data[j] ^ (1 << bit if j == i else 0) for j in range(len(data)))
    return spoiled


@pytest.mark.parametrize("ending", MAKERS)
def test_every_reader_against_every_corruption(fake: ModuleType, tmp_path: Path, ending: str) -> None:
    file, data = place(tmp_path, ending)
    module, sound = fitting(fake, ending), file.read_bytes()
    assert isinstance(attempt(module, data), Dataset)
    for spoiled in _spoiled(sound).values():
        file.write_bytes(spoiled)
        attempt(module, data)


@pytest.mark.parametrize("ending", MAKERS)
def test_what_is_no_file_never_hangs(fake: ModuleType, tmp_path: Path, ending: str) -> None:
    file, data = place(tmp_path, ending)
    module = fitting(fake, ending)

    def fifo() -> None:
        os.mkfifo(file)

    def listening() -> None:
        with socket.socket(socket.AF_UNIX) as s:
            here = os.getcwd()
            os.chdir(file.parent)  # a socket's path is short
            s.bind(file.name)
            os.chdir(here)

    kinds = {"a pipe": fifo, "a socket": listening, "a device": lambda: file.symlink_to("/dev/zero")}
    for kind, make in kinds.items():
        file.unlink()
        make()
        assert f"it is {kind}, not a file" in refused(module, data)
    file.unlink()
    file.symlink_to(file)
    found = attempt(module, data)
    assert isinstance(found, Diagnostic) and found.code == "MP506"
    file.unlink()
    file.symlink_to(file.parent / "gone")
    assert isinstance(attempt(module, data), Diagnostic)
    file.unlink()
    file.mkdir()
    assert isinstance(attempt(module, data), Diagnostic)


def test_links_between_folders_are_not_followed(fake: ModuleType, tmp_path: Path) -> None:
    _, data = place(tmp_path, ".png")
    (data / "again").symlink_to(data)
    found = attempt(fitting(fake, ".png"), data)
    assert isinstance(found, Dataset) and len(found.splits["train"]) == 1


def test_a_limit_is_asked_before_anything_is_allocated(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fitting(fake, ".npz")
    for text in ("0", "-1", "nan", "inf", "1e99", "x"):
        monkeypatch.setenv(LIMIT, text)
        assert LIMIT in refused_by_limit(module, tmp_path)
    monkeypatch.setenv(LIMIT, "0.0001")
    for ending, maker in MAKERS.items():
        file, data = place(tmp_path, ending)
        grown(file, ending, maker)
        if ending == ".jpg":
            continue
        assert "in memory, the limit is 0.102 MiB" in refused(fitting(fake, ending), data) or ending == ".npy"


def refused_by_limit(module: Module, folder: Path) -> str:
    _npz(folder / "a.npz")
    try:
        load_data(module, str(folder / "a.npz"))
    except SpecError as problem:
        return problem.diagnostics[0].message
    raise AssertionError


def grown(file: Path, ending: str, maker: Callable[[Path], None]) -> None:
    """The same with more than 0.1 MiB in it."""
    if ending == ".npy":
        np.save(file, np.zeros((20_000, 3)))
    elif ending == ".npz":
        np.savez_compressed(file, x=np.zeros((20_000, 3)))
    elif ending in (".png", ".jpg"):
        Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(file)
    else:
        with file.open("ab") as out:
            out.write(file.read_bytes()[-20:] * 10_000)


# Arrays ------------------------------------------------------------------------------------------------


def npy_bytes(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin-1") + b"\n"
    return (
        b"\x93NUMPY"
        + bytes(version)
        + len(text).to_bytes(2 if version[0] == 1 else 4, "little")
        + text
        + body
    )


def described(descr: str, shape: str, fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


HEADERS = {
    "huge": (described("'<f8'", "(1000000000000,)"), "8000000000000 bytes"),
    "huger": (described("'<f8'", f"({10**30},)"), "bytes of shape"),
    "negative": (described("'<f8'", "(-1, 3)"), "negative"),
    "objects": (described("'|O'", "(1,)"), "pickled objects"),
    "records": (described("[('a', '<f8')]", "(1,)"), "records, not numbers"),
    "complex": (described("'<c8'", "(1,)"), "complex64, not numbers"),
    "words": (described("'<U8'", "(1,)"), "not numbers"),
    "scalar": (described("'<f8'", "()"), "single number"),
    "times": (described("'<M8[s]'", "(1,)"), "not numbers"),
    "unknown type": (described("'<z9'", "(1,)"), "header"),
    "no shape": ("{'descr': '<f8'}", "header"),
    "nested": ("(" * 5000, "header"),
    "call": ("__import__('os').getcwd()", "header"),
    "text shape": (described("'<f8'", "'ab'"), "header"),
    "boolean size": (described("'<f8'", "(True, 3)"), "bytes of shape"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_arrays(fake: ModuleType, tmp_path: Path, kind: str) -> None:
    """The same in a .npy and as a member of a .npz, without allocating what a header claims."""
    header, says = HEADERS[kind]
    module, held = fitting(fake, ".npy"), npy_bytes(header, bytes(8))
    (tmp_path / "a.npy").write_bytes(held)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", held)
    tracemalloc.start()
    assert says in refused(module, tmp_path / "a.npy")
    inside = refused(module, tmp_path / "a.npz")
    assert says in inside and "array 'x'" in inside
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", ">i2", "<u8", "|b1", "<f2", "|i1"])
def test_arrays_of_every_order_and_type(
    fake: ModuleType, tmp_path: Path, order: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read is what was written, whether it is read or mapped."""
    x = np.asarray(np.arange(120).reshape(40, 3) % 7, kind, order=order)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x=x)
    for mapped in (2**26, 1):
        monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", mapped)
        for name in ("a.npy", "a.npz"):
            data = load_data(fitting(fake, ".npy"), str(tmp_path / name))
            rows = np.concatenate([s.take(np.arange(len(s)))["x"] for s in data.splits.values()])
            assert sorted(map(tuple, rows)) == sorted(map(tuple, x.astype(np.float32)))
            assert data.statistics["fields"]["x"]["high"] == x.max()


def test_archives(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, path = fitting(fake, ".npz"), tmp_path / "a.npz"
    _npz(path)
    data = bytearray(path.read_bytes())
    central = data.rfind(b"PK\1\2")
    for at in (6, central + 8):
        data[at] |= 1
    path.write_bytes(data)
    assert "array 'x' is encrypted" in refused(module, path)
    _npz(path)
    data = bytearray(path.read_bytes())
    for at in (8, central + 10):
        data[at] = 99
    path.write_bytes(data)
    assert "array 'x' is compressed by method 99" in refused(module, path)
    _npz(path)
    data = bytearray(path.read_bytes())
    data[-6] += 10  # where the directory starts: what it lists would begin before the file does
    path.write_bytes(data)
    assert "is damaged or of another format" in refused(module, path)
    monkeypatch.setenv(LIMIT, "0.05")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as out:
        out.write(npy_bytes(described("'|u1'", "(60000000, 1)")))
        out.write(bytes(60_000_000))
    assert "takes 57.2 MiB in memory, the limit is 51.2 MiB" in refused(module, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "'notes.txt' in it is no array" in refused(module, path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert "it holds no array" in refused(module, path)
    for shape in ([], [-1], [3, 10**9], [0.5], [[3]]):
        np.savez(path, x=np.zeros((4, 1), np.uint8), x_shape=np.array(shape))
        assert "no shape of the packed bits" in refused(module, path)


def test_a_long_array_is_a_stream_in_its_order(fake: ModuleType, tmp_path: Path) -> None:
    """A vector for a variable of symbolic length is cut into windows, never shuffled; the last tenths are held out."""
    np.save(tmp_path / "a.npy", np.arange(1000.0))
    data = load_data(having(fake.field("x", "input", "real", TIME)), str(tmp_path / "a.npy"), 20)
    ends = [
        (s.take(np.arange(len(s)))["x"].min(), s.take(np.arange(len(s)))["x"].max())
        for s in data.splits.values()
    ]
    assert ends[0][0] == 0 and ends[1][0] == 900 and ends[2][0] == 950
    assert (np.diff(data.splits["train"].take(np.arange(5))["x"], axis=1) == 1).all()


# Tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "says"), [
    (b"1,2,3\n" * 5 + b"1," + b"9" * 200_000 + b",3\n", "row 6 has a cell of more than 131072 characters"),
    (b"1,2,3\n1,2\0,3\n", "row 2, column 2 holds '2\\x00'"),
    (b"1,2,3\n1,\xff,3\n", "row 2 is not UTF-8"),
    ("1,2,3\n".encode("utf-16"), "row 1 is not UTF-8"),
    (b"1,2,3\n1,2,3,4\n", "row 2 has 4 values, the first row has 3"),
    (b"a,b,c\n1,2,3\n1,inf,3\n", "row 3, column 2 (b) holds 'inf'"),
    (b"1,2,3\n\"1\"2,2,3\n", "row 2 has a stray quote"),
    (b"1,2,3\n1,\x1b[31m,3\n", "row 2, column 2 holds '\\x1b[31m'"),
    (b"a,label,c\n1,\x1b[31mred,3\n1,blue,3\n", "holds '\\x1b[31mred'"),
    (b"\n\n", "it is empty"), (b"1_0,2,3\n1,2,3\n", "row 1, column 1 holds '1_0'"),
    (b"1e400,2,3\n1,2,3\n", "row 1, column 1 holds '1e400'"),
])  # fmt: skip
def test_tables(fake: ModuleType, tmp_path: Path, text: bytes, says: str) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    assert says in refused(fitting(fake, ".csv"), tmp_path / "a.csv")


def test_tables_that_are_right(fake: ModuleType, tmp_path: Path) -> None:
    for text in ("\ufeffa,b,c\n1,2,3\n", "1,2,3\r\n", '"a","b","c"\n"1","2","3"\n', "1, 2 ,3\n\n"):
        (tmp_path / "a.csv").write_text(text, newline="")
        data = load_data(fitting(fake, ".csv"), str(tmp_path / "a.csv"))
        assert data.splits["train"].take(np.arange(1))["x"].tolist() == [[1, 2, 3]]


def test_columns_by_the_names_of_variables(fake: ModuleType, tmp_path: Path) -> None:
    """A header names the columns of variables; the others are x, and y by its usual names."""
    (tmp_path / "a.csv").write_text("age,income,y\n" + "".join(f"{i},{10 * i},{i % 2}\n" for i in range(40)))
    fields = [
        fake.field("age", "input", "real", 1),
        fake.field("income", "input", "real"),
        fake.field("y", "target", "binary", 1),
    ]
    data = load_data(having(*fields), str(tmp_path / "a.csv"))
    taken = data.splits["train"].take(np.arange(20))
    assert (taken["income"] == 10 * taken["age"][:, 0]).all() and (taken["y"] == taken["age"] % 2).all()
    rest = load_data(
        having(fake.field("x", "input", "real", 1), fields[1], fields[2]), str(tmp_path / "a.csv")
    )
    taken = rest.splits["train"].take(np.arange(20))
    assert (taken["income"] == 10 * taken["x"][:, 0]).all()
    found = attempt(having(*fields, fake.field("height", "condition", "real", 1)), tmp_path / "a.csv")
    assert isinstance(found, Diagnostic) and found.code == "MP502"
    assert "columns: age, income, y" in found.message and "'height'" in found.help
    (tmp_path / "a.csv").write_text("age,Income,Height,y\n" + "1,2,3,0\n" * 40)
    found = attempt(having(*fields, fake.field("height", "condition", "real", 1)), tmp_path / "a.csv")
    assert isinstance(found, Diagnostic) and found.code == "MP502"
    assert "columns: x (from 'Income', 'Height'), age, y" in found.message
    assert found.help.startswith("head the column 'Height' 'height'")


def test_a_text_with_a_mark_and_without_utf8(fake: ModuleType, tmp_path: Path) -> None:
    module, path = having(fake.field("x", "input", "category", TIME, classes=4)), tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"abcd" * 20)
    assert load_data(module, str(path), 5).vocabulary == ["a", "b", "c", "d"]
    path.write_bytes(b"abc" * 20 + b"\xc3")
    assert "not UTF-8 (byte 0xc3 at 60)" in refused(module, path)


def test_where_values_that_a_field_cannot_take_are(fake: ModuleType, tmp_path: Path) -> None:
    x = np.zeros((50, 3))
    x[7, 1] = x[9, 1] = np.nan
    np.save(tmp_path / "a.npy", x)
    assert "not finite, 2 of 120 values, in x[1]" in refused(
        fitting(fake, ".npy"), tmp_path / "a.npy", "MP504"
    )
    x[7, 1] = x[9, 1] = 2
    np.save(tmp_path / "a.npy", x)
    whole = having(fake.field("x", "input", "integer", 3, classes=2))
    assert "holds 0 to 2, 'x' takes 0 to 1" in refused(whole, tmp_path / "a.npy", "MP504")
    x[:, 2] = 1e300
    np.save(tmp_path / "a.npy", x)
    assert "beyond float32 (1e+300), 40 of 120 values, in x[2]" in refused(
        fitting(fake, ".npy"), tmp_path / "a.npy", "MP504"
    )


def test_memory(fake: ModuleType, tmp_path: Path) -> None:
    """A mapped array is never copied whole: neither to check it, nor to split it, nor for its statistics."""
    tall = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (40_000, 500))
    tall[:, 0] = np.arange(40_000)
    tall.flush()
    tracemalloc.start()
    data = load_data(having(fake.field("x", "input", "real", 500)), str(tmp_path / "a.npy"))
    data.splits["train"].take(np.arange(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.statistics["sizes"]["train"] == 32_000 and peak < 40e6 < tall.nbytes
