"""Answers on the disk: the same as those that are found anew, and never those of something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from specs_under_test import ROOT

from mpcompile import api, cached
from mpcompile.budget import Budget
from mpcompile.diagnostics.report import Checked

MASKED = """model masked
input x: binary[3]
mask m = file("m.npy")
x ~ autoregressive { dense(3, mask = m) }
"""
PROVED = np.tril(np.ones((3, 3)), -1)

Counted = Callable[..., tuple[Checked, bool]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cached.FOLDER, str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def examine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """`cached.examine`, and whether it had to find its answer."""
    calls: list[str] = []
    original = api.examine
    monkeypatch.setattr(api, "examine", lambda *a: calls.append("") or original(*a))

    def counted(*arguments: object) -> tuple[Checked, bool]:
        before = len(calls)
        return cached.examine(*arguments), len(calls) > before  # type: ignore[arg-type]

    return counted


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("??/*"))


@pytest.mark.parametrize(
    "name", ["made.yaml", "invalid/pixelcnn_blind_spot.mp", "invalid/angle_as_a_number.mp"]
)
def test_the_answer_from_the_disk_is_the_answer(name: str, examine: Counted) -> None:
    """Proofs, a refutation with its path, and a warning."""
    path = ROOT / "specs" / name
    first, fresh = examine(path)
    again, repeated = examine(path)
    assert fresh and not repeated
    assert again == first == api.examine(path) and first.diagnostics == again.diagnostics


def test_a_change_of_anything_is_another_answer(
    folder: Path, examine: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, mask = folder / "masked.mp", folder / "m.npy"
    spec.write_text(MASKED, encoding="utf-8")
    np.save(mask, PROVED)
    assert examine(spec)[0].holds and not examine(spec)[1]
    np.save(mask, np.ones((3, 3)))
    refuted, fresh = examine(spec)
    assert fresh and not refuted.holds, "the mask that it reads is another one"
    mask.unlink()
    missing, fresh = examine(spec)
    assert fresh and [d.code for d in missing.diagnostics] == ["MP204"]
    np.save(mask, PROVED)
    assert examine(spec)[1], "an answer replaces that under the same key"
    spec.write_text(MASKED.replace("[3]", "[3]  # three"), encoding="utf-8")
    assert examine(spec)[1] and not examine(spec)[1]
    made = ROOT / "specs" / "made.yaml"
    for arguments in (
        (made,),
        (made, {"hidden": "65"}),
        (made, None, Budget(59)),
        (made, None, Budget(60, 10**9)),
    ):
        assert examine(*arguments)[1] and not examine(*arguments)[1]
    monkeypatch.setattr(cached, "_code", lambda: "another version")
    assert examine(made)[1]


def test_sources_of_the_package_are_part_of_the_key(tmp_path: Path) -> None:
    """A file of a copy of the package is changed without changing its size; then its time is set back."""
    code = "from mpcompile import cached; print(cached._code())"
    copy = tmp_path / "mpcompile"
    copy.mkdir()
    for name in ("__init__.py", "cached.py"):
        text = (ROOT / "mpcompile" / name).read_text(encoding="utf-8") if name == "cached.py" else ""
        (copy / name).write_text(text.replace("from mpcompile import api\n", ""), encoding="utf-8")
    for name in ("budget", "diagnostics"):
        os.symlink(ROOT / "mpcompile" / (name if name == "diagnostics" else f"{name}.py"),
                   copy / (name if name == "diagnostics" else f"{name}.py"))  # fmt: skip

    def key() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    first = key()
    assert key() == first
    (copy / "__init__.py").write_text("#", encoding="utf-8")
    assert key() != first


def test_answers_of_the_machine_are_not_kept(folder: Path, examine: Counted) -> None:
    path = ROOT / "specs" / "realnvp.yaml"
    limited, _ = examine(path, None, Budget(0.0))
    assert "MP310" in {d.code for d in limited.diagnostics}
    assert examine(path, None, Budget(0.0))[1] and entries(folder) == []


def test_a_file_that_changes_during_the_proof_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = folder / "made.mp"
    spec.write_text("model a\ninput x: binary[2]\nx ~ bernoulli\n", encoding="utf-8")
    original = api.examine

    def changing(*arguments: object) -> Checked:
        found = original(*arguments)  # type: ignore[arg-type]
        spec.write_text("model b\n", encoding="utf-8")
        return found

    monkeypatch.setattr(api, "examine", changing)
    cached.examine(spec)
    assert entries(folder) == []


def test_damage_is_as_if_nothing_were_there(folder: Path, examine: Counted) -> None:
    path = ROOT / "specs" / "made.yaml"
    first, _ = examine(path)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    digest, _, body = whole.partition(b"\n")
    forged = json.dumps({**json.loads(body), "answer": {"path": 3}}).encode()
    for damaged in (
        b"", whole[:-5], whole.replace(b"proved", b"proven"), b"\xff" * 40, digest + b"\n[]", b"[" * 10_000,
        sha256(b"[]").hexdigest().encode() + b"\n[]", sha256(forged).hexdigest().encode() + b"\n" + forged,
    ):  # fmt: skip
        entry.write_bytes(damaged)
        assert examine(path) == (first, True), damaged[:80]
        assert entry.read_bytes() == whole, "and it is mended"


def test_a_folder_that_cannot_be_written_to_is_no_fault(folder: Path, examine: Counted) -> None:
    (folder / "cache").write_text("a file", encoding="utf-8")
    assert examine(ROOT / "specs" / "made.yaml")[0].holds


def test_the_oldest_entries_are_removed(
    folder: Path, examine: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "MOST", 2)
    spec = folder / "a.mp"
    for number in range(5):
        spec.write_text(f"model a{number}\ninput x: binary[2]\nx ~ bernoulli\n", encoding="utf-8")
        examine(spec)
        assert len(entries(folder)) <= 2
    assert not examine(spec)[1]


def test_commands(folder: Path) -> None:
    """Cold, from the disk, in processes of their own, and without the disk: the same text. YAML of others is left out."""
    specs = folder / "specs"
    specs.mkdir()
    for name in ("made.yaml", "mlp.mp"):
        (specs / name).write_bytes((ROOT / "specs" / name).read_bytes())
    (specs / "wrong.yaml").write_text(
        (specs / "made.yaml").read_text(encoding="utf-8").replace("strict(up)", "up"), encoding="utf-8"
    )
    (specs / "service.yaml").write_text("model: {name: a}\ninput: b\n", encoding="utf-8")

    def check(*options: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "mpcompile", "check", "specs", *options]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    code, out, err = first = check("--jobs", "2")
    assert (
        code == 1 and "error[MP301]" in out and "service.yaml" not in out and "1 YAML file is no spec" in err
    )
    assert len(entries(folder)) == 3
    assert check() == first
    (folder / "pyproject.toml").write_text('[tool.mpcompile]\nspecs = ["specs"]\n', encoding="utf-8")
    code, out, err = check()
    assert code == 1 and "specs/service.yaml" in out and err == ""
    (folder / "pyproject.toml").write_text('[tool.mpcompile]\nspec = ["specs"]\n', encoding="utf-8")
    code, _, err = check()
    assert code == 2 and "nothing else" in err


def test_a_process_that_dies_costs_its_own_spec(tmp_path: Path) -> None:
    """Run in a file of its own, since a process of `multiprocessing` imports the function that it is to call."""
    (tmp_path / "dying.py").write_text(
        "import os, sys\nfrom pathlib import Path\nfrom mpcompile.cli._jobs import mapped\n"
        "def work(spec):\n    if spec.name == 'b':\n        os._exit(9)\n    return {'spec': spec.name}\n"
        "if __name__ == '__main__':\n    print(mapped(work, [Path(n) for n in 'abcd'], 2))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "dying.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([{"spec": "a"}, {"died": True}, {"spec": "c"}, {"spec": "d"}])


def test_known_answers_import_no_reader(folder: Path) -> None:
    """The start of a warm `check PATH` is all that it costs: it needs no reader of specs, of options or of metadata."""
    spec = ROOT / "specs" / "mlp.mp"
    cached.examine(spec)
    heavy = ("lark", "numpy", "networkx", "pydantic", "mpcompile.frontend", "mpcompile.ir")
    code = (
        "import sys\nfrom mpcompile.cli import main\ntry:\n    main()\n"
        f"except SystemExit as end:\n    print(end.code, [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(spec)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
