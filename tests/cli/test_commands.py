"""The command line as a user meets it: exit codes, formats, what is written, what is imported."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import Cli
from specs_under_test import ROOT, inputs, module, small

from mpcompile import api


def test_check_finds_a_leak_and_exits_with_one(cli: Cli, tmp_path: Path) -> None:
    spec = tmp_path / "made.yaml"
    spec.write_text((ROOT / "specs" / "made.yaml").read_text().replace("strict(up)", "up"))
    done = cli("check", str(spec), "--output-format", "json")
    assert done.code == 1
    found = json.loads(done.out)
    assert {d["code"] for d in found} >= {"MP301"}


def test_a_plain_check_is_the_one_with_options(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check PATH...` takes a shorter way to the command: exit codes and texts are the same."""
    monkeypatch.chdir(ROOT)
    codes = []
    for paths in (["specs/mlp.mp"], ["specs/mlp.mp", "specs/invalid/angle_as_a_number.mp"], ["nowhere"]):
        plain = cli("check", *paths)
        assert plain == cli("check", *paths, "--jobs", "1")
        codes.append(plain.code)
    assert codes == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments",
    [("check", "nowhere"), ("check",), ("build", "specs/made.yaml", "--set", "hidden"), ("explode",)],
)
def test_wrong_usage_exits_with_two_or_one(
    arguments: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli(*arguments).code in (1, 2)


def test_check_is_clean_on_a_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`conformance/test_specs.py` checks every spec of `specs`; `architecture` what a check imports."""
    monkeypatch.chdir(ROOT)
    done = cli("check", "specs/vision", "specs/made.yaml")
    specs = list((ROOT / "specs" / "vision").iterdir())
    assert done.code == 0, done.err
    assert f"checked {len(specs) + 1} specs" in done.out and "0 errors" in done.out


def test_check_is_clean_on_specs_of_expressions() -> None:
    for path in (ROOT / "specs" / "expressions").iterdir():
        assert api.check(api.load(path, small(path.stem))) == [], path.name


def test_a_build_stands_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The emitted RealNVP, without mpcompile, gives the live model's log_prob, and inverts itself."""
    import safetensors.torch
    import torch

    from mpcompile.backend import find_backend
    from mpcompile.runner.initial import initial

    monkeypatch.chdir(ROOT)
    first = tmp_path / "a"
    assert cli("build", "specs/realnvp.yaml", "--backend", "torch", "-o", str(first)).code == 0
    m = module("realnvp")
    x = {k: v.astype(np.float32) for k, v in inputs(m, "log_prob", 4).items()}
    tensors = {k: torch.from_numpy(v) for k, v in x.items()}
    with monkeypatch.context() as without, torch.no_grad():
        for name in [n for n in sys.modules if n.startswith("mpcompile")]:
            without.setitem(sys.modules, name, None)
        spec = importlib.util.spec_from_file_location("model_that_stands_alone", first / "model.py")
        assert spec is not None and spec.loader is not None
        built = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(built)
        alone = built.Realnvp()
        alone.load_state_dict(safetensors.torch.load_file(first / "weights.safetensors"))
        log_prob = alone.log_prob(**tensors).numpy()
        back = alone.inverse(z=alone.forward(**tensors)["z"]).numpy()
    live = find_backend("torch").session(m, initial(m, 0))
    np.testing.assert_allclose(log_prob, live.run("log_prob", x)["log_prob"], rtol=1e-6)
    np.testing.assert_allclose(back, x["x"], atol=1e-4)


def test_what_is_refuted_never_builds(cli: Cli, tmp_path: Path) -> None:
    spec = tmp_path / "made.yaml"
    spec.write_text((ROOT / "specs" / "made.yaml").read_text().replace("strict(up)", "up"))
    out = tmp_path / "out"
    for flags in ([], ["--allow-unproven"]):
        assert cli("build", str(spec), "-o", str(out), *flags).code == 1
        assert not out.exists()


UNDECIDED = """model m
condition x: category(5)[time]
target y: category(5)[time]

y ~ categorical(logits = x -> embedding(4) -> rnn(4) -> dense(5))
check { path_length(x) <= 500 }
"""


def test_what_is_undecided_builds_on_demand_and_the_manifest_says_so(cli: Cli, tmp_path: Path) -> None:
    spec = tmp_path / "rnn.mp"
    spec.write_text(UNDECIDED)
    out = tmp_path / "out"
    assert cli("build", str(spec), "-o", str(out)).code == 1
    assert not out.exists()
    done = cli("build", str(spec), "-o", str(out), "--allow-unproven")
    assert done.code == 0, done.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["allow_unproven"] is True
    assert {p["claim"]: p["status"] for p in manifest["proofs"]}["path_length"] == "undecided"


def test_train_eval_sample(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "run"
    done = cli("train", "specs/made.yaml", "--out", str(out), "--steps", "30")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all({"step", "split", "loss"} <= line.keys() for line in lines)
    assert "log-likelihood" in cli("eval", str(out)).out
    picture = tmp_path / "samples.png"
    assert cli("sample", str(out), "-n", "4", "-o", str(picture)).code == 0
    assert picture.stat().st_size > 500


def test_a_run_is_begun_or_continued(cli: Cli) -> None:
    done = cli("train", "specs/mlp.mp", "--init", "runs/a", "--resume")
    assert done.code == 2
    assert done.err == "error: --init begins a run, --resume continues one that began\n"


def test_a_link_to_itself_is_a_finding_of_its_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "good.mp").write_text("model m\ninput x: real[2]\nx ~ normal(0, 1)\n")
    (tmp_path / "loop.mp").symlink_to("loop.mp")
    done = cli("check", str(tmp_path))
    assert done.code == 1 and "checked 2 specs" in done.out + done.err, done.err
    assert "MP001" in done.out + done.err and "internal error" not in done.err
