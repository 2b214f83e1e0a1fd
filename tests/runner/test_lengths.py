"""Sequences of more steps than there are learned positions are refused, before a backend reads beyond the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import specs_under_test as specs
from written import lowered

from mpcompile.api import load
from mpcompile.diagnostics import SpecError
from mpcompile.runner.data import load_data
from mpcompile.runner.data.lengths import longest
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import open_run
from mpcompile.runner.sampling import sample

SIZES = {"width": "8", "heads": "2", "layers": "1", "longest": "8"}


def test_the_limit_is_that_of_the_positions() -> None:
    limits = {"translate": {"words": 9, "time": 9}, "gpt2": {"time": 8}, "xlnet": {}, "llama": {}}
    for name, limit in limits.items():  # the order of xlnet has as many places as its axis
        path = specs.ROOT / "specs" / "expressions" / f"{name}.mp"
        module = load(path, specs.small(name))
        assert longest(module) == limit
        if name == "translate":  # what `verify` runs, whose sources are longer than its replies
            assert specs.inputs(module, "log_prob", 2)["source"].shape == (2, 9)


def test_longer_data_and_longer_samples_are_refused(tmp_path: Path) -> None:
    module = load(specs.path("transformer"), SIZES)
    assert load_data(module, "text", 8)
    with pytest.raises(SpecError, match=r"MP503.*has 9 steps along 'time', and there are 8"):
        load_data(module, "text", 9)
    module.train = module.train.changed(length=8, steps=1, batch=2)
    train(module, tmp_path / "run", Options(backend="torch", overrides=SIZES))
    run = open_run(tmp_path / "run")
    assert sample(run, module, 1, length=8).values["text"].shape == (1, 8)
    with pytest.raises(SpecError, match=r"MP542.*samples have 9 steps along 'time', and there are 8"):
        sample(run, module, 1, length=9)


@pytest.mark.parametrize(
    ("last", "length", "heard", "message"),
    [
        ([0, 1, 2, 3], 4, 4, None),
        ([0, 0, 2, 0], 3, 4, None),  # zeros behind the end repeat nothing
        ([0, 1, 2, 3], 4, 3, "4 symbols, 0 of which repeat the one before, and 3 frames"),
        ([0, 0, 2, 2], 4, 5, "4 symbols, 2 of which repeat the one before, and 5 frames"),
    ],
)
def test_a_text_that_no_alignment_has_is_refused(
    tmp_path: Path, last: list[int], length: int, heard: int, message: str | None
) -> None:
    """Of three texts the last one; the sound of this spec has two rows a frame."""
    module = load(specs.path("ctc"), {"width": "2", "hidden": "3"})
    np.savez(
        tmp_path / "heard.npz", sound=np.zeros((3, 10, 2), np.float32), sound_length=[5, 5, heard],
        text=[[0, 1, 0, 1], [0, 1, 0, 1], last], length=[4, 4, length],
    )  # fmt: skip
    if message is None:
        assert load_data(module, str(tmp_path / "heard.npz"), whole=True)
        return
    with pytest.raises(SpecError, match=f"MP507.*example 2 of train: 'text' has {message}") as caught:
        load_data(module, str(tmp_path / "heard.npz"), whole=True)
    assert f"give it {4 + int(message.split()[2])} frames" in str(caught.value.diagnostics[0].help)


@pytest.mark.parametrize(("rows", "steps"), [("frames", 7), ("2 * frames", 12), ("3 * frames", 24)])
def test_each_text_that_is_spoken_has_an_alignment(rows: str, steps: int) -> None:
    spec = specs.path("ctc").read_text(encoding="utf-8").replace("[2 * frames, width]", f"[{rows}, width]")
    module = lowered(spec.replace("stride = 2", f"stride = {rows.split()[0].replace('frames', '1')}"))
    assert load_data(module, "spoken", steps)
