"""Data sets: each is there and right, and each misfit is a finding that says what to do."""

import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpcompile.diagnostics import Diagnostic, Source, Span, SpecError
from mpcompile.ir import Field, Module, symbol
from mpcompile.ir.training import Training
from mpcompile.runner.data import NAMES, POINTS, TABLES, load_data

TIME = symbol("time")


def having(*fields: Field, **params: int) -> Module:
    module = Module("m", Source("spec.yaml", "model: m\ntrain: {data: d}\n"))
    module.fields = {f.name: f for f in fields}
    module.params = dict(params)
    module.train = Training(data="d", spans={"data": Span("spec.yaml", 2, 15, 2, 16)})
    return module


def refused(module: Module, spec: Any, **options: Any) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        load_data(module, str(spec), **options)
    (found,) = caught.value.diagnostics
    assert "\n" not in found.message
    return found


def rows(dataset: Any, split: str = "train", count: int = 5) -> dict[str, Any]:
    part = dataset.splits[split]
    taken: dict[str, Any] = part.take(np.arange(min(count, len(part))))
    return taken


@pytest.mark.parametrize("name", [n for n in POINTS if n not in ("sine", "line")])
def test_points(fake: ModuleType, name: str) -> None:
    module = having(fake.field("x", "input", "real", 2), fake.field("y", "target", "category", classes=8))
    data = load_data(module, name)
    taken = rows(data, count=400)
    assert taken["x"].shape == (400, 2) and taken["x"].dtype == np.float32
    assert taken["y"].shape == (400,) and taken["y"].dtype == np.int64
    assert np.ptp(taken["x"], 0).min() > 1
    assert not (rows(data, "test")["x"] == taken["x"][:5]).any()


@pytest.mark.parametrize(("name", "width", "target"), [
    ("iris", 4, "category"), ("wine", 13, "category"),
    ("breast_cancer", 30, "binary"), ("diabetes", 10, "real"),
])  # fmt: skip
def test_tables(fake: ModuleType, name: str, width: int, target: str) -> None:
    shape, classes = ((), 3) if target == "category" else ((1,), None)
    y = fake.field("y", "target", target, *shape, classes=classes)
    data = load_data(having(fake.field("x", "input", "real", width), y), name)
    sizes = data.statistics["sizes"]
    assert sizes["train"] > 6 * sizes["test"] > 0 and sizes["valid"] == sizes["test"]
    assert rows(data)["y"].shape == (5, *shape)


def test_xor_and_separable(fake: ModuleType) -> None:
    module = having(fake.field("x", "input", "binary", 2), fake.field("y", "target", "binary", 1))
    taken = rows(load_data(module, "xor"))
    assert (taken["y"][:, 0] == np.logical_xor(taken["x"][:, 0], taken["x"][:, 1])).all()
    plane = having(fake.field("x", "input", "real", 2), fake.field("y", "target", "binary", 1))
    taken = rows(load_data(plane, "separable"), count=400)
    side = taken["x"] @ [0.8, 0.6] - 0.3
    assert ((side > 0) == (taken["y"][:, 0] > 0)).all() and abs(side).min() > 0.19


def test_digits_meet_every_shape(fake: ModuleType) -> None:
    def taken(base: str, *shape: int, classes: int | None = None, name: str = "digits") -> Any:
        return rows(load_data(having(fake.field("x", "input", base, *shape, classes=classes)), name))["x"]

    flat, image = taken("real", 64), taken("real", 1, 8, 8)
    assert (flat == image.reshape(5, 64)).all() and flat.max() == 1
    whole = taken("integer", 1, 8, 8, classes=17)
    assert (whole == np.rint(image * 16)).all() and whole.dtype == np.int64
    assert taken("integer", 1, 8, 8, classes=256).max() == 255
    large = taken("binary", 784, name="binary_digits").reshape(5, 28, 28)
    small = taken("binary", 8, 8, name="binary_digits")
    assert (large[:, 2:26:3, 2:26:3] == small).all() and large.sum() == 9 * small.sum()
    assert taken("integer", 3, 32, 32, classes=256).shape == (5, 3, 32, 32)


def test_labels_beside_digits(fake: ModuleType) -> None:
    image = fake.field("image", "input", "real", 1, 8, 8)
    label = fake.field("label", "target", "category", classes=10)
    assert set(rows(load_data(having(image, label), "digits"), count=500)["label"]) == set(range(10))


def test_shapes_take_the_declared_size(fake: ModuleType) -> None:
    image = fake.field("image", "input", "real", 3, 24, 40)
    mask = fake.field("label", "target", "category", 24, 40, classes=4)
    taken = rows(load_data(having(image, mask), "shapes"))
    assert taken["image"].shape == (5, 3, 24, 40) and taken["image"].min() >= 0 and taken["image"].max() <= 1
    assert set(np.unique(taken["label"])) == {0, 1, 2, 3}


def test_text_is_cut_into_windows(fake: ModuleType) -> None:
    x = fake.field("x", "input", "category", TIME, classes=37)
    for base in ("real", "binary"):
        assert refused(having(fake.field("x", "input", base, TIME)), "text").code == "MP504"
    found = refused(having(x, letters=37), "text")
    assert (found.code, found.help) == ("MP505", "--set letters=36")
    y = fake.field("y", "target", "category", TIME, classes=36)
    data = load_data(having(fake.field("x", "input", "category", TIME, classes=36), y), "text", 32)
    assert data.vocabulary is not None and len(data.vocabulary) == 36
    part = data.splits["train"]
    taken = part.take(np.array([0, 1, len(part) - 1]), shift=31)
    assert taken["x"].shape == (3, 32)
    assert (taken["x"][:, 1:] == taken["y"][:, :-1]).all()
    text = "".join(data.vocabulary[i] for i in part.take(np.arange(3))["x"].ravel())
    assert text.isascii() and " " in text


def test_sequences(fake: ModuleType) -> None:
    x, y = fake.field("x", "input", "real", TIME, 2), fake.field("y", "target", "real", 1)
    taken = rows(load_data(having(x, y), "adding", 20))
    np.testing.assert_allclose((taken["x"][..., 0] * taken["x"][..., 1]).sum(1), taken["y"][:, 0], rtol=1e-6)
    tones = rows(load_data(having(fake.field("x", "input", "real", TIME)), "tones", 100))
    assert tones["x"].shape == (5, 100) and abs(tones["x"]).max() < 1
    rolls = rows(load_data(having(fake.field("x", "input", "binary", TIME, 88)), "rolls", 16))
    assert rolls["x"].shape == (5, 16, 88) and 2 < rolls["x"].sum(2).mean() < 5


def test_every_name_loads(fake: ModuleType) -> None:
    assert set(POINTS) | set(TABLES) < set(NAMES) and len(set(NAMES)) == len(NAMES)


# Users' files -----------------------------------------------------------------------------------------


def plane(fake: ModuleType, base: str = "real") -> Module:
    return having(fake.field("x", "input", base, 3), fake.field("y", "target", "real", 1))


def test_npz_with_and_without_splits(fake: ModuleType, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((100, 3))
    np.savez(tmp_path / "a.npz", x=x, y=x.sum(1))
    data = load_data(plane(fake), str(tmp_path / "a.npz"))
    assert data.statistics["sizes"] == {"train": 80, "valid": 10, "test": 10}
    taken = rows(data)
    np.testing.assert_allclose(taken["x"].sum(1), taken["y"][:, 0], rtol=1e-6)
    np.savez(tmp_path / "b.npz", x_train=x, y_train=x.sum(1), val_x=x[:9], y_val=x[:9].sum(1))
    data = load_data(plane(fake), str(tmp_path / "b.npz"))
    assert data.statistics["sizes"] == {"train": 100, "valid": 9} and len(data.split("test")) == 9
    bits = (x > 0.5).astype(np.uint8)
    packed = {"train": np.packbits(bits, axis=1), "train_shape": np.array(bits.shape)}
    np.savez(tmp_path / "c.npz", **packed)
    data = load_data(having(fake.field("x", "input", "binary", 3)), str(tmp_path / "c.npz"))
    assert (rows(data)["x"] == bits[:5]).all()


def test_csv_wav_and_pictures(fake: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,label,c\n" + "1,2,0.5,3\n" * 30)
    taken = rows(load_data(plane(fake), str(tmp_path / "a.csv")))
    assert taken["x"][0].tolist() == [1, 2, 3] and taken["y"][0].tolist() == [0.5]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(4000)) * 2**14).astype("<i2").tobytes())
    sound = load_data(having(fake.field("x", "input", "real", TIME)), str(tmp_path / "a.wav"), 50)
    np.testing.assert_allclose(rows(sound)["x"][0], np.sin(np.arange(50)) / 2, atol=1e-3)
    for i in range(20):
        folder = tmp_path / "pictures" / ("odd" if i % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(folder / f"{i}.png")
    x = fake.field("x", "input", "integer", 3, 4, 6, classes=256)
    y = fake.field("y", "target", "category", classes=2)
    taken = rows(load_data(having(x, y), str(tmp_path / "pictures")), count=16)
    assert (taken["x"][:, 0, 0, 0] % 2 == taken["y"]).all()


def test_a_users_text(fake: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabc" * 100)
    x = fake.field("x", "input", "category", TIME, classes=3)
    data = load_data(having(x), str(tmp_path / "a.txt"), 10)
    assert data.vocabulary == ["a", "b", "c"] and rows(data)["x"][0, :4].tolist() == [0, 1, 2, 0]
    (tmp_path / "b.txt").write_text("abcd" * 100)
    found = refused(having(x), tmp_path / "b.txt", length=10, vocabulary=["a", "b", "c"])
    assert found.code == "MP506" and "lacks 'd'" in found.message
    assert refused(having(x), tmp_path / "a.txt", length=1000).code == "MP507"


def test_text_as_bytes(fake: ModuleType, tmp_path: Path) -> None:
    """A category of 256 reads UTF-8; a letter of two bytes is two of its steps."""
    from mpcompile.runner.data.letters import BYTES, decode, encode

    (tmp_path / "a.txt").write_text("für " * 100, encoding="utf-8")
    data = load_data(
        having(fake.field("x", "input", "category", TIME, classes=256)), str(tmp_path / "a.txt"), 10
    )
    first = rows(data)["x"][0]
    assert first.tolist() == list("für für ".encode())[:10]
    assert data.vocabulary == BYTES and decode(first[:5], BYTES) == "für "
    assert decode(encode("grün", BYTES), BYTES) == "grün" and decode(np.array([0xC3]), BYTES) == "\ufffd"


def test_sound_for_a_category_is_mu_law_encoded(fake: ModuleType, tmp_path: Path) -> None:
    """Codes of G.711's curve, and back within half a step of it; a folder keeps whole files apart."""
    from mpcompile.runner.data.sound import companded, expanded

    x = np.linspace(-1, 1, 4001)
    y = np.sign(x) * np.log(1 + 255 * abs(x)) / np.log(256)
    assert (companded(x, 256) == np.rint((y + 1) * 127.5)).all()
    assert (companded(expanded(np.arange(256), 256), 256) == np.arange(256)).all()
    wave_and_timbre = having(
        fake.field("x", "input", "category", TIME, classes=64),
        fake.field("timbre", "condition", "category", classes=4),
    )
    real = having(fake.field("x", "input", "real", TIME), wave_and_timbre.fields["timbre"])
    codes, waves = (rows(load_data(m, "tones", 50), count=40) for m in (wave_and_timbre, real))
    assert codes["x"].dtype == np.int64 and 0 <= codes["x"].min() < 8 and 56 < codes["x"].max() < 64
    assert (codes["x"] == companded(waves["x"], 64)).all() and (codes["timbre"] == waves["timbre"]).all()
    (tmp_path / "s").mkdir()
    for i in range(20):
        with wave.open(str(tmp_path / "s" / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.full(100, i * 1000, "<i2").tobytes())
    data = load_data(having(fake.field("x", "input", "real", TIME)), str(tmp_path / "s"), 25)
    found = [set(np.unique(rows(data, s, 100)["x"])) for s in ("train", "valid", "test")]
    assert [len(f) for f in found] == [16, 2, 2] and len(set.union(*found)) == 20


def test_pictures_of_fewer_levels(fake: ModuleType) -> None:
    """Our own pictures fit an integer of fewer levels: each is as many grey levels."""
    few, all_ = (
        rows(load_data(having(fake.field("x", "input", "integer", 3, 6, 6, classes=k)), "shapes"))["x"]
        for k in (4, 256)
    )
    assert (few == all_ // 64).all() and len(np.unique(few)) == 4


# Misfits ----------------------------------------------------------------------------------------------


def test_unknown_and_missing(fake: ModuleType, tmp_path: Path) -> None:
    stated, found = refused(plane(fake), "d"), refused(plane(fake), "moon")
    assert (stated.code, stated.span.line) == ("MP501", 2)  # where the spec names it
    assert (found.code, found.help, found.span.line) == ("MP501", "did you mean `moons`?", 0)  # by --data
    found = refused(plane(fake), tmp_path / "no.npz")
    assert found.message.startswith("there is no data file") and "--data" in found.help


def test_pickles_are_never_loaded(fake: ModuleType, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    found = refused(plane(fake), tmp_path / "a.npz")
    assert found.code == "MP506" and "pickled" in found.message


@pytest.mark.parametrize(("text", "says"), [
    ("1,2\n3\n", "row 2 has 1 value, the first row has 2 values"),
    ("1,2\n3,x\n", "row 2, column 2 holds 'x'"), ("", "empty"), ("a,b\n", "no row"),
    ("1,2\n3,nan\n", "row 2, column 2 holds 'nan'"),
    ("1,2\n,3\n", "row 2, column 1: the cell is empty"), ("a,y\n1,yes\n2,0\n", "row 3, column 2 (y) holds '0'"),
    ("a,y\n1,yes\n2,?\n", "row 3, column 2 (y) holds '?', a missing value"),
    ("a,y\n1,0\n2,yes\n", "row 3, column 2 (y) holds 'yes'"), ("?,1,0,1\n1,1,0,1\n", "row 1, column 1 holds '?'"),
    ("NA,NA\n1,2\n", "row 1, column 1 holds 'NA'"), ("5,3,rose\n1,2,rose\n", "row 1, column 3 holds 'rose'"),
    (",a,b\n0,1,2\n", "row 1, column 1: the header has no name"), ("1;2\n3;4\n", "row 1, column 1 holds '1;2'"),
    ("kind,y\nkind,y\na,b\n", "row 2 repeats the header"), ("a,y\n1,2\n\n3,4\n a, y \n", "row 5 repeats the header"),
])  # fmt: skip
def test_bad_csv(fake: ModuleType, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    found = refused(plane(fake), tmp_path / "a.csv")
    assert found.code == "MP506" and says in found.message


@pytest.mark.parametrize(
    ("text", "code", "help"),
    [
        ("a;b\n1,5;2,5\n", "MP506", "separated by commas"),
        ("a\tb\n1,5\t2,5\n", "MP506", "separated by commas"),
        ("1,5;2\n3,5;4\n", "MP506", "separated by commas"),
        ("x,y\n1,2\n3,4\n", "MP503", "the column headed 'y' is y, which no variable takes"),
        ("x,z,Label\n1,2,3\n3,4,5\n", "MP503", "the column headed 'Label' is y, which no variable takes"),
    ],
)
def test_a_table_of_another_form_says_how_it_is_mended(
    fake: ModuleType, tmp_path: Path, text: str, code: str, help: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    found = refused(having(fake.field("x", "input", "real", 3)), tmp_path / "a.csv")
    assert found.code == code and help in found.help


def test_labels_in_words_are_classes(fake: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,label\n" + "1,2,3,pear\n4,5,6,apple\n" * 20)
    module = having(fake.field("x", "input", "real", 3), fake.field("kind", "target", "category", classes=2))
    taken = rows(load_data(module, str(tmp_path / "a.csv")), count=32)
    assert (taken["kind"] == (taken["x"][:, 0] == 1)).all() and 0 < taken["kind"].mean() < 1


def test_a_missing_label_is_said(fake: ModuleType, tmp_path: Path) -> None:
    """A target takes the input's own column only where it has the input's shape."""
    (tmp_path / "a.csv").write_text("a,b,c\n" + "1,2,3\n" * 30)
    assert refused(plane(fake), tmp_path / "a.csv").code == "MP502"
    copy = having(fake.field("x", "input", "real", 3), fake.field("y", "target", "real", 3))
    taken = rows(load_data(copy, str(tmp_path / "a.csv")))
    assert (taken["x"] == taken["y"]).all()
    (tmp_path / "flat").mkdir()
    for i in range(20):
        Image.fromarray(np.full((4, 6), i, np.uint8)).save(tmp_path / "flat" / f"{i}.png")
    pictures = having(
        fake.field("x", "input", "integer", 1, 4, 6, classes=256),
        fake.field("y", "target", "category", classes=2),
    )
    found = refused(pictures, tmp_path / "flat")
    assert found.code == "MP502" and "folder of its own" in found.help


def test_sounds_of_two_rates(fake: ModuleType, tmp_path: Path) -> None:
    module = having(fake.field("x", "input", "real", TIME))
    for i, rate in enumerate((8000, 8000, 16000)):
        with wave.open(str(tmp_path / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(np.zeros(100, "<i2").tobytes())
    found = refused(module, tmp_path, length=20)
    assert found.code == "MP506" and "2.wav: sounds must share one rate; this has 16000 Hz" in found.message
    assert load_data(module, str(tmp_path / "2.wav"), 20).statistics["rate"] == 16000


def test_text_that_is_not_utf8(fake: ModuleType, tmp_path: Path) -> None:
    """A category of 256 reads its bytes; other models are told of that."""
    (tmp_path / "a.txt").write_bytes("gr\xf6\xdfe ".encode("latin-1") * 50)
    text, letters = (having(fake.field("x", "input", "category", TIME, classes=k)) for k in (256, 6))
    first = rows(load_data(text, str(tmp_path / "a.txt"), 10))["x"][0]
    assert first.tolist() == list("gr\xf6\xdfe ".encode("latin-1") * 2)[:10]
    found = refused(letters, tmp_path / "a.txt", length=10)
    assert found.code == "MP506" and "not UTF-8 (byte 0xf6 at 2)" in found.message


def test_shape_range_and_columns(fake: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((50, 4)), y=np.ones(50))
    found = refused(plane(fake), path)
    assert found.code == "MP503" and "'x' has shape [3]" in found.message and "[4]" in found.message
    np.savez(path, x=np.full((50, 3), 0.5), y=np.ones(50))
    found = refused(plane(fake, "binary"), path)
    assert found.code == "MP504" and "0.5 to 0.5" in found.message and "threshold" in found.help
    assert rows(load_data(plane(fake, "binary"), str(path), threshold=0.4))["x"].all()
    found = refused(having(fake.field("x", "input", "integer", 3, classes=4)), path)
    assert found.code == "MP504" and "fractions" in found.message
    np.savez(path, x=np.full((50, 3), 9), y=np.ones(50))
    found = refused(having(fake.field("x", "input", "integer", 3, classes=4)), path)
    assert found.code == "MP504" and "'x' takes 0 to 3" in found.message
    np.savez(path, x=np.full((50, 3), np.nan), y=np.ones(50))
    assert "not finite" in refused(plane(fake), path).message
    np.savez(path, x=np.ones((50, 3)), y=np.ones(49))
    assert refused(plane(fake), path).code == "MP507"
    np.savez(path, a=np.ones((50, 3)), b=np.ones(50))
    found = refused(plane(fake), path)
    assert found.code == "MP502" and "columns: a, b" in found.message
    assert refused(having(fake.field("x", "input", "binary", 64)), "digits").code == "MP504"
