"""Words that stand for classes belong to the run: they keep their numbers on other data, and unknown ones are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.runner import sampling
from mpcompile.runner.evaluate import evaluate, to_json, to_text
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import Run, open_run

TABLE = """
model kinds
input x: real[2]
target kind: category(2)
kind ~ categorical(logits = x -> dense(2))
train { optimizer: adam(0.1), batch: 16, steps: 60 }
"""


def rows(words: tuple[str, ...], count: int = 40) -> str:
    """A header, and points to the left or the right by their word."""
    r = np.random.default_rng(0)
    lines = []
    for i in range(count):
        word = words[i % len(words)]
        side = {"cat": -2, "dog": 2}.get(word, 0)
        lines.append(f"{side + 0.1 * r.standard_normal():.3f},{r.standard_normal():.3f},{word}")
    return "a,b,label\n" + "\n".join(lines) + "\n"


def trained(folder: Path, text: str, data: Path) -> Run:
    (folder / "spec.mp").write_text(text)
    train(api.load(folder / "spec.mp"), folder / "run", Options(data=str(data)))
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("table")
    (folder / "all.csv").write_text(rows(("dog", "cat")))
    return trained(folder, TABLE, folder / "all.csv")


def accuracy(run: Run, data: Path) -> float:
    return float(evaluate(run, api.load(run.spec), data=str(data))["targets"]["kind"]["accuracy"]["mean"])


def test_figures_of_each_class_are_those_of_its_rows(table: Run, tmp_path: Path) -> None:
    text = rows(("dog", "cat")).replace("\n2.", "\n-2.", 3)
    (tmp_path / "all.csv").write_text(text)
    module = api.load(table.spec)
    whole = evaluate(table, module, data=str(tmp_path / "all.csv"), by="kind")
    assert list(whole["by"]["groups"]) == list(whole["targets"]["kind"]["classes"]) == ["cat", "dog"]
    for word, found in whole["by"]["groups"].items():
        kept = [line for line in text.splitlines() if line.endswith(("label", word))]
        (tmp_path / "one.csv").write_text("\n".join(kept) + "\n")
        alone = evaluate(table, module, data=str(tmp_path / "one.csv"))
        assert found["nats"] == pytest.approx(alone["nats"], rel=1e-6) and found["examples"] == len(kept) - 1
        assert found["targets"]["kind"]["accuracy"] == alone["targets"]["kind"]["accuracy"]
    assert "true \\ guessed  cat  dog" in to_text(whole) and json.loads(to_json(whole))
    for name, help in (("x", "--by takes kind"), ("kinds", "--by takes kind")):
        with pytest.raises(SpecError, match="MP544") as fault:
            evaluate(table, module, by=name)
        assert fault.value.diagnostics[0].help == help


@pytest.mark.parametrize("words", [("cat",), ("dog",), ("dog", "cat")])
def test_a_table_with_fewer_words(table: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert table.facts["classes"] == {"kind": ["cat", "dog"]}
    (tmp_path / "few.csv").write_text(rows(words))
    assert accuracy(table, tmp_path / "few.csv") == 1


def test_words_that_the_run_does_not_know(table: Run, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(rows(("cat", "cow")))
    with pytest.raises(SpecError) as caught:
        accuracy(table, tmp_path / "other.csv")
    (found,) = caught.value.diagnostics
    assert found.code == "MP505" and "holds 'cow', which the run was not trained on" in found.message
    assert found.help == "its words for 'kind' are 'cat', 'dog'"


def test_words_for_a_run_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(rows(("cat", "dog")).replace("cat", "0").replace("dog", "1"))
    run = trained(tmp_path, TABLE, tmp_path / "numbers.csv")
    (tmp_path / "words.csv").write_text(rows(("cat", "dog")))
    with pytest.raises(SpecError, match="holds words, the run was trained on numbers"):
        accuracy(run, tmp_path / "words.csv")


def test_more_words_than_classes(tmp_path: Path) -> None:
    (tmp_path / "three.csv").write_text(rows(("cat", "dog", "cow")))
    with pytest.raises(SpecError) as caught:
        trained(tmp_path, TABLE, tmp_path / "three.csv")
    (found,) = caught.value.diagnostics
    assert found.code == "MP505" and "holds 3 words, 'kind' has 2 classes" in found.message


def test_folders_of_pictures(tmp_path: Path) -> None:
    """Trained on two folders, evaluated on one of them alone."""
    for word, grey in (("cat", 10), ("dog", 240)):
        (tmp_path / "all" / word).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(np.full((2, 2), grey + i % 5, np.uint8)).save(
                tmp_path / "all" / word / f"{i}.png"
            )
    text = TABLE.replace("x: real[2]", "x: integer(0..255)[1, 2, 2]").replace(
        "x -> dense", "x -> flatten -> dense"
    )
    run = trained(tmp_path, text, tmp_path / "all")
    for word in ("cat", "dog"):
        shutil.copytree(tmp_path / "all" / word, tmp_path / f"only {word}" / word)
        assert accuracy(run, tmp_path / f"only {word}") == 1
    (tmp_path / "only dog" / "dog").rename(tmp_path / "only dog" / "wolf")
    with pytest.raises(SpecError, match="'wolf', which the run was not trained on"):
        accuracy(run, tmp_path / "only dog")


def test_the_manifest_of_a_build_names_them(table: Run, tmp_path: Path) -> None:
    names = {"classes": table.facts["classes"]}
    api.build(api.load(table.spec), "torch", tmp_path / "build", names=names)
    assert json.loads((tmp_path / "build" / "manifest.json").read_text())["classes"] == {
        "kind": ["cat", "dog"]
    }


def test_samples_of_words(tmp_path: Path) -> None:
    """A table of draws has the words, and is read again as data."""
    from mpcompile.diagnostics import Span
    from mpcompile.ir import DType, Field, Type, symbol

    kind = Field("kind", "input", "category", Type(DType.INT, (symbol("N"),)), Span.none(), 0, 2)
    drawn = sampling.Samples(
        {"kind": np.array([0, 1, 1])}, {}, {"kind": kind}, None, {}, {"kind": ["a, b", "dog"]}
    )
    sampling.write_arrays(tmp_path / "a.csv", drawn)
    assert (tmp_path / "a.csv").read_text() == 'kind\n"a, b"\ndog\ndog\n'


def test_a_condition_by_its_word(tmp_path: Path) -> None:
    """`--condition kind=dog` is the dog's number; a word that the run does not know is named."""
    text = """
model draws
condition kind: category(2)
input x: binary[2]
x ~ bernoulli(logits = kind -> embedding(4) -> dense(2))
train { optimizer: adam(0.1), batch: 16, steps: 60 }
"""
    (tmp_path / "all.csv").write_text("kind,a,b\n" + "dog,1,1\ncat,0,0\n" * 30)
    run = trained(tmp_path, text, tmp_path / "all.csv")
    module = api.load(run.spec)
    drawn = sampling.sample(run, module, 64, conditions={"kind": "dog"})
    assert (drawn.given["kind"] == 1).all() and drawn.values["x"].mean() > 0.8
    with pytest.raises(SpecError) as caught:
        sampling.sample(run, module, 4, conditions={"kind": "cow"})
    (found,) = caught.value.diagnostics
    assert "kind='cow' is no class of the run" in found.message and found.help == "its classes are cat, dog"


@pytest.mark.parametrize(("key", "value"), [
    ("vocabulary", []), ("vocabulary", ["b", "a"]), ("vocabulary", ["a", "a"]), ("vocabulary", ["ab"]),
    ("classes", {"kind": ["a", "a"]}), ("classes", {"kind": [1]}), ("classes", ["kind"]),
])  # fmt: skip
def test_names_that_no_run_has(table: Run, tmp_path: Path, key: str, value: object) -> None:
    """What the names of a run's numbers are is checked where the run is opened."""
    shutil.copytree(table.folder, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {key: value}))
    with pytest.raises(SpecError, match=key):
        open_run(tmp_path / "run")


def test_a_moved_run_is_evaluated_on_moved_data(table: Run, tmp_path: Path) -> None:
    """The run's own file keeps its splits and gives the same figures; other data give theirs without baselines."""
    module = api.load(table.spec)
    before = evaluate(table, module)
    data = Path(table.facts["data"])
    moved = tmp_path / "moved.csv"
    data.rename(moved)
    try:
        with pytest.raises(SpecError) as caught:
            evaluate(table, module)
        assert caught.value.diagnostics[0].code == "MP501" and "--data" in caught.value.diagnostics[0].help
        after = evaluate(table, module, data=str(moved))
        assert after["nats"] == before["nats"] and after["examples"] == before["examples"] == 4
        (tmp_path / "new.csv").write_text(rows(("cat", "dog"), 30))
        assert evaluate(table, module, data=str(tmp_path / "new.csv"))["examples"] == 30
    finally:
        moved.rename(data)


@pytest.mark.parametrize("name", ["x" * 5000, "loop.csv", "a\0b.csv", ""])
def test_names_that_are_no_files(
    table: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.csv").symlink_to("loop.csv")
    with pytest.raises(SpecError, match="MP50"):
        evaluate(table, api.load(table.spec), data=name)


NAMED = TABLE.replace("category(2)", 'category("dog", "cat", "cow")').replace("dense(2))", "dense(3))")


def test_classes_that_the_spec_names(tmp_path: Path) -> None:
    """They are numbered as the spec has them, whatever words a file holds; a file of numbers keeps its numbers."""
    (tmp_path / "two.csv").write_text(rows(("cat", "dog")))
    run = trained(tmp_path, NAMED, tmp_path / "two.csv")
    assert run.facts["classes"] == {"kind": ["dog", "cat", "cow"]}
    assert accuracy(run, tmp_path / "two.csv") == 1
    (tmp_path / "numbers.csv").write_text(rows(("cat", "dog")).replace("cat", "1").replace("dog", "0"))
    assert accuracy(run, tmp_path / "numbers.csv") == 1
    (tmp_path / "wolf.csv").write_text(rows(("cat", "wolf")))
    with pytest.raises(SpecError, match="'wolf', which is no class of the spec"):
        accuracy(run, tmp_path / "wolf.csv")
    with pytest.raises(SpecError, match="'wolf', which is no class of the spec"):
        trained(tmp_path / "run", NAMED, tmp_path / "wolf.csv")


def test_a_build_of_a_spec_that_names_its_classes(tmp_path: Path) -> None:
    (tmp_path / "spec.mp").write_text(NAMED)
    api.build(api.load(tmp_path / "spec.mp"), "torch", tmp_path / "build")
    assert json.loads((tmp_path / "build" / "manifest.json").read_text())["classes"] == {
        "kind": ["dog", "cat", "cow"]
    }
