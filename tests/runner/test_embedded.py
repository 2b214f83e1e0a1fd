"""Embedded data sets are the public ones, bit by bit, and reading them needs no other package than numpy."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from mpcompile.runner.data import TABLES, images, points, tables

SOURCES = {name: getattr(datasets, f"load_{name}") for name in (*TABLES, "digits")}
SOURCES["diabetes"] = partial(datasets.load_diabetes, scaled=False)


def test_every_file_has_a_source_and_a_licence() -> None:
    folder = Path(tables.__file__).parent
    files = {path.name for path in folder.glob("*.npz")}
    assert files == {f"{name}.npz" for name in SOURCES}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in files)


@pytest.mark.parametrize("name", SOURCES)
def test_an_embedded_set_is_the_public_one(name: str) -> None:
    x, y = tables.embedded(name)
    public_x, public_y = SOURCES[name](return_X_y=True)
    np.testing.assert_array_equal(x.reshape(len(x), -1), public_x)
    np.testing.assert_array_equal(y, public_y)
    raw = images.digits() if name == "digits" else points.table(name)
    assert len(raw.splits["train"]["x"]) == len(public_x)


def test_reading_them_loads_numpy_alone() -> None:
    code = (
        "import sys\n"
        "from mpcompile.runner.data import TABLES, images, points\n"
        "images.digits(binary=True), [points.table(name) for name in TABLES]\n"
        "print(sorted({'sklearn', 'scipy', 'pandas', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
