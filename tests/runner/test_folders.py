"""Folders of runs and builds: only ours are replaced or removed, no link is followed, one process writes at a time."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from mpcompile.api import build, load
from mpcompile.diagnostics import SpecError
from mpcompile.runner import builds, disk
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import open_run

OPTIONS = Options(backend="fake", seed=3, steps=3, checkpoint_every=1)
AGAIN = replace(OPTIONS, resume=True)


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that is below a folder."""
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes()
        for p in folder.rglob("*")
        if p.is_symlink() or p.is_file()
    }


def make_foreign(path: Path, how: str, other: Path) -> None:
    """Something of a user's at `path`; `other` is what links lead to."""
    other.mkdir(exist_ok=True)
    (other / "mine").write_text("mine")
    match how:
        case "folder":
            path.mkdir()
            (path / "mine").write_text("mine")
        case "empty":
            path.mkdir()
        case "file":
            path.write_text("mine")
        case "link to a folder":
            path.symlink_to(other)
        case "broken link":
            path.symlink_to(other / "nothing")
        case "pipe":
            os.mkfifo(path)
        case "false mark":
            path.mkdir()
            (path / disk.MARKER).symlink_to(other / "mine")
            (path / "mine").write_text("mine")
        case "false run":
            path.mkdir()
            (path / "run.json").write_text(json.dumps({"format": 1, "spec": "spec.yaml"}))


FOREIGN = (
    "folder",
    "empty",
    "file",
    "link to a folder",
    "broken link",
    "pipe",
    "false mark",
    "false run",
)


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("sibling", [".new", ".old", ".tmp", ""])
def test_nothing_of_a_users_is_removed(fake: ModuleType, tmp_path: Path, sibling: str, how: str) -> None:
    """Whatever stands at the run's name, or beside it, is there after two trainings, or was never touched."""
    out = tmp_path / "keep"
    make_foreign(tmp_path / f"keep{sibling}", how, tmp_path / "other")
    before = tree(tmp_path)
    for _ in range(3):
        try:
            train(fake.module(), out, OPTIONS, backend=fake.FakeBackend())
        except SpecError as said:
            assert {d.code for d in said.diagnostics} == {"MP524"}
    after = tree(tmp_path)
    assert {k: after.get(k) for k in before} == before
    if sibling and how == "empty":
        assert (tmp_path / f"keep{sibling}").is_dir()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(disk.MARKER)]


def test_a_run_steps_aside_and_the_one_before_it_goes(fake: ModuleType, tmp_path: Path) -> None:
    for steps in (1, 2, 3):
        train(fake.module(), tmp_path / "run", replace(OPTIONS, steps=steps), backend=fake.FakeBackend())
    assert open_run(tmp_path / "run").facts["steps"] == 3
    assert open_run(tmp_path / "run.old").facts["steps"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "run.old"]


@pytest.mark.parametrize("name", ["notes.txt", "best/notes.txt", "checkpoints/mine", "samples.png"])
def test_a_file_that_training_did_not_write_keeps_the_old_run(
    fake: ModuleType, tmp_path: Path, name: str
) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    (tmp_path / "run" / name).write_text("mine")
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    with pytest.raises(SpecError, match=f"MP524 .*run.old holds '{name}'"):
        train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    assert (tmp_path / "run.old" / name).read_text() == "mine"


def test_a_run_of_the_first_release_is_ours(fake: ModuleType, tmp_path: Path) -> None:
    """It has no mark, and a run.json of format 1."""
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    (tmp_path / "run" / disk.MARKER).unlink()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    first = {k: v for k, v in facts.items() if k not in ("classes", "trackers", "history")} | {"format": 1}
    (tmp_path / "run" / "run.json").write_text(json.dumps(first))
    train(fake.module(), tmp_path / "run", replace(AGAIN, steps=5), backend=fake.FakeBackend())
    assert open_run(tmp_path / "run").facts["format"] == 2
    for _ in range(2):
        (tmp_path / "run" / disk.MARKER).unlink()
        train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "run.json", "best", "checkpoints", "checkpoints/last-000000003"]
)
def test_a_resume_writes_through_no_link(fake: ModuleType, tmp_path: Path, name: str) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    (tmp_path / "run" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises(SpecError, match=r"MP52[04] .*link"):
        train(fake.module(), tmp_path / "run", replace(AGAIN, steps=6), backend=fake.FakeBackend())
    assert tree(tmp_path) == before


def test_metrics_with_a_second_name_are_not_changed(fake: ModuleType, tmp_path: Path) -> None:
    train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
    os.link(tmp_path / "run" / "metrics.jsonl", tmp_path / "backup")
    with pytest.raises(SpecError, match=r"MP524 .*second name"):
        train(fake.module(), tmp_path / "run", replace(AGAIN, steps=6), backend=fake.FakeBackend())


@pytest.mark.parametrize("resume", [False, True])
def test_one_line_where_no_folder_can_be(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    for out, code in {".": "MP524", "..": "MP524", "file": "MP524", "file/run": "MP527", "x" * 300: "MP527",
                      "/proc/no": "MP527", "/dev/null": "MP524"}.items():  # fmt: skip
        with pytest.raises(SpecError, match=code):
            train(fake.module(), Path(out), replace(OPTIONS, resume=resume), backend=fake.FakeBackend())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# Locks ------------------------------------------------------------------------------------------------


def test_a_second_training_gets_one_line(fake: ModuleType, tmp_path: Path) -> None:
    """Whether it resumes or begins anew; the first goes on undisturbed, and what only reads works meanwhile."""
    out, seen = tmp_path / "run", []

    def intrude(report: object) -> None:
        for options in (OPTIONS, AGAIN):
            with pytest.raises(SpecError, match="MP525") as said:
                train(fake.module(), out, options, backend=fake.FakeBackend())
            seen.append(said.value.diagnostics[0].message)
        if (out / "best").exists():
            assert open_run(out).parameters(fake.module())[0]["w"].shape == (3, 1)

    train(fake.module(), out, OPTIONS, backend=fake.FakeBackend(), watch=intrude)
    train(fake.module(), tmp_path / "alone", OPTIONS, backend=fake.FakeBackend())
    assert seen
    for name in ("best/state.safetensors", "checkpoints/last-000000003/state.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    train(fake.module(), out, AGAIN, backend=fake.FakeBackend())  # the lock went with the training


def test_a_killed_process_frees_its_lock(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_loop.py")
    command = [sys.executable, script, "--child", str(tmp_path / "run"), "--slow", "--steps", "100000"]
    process = subprocess.Popen(command)
    while process.poll() is None and not (tmp_path / "run" / "run.json").exists():
        pass
    with pytest.raises(SpecError, match="MP525"):
        disk.Lock.of(tmp_path / "run")
    process.kill()
    process.wait()
    disk.Lock.of(tmp_path / "run").release()


def test_a_staging_folder_of_a_killed_process_is_removed(fake: ModuleType, tmp_path: Path) -> None:
    """Where it carries the mark and nobody holds it; one without the mark, and one in use, stay."""
    with disk.staged(tmp_path / "a", "run") as (left, lock):
        (left / "half").write_text("")
        lock.release()
    with disk.staged(tmp_path / "b", "run") as (used, held):
        (tmp_path / f"{disk.MARKER}-unmarked").mkdir()
        train(fake.module(), tmp_path / "run", OPTIONS, backend=fake.FakeBackend())
        assert not left.exists() and used.exists() and (tmp_path / f"{disk.MARKER}-unmarked").exists()
        held.release()


# Builds -----------------------------------------------------------------------------------------------

FILES = {"model.py": b"x = 1\n", "part/more.py": b"y = 2\n"}


def built(folder: Path, files: dict[str, bytes] = FILES, force: bool = False) -> list[str]:
    manifest = {"model": "m", "backend": "b", "mpcompile": "0", "spec": {}, "proofs": [], "parameters": {},
                "files": builds.digests(files)}  # fmt: skip
    return builds.write(folder, {**files, builds.MANIFEST: json.dumps(manifest).encode()}, force)


def test_a_build_is_replaced_whole(tmp_path: Path) -> None:
    built(tmp_path / "out")
    (tmp_path / "out" / "__pycache__").mkdir()
    (tmp_path / "out" / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"")
    built(tmp_path / "out", {"other.py": b"z = 3\n"})
    assert sorted(tree(tmp_path / "out")) == [disk.MARKER, "manifest.json", "other.py"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("force", [False, True])
def test_a_build_touches_nothing_foreign(tmp_path: Path, how: str, force: bool) -> None:
    make_foreign(tmp_path / "out", how, tmp_path / "other")
    before = tree(tmp_path)
    try:
        assert built(tmp_path / "out", force=force) == []
    except SpecError as said:
        assert {d.code for d in said.diagnostics} == {"MP524"}
    after = tree(tmp_path)
    assert {k: after.get(k) for k in before} == before


@pytest.mark.parametrize("name", ["model.py", "manifest.json", "part/more.py"])
@pytest.mark.parametrize("how", ["link", "second name", "edit", "folder", "the user's own"])
def test_a_build_replaces_others_files_only_by_force(tmp_path: Path, name: str, how: str) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("victim")
    built(out)
    path = out / name
    path.unlink()
    if how == "the user's own":
        (out / "manifest.json").unlink(missing_ok=True)
    match how:
        case "link":
            path.symlink_to(victim)
        case "second name":
            os.link(victim, path)
        case "folder":
            path.mkdir()
        case _:
            path.write_text("mine")
    before = tree(tmp_path)
    if not (how == "edit" and name == "manifest.json"):
        with pytest.raises(SpecError, match="MP524"):
            built(out)
        assert tree(tmp_path) == before
    if how == "folder":
        with pytest.raises(SpecError, match=r"MP524 .* is a folder"):
            built(out, force=True)
        return
    assert str(path) in built(out, force=True)
    assert victim.read_text() == "victim" and not path.is_symlink()
    assert (out / "model.py").read_bytes() == FILES["model.py"]


def test_a_build_of_the_first_release_is_replaced(tmp_path: Path) -> None:
    """It has no mark, and a manifest that lists no files."""
    spec = Path(__file__).parents[2] / "specs" / "perceptron.mp"
    build(load(spec), "onnx", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sorted(manifest.pop("files")) == sorted(
        set(tree(tmp_path / "out")) - {disk.MARKER, "manifest.json"}
    )
    (tmp_path / "out" / disk.MARKER).unlink()
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    build(load(spec), "onnx", tmp_path / "out")
    assert (tmp_path / "out" / disk.MARKER).exists()


def test_a_build_refuses_weights_that_are_none(tmp_path: Path) -> None:
    from mpcompile.runner.initial import initial

    module = load(Path(__file__).parents[2] / "specs" / "perceptron.mp")
    for code, change in {"MP526": lambda v: v * float("nan"), "MP521": lambda v: v[None]}.items():
        weights = {k: change(v) for k, v in initial(module).items()}
        with pytest.raises(SpecError, match=code):
            build(module, "torch", tmp_path / "out", parameters=weights)
    assert not (tmp_path / "out").exists()
