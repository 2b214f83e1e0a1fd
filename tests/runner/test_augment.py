"""Augmentations: what each may do to an example, drawn by (seed, step), in training alone, wherever it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.runner.batches import Batches, chunks
from mpcompile.runner.data import Split, load_data

TEXT = """model m
input image: real[2, 6, 5]
condition seen: binary[height: 6, width: 5]
target y: category(3)
y ~ categorical(logits = image -> flatten -> dense(3))
train {{ augment: [{}] }}
"""


def split(tmp_path: Path, module: Any) -> Split:
    r = np.random.default_rng(0)
    image = r.standard_normal((40, 2, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", image_train=image, seen_train=image[:, 0] > 0, y_train=r.integers(0, 3, 40))
    return load_data(module, str(tmp_path / "d.npz")).splits["train"]


def batches(tmp_path: Path, steps: str, seed: int = 5) -> tuple[Batches, Split]:
    module = lowered(TEXT.format(steps))
    part = split(tmp_path, module)
    return Batches(module, part, 16, seed), part


def taken(made: Batches, part: Split, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The examples of a step, as they are and as they are made."""
    rows = made.order.rows(step // made.per_epoch, *(16 * (step % made.per_epoch) + k for k in (0, 16)))
    data = part.take(rows)
    made.maker.augmenter.change(changed := dict(data), (made.seed, "train", step), 16, slice(None))
    return data, changed


@pytest.mark.parametrize("steps", ["flip([image, seen])", "flip([image, seen], over = height)"])
def test_flips(tmp_path: Path, steps: str) -> None:
    """Each example is itself or its mirror image, both come, and the mask goes with its picture."""
    made, part = batches(tmp_path, steps)
    before, after = taken(made, part, 3)
    axis = -2 if "height" in steps else -1
    mirrored = [
        np.array_equal(b, np.flip(a, axis)) for a, b in zip(before["image"], after["image"], strict=True)
    ]
    assert 2 < sum(mirrored) < 14
    for i, was in enumerate(mirrored):
        for name in ("image", "seen"):
            wanted = np.flip(before[name][i], axis) if was else before[name][i]
            assert np.array_equal(after[name][i], wanted)
    assert np.array_equal(before["y"], after["y"])


@pytest.mark.parametrize("kind", ["crop", "shift"])
def test_moves(tmp_path: Path, kind: str) -> None:
    """Brute force: every example is one of the windows of a padded picture, or one of its rolls; many of them come."""
    made, part = batches(tmp_path, f"{kind}([image, seen], 2)")
    moves = set()
    for step in range(6):
        before, after = taken(made, part, step)
        for i in range(16):
            found = []
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    wanted = {}
                    for name in ("image", "seen"):
                        value = before[name][i]
                        if kind == "shift":
                            wanted[name] = np.roll(value, (dy, dx), (-2, -1))
                            continue
                        border = [(0, 0)] * (value.ndim - 2) + [(2, 2)] * 2
                        padded = np.pad(value, border)
                        wanted[name] = padded[..., 2 - dy : 8 - dy, 2 - dx : 7 - dx]
                    if all(np.array_equal(after[name][i], wanted[name]) for name in wanted):
                        found.append((dy, dx))
            assert found, (step, i)
            moves.add(found[0])
    assert len(moves) > 20


def test_noise(tmp_path: Path) -> None:
    made, part = batches(tmp_path, "noise(image, 0.5)")
    differences = []
    for step in range(8):
        before, after = taken(made, part, step)
        differences.append(after["image"] - before["image"])
    found = np.concatenate(differences).reshape(-1)
    assert abs(found.mean()) < 0.03 and abs(found.std() - 0.5) < 0.02 and found.dtype == np.float32


def test_augmentation_is_of_the_step_and_of_training_alone(tmp_path: Path) -> None:
    """The same step gives the same bits, another step or seed others; parts are the whole; held-out data stay."""
    steps = "flip(image), crop(image, 2), noise(image, 0.1)"
    made, part = batches(tmp_path, steps)
    again, _ = batches(tmp_path, steps)
    other, _ = batches(tmp_path, steps, 6)
    whole = made.at(4)["image"]
    assert np.array_equal(whole, again.at(4)["image"]) and not np.array_equal(whole, other.at(4)["image"])
    parts = [made.at(4, slice(a, a + 4))["image"] for a in range(0, 16, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    read = np.concatenate([data["image"] for _, data in chunks(part, 7)])
    assert np.array_equal(read, part.take(np.arange(40))["image"])
    plain, _ = batches(tmp_path, "")
    assert not np.array_equal(plain.at(4)["image"], whole)


@pytest.mark.parametrize(("steps", "says"), [
    ("flip(imag)", "'imag', which is no variable"), ("flip(image, over = depth)", "no axis of fixed size"),
    ("crop(y)", "has none"), ("noise(seen)", "is of real numbers"), ("noise(image, 0)", "must be positive"),
    ("crop(image, 0)", "at least 1"), ("turn(image)", "turn"), ("3", "list of calls"), ("flip", "needs `of`"),
])  # fmt: skip
def test_refusals(steps: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        lowered(TEXT.format(steps))
    (found,) = caught.value.diagnostics
    assert says in found.message + found.help, found
    assert found.span.line == 6
