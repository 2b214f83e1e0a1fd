"""Batches that other processes make are the same, and so are parts of a batch; mapped files are read as they are."""

import os
import signal
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.ir import Module
from mpcompile.runner.batches import Batches
from mpcompile.runner.data import load_data
from mpcompile.runner.data.arrays import npy
from mpcompile.runner.data.dataset import surveyed
from mpcompile.runner.data.mapped import Stored, gathered, mapping


@pytest.fixture(scope="module")
def module() -> Module:
    return lowered(
        "model m\ninput x: binary[64]\nlatent z ~ normal(x -> dense(4)) prior normal\n"
        "x ~ bernoulli(logits = z -> dense(64))\n"
    )


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in a)


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 0/1 that is mapped, however small."""
    monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", 1)
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).integers(0, 2, (90, 64), dtype=np.uint8))
    return path


def test_workers_make_the_same_batches(module: Module, big: Path) -> None:
    """Two workers, from any step on; a lost file is a finding, and a worker that ends is one."""
    split = load_data(module, str(big)).splits["train"]
    assert mapping(split.columns["x"].array) is not None  # type: ignore[union-attr]
    alone = Batches(module, split, 16, 3)
    other = Batches(module, split, 16, 3, workers=2)
    wanted = [alone.at(step) for step in range(5, 14)]
    assert all(same(a, b) for a, b in zip(wanted, other.stream(5, 14), strict=True))
    stream = other.stream(0, 10_000)
    next(stream)
    os.kill(active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(SpecError) as caught:
        list(stream)
    assert caught.value.diagnostics[0].code == "MP528"


def test_findings_of_a_worker_arrive(module: Module, big: Path) -> None:
    other = Batches(module, load_data(module, str(big)).splits["train"], 16, 3, workers=1)
    big.write_bytes(big.read_bytes()[:100])
    with pytest.raises(SpecError) as caught:
        next(other.stream(0, 3))
    assert caught.value.diagnostics[0].code == "MP506"


def test_parts_of_a_batch_are_the_batch(module: Module, big: Path) -> None:
    """A law: the inputs of a batch are those of its parts, one after the other; noise too."""
    batches = Batches(module, load_data(module, str(big)).splits["train"], 16, 3)
    whole, parts = batches.at(2), [batches.at(2, slice(a, a + 4)) for a in range(0, 16, 4)]
    for name, value in whole.items():
        if value.ndim:
            assert (np.concatenate([p[name] for p in parts]) == value).all(), name
        else:
            assert all(p[name] == value for p in parts)


@pytest.mark.parametrize("view", ["whole", "columns", "every", "channels", "last", "flipped", "fortran"])
def test_rows_of_a_mapped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    """Whatever view of a map is taken: `gathered` is numpy's own index, and travels as a place in the file."""
    monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", 1)
    x = np.arange(30 * 4 * 5, dtype=np.int16).reshape(30, 4, 5)
    np.save(tmp_path / "x.npy", np.asfortranarray(x) if view == "fortran" else x)
    shown = {
        "whole": lambda a: a, "columns": lambda a: a[:, 1:3], "every": lambda a: a[::3, :, ::2],
        "channels": lambda a: a.transpose(0, 2, 1), "last": lambda a: a[7:, -1], "flipped": lambda a: a[:, ::-1],
        "fortran": lambda a: a,
    }[view]  # fmt: skip
    got, wanted = shown(npy(tmp_path / "x.npy")), shown(x)
    assert mapping(got) is not None
    place = Stored.of(got)
    assert isinstance(place, Stored) and (place.array() == wanted).all()
    for index in (np.array([3, 4, 5, 0, 2]), np.array([[0, 1], [2, 3]]), np.array([], np.int64)):
        assert (gathered(got, index) == wanted[index]).all()
    with pytest.raises(IndexError):
        gathered(got, np.array([len(got)]))


def test_a_file_that_became_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch from a file that was cut is a finding: a map alone would end the process."""
    monkeypatch.setattr("mpcompile.runner.data.arrays.MAPPED_FROM", 1)
    np.save(tmp_path / "x.npy", np.zeros((100, 1000)))
    x = npy(tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", 5000)
    with pytest.raises(SpecError, match="became shorter"):
        gathered(x, np.array([3, 90]))


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux"
)
def test_a_mapped_file_does_not_become_resident(tmp_path: Path) -> None:
    """A law of memory: statistics of one column of a table of 256 MB, and batches of its rows, take a window of it."""

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024

    path, shape = tmp_path / "x.npy", (2**18, 256)
    np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()  # a file of holes
    column, rows = npy(path)[:, 3:4], np.random.default_rng(0).permutation(shape[0])[: shape[0] // 4]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins with what is there now
    before = peak()
    found = surveyed(column, rows)
    for start in range(0, 6400, 64):
        gathered(npy(path), rows[start : start + 64])
    assert found.size == len(rows) and peak() - before < 100
