"""The public interface in Python: a user's program runs and type-checks, mistakes are found, importing it is cheap."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from specs_under_test import ROOT

import mpcompile
from mpcompile import Run, SpecError

HERE = Path(__file__).parent
MADE = ROOT / "specs" / "made.yaml"
WRONG = ROOT / "specs" / "invalid" / "made_not_strict.yaml"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example", HERE / "example.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marked(name: str) -> set[tuple[str, int]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return {(name, number) for number, line in enumerate(lines, 1) if "# wrong" in line}


def test_the_names_are_there_and_no_others_are_invented() -> None:
    assert {name for name in mpcompile.__all__ if not hasattr(mpcompile, name)} == set()
    assert "__getattr__" not in vars(mpcompile), "a name that is not there is an error where it is imported"
    with pytest.raises(AttributeError):
        _ = mpcompile.evalute  # type: ignore[attr-defined]


def test_importing_it_imports_no_other_package() -> None:
    code = (
        "import sys; before = set(sys.modules); import mpcompile; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert roots - set(sys.stdlib_module_names) == {"mpcompile"}
    rooms = {name for name in done.stdout.split() if name.startswith("mpcompile.")}
    assert {name.split(".")[1] for name in rooms} == {"api", "budget", "diagnostics", "public"}


def test_a_program_of_a_user_runs(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "made.yaml"
    text = MADE.read_text(encoding="utf-8").replace(
        "data: binary_digits", "data: binary_digits, valid_every: 2"
    )
    spec.write_text(text, encoding="utf-8")
    monkeypatch.setattr(example, "predict", lambda run, data: {"row": np.arange(2)})  # MADE predicts nothing
    claims, seen, (nats, best, count), folder = example.main(spec, tmp_path)
    assert claims == {"autoregressive(x)": True, "complete(x)": True, "independent": True}
    assert len(seen) > 1 and all(np.isfinite(seen))
    assert nats == pytest.approx(-best, rel=1e-4), "the best checkpoint on the validation split"
    assert count == 5 and (folder / "manifest.json").exists()
    header = (folder / "weights.safetensors").read_bytes()[8:]
    assert header.startswith(b'{"__metadata__":{"format":"pt"}')
    card = (mpcompile.build(tmp_path / "run", folder, "onnx", card=True) / "README.md").read_text(
        encoding="utf-8"
    )
    assert (
        card.startswith("---\nlibrary_name: onnx\n")
        and "| `autoregressive(x)` | proved |" in card
        and text in card
    )
    run = Run(tmp_path / "run")
    shown = run._repr_html_()
    assert (
        "<polyline class='line c0'" in shown
        and "trained <b>4 of 4 steps</b>" in shown
        and "<script" not in shown
    )
    assert run.step == 4 and run.model.overrides == {"hidden": "64"} and run.model.variables == {"x": (64,)}
    assert {k: v.shape for k, v in run.parameters.items()} == run.model.parameters
    row = mpcompile.predict(run, "binary_digits", split="valid")
    figures = mpcompile.evaluate(run, split="valid")
    assert float(row["log_prob"].mean()) == pytest.approx(figures["nats"]["mean"], rel=1e-4)
    assert len(row["row"]) == figures["examples"]
    more, less = mpcompile.sample(run, 5, seed=3), mpcompile.sample(run, 2, seed=3)
    assert (more["x"][:2] == less["x"]).all() and more["x"].shape == (5, 64)
    started = mpcompile.sample(run, 2, given="binary_digits", upto=63)["x"]
    assert (started[0] != started[1]).any(), "each draw goes on from a row of its own"
    with pytest.raises(ValueError, match="exclude"):
        mpcompile.sample(run, 2, given="binary_digits", prompt="a")


def test_what_a_watcher_raises_ends_the_training(tmp_path: Path) -> None:
    """As a sweep prunes a trial; the folder is free for the next one."""

    class Pruned(Exception):
        pass

    def prune(line: mpcompile.Metrics) -> None:
        raise Pruned

    model = mpcompile.load(MADE, {"hidden": 64})
    for _ in range(2):
        with pytest.raises(Pruned):
            mpcompile.train(model, tmp_path / "run", backend="onnx", steps=2, on_metrics=prune)
    assert Run(tmp_path / "run").step >= 0


def test_faults_are_returned_by_check_and_raised_by_all_others(tmp_path: Path, example: ModuleType) -> None:
    broken = tmp_path / "broken.mp"
    broken.write_text("model m\nnet f = (\n", encoding="utf-8")
    assert [d.code for d in mpcompile.check(broken)] == ["MP101"] and len(example.faults(broken)) == 1
    model = mpcompile.load(WRONG)
    refuted = [v for v in model.verdicts if v.status == "refuted"]
    assert refuted and refuted[0].findings[0] in mpcompile.check(model) and not refuted[0].holds
    for act in (mpcompile.compile, mpcompile.train, lambda m: mpcompile.build(m, tmp_path / "b")):
        with pytest.raises(SpecError):
            act(model)
    with pytest.raises(SpecError, match="MP520"):
        Run(tmp_path)


def test_a_notebook_shows_graph_and_verdicts_and_no_markup_of_a_spec(tmp_path: Path) -> None:
    html = mpcompile.load(ROOT / "specs" / "realnvp.yaml")._repr_html_()
    assert html.count("✓ proved") == 2 and "jacobian(x) is dense" in html
    for word in ("dequantize", "squeeze", "factor_out", "× 3 more", "log_det"):
        assert f">{word}</text>" in html, word
    assert "<script" not in html and "http" not in html
    spec = tmp_path / "hostile.mp"
    spec.write_text(
        "model hostile\ninput x: binary[4]\nx ~ autoregressive { dense(4, mask = strict(degrees())) }\n"
        'check { allow complete(x) because "</style><script>alert(1)</script>" }\n',
        encoding="utf-8",
    )
    assert "<script" not in mpcompile.load(spec)._repr_html_()
    wrong = mpcompile.load(WRONG)
    shown = "".join(verdict._repr_html_() for verdict in wrong.verdicts)
    assert "✗ refuted" in wrong._repr_html_() and "✗ refuted" in shown and "error[MP3" in shown


def test_mypy_accepts_the_program_and_finds_each_mistake() -> None:
    """With what mypy knows from its run over the project, which `make test` begins with."""
    settings = (f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}")
    files = ("tests/public/example.py", "tests/public/typos.py")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", *settings, *files],
                          cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    found = re.findall(r"public/(\w+\.py):(\d+): error", done.stdout)
    assert {(name, int(line)) for name, line in found} == marked("typos.py"), done.stdout


def test_pyright_accepts_the_program_and_finds_each_mistake(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    for name in ("example.py", "typos.py"):
        (tmp_path / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    settings = {
        "include": ["."],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = (
        sys.executable,
        "-m",
        "pyright",
        "-p",
        tmp_path,
        "--pythonpath",
        sys.executable,
        "--outputjson",
    )
    quiet = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    report = json.loads(done.stdout)["generalDiagnostics"]
    found = {
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1) for d in report if d["severity"] == "error"
    }
    assert found == marked("typos.py"), [d["message"] for d in report]


def test_the_sweep_of_the_how_to_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first block as it stands, with fewer steps; the second prunes."""
    optuna = pytest.importorskip("optuna")
    text = (ROOT / "docs" / "howto" / "sweep.md").read_text(encoding="utf-8")
    sweep, pruning = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert sum(bool(line) for line in sweep.splitlines()) <= 10
    sweep = sweep.replace("steps=200", 'steps=2, backend="onnx"').replace("n_trials=3", "n_trials=2")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "made.yaml").write_bytes(MADE.read_bytes())
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(compile(sweep + pruning, "sweep.md", "exec"), space)
    assert len({t.value for t in space["study"].trials}) == 2 and Run("runs/sweep/1").step == 2
    trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0)).ask()
    with pytest.raises(optuna.TrialPruned):
        space["prune"](trial)({"split": "valid", "loss": 1.0, "step": 1})


def test_the_words_of_a_run_are_built_in_however_the_run_is_named(tmp_path: Path) -> None:
    spec, rows, folder = tmp_path / "m.mp", tmp_path / "rows.csv", tmp_path / "run"
    spec.write_text(
        "model m\ninput x: real[1]\ntarget job: category(2)\njob ~ categorical(logits = x -> dense(2))\n"
    )
    rows.write_text("x,job\n" + 20 * "1.5,cook\n2.5,clerk\n")
    run = mpcompile.train(spec, folder, data=rows, backend="onnx", steps=1)
    manifests = [
        (mpcompile.build(what, tmp_path / name, "onnx") / "manifest.json").read_text(encoding="utf-8")
        for name, what in (("object", run), ("path", folder))
    ]
    assert "cook" in manifests[0] and manifests[0] == manifests[1]
