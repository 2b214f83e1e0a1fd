"""Sequences of unequal length: generated, from a file, in batches; and what is counted of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from specs_under_test import module

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower
from mpcompile.runner import measure
from mpcompile.runner.batches import Batches
from mpcompile.runner.data import Pieces, load_data

KEYS = 24


def pieces(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, (n, KEYS)).astype(np.uint8) for n in rng.integers(1, 40, count)]


def file(path: Path, packed: bool) -> dict[str, list[np.ndarray]]:
    """Rolls as the polyphonic music sets have them: all steps of a split, packed in bits or not, and the lengths."""
    splits = {"train": pieces(0, 9), "valid": pieces(1, 3), "test": pieces(2, 4)}
    arrays = {}
    for name, rolls in splits.items():
        steps = np.concatenate(rolls)
        arrays[name] = np.packbits(steps, axis=1) if packed else steps
        arrays[f"{name}_len"] = np.array([len(r) for r in rolls], np.int32)
    np.savez(path, **arrays)
    return splits


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_lengths_is_cut_into_pieces(tmp_path: Path, packed: bool) -> None:
    splits = file(tmp_path / "music.npz", packed)
    data = load_data(module("gru"), str(tmp_path / "music.npz"))
    for name, rolls in splits.items():
        assert isinstance(data.splits[name].columns["x"], Pieces) and len(data.splits[name]) == len(rolls)
        for row, roll in enumerate(rolls):
            taken = data.splits[name].take(np.array([row]))
            assert taken["length"][0] == len(roll)
            np.testing.assert_array_equal(taken["x"][0, : len(roll)], roll)
            assert not taken["x"][0, len(roll) :].any()


def test_a_file_without_splits_is_divided_by_pieces(tmp_path: Path) -> None:
    rolls = pieces(0, 30)
    np.savez(tmp_path / "music.npz", x=np.concatenate(rolls), length=[len(r) for r in rolls])
    data = load_data(module("gru"), str(tmp_path / "music.npz"))
    found = []
    for split in data.splits.values():
        taken = split.take(np.arange(len(split)))
        found += [x[: int(n)] for x, n in zip(taken["x"], taken["length"], strict=True)]
    assert sorted(r.tobytes() for r in rolls) == sorted(r.astype(np.uint8).tobytes() for r in found)
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [24, 3, 3]


def test_few_pieces_and_lengths_that_do_not_add_up(tmp_path: Path) -> None:
    """With fewer than ten there is nothing to hold out; what the lengths add up to is said."""
    roll = np.zeros((20, KEYS), np.uint8)
    np.savez(tmp_path / "a.npz", x=roll, length=[5, 15])
    data = load_data(module("gru"), str(tmp_path / "a.npz"))
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [2, 0, 0]
    for lengths, help_ in (([5, 14], "add up to 19"), ([20, 0], "at least 1")):
        np.savez(tmp_path / "b.npz", x=roll, length=lengths)
        with pytest.raises(SpecError) as caught:
            load_data(module("gru"), str(tmp_path / "b.npz"))
        assert caught.value.diagnostics[0].code == "MP507" and help_ in caught.value.diagnostics[0].help


def test_several_columns_are_cut_alike(tmp_path: Path) -> None:
    """All that are as long as the lengths add up to; one that is not holds a value for each example."""
    text = (
        "model m\ninput move: real[time, 2]\ninput pen: binary[time, 1]\ncondition length: integer(1..time)\n"
        "condition script: category(2)\nrecurrence over time { carry h[3] = 0; move ~ normal(dense(4)(h)); "
        "pen ~ bernoulli(logits = dense(1)(h)); h = gru(concat(move, pen), h) }\n"
    )
    lengths, rng = np.array([3, 1, 5, 2] * 5), np.random.default_rng(0)
    arrays = {"move": rng.normal(size=(55, 2)), "pen": rng.integers(0, 2, (55, 1)), "script": lengths % 2}
    np.savez(tmp_path / "pens.npz", length=lengths, **arrays)
    data = load_data(lower(parse_text(text), Source("m.mp", text)), str(tmp_path / "pens.npz"))
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [16, 2, 2]
    taken = data.split("train").take(np.arange(16))
    assert taken["move"].shape == (16, 16, 2) and taken["pen"].shape == (16, 16, 1)
    np.testing.assert_array_equal(taken["script"], taken["length"] % 2)
    starts = {row.tobytes() for row in arrays["move"][np.cumsum(lengths) - lengths].astype(np.float32)}
    assert {row.tobytes() for row in taken["move"][:, 0]} < starts


def test_a_model_for_one_length_refuses_them(tmp_path: Path) -> None:
    text = "model m\ninput x: binary[time, 24]\nx ~ autoregressive { shift -> dense(24) }\n"
    file(tmp_path / "music.npz", False)
    for data in ("melodies", str(tmp_path / "music.npz")):
        with pytest.raises(SpecError) as caught:
            load_data(lower(parse_text(text), Source("m.mp", text)), data)
        assert caught.value.diagnostics[0].code == "MP503"
        assert "length" in caught.value.diagnostics[0].help


@pytest.mark.parametrize("stated", [3, 0, -1, 7, 2.5, float("nan"), 6])
@pytest.mark.parametrize("split", ["", "_valid"])
def test_padding_that_the_data_state_is_never_learned(tmp_path: Path, stated: float, split: str) -> None:
    """Padded arrays beside an array `length`: a model for one length would take the padding for data."""
    text = "model m\ninput x: binary[time, 2]\nx ~ autoregressive { shift -> dense(2) }\n"
    held = {"x": np.zeros((9, 6, 2)), "length": np.full(9, 6)}
    if split:
        held = {f"{k}{s}": v for k, v in held.items() for s in ("_train", split)}
    held[f"length{split}"] = np.full(9, stated)
    np.savez(tmp_path / "a.npz", **held)
    module = lower(parse_text(text), Source("m.mp", text))
    if stated == 6:
        assert len(load_data(module, str(tmp_path / "a.npz")).splits["train"])
        return
    with pytest.raises(SpecError) as caught:
        load_data(module, str(tmp_path / "a.npz"))
    (found,) = caught.value.diagnostics
    assert found.code == "MP503" and "states lengths" in found.message and "integer(1..time)" in found.help


def test_a_batch_is_padded_to_its_longest() -> None:
    data = load_data(module("cvrnn"), "melodies", 64)
    batches = Batches(module("cvrnn"), data.splits["train"], 4, 0)
    widths = set()
    for step in range(20):
        batch = batches.at(step)
        longest = int(batch["length"].max())
        widths.add(batch["x"].shape[1])
        assert batch["x"].shape == (4, -(-longest // Pieces.STEP) * Pieces.STEP, 24)
        behind = np.arange(batch["x"].shape[1]) >= batch["length"][:, None]
        assert not batch["x"][behind].any() and batch["x"][~behind].any(-1).all()
        assert batch["noise_z"].shape[:2] == batch["x"].shape[:2]
    assert len(widths) > 1 and batch["length"].min() >= 32 and longest <= 64


def test_dimensions_are_those_of_real_steps() -> None:
    data = {"x": np.zeros((2, 16, 24)), "length": np.array([16.0, 4.0])}
    assert measure.dimensions(module("gru"), data) == 10 * 24
    assert measure.dimensions(module("elman"), {"image": np.zeros((3, 64)), "digit": np.zeros(3, int)}) == 1


def test_a_reply_is_the_source_from_the_end() -> None:
    taken = load_data(module("seq2seq"), "reversal", 6).splits["train"].take(np.arange(50))
    np.testing.assert_array_equal(taken["reply"], taken["source"][:, ::-1])
    assert set(np.unique(taken["source"])) == set(range(8))
