"""Tables of named columns: a variable each, with words as classes and empty cells as missing values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.ir import Array
from mpcompile.runner.data import Column, load_data

SPEC = (
    "model people\ninput age: real(0..)?\ninput job: category('clerk', 'nurse', 'NA')?\ninput health: integer(1..5)?\n"
    "input owner: binary\nage ~ gamma(1, 1)\njob ~ categorical(logits = 0)\nhealth ~ ordinal(loc = 0)\n"
    "owner ~ bernoulli(logits = 0)\n"
).replace("'", '"')
#: Ten rows: holes in several spellings, words in another order than the spec's, quotes, spaces, columns in any order.
ROWS = [
    "3, nurse ,41.5,1", ",clerk,?,0", "5,NA,na,1", '1,"clerk",38,0', "NaN,,12,1", "2,nurse,-,0", "4,clerk,80,1",
    "1,n/a,7,0", "2,nurse,0.5,1", "3,clerk,61,0",
]  # fmt: skip


def written(folder: Path, rows: list[str], spec: str = SPEC, header: str = "health,job,age,owner") -> Path:
    (folder / "m.mp").write_text(spec)
    (folder / "d.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "d.csv"


def columns(folder: Path, rows: list[str], spec: str = SPEC) -> dict[str, Array]:
    """Every column [n] as a program reads it, in the order of the rows."""
    data = load_data(api.load(folder / "m.mp"), str(written(folder, rows, spec)), whole=True)
    split = data.splits["train"]
    assert all(isinstance(c, Column) for c in split.columns.values())
    return {k: c.take(np.arange(len(split))) for k, c in split.columns.items()}


def refused(folder: Path, rows: list[str], spec: str = SPEC) -> Diagnostic:
    path = written(folder, rows, spec)
    with pytest.raises(SpecError) as caught:
        load_data(api.load(folder / "m.mp"), str(path))
    (found,) = caught.value.diagnostics
    return found


def test_each_column_is_read_by_its_name(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    found = columns(tmp_path, ROWS)
    nan = np.nan
    np.testing.assert_array_equal(found["age"], np.float32([41.5, nan, nan, 38, 12, nan, 80, 7, 0.5, 61]))
    np.testing.assert_array_equal(found["job"], [1, 0, 2, 0, -1, 1, 0, -1, 1, 0])  # NA is a word of the spec
    np.testing.assert_array_equal(found["health"], np.float32([3, nan, 5, 1, nan, 2, 4, 1, 2, 3]))
    np.testing.assert_array_equal(found["owner"], np.float32([1, 0] * 5))
    assert found["job"].dtype.kind == "i"


def test_words_after_thousands_of_holes(tmp_path: Path) -> None:
    """Whether a column holds words is decided by its first cell that is there, in whatever block of rows."""
    rows = [",,,1"] * 4100 + ["1,nurse,2,0", ",clerk,,1"]
    written(tmp_path, rows)
    found = columns(tmp_path, rows)["job"]
    assert found[-2] == 1 and found[-1] == 0 and (found[:-2] == -1).all()


BAD = {
    "a word that the spec lacks": (
        "3,nurs,4,1", "MP505", ("'nurs', which", "first in row 12", "column 'job'"), "did you mean 'nurse'?",
    ),
    "a hole where none may be": ("3,nurse,4,", "MP506", ("row 12, column 4 (owner)", "empty"), "`?`"),
    "a mark of a hole where none may be": ("3,nurse,4,NA", "MP506", ("row 12", "'NA'"), "`?`"),
    "a word among numbers": ("3,nurse,old,1", "MP506", ("row 12, column 3 (age)", "'old'"), ""),
    "a number among words": ("3,7,4,1", "MP506", ("row 12, column 2 (job)", "'7'"), ""),
    "beyond the type": ("6,nurse,4,1", "MP504", ("column 'health'", "1 to 5"), ""),
    "below the type": ("3,nurse,-4,1", "MP504", ("column 'age'", "0 and more"), ""),
    "infinite": ("3,nurse,inf,1", "MP506", ("row 12", "'inf'"), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_data_are_held_to_the_type(case: str, tmp_path: Path) -> None:
    row, code, says, help = BAD[case]
    found = refused(tmp_path, [*ROWS, row])
    assert found.code == code and help in found.help
    assert all(part in found.message for part in says), found.message


def test_holes_of_a_vector_of_columns(tmp_path: Path) -> None:
    """Columns that no variable is named after make x, which may have holes."""
    spec = "model m\ninput x: real[2]?\ntarget kind: category(2)\nx ~ normal(0, 1)\nkind ~ categorical(logits = 0)\n"
    (tmp_path / "m.mp").write_text(spec)
    (tmp_path / "d.csv").write_text("a,b,label\n" + "1,,cat\n,2,dog\n" * 10)
    found = (
        load_data(api.load(tmp_path / "m.mp"), str(tmp_path / "d.csv"), whole=True)
        .splits["train"]
        .take(np.arange(2))
    )
    np.testing.assert_array_equal(found["x"], np.float32([[1, np.nan], [np.nan, 2]]))
    np.testing.assert_array_equal(found["kind"], [0, 1])


ALONE = {
    "real": "normal(0, 1)",
    "real(0..)": "gamma(1, 1)",
    "real(0..1)": "uniform",
    "integer(0..)": "poisson(mean = 1)",
    "integer(1..5)": "ordinal(loc = 0)",
    "binary": "bernoulli(logits = 0)",
}


@pytest.mark.parametrize("type", ALONE)
def test_a_column_of_missing_values_alone_has_statistics(tmp_path: Path, type: str) -> None:
    """A target that no example has: its law is left out, and `predict` gives it."""
    spec = f"model m\ninput x: real\ntarget y: {type}?\nx ~ normal(0, 1)\ny ~ {ALONE[type]}\n"
    (tmp_path / "m.mp").write_text(spec)
    np.savez(tmp_path / "d.npz", x=np.arange(20.0), y=np.full(20, np.nan))
    found = load_data(api.load(tmp_path / "m.mp"), str(tmp_path / "d.npz")).statistics
    json.dumps(found, allow_nan=False)
    assert [found["fields"]["y"][k] for k in ("low", "high", "mean", "deviation")] == [0, 0, 0, 0]
