"""Constants of emitted code: rules and short lists stand in the text, long arrays in the file beside it."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import specs_under_test as specs
from safetensors.numpy import load

from mpcompile.emission.constants import FILE, Constants, nested

BACKENDS = ("torch", "jax")


def files(backend: str, name: str) -> dict[str, Any]:
    return dict(specs.emitted(backend, name))


def source(backend: str, name: str) -> str:
    return "\n".join(str(text) for file, text in files(backend, name).items() if file.endswith(".py"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_file_has_the_long_arrays_that_the_text_reads(backend: str) -> None:
    """Of every spec: no array that nobody reads, none that would fit on a line, none twice; no packed text."""
    found = set[str]()
    for name in specs.NAMES:
        text, kept = source(backend, name), load(files(backend, name).get(FILE, b"\2\0\0\0\0\0\0\0{}"))
        assert set(re.findall(r'CONSTANTS\["([^"]+)"\]', text)) == set(kept), name
        assert all(len(nested(array)) > 64 for array in kept.values()), name
        assert len({(a.dtype, a.shape, a.tobytes()) for a in kept.values()}) == len(kept), name
        assert not re.search(r'"[A-Za-z0-9+/=]{40,}"', text), name
        found |= {name} if kept else set()
    assert {"made_ensemble", "rgb_pixelcnn"} <= found and "gated_pixelcnn" not in found


def test_arrays_of_the_file_are_exact_and_as_narrow_as_their_numbers() -> None:
    rng, file = np.random.default_rng(0), Constants()
    given: dict[str, Any] = {
        "bool": rng.random(100) < 0.5,
        "uint8": rng.integers(0, 256, 100),
        "int16": rng.integers(0, 30_000, 100),
        "int64": rng.integers(-5, 5, 100),
        "float64": rng.normal(size=100),
    }
    texts = [file.read(array, "numbers") for array in (*given.values(), *given.values())]
    assert (
        texts[0] == 'CONSTANTS["numbers"]' and texts[1] == 'CONSTANTS["numbers_2"]' and len(set(texts)) == 5
    )
    kept = load(file.files()[FILE])
    for (dtype, array), text in zip(given.items(), texts, strict=False):
        read = kept[text.split('"')[1]]
        assert read.dtype.name == dtype
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_module_finds_the_file_beside_itself(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any folder, without mpcompile; and says so where the file is gone."""
    for name, data in files(backend, "made_ensemble").items():
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    for name in [n for n in sys.modules if n.startswith("mpcompile")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir("/")
    found = runpy.run_path(str(tmp_path / "model.py"))
    assert found["CONSTANTS"]
    (tmp_path / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(FILE)):
        runpy.run_path(str(tmp_path / "model.py"))
